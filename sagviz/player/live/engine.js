// The worker's part of the live page: the networks, one step of a run, and what the page asks for by messages.
//
// To the worker                                     back
// {do: "load", parts: {files, ...config}}           {loading: 0..1} ..., {ready: true, ms, build, why}: why WebGPU is not used where it was tried
// {do: "run", id, settings}                         {id, unknown} where words are, {id, step: Step} ..., {id, done: true, x0, image}
// {do: "again", id, record: Step, settings}         {id, step: Step}: that step under other settings, at most what it lacks is computed
// {do: "decode", id, latents}                       {id, image}
// {do: "cancel", id}                                {id, cancelled: true}
// and whatever fails, {id, error: one sentence}. Runs and single steps take turns, a step at a time.

/**
 * @typedef {object} Settings as `sv.trace` has them, of one picture
 * @property {string} prompt @property {string} [negative]
 * @property {number | string} seed @property {number} steps
 * @property {number | null} cfg scale w; null without CFG @property {number | null} sag scale s; null without SAG
 * @property {number} psi @property {number} sigma @property {string} mask its source
 * @property {Float32Array} [noise] in place of the seed's
 * @property {{index: number, x_t: Float32Array}} [start] where it begins, if not at the first step
 * @property {Record<number, Uint8Array> | Uint8Array} [painted] masks by step, of one step alone, in cells of the map's grid
 */

/**
 * @typedef {object} Step arrays are latents, channels of height x width; letters as in Python
 * @property {number} index @property {number} t @property {number} alpha @property {number} sigma
 * @property {Float32Array} x_t
 * @property {Float32Array | null} eps_uncond null without CFG, where eps_cond is the only branch
 * @property {Float32Array} eps_cond
 * @property {Float32Array} attention of the branch that guidance starts from @property {number[]} grid
 * @property {Float32Array | null} mask 0 and 1, height x width @property {number | null} threshold null for a hand-made mask
 * @property {Float32Array} x0_hat
 * @property {Float32Array | null} x0_blurred @property {Float32Array | null} x_degraded @property {Float32Array | null} eps_degraded
 * @property {Record<string, Float32Array>} terms unscaled, as differences of clean latents
 * @property {Float32Array} eps_guided @property {Float32Array} x0_guided @property {Float32Array} x_next
 * @property {number} ms
 */

/** @type {Networks} */
let networks;
const cancelled = new Set();
/** @type {Map<unknown, Promise<void>>} */
const busy = new Map();

self.onmessage = async ({ data: { do: task, id, ...rest } }) => {
  if (task === "cancel") {
    cancelled.add(id);
    await busy.get(id);
    cancelled.delete(id);
    self.postMessage({ id, cancelled: true });
    return;
  }
  const whose = id === undefined ? {} : { id };
  const done = TASKS[task](id, rest).catch((/** @type {Error} */ error) => self.postMessage({ ...whose, error: error.message }));
  busy.set(id, done);
  await done;
  busy.delete(id);
};

/** @type {Record<string, (id: unknown, message: any) => Promise<void>>} */
const TASKS = {
  async load(_, { parts }) {
    const began = performance.now();
    networks = await Networks.load(parts, (share) => self.postMessage({ loading: share }));
    const why = await tryCard(networks, parts.files);
    self.postMessage({ ready: true, ms: performance.now() - began, build: networks.card ? "webgpu" : "wasm", why });
  },

  async run(id, { settings }) {
    check(settings);
    const unknown = unknownWords(networks.parts.vocabulary, `${settings.prompt} ${settings.negative ?? ""}`);
    if (unknown.length) self.postMessage({ id, unknown });
    const { shape, parts: { scheduler } } = networks;
    let x = settings.start?.x_t ?? settings.noise ?? normal(settings.seed, shape.channels * shape.height * shape.width);
    const levels = schedule(scheduler, settings.steps);
    for (let index = settings.start?.index ?? 0; index < levels.length; index++) {
      await breath();
      if (cancelled.has(id)) return;
      const step = await evaluate(settings, levels[index], { index, x_t: x }, settings.painted?.[index]);
      self.postMessage({ id, step });
      x = step.x_next;
    }
    self.postMessage({ id, done: true, x0: x, image: await networks.decode(x) });
  },

  async again(id, { record, settings }) {
    check(settings);
    await breath();
    if (cancelled.has(id)) return;
    const level = schedule(networks.parts.scheduler, settings.steps)[record.index];
    self.postMessage({ id, step: await evaluate(settings, level, record, settings.painted) });
  },

  async decode(id, { latents }) {
    self.postMessage({ id, image: await networks.decode(latents) });
  },
};

/** Lets messages in. */
function breath() {
  return new Promise((go) => setTimeout(go));
}

/**
 * One step: the branches, unless they are known, and SAG's second pass.
 * @param {Settings} settings @param {Level} level
 * @param {Partial<Step> & {index: number, x_t: Float32Array}} known a step of the same x_t
 * @param {ArrayLike<number>} [painted]
 * @returns {Promise<Step>}
 */
async function evaluate(settings, level, known, painted) {
  const began = performance.now(), { index, x_t } = known;
  const first = await branches(settings, level, known);
  const base = first.eps_uncond ?? first.eps_cond;
  const x0_hat = clean(level, x_t, base);
  const sag = settings.sag === null ? NO_SAG : await secondPass(settings, level, { index, x_t, x0_hat, ...first }, base, painted);
  const scales = { cfg: settings.cfg, sag: settings.sag };
  const directions = { cfg: first.eps_uncond && [first.eps_cond, first.eps_uncond], sag: sag.eps_degraded && [base, sag.eps_degraded] };
  /** @type {Record<string, Float32Array>} */
  const terms = {};
  let eps_guided = base;
  for (const name of /** @type {const} */ (["cfg", "sag"])) {
    const [scale, pair] = [scales[name], directions[name]];
    if (scale === null || !pair) continue;
    const direction = mix(1, pair[0], -1, pair[1]);
    eps_guided = mix(1, eps_guided, scale, direction);
    terms[name] = direction.map((value) => (-level.sigma / level.alpha) * value);
  }
  const { t, alpha, sigma } = level, ms = performance.now() - began;
  const made = { x0_guided: clean(level, x_t, eps_guided), x_next: next(level, x_t, eps_guided) };
  return { index, t, alpha, sigma, x_t, ...first, grid: networks.parts.grid, x0_hat, ...sag, terms, eps_guided, ...made, ms };
}

/** @type {Pick<Step, "mask" | "threshold" | "x0_blurred" | "x_degraded" | "eps_degraded">} */
const NO_SAG = { mask: null, threshold: null, x0_blurred: null, x_degraded: null, eps_degraded: null };

/**
 * What the network says at x_t: with CFG of both branches, and the attention of the first.
 * @param {Settings} settings @param {Level} level @param {Partial<Step> & {x_t: Float32Array}} known
 */
async function branches(settings, { t }, known) {
  const both = settings.cfg !== null;
  const { eps_uncond, eps_cond, attention } = known;
  if (eps_cond && attention && eps_uncond !== undefined && both === (eps_uncond !== null)) return { eps_uncond, eps_cond, attention };
  const first = await networks.predict(known.x_t, t, textOf(settings));
  if (!both) return { eps_uncond: null, eps_cond: first.eps, attention: first.attention };
  const last = await networks.predict(known.x_t, t, settings.prompt);
  return { eps_uncond: first.eps, eps_cond: last.eps, attention: first.attention };
}

/** What the branch reads that guidance starts from. @param {Settings} settings */
function textOf({ prompt, negative = "", cfg }) {
  return cfg === null ? prompt : negative;
}

/**
 * SAG: the mask, the degraded latent, and what the network says of it on the branch that guidance starts from.
 * @param {Settings} settings @param {Level} level
 * @param {{index: number, x_t: Float32Array, x0_hat: Float32Array, attention: Float32Array}} step
 * @param {Float32Array} base @param {ArrayLike<number>} [painted]
 */
async function secondPass(settings, level, { index, x_t, x0_hat, attention }, base, painted) {
  const { shape, parts: { grid } } = networks;
  const x0_blurred = blur(x0_hat, settings.sigma, shape);
  const random = (/** @type {number} */ count) => uniform(twister(mixed(settings.seed, index, 1)), count);
  const cells = painted ?? maskedCells(settings.mask, attention, settings.psi, random, () => detailOf(x0_hat, x0_blurred, shape, grid));
  const mask = spread(cells, grid, shape);
  const x_degraded = degraded(level, x_t, x0_blurred, base, mask);
  const { eps } = await networks.predict(x_degraded, level.t, textOf(settings));
  return { mask, threshold: painted ? null : settings.psi, x0_blurred, x_degraded, eps_degraded: eps };
}

/** Refuses settings that no run can have. @param {Settings} settings */
function check({ prompt, negative = "", seed, steps, cfg, sag, psi, sigma, mask }) {
  const { shape, parts: { most } } = networks;
  const broad = Math.min(shape.height, shape.width) - 1;
  /** @type {[boolean, string][]} */
  const rules = [
    [typeof prompt === "string" && typeof negative === "string", "the prompt is no text; give one, or none"],
    [/^\d+$/.test(String(seed)), `the seed is ${seed}; give a whole number from 0`],
    [Number.isInteger(steps) && steps >= 1 && steps <= most, `steps is ${steps}; give a whole number from 1 to ${most}`],
    [[cfg, sag].every((scale) => scale === null || Number.isFinite(scale)), `the scales are ${cfg} and ${sag}; give numbers`],
    [typeof psi === "number" && !Number.isNaN(psi), `the threshold ψ is ${psi}; give a number`],
    [sigma >= 0 && reach(sigma) <= broad, `the blur σ is ${sigma}; give a number from 0 to ${broad / 4}`],
    [MASKS.includes(mask), `the mask's source is ${mask}; give one of ${MASKS.join(", ")}`],
  ];
  for (const [holds, sentence] of rules) if (!holds) throw new Error(sentence);
}
