// Predictions as the decoder's pictures, made in the background: that of the step that is shown first, and one at a time, so that
// whatever the reader asks for comes next.

class Decoding {
  constructor(page) {
    this.page = page;
    this.works = false;
  }

  async go() {
    if (this.works) return;
    this.works = true;
    try {
      for (let next; (next = this.next()); ) await this.decode(next);
    } catch (error) {
      this.page.result.say(/** @type {Error} */ (error).message);
    }
    this.works = false;
  }

  /** @param {{run: any, step: any, name: string}} what */
  async decode({ run, step, name }) {
    const { engine, player } = this.page;
    const latents = name === "x0_hat" ? step.record.x0_hat : guidedLatents(step.record, step.made);
    const { image } = await engine.ask({ do: "decode", latents }), place = run.steps.indexOf(step);
    if (place < 0) return; // another one has been tried there meanwhile
    run.bitmaps[name][place] = await createImageBitmap(new ImageData(new Uint8ClampedArray(image.rgba), image.width, image.height));
    if (player.runs.includes(run) && player.step(run) === step) player.renew();
  }

  // What is not decoded yet, or null; nothing while a run or the player goes on.
  next() {
    const { running, player } = this.page;
    if (running || player.state.playing) return null;
    for (const run of player.runs.filter(({ given }) => given)) {
      for (const step of [player.step(run), ...run.steps]) {
        const name = ["x0_hat", "x0_guided"].find((each) => !run.bitmaps[each][run.steps.indexOf(step)]);
        if (name) return { run, step, name };
      }
    }
    return null;
  }
}
