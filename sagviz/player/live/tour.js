// A tour of one step of SAG for someone who has never heard of diffusion: each stop points at a part of the page, and what it says
// is true of the run that is shown, because its numbers and sentences are the run's own.

const SPARE = 12; // CSS pixels between a stop and what it points at

// A sentence of the step's caption.
/** @param {string} about */
function sentence(step, about) {
  return step.caption.match(new RegExp(`${about} .*?\\.(?= |$)`))?.[0] ?? "";
}
function noisePart(step) {
  return `${evenly(100 * Math.min(1, step.sigma ** 2))} %`;
}
function mapPart(run, step) {
  const { values } = plane(run, step, "attention");
  return { cells: values.length, low: Math.min(...values).toFixed(2), high: Math.max(...values).toFixed(2) };
}

/** @typedef {{at: string, share: number, title: string, words: (run: any, step: any, count: number) => string}} Stop */

/** @type {Stop[]} */
const STOPS = [
  { at: ".pane.x_t", share: 0, title: "It begins with noise",
    words: () => "No picture is there yet, only random numbers, shown as colours: that is xₜ. The seed says which numbers, so the same seed begins with the same noise." },
  { at: ".pane.x0_hat", share: 0, title: "The network guesses a picture",
    words: (run, step, count) => `A network that was trained to tell pictures from noise guesses which picture might be under it. The guess is called x̂₀; ${count > 1 ? `this is the first of ${count}` : "in this run it is made once"}.` },
  { at: ".bar .control", share: 0.5, title: "Step by step, less noise",
    words: (run, step, count) => `A little noise is taken away, then the network guesses again. Noise was ${noisePart(run.steps[0])} of the variance at step 1, is ${noisePart(step)} here at step ${step.index + 1} and ${noisePart(run.steps[count - 1])} at step ${run.steps[count - 1].index + 1}. This slider goes to any step.` },
  { at: ".pane.cfg", share: 0.5, title: "The prompt pulls: CFG",
    words: (run, step) => `The network guesses once with the prompt and once without it${run.given?.prompt === "" ? " (here there is none)" : ""}; the difference is the way to the prompt. Bright cells are pushed most. ${sentence(step, "CFG's")}` },
  { at: ".pane.attention", share: 0.5, title: "Where the network looks",
    words: (run, step) => { const { cells, low, high } = mapPart(run, step);
      return `Inside the network, each of ${cells} places gathers information from all others. Aₜ is how much attention a place receives: 1 is the mean, here it goes from ${low} to ${high}. Yellow places are looked at most.`; } },
  { at: ".pane.mask", share: 0.5, title: "The mask",
    words: (run, step) => `SAG chooses the places that it will blur, framed here: as a rule those where Aₜ is above a threshold ψ. ${sentence(step, "The (?:hand-made )?mask")}` },
  { at: ".pane.x_degraded", share: 0.5, title: "Spoiled on purpose",
    words: () => "Under the mask the guess is blurred, and the very same noise is put back. That is x̂ₜ: like xₜ outside the mask, without fine detail inside. The network guesses once more, from this." },
  { at: ".pane.sag", share: 0.5, title: "Away from the blur: SAG",
    words: (run, step) => `SAG pushes away from that worse-informed guess. ${sentence(step, "SAG's")} Guided x̂₀ has all pushes together. Now it is your turn: move the scales under “What if?”, or type a prompt and press Run.` },
];

class Tour {
  constructor(page) {
    this.page = page;
    this.number = make("p", { class: "number" });
    this.title = make("h2", { id: "tour-title", tabIndex: -1 }, "");
    this.words = make("p", { id: "tour-words" });
    this.back = make("button", { type: "button", onclick: () => this.go(this.stop - 1) }, "Previous");
    this.next = make("button", { type: "button", class: "next", onclick: () => this.go(this.stop + 1) });
    const close = make("button", { type: "button", class: "close", onclick: () => this.close() }, "Close");
    this.node = make("div", { class: "tour", role: "dialog", "aria-labelledby": "tour-title", "aria-describedby": "tour-words", hidden: true,
      onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event) }, this.number, this.title, this.words, make("div", { class: "do" }, this.back, this.next, close));
    document.body.append(this.node);
    this.stop = 0;
    this.stops = STOPS;
    addEventListener("resize", () => this.node.hidden || this.place());
  }

  start() {
    if (!this.page.player.runs.some(hasSag)) this.page.showRecorded();
    const { at: made } = middle(this.page.player.runs.findLast(hasSag));
    this.stops = STOPS.filter(({ at }) => !at.startsWith(".pane.") || at.slice(6) in made); // without CFG, none about it
    this.panes = this.page.player.state.panes;
    this.page.player.set("view", "beside");
    const wanted = this.stops.map(({ at }) => at.replace(".pane.", ""));
    this.page.player.set("panes", this.page.player.data.panes.map(([name]) => name).filter((name) => this.panes.includes(name) || wanted.includes(name)));
    this.node.hidden = false;
    this.go(0);
  }

  /** @param {number} stop */
  go(stop) {
    if (stop < 0) return;
    if (stop >= this.stops.length) return this.close();
    this.stop = stop;
    const { player } = this.page, { at, share, title, words } = this.stops[stop];
    const run = player.runs.findLast(hasSag), count = run.steps.length;
    player.change("playing", false);
    player.change("index", Math.floor(share * player.reach));
    say(this.number, `Stop ${stop + 1} of ${this.stops.length}`);
    say(this.title, title);
    say(this.words, words(run, player.step(run), count));
    this.back.disabled = !stop;
    say(this.next, stop === this.stops.length - 1 ? "Done" : "Next");
    this.light(player.root.querySelector(at));
    this.title.focus({ preventScroll: true });
  }

  /** @param {HTMLElement | null} target */
  light(target) {
    for (const node of document.querySelectorAll(".toured")) node.classList.remove("toured");
    this.target = target;
    target?.classList.add("toured");
    this.place();
  }

  // Beside what it points at, where there is room, else at the lower edge of the screen.
  place() {
    if (!this.target) return;
    const narrow = innerWidth < 700;
    this.node.classList.toggle("docked", narrow);
    this.target.scrollIntoView({ block: narrow ? "start" : "center", behavior: "instant" });
    if (narrow) return Object.assign(this.node.style, { left: "", top: "" });
    const { left, right, top, width } = this.target.getBoundingClientRect(), own = this.node.offsetWidth;
    const beside = right + SPARE + own < document.documentElement.clientWidth ? right + SPARE : left - SPARE - own > 0 ? left - SPARE - own : null;
    const x = beside ?? Math.max(SPARE, left + (width - own) / 2), y = beside === null ? this.target.getBoundingClientRect().bottom + SPARE : Math.max(SPARE, top);
    Object.assign(this.node.style, { left: `${x + scrollX}px`, top: `${y + scrollY}px` });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Escape") this.close();
    else if (event.key === "ArrowRight") this.go(Math.min(this.stops.length - 1, this.stop + 1));
    else if (event.key === "ArrowLeft") this.go(this.stop - 1);
    else return;
    event.preventDefault();
  }

  close() {
    if (this.node.contains(document.activeElement)) this.page.button(".tour-start").focus();
    this.node.hidden = true;
    this.light(null);
    this.page.player.set("panes", this.panes);
  }
}

// What the stops point at is there at the middle step.
function hasSag(run) {
  return ["sag", "mask", "x_degraded"].every((name) => middle(run)?.at[name] !== undefined);
}
function middle(run) {
  return run.steps[Math.floor(run.steps.length / 2)];
}
