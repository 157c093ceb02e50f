// A step that was computed here, in words: the very sentences of `sagviz.describe`, whose tables the page carries.

/**
 * @typedef {{panes: Record<string, string>, shares: [number, string][], ways: [number, string][], near: number, nothing: number, faced: string, first: string,
 *   titles: Record<string, string>, pushes: Record<string, string>}} Words
 */

// "{share:.0%} of {sag.threshold:g}" with its numbers, as Python's format writes them.
/** @param {string} template @param {Record<string, any>} facts */
function filled(template, facts) {
  return template.replace(/\{([\w.]+)(?::([^}]+))?\}/g, (_, name, kind) => {
    const value = name.split(".").reduce((of, /** @type {string} */ part) => of[part], facts);
    return inFormat(value, kind ?? "");
  });
}

/** @param {number | string} value @param {string} kind */
function inFormat(value, kind) {
  if (typeof value === "string" || !kind) return String(value);
  if (kind === "g") return short(value);
  const digits = Number(kind[1]);
  return kind.endsWith("%") ? `${evenly(100 * value)}%` : value.toFixed(digits);
}

// Rounded to a whole number, a half to the even one.
/** @param {number} value */
function evenly(value) {
  const whole = Math.floor(value);
  return value - whole === 0.5 ? whole + (whole % 2) : Math.round(value);
}

// What each picture of the step shows, by the name of the quantity.
/** @param {Words} words @returns {Record<string, string>} */
function paneWords(record, settings, words) {
  const { attention, mask, terms } = record;
  const facts = {
    step: record, faced: filled(begins(record) ? words.first : words.faced, { step: record }), NEAR: words.near, share: mask && mean(mask), near: nearOf(record, settings, words),
    low: Math.min(...attention), high: Math.max(...attention), sag: { threshold: settings.psi, blur_sigma: settings.sigma },
  };
  const lacks = { margin: !mask, mask: !mask, x0_blurred: !mask, x_degraded: !mask, sum: !Object.keys(terms).length };
  const there = Object.entries(words.panes).filter(([name]) => !lacks[/** @type {keyof typeof lacks} */ (name)]);
  const pushes = Object.keys(terms).map((name) => [name, words.pushes[name]]);
  return Object.fromEntries([...there.map(([name, text]) => [name, filled(text, facts)]), ...pushes]);
}

// What happens in the step.
/** @param {Words} words @param {Record<string, number>} measures */
function captionOf(record, settings, words, measures) {
  return [whereIs(record, settings.steps), ...maskSaid(record, settings, words), ...pushesSaid(record, settings, words, measures)].join(" ");
}
function noiseShare({ sigma, alpha }) {
  return sigma ** 2 / (sigma ** 2 + alpha ** 2);
}

/** @param {number} steps */
function whereIs(record, steps) {
  const number = record.index + 1;
  const place = number === steps ? ", the last" : number === 1 ? ", the first" : "";
  const noise = noiseShare(record);
  const share = noise < 0.005 ? "hardly any" : `${evenly(100 * noise)}%`;
  const later = noise < 0.005 ? "hardly any noise is left" : `noise is still ${share} of the latent's variance`;
  const amount = begins(record) ? `the latent is pure noise; the schedule takes ${share} of its variance for noise` : later;
  return `Step ${number}${place} of ${steps}: ${amount}.`;
}

// All runs of this page begin with noise alone.
function begins({ index }) {
  return index === 0;
}

/** @param {Words} words */
function maskSaid(record, settings, words) {
  if (!record.mask) return [];
  const covers = `covers ${evenly(100 * mean(record.mask))}% of the cells`;
  if (record.threshold === null) return [`The hand-made mask ${covers}.`];
  if (settings.mask !== "attention") return [`The mask (source: ${settings.mask}) ${covers}.`];
  const near = nearOf(record, settings, words);
  return [`The mask ${covers}; ${near} of ${record.attention.length} ${near === 1 ? "is" : "are"} close to the threshold.`];
}

function nearOf(record, settings, { near }) {
  return record.attention.filter((value) => Math.abs(value - settings.psi) <= near).length;
}

/** @param {Words} words @param {Record<string, number>} measures */
function pushesSaid(record, settings, words, measures) {
  const names = Object.keys(record.terms);
  if (!names.length) return ["No guidance acts here."];
  return names.map((name) => {
    const title = words.titles[name];
    if (!settings[name]) return `${title}'s scale is 0: it adds nothing.`;
    if (measures[name] < words.nothing) return `${title}'s push is 0 here: it adds nothing.`;
    if (name === "cfg" || !(measures.cfg >= words.nothing)) return `${title}'s push is ${evenly(100 * measures[name])}% of the prediction's length.`;
    const cosine = cosineOf(record.terms.cfg, record.terms[name]) * Math.sign(settings.cfg * settings[name]);
    const way = words.ways.find(([most]) => cosine <= most)?.[1];
    return `${title}'s push is ${shareSaid(measures[name] / measures.cfg, words)} and points ${way} (cosine\u00a0${rounded(cosine)}).`;
  });
}

/** @param {number} ratio @param {Words} words */
function shareSaid(ratio, { shares }) {
  return shares.find(([most]) => ratio <= most)?.[1] ?? `${evenly(ratio)} times CFG's`;
}

/** @param {ArrayLike<number>} values */
function mean(values) {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}
