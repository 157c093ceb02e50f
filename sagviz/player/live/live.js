// The live page: a recorded run until the networks are there, then the runs that the reader asks for, in the same player.

const SHOW = 120; // milliseconds until a hand counts as resting
const NARROW = 760; // CSS pixels, as in live.css: form and picture one below the other

class Live {
  /** @param {any} own what page.py wrote for this script */
  constructor(own) {
    this.known = own;
    this.place = document.querySelector(".sagviz");
    /** @type {any} */
    this.player = null;
    this.running = false;
    this.stopped = false; // whether the run that goes on is to end
    this.current = 0; // its number, once the engine has it
    /** @type {Promise<void> | undefined} */
    this.work = undefined;
    /** @type {any} */
    this.plan = null; // what is computed last
    this.asked = ""; // the newest address
    /** @type {any} */
    this.engine = null;
    this.ask = new Ask(/** @type {HTMLFormElement} */ (document.querySelector(".ask")), own.defaults);
    this.tries = new Tries(this);
    this.predict = new Predict(this);
    this.tour = new Tour(this);
    this.result = new Result();
    this.decoding = new Decoding(this);
    this.listen();
  }

  /** @param {string} selector @returns {HTMLButtonElement} */
  button(selector) {
    return /** @type {HTMLButtonElement} */ (document.querySelector(selector));
  }

  listen() {
    const own = this.known, given = own.given[own.given.length - 1];
    this.ask.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    const pressed = {
      ".cancel": () => this.stop(), ".tour-start": () => this.running || this.tour.start(),
      ".save-picture": () => this.result.save(`${stemOf(this)}.png`), ".save-settings": () => saveSettings(this), ".copy-link": () => this.copyLink(),
      ".as-recorded": () => this.setForm({ ...own.defaults, ...given, cfg: own.defaults.cfg, beside: true }),
    };
    for (const [selector, then] of Object.entries(pressed)) this.button(selector).addEventListener("click", then);
    addEventListener("hashchange", () => this.restore(location.hash));
    addEventListener("beforeprint", () => this.player.root.querySelector(".settings").setAttribute("open", ""));
  }

  // The recorded run at once; the networks when the page has arrived as a whole.
  async start() {
    const { recorded } = this.known;
    this.player = await render(this.place, this.withTries(recorded), fromAddress(location.hash, recorded), (name) => this.followed(name));
    this.recordedRuns = this.player.runs;
    this.busy(false);
    this.nameRecorded();
    if (document.readyState === "loading") await new Promise((done) => document.addEventListener("DOMContentLoaded", done));
    const own = [this.predict.node, this.tour.node]; // others are in a copy that the browser saved
    for (const node of document.querySelectorAll(".predict, .tour")) if (!own.includes(node)) node.remove();
    await this.load();
    if (!this.running) this.restore(location.hash); // else the reader has asked for another one meanwhile
  }

  async load() {
    const files = Object.fromEntries([...document.querySelectorAll(".sagviz-file")].map((node) => {
      node.remove();
      return [/** @type {HTMLElement} */ (node).dataset.name, node.textContent];
    }));
    const { script, ...others } = files, { config } = this.known;
    this.known = { ...config, ...this.known };
    this.engine = new Engine(script, { files: others, ...config }, (share) => this.result.progress(share));
    try {
      this.result.tell(readyWords(await this.engine.ready), 0);
    } catch (error) {
      const why = /** @type {Error} */ (error).message;
      this.result.tell(`${script ? `The model does not start in this browser: ${why}.` : why} The recorded run below can still be explored.`, 0);
    }
  }
  withTries(data) {
    return { ...data, tries: [this.tries.node] };
  }

  // Runs in the player, which keeps what the reader chose to see.
  /** @param {object} [state] */
  show(runs, data, state = {}) {
    this.player.play(false);
    const { index, scales, playing, front, base, view, ...looks } = this.player.state;
    if (runs.length > 1) looks.view = view;
    if (String(looks.panes) === String(this.player.unchanged.panes)) delete looks.panes; // nobody chose: what these runs have
    this.player = new Player(this.place, this.withTries({ ...data, runs }), { ...looks, ...state }, (name) => this.followed(name));
    this.tries.reset();
  }

  showRecorded() {
    this.show(this.recordedRuns, this.known.recorded);
    this.nameRecorded();
  }

  nameRecorded() {
    say(this.title, `Recorded run: ${this.known.recorded.title}`);
    this.about.hidden = false;
    this.result.show(this.recordedRuns);
  }

  get title() {
    return /** @type {Element} */ (document.querySelector(".run-title"));
  }

  get about() {
    return /** @type {HTMLElement} */ (document.querySelector(".about-recorded"));
  }

  setForm(settings) {
    this.ask.write(settings);
    this.button(".run").focus();
    this.result.say("The form is set as the recorded run was: press Run.");
  }

  // What the form asks for, or why it cannot be run.
  run() {
    const settings = this.ask.read(), fault = tellFaults(this.ask.form);
    if (this.running) return;
    if (fault) return this.result.tell(fault, 0);
    if (innerWidth < NARROW) this.ask.form.querySelector(".go")?.scrollIntoView(); // the picture and how far it is stand below
    return this.begin(settings.beside ? [{ ...settings, sag: null }, settings] : [settings]);
  }

  // Ends the run that goes on, if one does.
  stop() {
    this.stopped = true;
    if (this.current) this.engine.cancel(this.current);
    return this.work;
  }

  // On from the step that is shown, with the scales, the threshold, the blur and the mask that stand below "What if?"; all else is
  // the run's, whatever the form says by now.
  goOn() {
    const { run, step } = this.tries.at;
    if (this.running || !run) return;
    const painted = this.tries.paintedAt(step), place = run.steps.indexOf(step);
    const after = Array.from({ length: run.given.steps - step.index }, (_, i) => [step.index + i, painted]);
    const settings = {
      ...run.given, ...this.player.state.scales[run.number], ...this.tries.wanted,
      start: { index: step.index, x_t: (step.ran ?? step).record.x_t }, painted: painted && Object.fromEntries(after),
    };
    this.tries.reset();
    this.begin([settings], [run], run.steps.slice(0, place));
  }

  // One run after the other, in the player from the first step on; `beside` stand there already, `head` are steps before the first.
  begin(plans, beside = [], head = []) {
    this.plan = plans[plans.length - 1];
    this.work = this.compute(plans, beside, head);
    return this.work;
  }

  async compute(plans, beside, head) {
    this.busy(true);
    this.stopped = false;
    this.current = 0;
    this.tour.node.hidden || this.tour.close();
    tellUnknown(this.notice, []);
    const runs = [...beside];
    try {
      this.result.tell("It starts as soon as the model is there.", 0);
      await this.engine.ready;
      const began = performance.now();
      for (const [i, settings] of plans.entries()) {
        if (this.stopped) break;
        runs.push({ ...emptyRun(settings, this.known, head), plan: plans[plans.length - 1] });
        if (!(await this.computeOne(runs, plans.slice(i + 1)))) break;
      }
      this.finished(runs, performance.now() - began);
    } catch (error) {
      this.result.tell(/** @type {Error} */ (error).message, 0);
    }
    for (const run of this.player.runs) delete run.planned;
    this.current = 0;
    this.busy(false);
    this.writeAddress();
    this.decoding.go();
  }

  /** @returns {Promise<boolean>} whether it came to its end */
  async computeOne(runs, later) {
    const run = runs[runs.length - 1], began = performance.now(), given = run.given, before = run.steps.length;
    const answer = this.engine.ask({ do: "run", settings: given }, ({ unknown, step }) => {
      if (unknown) tellUnknown(this.notice, unknown);
      if (!step) return;
      this.add(runs, step, before);
      const done = run.steps.length - before, each = (performance.now() - began) / done;
      const left = each * (given.steps - run.steps.length + later.reduce((sum, { steps }) => sum + steps, 0));
      this.result.tell(`Step ${run.steps.length} of ${given.steps}, about ${Math.ceil(left / 1000)} s left`, run.steps.length / given.steps);
    });
    this.current = answer.id;
    const { image, cancelled } = await answer;
    delete run.planned;
    if (image) run.image = ofPixels({ ...image, data: image.rgba });
    if (!run.steps.length) runs.pop();
    return !cancelled;
  }

  get notice() {
    return /** @type {Element} */ (document.querySelector(".notice"));
  }

  // A step more: the first one of a run brings it into the player; the slider follows where it stood at the end.
  /** @param {number} before */
  add(runs, record, before) {
    const run = runs[runs.length - 1], last = run.steps.length, keep = held(this.tries.node);
    addStep(run, record, this.known);
    if (last === before) this.showComputed(runs, last);
    else this.player.grow(this.player.state.index === last - 1 ? last : undefined);
    this.result.show(runs);
    keep();
  }

  /** @param {number} index */
  showComputed(runs, index) {
    const { prompt, seed } = runs[0].given;
    say(this.title, `Your run: ${prompt ? `“${prompt}”` : "no prompt"}, seed ${seed}`);
    this.about.hidden = true;
    this.show(runs, dataOf(runs, this.known.usual), { index });
  }

  /** @param {number} ms */
  finished(runs, ms) {
    const whole = runs.length && runs.every(({ image }) => image);
    this.result.tell(whole ? `Done in ${(ms / 1000).toFixed(1)} s. Every step of it is below.` : "Cancelled. The steps that there are stand below.", whole ? 1 : 0);
    this.result.show(this.player.runs);
    this.player.arrange();
    this.player.tellLater();
  }

  /** @param {boolean} on */
  busy(on) {
    this.running = on;
    const cancel = this.button(".cancel"), run = this.button(".run");
    if (!on && document.activeElement === cancel) run.focus();
    cancel.disabled = !on;
    for (const button of [run, this.button(".tour-start"), this.tries.onward]) button.setAttribute("aria-disabled", String(on));
    if (!on) this.tries.reset();
  }

  // What the reader did in the player.
  /** @param {string} name */
  followed(name) {
    clearTimeout(this.resting);
    this.resting = setTimeout(() => {
      if (name === "index") this.tries.update();
      this.decoding.go();
      this.writeAddress();
    }, SHOW);
  }

  // An address that asks for a run is run, and its view shown; one that does not is a view.
  /** @param {string} address */
  async restore(address) {
    const settings = this.ask.fromAddress(address), there = this.running ? this.plan : this.shownSettings;
    this.asked = address;
    if (settings && (!there || this.ask.address(settings) !== this.ask.address(there))) {
      await this.stop(); // or the form would say one thing and the picture another
      if (this.asked !== address) return; // a later link
      this.ask.write(settings);
      await this.run();
    }
    for (const [name, value] of Object.entries(fromAddress(address, this.player.data))) this.player.set(name, value);
    if (settings) this.writeAddress();
  }

  // What was asked for: of two runs beside each other the second one's settings, though it may have been cancelled before it began.
  get shownSettings() {
    const runs = this.player.runs, { plan } = runs[runs.length - 1];
    return plan && { ...plan, beside: plan.beside && !plan.start };
  }

  writeAddress() {
    if (this.running) return;
    const shown = this.shownSettings, parts = [shown && this.ask.address(shown), toAddress(this.player)];
    history.replaceState(null, "", `#${parts.filter(Boolean).join("&")}`);
  }

  async copyLink() {
    this.writeAddress();
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    const more = this.shownSettings?.start ? " It runs these settings from the first step, not from where you went on." : "";
    this.result.say(`${copied ? "The link is copied." : "The link stands in the address bar."}${more}`);
  }
}
