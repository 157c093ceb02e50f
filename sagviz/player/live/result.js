// The picture beside the form: it grows while it is computed; how far it is, and in how long it will be done.

class Result {
  constructor() {
    this.place = /** @type {Element} */ (document.querySelector(".finished"));
    this.bar = /** @type {HTMLProgressElement} */ (document.querySelector(".result progress"));
    this.status = /** @type {Element} */ (document.querySelector(".result .status"));
  }

  // Each run's finished picture, or what guidance makes of its last step.
  show(runs) {
    while (this.place.children.length > runs.length) this.place.lastElementChild?.remove();
    while (this.place.children.length < runs.length) this.place.append(make("figure", {}, make("canvas", { role: "img" }), make("figcaption", {})));
    runs.forEach((run, i) => {
      const [canvas, caption] = this.place.children[i].children, last = run.steps[run.steps.length - 1];
      const shown = run.image ?? guided(run, last, scalesOf(run));
      paint(/** @type {HTMLCanvasElement} */ (canvas), { image: colourPixels(shown) }, {});
      canvas.classList.toggle("whole", Boolean(run.image));
      const words = run.image ? "the finished picture" : `so far, step ${last.index + 1}`;
      canvas.setAttribute("aria-label", `${run.name}: ${words}`);
      say(caption, run.name);
    });
  }

  /** @param {string} words @param {number} share */
  tell(words, share) {
    say(this.status, words);
    this.progress(share);
  }

  /** @param {string} words */
  say(words) {
    say(this.status, words);
  }

  /** @param {number} share */
  progress(share) {
    this.bar.value = share;
  }

  // All pictures side by side, pixel for pixel.
  /** @param {string} name */
  save(name) {
    const pictures = [...this.place.querySelectorAll("canvas")], height = Math.max(...pictures.map((each) => each.height));
    const all = new OffscreenCanvas(pictures.reduce((sum, each) => sum + each.width, 0), height), context = all.getContext("2d");
    let x = 0;
    for (const each of pictures) {
      context?.drawImage(each, x, 0);
      x += each.width;
    }
    all.convertToBlob({ type: "image/png" }).then((blob) => download(blob, name));
  }
}

/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const address = URL.createObjectURL(blob);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// A file's name without its ending: the first words of the prompt, and the seed.
function stemOf({ shownSettings, known }) {
  const { prompt, seed } = shownSettings ?? known.given[0], words = prompt.toLowerCase().replace(/\W+/g, "-").replace(/^-|-$/g, "").slice(0, 40);
  return [words || "no-prompt", `seed${seed}`].join("-");
}

// The settings of all runs that are shown, and their guidance as Python writes it.
function saveSettings(page) {
  const { known, player } = page, { model } = known;
  const runs = player.runs.map(({ given, name }, i) => {
    const { start, painted, beside, ...settings } = given ?? known.given[i];
    return { name, ...settings, guidance: codeOf(settings), from_step: start ? start.index + 1 : 1, painted: Boolean(painted) };
  });
  // JSON's numbers have no bounds, JavaScript's do: a seed is written digit by digit
  const written = JSON.stringify({ model, runs }, null, 2).replace(/"seed": "(\d+)"/g, '"seed": $1');
  download(new Blob([written], { type: "application/json" }), `${stemOf(page)}.json`);
}
