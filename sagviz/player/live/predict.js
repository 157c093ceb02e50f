// "Where does SAG look?": the reader paints cells over the prediction, then sees the mask beside what was painted.

const AS_MANY = "as many as get more attention than ψ times the mean";
/** @type {Record<string, string>} */
const BLURRED = {
  attention: "SAG blurs the cells that get more attention than ψ times the mean", none: "This run blurs every cell",
  random: `This run blurs cells that are drawn at random, ${AS_MANY}`, "high-frequency": `This run blurs the cells with the finest detail, ${AS_MANY}`,
  inverted: `This run blurs the cells that get the least attention, ${AS_MANY}`, hand: "This run blurs the cells that were painted for it",
};

/** @param {number} count @param {string} [kind] */
function cells(count, kind = "") {
  return `${count} ${kind}cell${count === 1 ? "" : "s"}`;
}

class Predict {
  constructor(page) {
    this.page = page;
    this.shape = [1, 1]; // rows and columns of its cells
    this.picture = make("canvas", { "aria-hidden": "true" });
    this.grid = make("div", { class: "cells", role: "group", "aria-label": "Cells of the picture, arrow keys move, space paints" });
    this.said = make("p", { class: "said", role: "status" });
    this.title = make("h2", { id: "predict-title" }, "");
    this.revealButton = make("button", { type: "button", class: "reveal", onclick: () => this.reveal() }, "Reveal SAG's mask");
    this.use = make("button", { type: "button", class: "use", onclick: () => this.useIt() }, "Use my mask at this step");
    const clear = make("button", { type: "button", onclick: () => this.clear() }, "Clear");
    const close = make("button", { type: "button", class: "close", onclick: () => this.node.close() }, "Close");
    this.about = make("p", { class: "about" });
    this.node = make("dialog", { class: "predict", "aria-labelledby": "predict-title" }, this.title, this.about,
      make("div", { class: "board" }, this.picture, this.grid), this.said, make("div", { class: "do" }, this.revealButton, this.use, clear, close));
    this.grid.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.press(event));
    this.grid.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.key(event));
    document.body.append(this.node);
  }

  // At the step that is shown, of the last run that has a mask there.
  open() {
    const { player, tries } = this.page;
    this.run = player.runs.findLast((run) => player.step(run).at.mask !== undefined);
    if (!this.run) return;
    const shown = player.step(this.run);
    this.step = shown.ran ?? shown; // SAG's mask, not one that is tried in its place
    const picture = plane(this.run, this.step, "x0_hat"), { height, width } = plane(this.run, this.step, "attention");
    paint(this.picture, { image: colourPixels(picture) }, player.data);
    this.shape = [height, width];
    this.cells = tries.painted.get(this.step.index)?.slice() ?? new Uint8Array(height * width);
    this.grid.style.setProperty("--columns", width);
    this.grid.replaceChildren(...Array.from(this.cells, (_, i) => this.cell(i)));
    const looks = this.source === "attention";
    say(this.title, `Step ${this.step.index + 1}: where does SAG ${looks ? "look" : "blur"}?`);
    say(this.about, `${BLURRED[this.source]}. Which are they? Paint them, then look.`);
    say(this.said, "");
    this.use.disabled = !this.run.given || this.page.running;
    this.node.showModal();
    this.grid.firstChild.focus();
  }

  // What the mask of the step is made of. The recorded run's is of the attention; a painted one has no threshold.
  get source() {
    return this.step.threshold === null ? "hand" : (this.step.made?.mask ?? "attention");
  }

  /** @param {number} i */
  cell(i) {
    const [row, column] = [Math.floor(i / this.shape[1]), i % this.shape[1]];
    const label = `row ${row + 1}, column ${column + 1}`;
    const made = make("button", { type: "button", "aria-label": label, tabIndex: i ? -1 : 0, "aria-pressed": "false", onclick: () => this.clicked(i) });
    made.dataset.cell = String(i);
    made.setAttribute("aria-pressed", String(Boolean(this.cells[i])));
    return made;
  }

  /** @param {number} i @param {boolean} on */
  set(i, on) {
    this.cells[i] = Number(on);
    this.grid.children[i].setAttribute("aria-pressed", String(on));
  }

  // A press paints, or wipes where a cell is painted, and drags on with the same.
  /** @param {PointerEvent} event */
  press(event) {
    const first = this.under(event);
    if (first === null) return;
    event.preventDefault();
    const on = !this.cells[first], move = (/** @type {PointerEvent} */ next) => {
      const i = this.under(next);
      if (i !== null) this.set(i, on);
    };
    move(event);
    this.byPointer = true; // the click that follows is no second press
    this.grid.setPointerCapture(event.pointerId);
    this.grid.addEventListener("pointermove", move);
    this.grid.addEventListener("lostpointercapture", () => this.grid.removeEventListener("pointermove", move), { once: true });
  }

  /** @param {PointerEvent} event @returns {number | null} */
  under({ clientX, clientY }) {
    const { left, top, width, height } = this.grid.getBoundingClientRect(), [rows, columns] = this.shape;
    const [row, column] = [Math.floor(((clientY - top) / height) * rows), Math.floor(((clientX - left) / width) * columns)];
    return row >= 0 && row < rows && column >= 0 && column < columns ? row * columns + column : null;
  }

  /** @param {number} i */
  clicked(i) {
    if (!this.byPointer) this.set(i, !this.cells[i]);
    this.byPointer = false;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const [rows, columns] = this.shape, i = Number(/** @type {HTMLElement} */ (event.target).dataset.cell);
    const [row, column] = [Math.floor(i / columns), i % columns];
    const to = { ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1] }[event.key];
    if (!to) return void (this.byPointer = false);
    event.preventDefault();
    const next = Math.min(rows - 1, Math.max(0, to[0])) * columns + Math.min(columns - 1, Math.max(0, to[1]));
    this.grid.children[i].tabIndex = -1;
    this.grid.children[next].tabIndex = 0;
    this.grid.children[next].focus();
  }

  // The mask's cells: it is made of the map's, each of which covers several of the latent.
  get truth() {
    const { values, height, width } = plane(this.run, this.step, "mask"), [rows, columns] = this.shape;
    const at = (i) => Math.floor((Math.floor(i / columns) * height) / rows) * width + Math.floor(((i % columns) * width) / columns);
    return this.cells.map((_, i) => values[at(i)]);
  }

  reveal() {
    const truth = this.truth;
    truth.forEach((inside, i) => this.grid.children[i].classList.toggle("inside", Boolean(inside)));
    const count = (/** @type {(i: number) => any} */ holds) => truth.filter((_, i) => holds(i)).length;
    const [mine, its, both] = [count((i) => this.cells[i]), count((i) => truth[i]), count((i) => this.cells[i] && truth[i])];
    if (!its) return say(this.said, `SAG's mask is empty at this step${this.source === "hand" ? "" : ": no cell is above the threshold"}.`);
    if (!mine) return say(this.said, `SAG's mask has the ${cells(its, "framed ")} of ${truth.length}. Paint before you look next time.`);
    const overlap = both / (mine + its - both), chance = this.chance(mine / truth.length, its / truth.length);
    say(this.said, `You painted ${cells(mine)}, SAG's mask has ${its}, framed; ${both} ${both === 1 ? "is" : "are"} the same: IoU ${overlap.toFixed(2)} (what is in both, of what is in either). As many cells picked at random get about ${chance.toFixed(2)}.`);
  }

  // Intersection over union that two independent choices of these shares of the cells have, on the whole.
  /** @param {number} p @param {number} q */
  chance(p, q) {
    return (p * q) / (p + q - p * q);
  }

  clear() {
    this.cells.forEach((_, i) => this.set(i, false));
    for (const cell of this.grid.children) cell.classList.remove("inside");
    say(this.said, "");
  }

  useIt() {
    this.node.close();
    this.page.tries.paint(this.cells.slice());
  }
}
