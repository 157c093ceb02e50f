// The worker that has the networks: it is asked by messages, each with a number of its own, and answers with that number.

const COPIED = "This copy of the page was saved without its model, which only the original file has; open that one to run the model.";

class Engine {
  /** @param {string | undefined} script the worker's, packed; a copy that the browser saved has none @param {object} parts what it loads @param {(share: number) => void} loading */
  constructor(script, parts, loading) {
    /** @type {Map<number, {runs: boolean, told: (answer: any) => void, done: (answer: any) => void, fail: (error: Error) => void}>} */
    this.asked = new Map();
    this.number = 0;
    this.ready = new Promise((done, fail) => this.load(script, parts, loading, done, fail));
  }

  /** @param {string | undefined} script @param {object} parts @param {(share: number) => void} loading @param {(answer: any) => void} done @param {(error: Error) => void} fail */
  async load(script, parts, loading, done, fail) {
    try {
      if (!script) throw new Error(COPIED);
      const address = URL.createObjectURL(new Blob([await inflate(script)], { type: "text/javascript" }));
      this.worker = new Worker(address);
      this.worker.onerror = (event) => fail(new Error(event.message || "the worker did not start"));
      this.worker.onmessage = ({ data }) => {
        if ("loading" in data) loading(data.loading);
        else if (data.ready) done(data);
        else if (data.id === undefined) fail(new Error(data.error));
        else this.answer(data);
      };
      this.worker.postMessage({ do: "load", parts });
    } catch (error) {
      fail(/** @type {Error} */ (error));
    }
  }

  // Tells what comes in between; the promise has the last answer. One that is cancelled has {cancelled: true}.
  /** @param {{do: string, [name: string]: any}} message @param {(answer: any) => void} [told] */
  ask(message, told = () => {}) {
    const id = ++this.number;
    /** @type {Promise<any> & {id?: number}} */
    const answer = new Promise((done, fail) => this.asked.set(id, { runs: message.do === "run", told, done, fail }));
    answer.id = id;
    this.worker?.postMessage({ ...message, id });
    return answer;
  }
  answer(data) {
    const known = this.asked.get(data.id);
    if (!known) return;
    if (data.error) known.fail(new Error(data.error));
    else if (data.done || data.cancelled || (!known.runs && (data.step || data.image))) known.done(data);
    else return known.told(data);
    this.asked.delete(data.id);
  }

  /** @param {number} id */
  cancel(id) {
    this.worker?.postMessage({ do: "cancel", id });
  }
}
