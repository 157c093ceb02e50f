// The three networks in ONNX Runtime Web, with nothing fetched: its WebAssembly and the models are handed over as bytes.

/**
 * @typedef {object} Parts what Python exported, see `parts.py`
 * @property {Record<string, string>} files packed: "text", "unet", "decoder", "wasm"
 * @property {Tokenizer} tokenizer @property {Record<string, string[]>} vocabulary
 * @property {{bars: number[], offset: number, last: number}} scheduler @property {number} most steps
 * @property {number[]} latent channels, height and width @property {number[]} grid of the map @property {number[]} picture height and width in pixels
 * @property {number} scaling of the autoencoder's latents
 */

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
      sessions[name] = await ort.InferenceSession.create(new Uint8Array(await inflate(files[name])), { graphOptimizationLevel: "basic" });
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
    const made = /** @type {Float32Array} */ (states.data);
    this.embeddings.set(text, made);
    return made;
  }

  /**
   * Noise and attention of one latent under each of the texts, in one call.
   * @param {Float32Array} x @param {number} t @param {string[]} texts
   */
  async predict(x, t, texts) {
    const { channels, height, width } = this.shape, rows = texts.length;
    const embedded = [];
    for (const text of texts) embedded.push(await this.embed(text));
    const outputs = await this.call("unet", {
      x: new ort.Tensor("float32", joined(texts.map(() => x)), [rows, channels, height, width]),
      t: new ort.Tensor("float32", new Float32Array(rows).fill(t), [rows]),
      text: new ort.Tensor("float32", joined(embedded), [rows, this.parts.tokenizer.length, embedded[0].length / this.parts.tokenizer.length]),
    });
    const [eps, attention] = [outputs.eps, outputs.attention].map(({ data }) => split(/** @type {Float32Array} */ (data), rows));
    return texts.map((_, row) => ({ eps: eps[row], attention: attention[row] }));
  }

  /** The picture of clean latents. @param {Float32Array} latents */
  async decode(latents) {
    const { channels, height, width } = this.shape, { picture, scaling } = this.parts;
    const unscaled = latents.map((value) => value / scaling);
    const { pixels } = await this.call("decoder", { latents: new ort.Tensor("float32", unscaled, [1, channels, height, width]) });
    return { width: picture[1], height: picture[0], rgba: coloured(/** @type {Float32Array} */ (pixels.data)) };
  }
}

/** Arrays one after the other. @param {Float32Array[]} parts */
function joined(parts) {
  const whole = new Float32Array(parts.length * parts[0].length);
  parts.forEach((part, i) => whole.set(part, i * part.length));
  return whole;
}

/** Copies of equal parts. @param {Float32Array} whole @param {number} count */
function split(whole, count) {
  const size = whole.length / count;
  return Array.from({ length: count }, (_, i) => whole.slice(i * size, (i + 1) * size));
}

/** Pixels in [-1, 1], three channels in a row, as a canvas takes them. @param {Float32Array} pixels */
function coloured(pixels) {
  const n = pixels.length / 3;
  const rgba = new Uint8ClampedArray(4 * n).fill(255);
  for (let i = 0; i < n; i++) for (let c = 0; c < 3; c++) rgba[4 * i + c] = (pixels[c * n + i] + 1) * 127.5;
  return rgba;
}
