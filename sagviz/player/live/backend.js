// What the U-Net computes on: WebAssembly, which every browser has, or a graphics card by WebGPU, where its numbers are right and it is
// faster. Text encoder and decoder are small and stay where they are.

const AGREE = 1e-3; // relative, of the known call's noise and attention: the bound that runs are held to
const CALLS = 3; // that are timed
const PATIENCE = 20000; // milliseconds until a graphics card must have answered

/**
 * Takes a graphics card where there is one; in words why not, where it was tried.
 * @param {Networks} networks @param {Record<string, string>} files
 * @returns {Promise<string>}
 */
async function tryCard(networks, files) {
  try {
    if (!(await navigator.gpu?.requestAdapter())) return "";
    const card = await within(PATIENCE, cardOf(files)), why = await within(PATIENCE, refusal(networks, card));
    if (why) card.session.release().catch(() => undefined);
    else networks.card = card;
    return why;
  } catch (error) {
    return `WebGPU does not work here: ${/** @type {Error} */ (error).message}`;
  }
}

/** @param {Record<string, string>} files */
async function cardOf(files) {
  return opened(await started("webgpu", files), "webgpu", files.unet);
}

/** Why a graphics card is not used, or nothing. @param {Networks} networks @param {Loaded} card */
async function refusal(networks, card) {
  const apart = await apartFromTorch(networks, card);
  if (!(apart < AGREE)) return `WebGPU computes wrong numbers here, ${(100 * apart).toPrecision(2)}% away`;
  const [its, own] = [await timeOf(networks, card), await timeOf(networks, networks.loaded.unet)];
  return its < own ? "" : `WebGPU gives the same numbers, but takes ${Math.round(its)} ms a call in place of ${Math.round(own)} ms`;
}

/** How far the known call is from what torch answers, as a share of it. @param {Networks} networks @param {Loaded} unet */
async function apartFromTorch(networks, unet) {
  const { eps, attention } = networks.parts.check, found = await knownCall(networks, unet);
  return Math.max(distance(found.eps, eps), distance(found.attention, attention));
}

/** @param {Networks} networks @param {Loaded} unet */
function knownCall(networks, unet) {
  const { parts: { check: { prompt, seed, t } }, shape: { channels, height, width } } = networks;
  return networks.predictOn(unet, normal(seed, channels * height * width), t, prompt);
}

/** @param {Float32Array} found @param {number[]} wanted */
function distance(found, wanted) {
  return Math.hypot(...wanted.map((value, i) => value - found[i])) / Math.hypot(...wanted);
}

/** Milliseconds of a call, the shortest of some. @param {Networks} networks @param {Loaded} unet */
async function timeOf(networks, unet) {
  let least = Infinity;
  for (let i = 0; i < CALLS; i++) {
    const began = performance.now();
    await knownCall(networks, unet);
    least = Math.min(least, performance.now() - began);
  }
  return least;
}

/** @template T @param {number} ms @param {Promise<T>} answer @returns {Promise<T>} */
function within(ms, answer) {
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error(`no answer within ${ms / 1000} s`)), ms));
  return Promise.race([answer, /** @type {Promise<never>} */ (late)]);
}
