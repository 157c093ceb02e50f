// Another threshold, another blur or a painted mask at the step that is shown: one pass of the network, in place of the step as it ran.

const TRY_NOTE = "One more pass of the network for this step; as for the scales, the steps after it would change too.";
const RECORDED_NOTE = "This run was recorded. Press Run above: of a run of your own, threshold, blur and mask can be changed as well.";

class Tries {
  constructor(page) {
    this.page = page;
    /** @type {Map<number, Uint8Array>} */
    this.painted = new Map();
    this.knobs = Object.fromEntries(Object.entries({ psi: "Threshold ψ", sigma: "Blur σ" }).map(([name, title]) => [name, this.knob(name, title)]));
    this.note = make("p", { class: "note" });
    this.predict = make("button", { type: "button", onclick: () => page.predict.open() }, "Paint a mask …");
    this.asItRan = make("button", { type: "button", onclick: () => this.reset() }, "Mask and blur as they ran");
    this.onward = make("button", { type: "button", class: "onward", onclick: () => page.goOn() }, "Go on from here");
    this.node = make("div", { class: "tries" }, ...Object.values(this.knobs).map(({ node }) => node), this.note,
      make("div", { class: "do" }, this.predict, this.asItRan, this.onward));
  }

  /** @param {string} name @param {string} title */
  knob(name, title) {
    const { slide, box } = paired(title, { min: 0, max: 3, step: 0.05 }, `${title} at this step`, () => this.update());
    return { slide, box, node: make("div", { class: "knob" }, make("span", {}, title), slide, box) };
  }

  // The run that is tried, the last one with SAG that was computed here, and its step that is shown.
  get at() {
    const run = this.page.player?.runs.findLast(({ given, terms }) => given && terms.some(({ name }) => name === "sag"));
    return { run, step: run && this.page.player.step(run) };
  }

  // The mask that was painted for this step, now or when it ran.
  /** @returns {Uint8Array | undefined} */
  paintedAt(step) {
    return this.painted.get(step.index) ?? (step.ran ?? step).made.painted?.[step.index];
  }

  // What a step is to be made with: where a slider was not moved, what it ran with, which another run's step before a branch has
  // of its own.
  wantedAt(run, step) {
    const { made } = step.ran ?? step, wanted = this.wanted;
    const own = (name) => (wanted[name] === run.given[name] ? made[name] : wanted[name]);
    return { psi: own("psi"), sigma: own("sigma"), painted: this.paintedAt(step) };
  }

  // What the sliders say.
  get wanted() {
    return { psi: this.knobs.psi.box.valueAsNumber, sigma: this.knobs.sigma.box.valueAsNumber };
  }

  // Takes the settings of the runs that are shown now.
  reset() {
    const { run } = this.at, shown = this.page.player?.runs.at(-1)?.given ?? this.page.known.given.at(-1);
    this.painted.clear();
    for (const [name, { slide, box }] of Object.entries(this.knobs)) {
      slide.value = box.value = (run?.given ?? shown)[name];
      tellFault(box, "");
      slide.disabled = box.disabled = !run;
    }
    for (const button of [this.asItRan, this.onward]) button.disabled = !run;
    say(this.note, run ? TRY_NOTE : RECORDED_NOTE);
    if (run) run.steps.forEach((step, i) => step.ran && this.put(run, i, step.ran));
    if (run) this.page.player.renew();
  }

  /** @param {Uint8Array} cells */
  paint(cells) {
    const { step } = this.at;
    this.painted.set(step.index, cells);
    this.update();
  }

  // The step that is shown with what is wanted now; what is wanted meanwhile comes after it.
  async update() {
    const { run, step } = this.at;
    if (!run || this.page.running || run.steps.length < planned(run)) return;
    if (this.busy) return void (this.later = true);
    const wanted = this.wantedAt(run, step), ran = step.ran ?? step;
    if (isSame(wanted, step)) return;
    this.busy = true;
    try {
      await this.replace(run, run.steps.indexOf(step), ran, isSame(wanted, ran) ? null : { ...ran.made, ...wanted });
    } catch (error) {
      say(this.note, /** @type {Error} */ (error).message);
    }
    this.busy = false;
    if (!this.later) return;
    this.later = false;
    this.update();
  }

  /** @param {number} place @param {any} settings null as it ran */
  async replace(run, place, ran, settings) {
    if (!settings) {
      this.put(run, place, ran);
      say(this.note, TRY_NOTE);
    } else {
      const began = performance.now();
      const { step: record } = await this.page.engine.ask({ do: "again", record: ran.record, settings });
      this.put(run, place, { ...stepOf(record, settings, this.page.known), shares: ran.shares, ran });
      say(this.note, `Step ${ran.index + 1} as tried: one pass of the network, ${Math.round(performance.now() - began)} ms. The steps after it would change too.`);
    }
    if (this.page.player.runs.includes(run)) this.page.player.renew();
    this.page.decoding.go();
  }

  // Another step in its place; its decoded picture is no longer true.
  /** @param {number} place */
  put(run, place, step) {
    run.steps[place] = step;
    delete run.bitmaps.x0_guided[place];
  }
}

// Whether a step was made with these.
function isSame({ psi, sigma, painted }, { made, index }) {
  const own = made.painted instanceof Uint8Array ? made.painted : made.painted?.[index];
  return made.psi === psi && made.sigma === sigma && own === painted;
}

// What the page moves keeps its place on the screen, and the focus.
/** @param {HTMLElement} node */
function held(node) {
  const { top } = node.getBoundingClientRect(), inSight = node.isConnected && top > 0 && top < innerHeight;
  const focused = /** @type {HTMLElement} */ (document.activeElement);
  return () => {
    if (node.contains(focused)) focused.focus({ preventScroll: true });
    if (inSight) scrollBy({ top: node.getBoundingClientRect().top - top, behavior: "instant" });
  };
}
