// The three networks in ONNX Runtime Web, with nothing fetched: its WebAssembly and the models are handed over as bytes.

/**
 * @typedef {object} Parts what Python exported, see `parts.py`
 * @property {Record<string, string>} files packed: "text", "unet", "decoder", and what each build runs
 * @property {Tokenizer} tokenizer @property {Record<string, string[]> | null} vocabulary
 * @property {{bars: number[], offset: number, last: number}} scheduler @property {number} most steps
 * @property {number[]} latent channels, height and width @property {number[]} grid of the map @property {number[]} picture height and width in pixels
 * @property {number} scaling of the autoencoder's latents
 * @property {{prompt: string, seed: number, t: number, eps: number[], attention: number[]}} check a call, and what torch answers
 */

/** @typedef {"wasm" | "webgpu"} Build what a network computes on */
/** @typedef {{ort: Ort, session: OrtSession}} Loaded a network in its runtime */

const OPTIONS = { graphOptimizationLevel: "basic", logSeverityLevel: 3 }; // what goes beyond makes nothing faster here

/** A build of the runtime. @param {Build} build @param {Record<string, string>} files */
async function started(build, files) {
  const ort = RUNTIMES[build]();
  Object.assign(ort.env.wasm, { wasmBinary: await inflate(files[build]), numThreads: 1, proxy: false });
  ort.env.logLevel = "error";
  return ort;
}

/** @param {Ort} ort @param {Build} build @param {string} file @returns {Promise<Loaded>} */
async function opened(ort, build, file) {
  const options = { ...OPTIONS, executionProviders: [build] };
  return { ort, session: await ort.InferenceSession.create(new Uint8Array(await inflate(file)), options) };
}

class Networks {
  /** @param {Omit<Parts, "files">} parts @param {Record<string, Loaded>} loaded */
  constructor(parts, loaded) {
    this.parts = parts;
    this.loaded = loaded;
    /** @type {Loaded | null} the U-Net on a graphics card, in place of the one that is loaded anyhow */
    this.card = null;
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
    const ort = await started("wasm", files), names = ["text", "decoder", "unet"];
    /** @type {Record<string, Loaded>} */
    const loaded = {};
    for (const [i, name] of names.entries()) {
      tell((i + 1) / (names.length + 1));
      loaded[name] = await opened(ort, "wasm", files[name]);
    }
    return new Networks(parts, loaded);
  }

  /**
   * One call of a network. They take turns: a session works on one thing at a time.
   * @param {Loaded} network @param {Record<string, [string, Float32Array | Int32Array, number[]]>} inputs
   */
  call({ ort, session }, inputs) {
    const tensors = Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, new ort.Tensor(...input)]));
    const done = this.last.then(() => session.run(tensors));
    this.last = done.catch(() => undefined);
    return done;
  }

  /** A text as the U-Net reads it. @param {string} text */
  async embed(text) {
    const known = this.embeddings.get(text);
    if (known) return known;
    const ids = encode(this.parts.tokenizer, text);
    const { states } = await this.call(this.loaded.text, { ids: ["int32", Int32Array.from(ids), [1, ids.length]] });
    this.embeddings.set(text, numbers(states));
    return numbers(states);
  }

  /**
   * Noise and attention of a latent under a text. A graphics card that is lost is not asked again.
   * @param {Float32Array} x @param {number} t @param {string} text
   */
  async predict(x, t, text) {
    try {
      if (this.card) return await this.predictOn(this.card, x, t, text);
    } catch {
      this.card = null;
    }
    return this.predictOn(this.loaded.unet, x, t, text);
  }

  /** @param {Loaded} unet @param {Float32Array} x @param {number} t @param {string} text */
  async predictOn(unet, x, t, text) {
    const { channels, height, width } = this.shape, { length } = this.parts.tokenizer;
    const states = await this.embed(text);
    const { eps, attention } = await this.call(unet, {
      x: ["float32", x, [1, channels, height, width]],
      t: ["float32", Float32Array.of(t), [1]],
      text: ["float32", states, [1, length, states.length / length]],
    });
    return { eps: numbers(eps), attention: numbers(attention) };
  }

  /** The picture of clean latents. @param {Float32Array} latents */
  async decode(latents) {
    const { channels, height, width } = this.shape, { picture, scaling } = this.parts;
    const unscaled = latents.map((value) => value / scaling);
    const { pixels } = await this.call(this.loaded.decoder, { latents: ["float32", unscaled, [1, channels, height, width]] });
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
