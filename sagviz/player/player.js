// The player: draws runs into an element and follows slider, keys and scales. It needs no server, no library, no network.

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NONE = "none at this step";
const TELL = 20; // milliseconds, a frame of the screen and a little
const KEYS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -5, PageUp: 5, Home: -Infinity, End: Infinity };

// Why a run has no such picture: it lacks the terms that others have it from, or has it at other steps.
function absence(name, run, runs) {
  const of = name === "margin" ? "attention" : name;
  if (of in run.planes) return NONE;
  const others = runs.filter((other) => of in other.planes).flatMap((other) => other.terms);
  const lacking = others.filter((term) => !run.terms.some((own) => own.name === term.name)).map((term) => term.title);
  return lacking.length ? `none: ${run.name} has no ${[...new Set(lacking)].join(" or ")}` : NONE;
}

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// Makes an element one of a term's, in its colour; the style sheet adapts it to dark pages.
function hued(node, term, colour) {
  if (!colour) return node;
  node.style.setProperty("--term", colour);
  node.dataset.term = term;
  return node;
}

// A term that is pointed at, or whose scale has the focus, lights up wherever it stands: slider, formula, picture, curve.
function lights(root) {
  const light = () => {
    const at = root.querySelector("[data-term]:hover") ?? root.querySelector("[data-term]:focus-within");
    for (const node of root.querySelectorAll("[data-term]")) node.classList.toggle("lit", node.dataset.term === at?.dataset.term);
  };
  for (const event of ["pointerover", "pointerout", "focusin", "focusout"]) root.addEventListener(event, light);
}

// What stands below pictures: what holds for all of them, or a line for each that says something else, by the letters of the runs.
function wordsOf(drawn) {
  const there = drawn.filter((one) => one.there), lines = [...new Set(there.map(({ what }) => what))];
  const letters = (line) => there.filter(({ what }) => what === line).map(({ letter }) => letter).join(", ");
  return lines.length > 1 ? lines.map((line) => `${letters(line)}: ${line}`).join("\n") : lines.join();
}

// Changes a text only where it is another, so that the page need not be laid out anew.
function say(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// What stood there before any player is the run as a story, for paper; in a copy that the browser saved it is put away already.
function stillsOf(el) {
  const stood = [...el.childNodes].filter((node) => !node.matches?.(".sagviz-player"));
  return stood.flatMap((node) => (node.matches?.(".story") ? [...node.childNodes] : [node]));
}

class Player {
  // what layout.js makes of it
  /** @type {any} */ playButton;
  /** @type {any} */ slider;
  /** @type {any} */ readout;
  /** @type {any} */ times;
  /** @type {any} */ charts;
  /** @type {any} */ captions;
  /** @type {any} */ figures;
  /** @type {any} */ radios;
  /** @type {any} */ menus;
  /** @type {any} */ flipButton;

  // `state`: {index, panes, playing, view, front, base, scales ...}; what is not given has its default.
  // `changed` is told the name and the value of what the reader changes.
  constructor(el, data, state, changed) {
    this.data = data;
    this.changed = changed;
    this.runs = data.runs;
    this.limits = limitsOf(data.runs);
    this.tables = Object.fromEntries(Object.entries(data.colours).map(([name, table]) => [name, fromBase64(table)]));
    const looks = { decoded: true, smooth: false, over: false, sized: true, own: false };
    this.unchanged = { index: data.index, panes: data.shown, playing: false, view: "beside", front: 0, base: 0, speed: 10, scales: this.runs.map(scalesOf), ...looks };
    this.state = { ...this.unchanged, ...state };
    this.knobs = [];
    const parts = [bar(this), whatIf(this), make("div", { class: "stage" }, views(this), figures(this)), choices(this), settings(this)];
    this.root = make("div", { class: "sagviz-player", tabIndex: -1, "data-lm-suppress-shortcuts": "true" }, ...parts);
    this.root.addEventListener("keydown", (event) => this.key(event));
    lights(this.root);
    unscrolled(this.root);
    const still = el.drawn ? [] : stillsOf(el);
    el.drawn = true; // not in the DOM, whose copy starts anew
    el.replaceChildren(this.root, make("div", { class: "story" }, ...still));
    new ResizeObserver(() => ordered(this.root)).observe(this.root);
    this.arrange();
    this.tell();
    if (this.state.playing) this.play(true);
  }

  get longest() { return leading(this.runs); }

  // The last step that there is: a run that still computes has not come to its end.
  get reach() { return this.longest.steps.length - 1; }

  get grows() { return this.runs.some((run) => run.steps.length < planned(run)); }

  // How far along the slider stands, which goes through the kept steps of the longest run.
  get way() {
    const { longest } = this;
    return wayOf(longest, longest.steps[Math.min(this.state.index, this.reach)]);
  }

  // The step of a run beside the slider's: as far along its way, where runs have different lengths.
  step(run) {
    return run.steps[nearest(run, this.way)];
  }

  // To the kept step that is nearest there.
  goTo(way) {
    this.change("index", nearest(this.longest, way));
  }

  // Shows that a run has got a step more, or goes to it.
  grow(index = this.state.index) {
    this.limits = limitsOf(this.runs);
    this.state.index = index;
    this.renew();
  }

  // Shows that a step is another now.
  renew() {
    this.charts.draw();
    this.show();
    this.tellLater();
  }

  // Whether other scales stand below "What if?" than those of the run, which its sentences are about.
  isTried(run) {
    return run.terms.some(({ name, scale }) => this.state.scales[run.number][name] !== scale);
  }

  label(run) {
    return this.runs.length > 1 ? `${LETTERS[run.number]}: ${run.name}` : run.name;
  }

  // The two runs whose difference is shown: the one in front, and what it is compared with.
  get pair() {
    const { front, base } = this.state;
    return [base, front === base ? (base ? 0 : this.runs.length - 1) : front];
  }

  // Sets a part of the state, from the page or from outside, and shows it.
  set(name, value) {
    if (name === "index") value = Math.min(this.reach, Math.max(0, value));
    if (name === "front" || name === "base") value = (value + this.runs.length) % this.runs.length;
    this.state[name] = value;
    if (name === "playing") this.play(value);
    if (name === "index") this.show();
    else this.arrange();
    this.tellLater();
  }

  // The same, by the reader's hand.
  change(name, value) {
    this.set(name, value);
    this.changed(name, this.state[name]);
  }

  play(on) {
    clearInterval(this.timer);
    if (!on) return;
    if (this.state.index === this.reach) this.change("index", 0);
    this.timer = setInterval(() => {
      if (!this.root.isConnected) return clearInterval(this.timer);
      if (this.state.index === this.reach) return this.change("playing", false);
      this.change("index", this.state.index + 1);
    }, 1000 / this.state.speed);
  }

  key(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || target.matches("input[type=number], input[type=radio], select")) return;
    const isScale = target.matches("input[type=range]") && target !== this.slider;
    if (key in KEYS && !isScale) this.change("index", this.state.index + KEYS[key]);
    else if (key === " " && !target.matches("button, summary, input:not([type=range])")) this.change("playing", !this.state.playing);
    else if (key === "f" && this.runs.length > 1) this.flip();
    else if (key === "d" && this.runs.length > 1) this.change("view", this.state.view === "difference" ? "beside" : "difference");
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  flip() {
    if (this.state.view === "flip") this.change("front", this.state.front + 1);
    else this.change("view", "flip");
  }

  // What follows from a choice: which pictures stand there, with which scales; then the step itself.
  arrange() {
    const { view, front, panes, playing, smooth } = this.state;
    this.root.classList.toggle("smooth", smooth);
    this.root.style.setProperty("--beside", view === "beside" ? this.runs.length : 1);
    this.playButton.textContent = playing ? "❚❚ Pause" : "▶ Play";
    for (const { name, node, frames, last } of this.figures) {
      node.hidden = !panes.includes(name);
      frames.forEach((frame, r) => (frame.hidden = view === "difference" || (view === "flip" && r !== front)));
      last.hidden = view !== "difference";
    }
    for (const label of this.root.querySelectorAll("[data-pane]")) label.firstChild.checked = panes.includes(label.dataset.pane);
    for (const { run, term, slide, box, number } of this.knobs) {
      const value = this.state.scales[run][term];
      slide.value = value;
      if (box !== document.activeElement) {
        box.value = short(value);
        tellFault(box, "");
      }
      number.textContent = value < 0 ? `(−${short(-value)})` : short(value);
    }
    for (const { view: own, radio } of this.radios ?? []) radio.checked = own === view;
    this.menus?.forEach((menu, i) => (menu.value = this.pair[i]));
    if (this.flipButton) this.flipButton.textContent = view === "flip" ? `Shown: ${this.label(this.runs[front])}` : "Flip";
    this.show();
  }

  // Draws the step that the slider stands at.
  show() {
    const steps = this.runs.map((run) => this.step(run));
    this.slider.value = this.step(this.longest).index;
    this.charts.move(this.way);
    for (const figure of this.shown) this.draw(figure, steps);
  }

  // The pictures of one quantity: a run's own, or how far two runs are apart.
  draw(figure, steps) {
    const { name, canvases, frames, apart } = figure;
    const look = { ...this.state, tables: this.tables, limits: this.limits, masked: this.data.masked };
    figure.drawn = []; // for `tell`
    const fill = (frame, canvas, made, what, run, none = NONE) => {
      figure.drawn.push({ canvas, legend: made?.legend, what: made ? what : none, run: run && this.label(run), letter: run && LETTERS[run.number], there: Boolean(made) });
      if (made) delete frame.dataset.none;
      else frame.dataset.none = none;
      if (canvas.classList.contains("none") === Boolean(made)) canvas.classList.toggle("none");
      if (canvas.classList.contains("decoded") !== Boolean(made?.bitmap)) canvas.classList.toggle("decoded");
      if (made) paint(canvas, made, this.data);
      else blank(canvas, this.runs[0].planes.x0_hat.shape);
    };
    if (this.state.view === "difference") {
      const { pair } = this;
      const made = difference(name, pair.map((r) => this.runs[r]), pair.map((r) => steps[r]), look);
      fill(figure.last, apart, made, `how far ${pair.map((r) => this.label(this.runs[r])).join(" and ")} are apart`);
    } else {
      this.runs.forEach((run, r) => {
        if (frames[r].hidden) return;
        const made = picture(name, run, steps[r], look);
        const what = `${steps[r].words[name] ?? run.words[name]}${made?.more ?? ""}`;
        fill(frames[r], canvases[r], made, what, this.runs.length > 1 && run, absence(name, run, this.runs));
      });
    }
  }

  // Tells the step in words, once for as many steps as went by until the pictures are on the screen: text has to be laid out,
  // and would hold them up.
  tellLater() {
    if ("telling" in this.root.dataset) return;
    this.root.dataset.telling = "";
    setTimeout(() => {
      delete this.root.dataset.telling;
      this.tell();
    }, TELL);
  }

  // What stands in words beside the pictures that are drawn.
  tell() {
    const { playing } = this.state;
    const steps = this.runs.map((run) => this.step(run));
    const { longest } = this, { index, t, sigma } = this.step(longest); // all of one run
    const place = `Step ${index + 1} of ${longest.evaluations}`;
    this.slider.setAttribute("aria-valuetext", place);
    say(this.readout, place);
    say(this.times, `t = ${Math.round(t)}, σ = ${sigma.toFixed(2)}`);
    this.charts.tell(steps);
    this.captions.forEach((caption, r) => {
      caption.setAttribute("aria-live", playing || this.grows ? "off" : "polite");
      say(caption, `${this.isTried(this.runs[r]) ? "As it ran: " : ""}${steps[r].caption}`);
    });
    for (const { title, drawn, words, legend } of this.shown) {
      for (const { canvas, what, run } of drawn) canvas.setAttribute("aria-label", `${title}${run ? ` of ${run}` : ""}: ${what}`);
      const last = drawn.findLast(({ there }) => there);
      say(words, wordsOf(drawn) || NONE);
      const key = JSON.stringify(last?.legend);
      if (legend.key !== key) legend.replaceChildren(...(last?.legend ? legendOf(last.legend, this.tables) : []));
      legend.key = key;
    }
  }

  get shown() {
    return this.figures.filter(({ node }) => !node.hidden);
  }
}

// Draws the data of `sagviz.player` into an element, once its planes are unpacked.
async function render(el, data, state = {}, changed = () => {}) {
  const runs = await Promise.all(data.runs.map(async (run, number) => ({
    ...run, number, buffer: await inflate(run.packed), image: run.picture && (await decoded(run.picture)), bitmaps: await bitmaps(run.decoded),
  })));
  return new Player(el, { ...data, runs }, state, changed);
}
