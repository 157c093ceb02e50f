// The three networks in ONNX Runtime Web, with nothing fetched: its WebAssembly and the models are handed over as bytes.

/**
 * @typedef {object} Parts what Python exported, see `parts.py`
 * @property {Record<string, string>} files packed: "text", "unet", "decoder", "wasm"
 * @property {Tokenizer} tokenizer @property {Record<string, string[]> | null} vocabulary
 * @property {{bars: number[], offset: number, last: number}} scheduler @property {number} most steps
 * @property {number[]} latent channels, height and width @property {number[]} grid of the map @property {number[]} picture height and width in pixels
 * @property {number} scaling of the autoencoder's latents
 */

const OPTIONS = { graphOptimizationLevel: "basic", logSeverityLevel: 3 }; // what goes beyond makes nothing faster here

class Networks {
  /**
   * @param {Omit<Parts, "files">} parts
   * @param {Record<string, OrtSession>} sessions
   * @param {string} backend
   */
  constructor(parts, sessions, backend) {
    this.parts = parts;
    this.sessions = sessions;
    this.backend = backend;
    const [channels, height, width] = parts.latent;
    /** @type {Shape} */
    this.shape = { channels, height, width };
    /** @type {Map<string, Float32Array>} */
    this.embeddings = new Map();
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve();
  }

  /** @param {Parts} parts @param {(share: number) => void} tell */
  static async load({ files, ...parts }, tell) {
    Object.assign(ort.env.wasm, { wasmBinary: await inflate(files.wasm), numThreads: 1, proxy: false });
    ort.env.logLevel = "error";
    /** @type {Record<string, OrtSession>} */
    const sessions = {}, names = ["text", "decoder", "unet"];
    for (const [i, name] of names.entries()) {
      tell((i + 1) / (names.length + 1));
      sessions[name] = await ort.InferenceSession.create(new Uint8Array(await inflate(files[name])), OPTIONS);
    }
    return new Networks(parts, sessions, "wasm");
  }

  /**
   * One call of a network. They take turns: a session works on one thing at a time.
   * @param {string} name @param {Record<string, OrtTensor>} inputs
   */
  call(name, inputs) {
    const done = this.last.then(() => this.sessions[name].run(inputs));
    this.last = done.catch(() => undefined);
    return done;
  }

  /** A text as the U-Net reads it. @param {string} text */
  async embed(text) {
    const known = this.embeddings.get(text);
    if (known) return known;
    const ids = encode(this.parts.tokenizer, text);
    const { states } = await this.call("text", { ids: new ort.Tensor("int32", Int32Array.from(ids), [1, ids.length]) });
    this.embeddings.set(text, numbers(states));
    return numbers(states);
  }

  /**
   * Noise and attention of a latent under a text.
   * @param {Float32Array} x @param {number} t @param {string} text
   */
  async predict(x, t, text) {
    const { channels, height, width } = this.shape, { length } = this.parts.tokenizer;
    const states = await this.embed(text);
    const { eps, attention } = await this.call("unet", {
      x: new ort.Tensor("float32", x, [1, channels, height, width]),
      t: new ort.Tensor("float32", Float32Array.of(t), [1]),
      text: new ort.Tensor("float32", states, [1, length, states.length / length]),
    });
    return { eps: numbers(eps), attention: numbers(attention) };
  }

  /** The picture of clean latents. @param {Float32Array} latents */
  async decode(latents) {
    const { channels, height, width } = this.shape, { picture, scaling } = this.parts;
    const unscaled = latents.map((value) => value / scaling);
    const { pixels } = await this.call("decoder", { latents: new ort.Tensor("float32", unscaled, [1, channels, height, width]) });
    return { width: picture[1], height: picture[0], rgba: coloured(numbers(pixels)) };
  }
}

/** @param {OrtTensor} tensor */
function numbers({ data }) {
  return /** @type {Float32Array} */ (data);
}

/** Pixels in [-1, 1], three channels in a row, as a canvas takes them. @param {Float32Array} pixels */
function coloured(pixels) {
  const n = pixels.length / 3;
  const rgba = new Uint8ClampedArray(4 * n).fill(255);
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) rgba[4 * i + c] = (pixels[c * n + i] + 1) * 127.5;
  return rgba;
}
