// The method on plain arrays, as `sagviz.guidance` has it: mask, blur, degraded latent, guided noise, DDIM's step.
// A latent is channels of height x width numbers in a row, a map height x width.

/**
 * @typedef {{channels: number, height: number, width: number}} Shape
 * @typedef {{t: number, alpha: number, sigma: number, next: {alpha: number, sigma: number}}} Level
 */

/** Mask sources beside a hand-made one. */
const MASKS = ["attention", "none", "random", "high-frequency", "inverted"];

/**
 * DDIM's schedule (Song et al. 2020, arXiv 2010.02502): times spaced evenly from the end ("leading"), the amplitudes at
 * each, and those at the next.
 * @param {{bars: number[], offset: number, last: number}} scheduler cumulated alphas, what is added to each time, and
 *   the cumulated alpha behind the last
 * @param {number} steps
 * @returns {Level[]}
 */
function schedule({ bars, offset, last }, steps) {
  const apart = Math.floor(bars.length / steps);
  const at = (/** @type {number} */ bar) => ({ alpha: Math.sqrt(bar), sigma: Math.sqrt(1 - bar) });
  return Array.from({ length: steps }, (_, index) => {
    const t = (steps - 1 - index) * apart + offset;
    return { t, ...at(bars[t]), next: at(bars[t - apart] ?? last) };
  });
}

/** a x + b y. @param {number} a @param {Float32Array} x @param {number} b @param {Float32Array} y */
function mix(a, x, b, y) {
  return x.map((value, i) => a * value + b * y[i]);
}

/** The clean latent that a noise means, (x - sigma eps) / alpha: SAG eq. 2. @param {Level} level @param {Float32Array} x @param {Float32Array} eps */
function clean({ alpha, sigma }, x, eps) {
  return mix(1 / alpha, x, -sigma / alpha, eps);
}

/** How many taps the blur has on each side of its middle. @param {number} sigma */
function reach(sigma) {
  return Math.ceil(4 * sigma);
}

/**
 * Gaussian blur of each channel, borders reflected; sigma in cells, 0 is the identity.
 * @param {Float32Array} x
 * @param {number} sigma
 * @param {Shape} shape
 */
function blur(x, sigma, { height, width }) {
  const half = reach(sigma);
  const weights = Array.from({ length: 2 * half + 1 }, (_, i) => Math.exp(-0.5 * ((i - half) / sigma) ** 2));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  /** @param {Float32Array} from @param {number} size @param {(i: number) => number} place @param {number} stride */
  const along = (from, size, place, stride) =>
    from.map((_, i) => {
      let sum = 0;
      for (let k = -half; k <= half; k++) sum += weights[k + half] * from[i + (reflected(place(i) + k, size) - place(i)) * stride];
      return sum / total;
    });
  if (!half) return x;
  const rows = along(x, width, (i) => i % width, 1);
  return along(rows, height, (i) => Math.floor(i / width) % height, width);
}

/** @param {number} at @param {number} size */
function reflected(at, size) {
  return at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;
}

/**
 * Which cells of the map's grid are masked, 0 or 1.
 * @param {string} source one of MASKS
 * @param {Float32Array} attention
 * @param {number} psi threshold in units of the mean attention
 * @param {(count: number) => Float32Array} random uniform numbers of this image and step
 * @param {() => Float32Array} detail what the blur takes, in cells of the map's grid
 */
function maskedCells(source, attention, psi, random, detail) {
  const above = attention.map((value) => Number(value > psi));
  if (source === "attention") return above;
  if (source === "none") return above.fill(1);
  const count = above.reduce((sum, value) => sum + value, 0);
  if (source === "random") return highest(random(above.length), count);
  return highest(source === "inverted" ? attention.map((value) => -value) : detail(), count);
}

/** The cells of the highest scores, ties by their order. @param {Float32Array} scores @param {number} count */
function highest(scores, count) {
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a] || a - b);
  const cells = new Float32Array(scores.length);
  for (const i of order.slice(0, count)) cells[i] = 1;
  return cells;
}

/**
 * How much the blur takes in each cell of the grid: the mean over its cells and channels.
 * @param {Float32Array} x0 @param {Float32Array} blurred @param {Shape} shape @param {number[]} grid
 */
function detailOf(x0, blurred, { channels, height, width }, [h, w]) {
  const sums = new Float64Array(h * w), counts = new Float64Array(h * w);
  /** @param {number} at @param {number} size @param {number} cells */
  const cellsOf = (at, size, cells) =>
    Array.from({ length: cells }, (_, i) => i).filter((i) => at >= Math.floor((i * size) / cells) && at < Math.ceil(((i + 1) * size) / cells));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let taken = 0;
      for (let c = 0; c < channels; c++) taken += Math.abs(x0[(c * height + y) * width + x] - blurred[(c * height + y) * width + x]);
      for (const i of cellsOf(y, height, h)) {
        for (const j of cellsOf(x, width, w)) {
          sums[i * w + j] += taken / channels;
          counts[i * w + j]++;
        }
      }
    }
  }
  return Float32Array.from(sums, (sum, i) => sum / counts[i]);
}

/**
 * Cells of a grid spread to the cells of the latent, each to its nearest.
 * @param {ArrayLike<number>} cells @param {number[]} grid @param {Shape} shape
 */
function spread(cells, [h, w], { height, width }) {
  return Float32Array.from({ length: height * width }, (_, i) => {
    const y = Math.floor(i / width), x = i % width;
    return cells[Math.floor((y * h) / height) * w + Math.floor((x * w) / width)] ? 1 : 0;
  });
}

/**
 * Blurred where the mask is 1, with the same noise put back; exactly x elsewhere (eq. 15).
 * @param {Level} level @param {Float32Array} x @param {Float32Array} blurred @param {Float32Array} eps @param {Float32Array} mask
 */
function degraded({ alpha, sigma }, x, blurred, eps, mask) {
  return x.map((value, i) => (mask[i % mask.length] ? alpha * blurred[i] + sigma * eps[i] : value));
}

/** DDIM's step without fresh noise. @param {Level} level @param {Float32Array} x @param {Float32Array} eps */
function next(level, x, eps) {
  return mix(level.next.alpha, clean(level, x, eps), level.next.sigma, eps);
}
