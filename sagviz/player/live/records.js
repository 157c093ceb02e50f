// The engine's records as the player's runs: planes in colours, measures, words.

// A run whose steps are still to come: it grows by `addStep`.
/** @param {any[]} [head] steps that another run made, which are shown as they ran there */
function emptyRun(settings, known, head = []) {
  const { words, limits } = known;
  const terms = ["cfg", "sag"].filter((name) => settings[name] !== null).map((name) => ({ name, title: words.titles[name], scale: slidScale(name, settings, head), ...limits[name] }));
  return {
    settings: tableOf(settings, known, head), given: settings, name: nameOf(settings, words), terms, evaluations: settings.steps, planned: settings.steps,
    steps: head.map((step) => ({ ...step, shares: sharesOf(terms, step.made) })), words: {}, planes: { x0_hat: { shape: [3, ...known.latent.slice(1)] }, attention: { high: topOf(head) } },
    decoded: { x0_hat: true }, bitmaps: { x0_hat: [], x0_guided: [] }, image: null, number: 0,
  };
}

// What a term's slider is at first: the run's own scale or, where that is 0, the last one of the steps before it, as in Python.
/** @param {string} name @returns {number} */
function slidScale(name, settings, head) {
  return settings[name] || (head.findLast(({ made }) => made[name])?.made[name] ?? settings[name]);
}

// The scales that a step was made with, as shares of what the sliders are at first.
/** @param {{name: string, scale: number}[]} terms @returns {Record<string, number>} */
function sharesOf(terms, made) {
  return Object.fromEntries(terms.map(({ name, scale }) => [name, scale ? made[name] / scale : 1]));
}
function topOf(steps) {
  return Math.max(0, ...steps.flatMap(({ at }) => (at.attention ? Math.max(...at.attention.values) : [])));
}
function addStep(run, record, known) {
  run.steps.push({ ...stepOf(record, run.given, known), shares: sharesOf(run.terms, run.given) });
  run.planes.attention.high = Math.max(run.planes.attention.high, ...record.attention);
}

// One record as a step; `settings` are those that it was made with.
function stepOf(record, settings, known) {
  const measures = measuresOf(record, settings, known.words);
  return {
    record, made: settings, at: planesOf(record, known), index: record.index, t: record.t, sigma: record.sigma,
    threshold: record.mask && record.threshold !== null ? settings.psi : null, measures,
    words: paneWords(record, settings, known.words), caption: captionOf(record, settings, known.words, measures),
  };
}
function planesOf(record, known) {
  const norm = Math.hypot(record.alpha, record.sigma), [, height, width] = known.latent;
  const colours = (/** @type {Float32Array} */ latents, scale = 1, offset = 1) => inColours(latents, known, scale, offset);
  const at = { x0_hat: colours(record.x0_hat), x_t: colours(record.x_t, 1 / norm) };
  for (const [name, term] of Object.entries(record.terms)) at[name] = colours(term, 1, 0);
  at.attention = { channels: 1, height: record.grid[0], width: record.grid[1], values: record.attention };
  if (!record.mask) return at;
  return {
    ...at, mask: { channels: 1, height, width, values: record.mask },
    x0_blurred: colours(record.x0_blurred), x_degraded: colours(record.x_degraded, 1 / norm),
  };
}

// Latents (C, H, W) in linear colours, three channels in a row: the last row of `latent_rgb` is the offset.
/** @param {Float32Array} latents @param {number} scale @param {number} offset */
function inColours(latents, known, scale, offset) {
  const { latent: [channels, height, width], latent_rgb: rgb } = known;
  const n = height * width, values = new Float32Array(3 * n);
  for (let k = 0; k < 3; k++) {
    for (let i = 0; i < n; i++) {
      let sum = offset * rgb[channels][k];
      for (let c = 0; c < channels; c++) sum += scale * latents[c * n + i] * rgb[c][k];
      values[k * n + i] = sum;
    }
  }
  return { channels: 3, height, width, values };
}

// The numbers of `sagviz.measure` that have a curve: each scaled term's length as a share of the base prediction's, in noise units.
/** @param {Words} words @returns {Record<string, number>} */
function measuresOf(record, settings, words) {
  const { terms, alpha, sigma, mask } = record, base = rmsOf(record.eps_uncond ?? record.eps_cond);
  /** @type {[string, number][]} */
  const unscaled = Object.entries(terms).map(([name, term]) => [name, (rmsOf(term) * alpha) / sigma / base]);
  const measures = Object.fromEntries(unscaled.map(([name, length]) => [name, Math.abs(settings[name]) * length]));
  const isThere = unscaled.every(([, length]) => length > words.nothing); // of rounding there is no direction
  if (terms.cfg && terms.sag && isThere) measures.cosine = cosineOf(terms.cfg, terms.sag);
  if (mask) measures.coverage = mean(mask);
  return measures;
}

/** @param {Float32Array} values */
function rmsOf(values) {
  return Math.sqrt(mean(values.map((value) => value * value)));
}

/** @param {Float32Array} a @param {Float32Array} b */
function cosineOf(a, b) {
  return mean(a.map((value, i) => value * b[i])) / (rmsOf(a) * rmsOf(b));
}

// The clean latent that these scales make of a record.
/** @param {Record<string, number>} scales */
function guidedLatents(record, scales) {
  const made = record.x0_hat.slice();
  for (const [name, term] of Object.entries(record.terms)) add(made, scales[name], term);
  return made;
}

// The player's data for these runs: what the recorded run has for all, less what no run has.
function dataOf(runs, recorded) {
  const known = new Set(["x0_guided", "image", ...runs.flatMap(({ steps }) => steps.flatMap(({ at }) => Object.keys(at)))]);
  if (known.has("attention")) known.add("margin");
  if (known.has("cfg") || known.has("sag")) known.add("sum");
  const measured = new Set(runs.flatMap(({ steps }) => steps.flatMap(({ measures }) => Object.keys(measures))));
  const charts = recorded.charts.map((names) => names.filter((name) => measured.has(name)));
  runs.forEach((run, number) => (run.number = number));
  return {
    ...recorded, runs, panes: recorded.panes.filter(([name]) => known.has(name)),
    charts: charts.filter((names) => names.length),
  };
}
function nameOf(settings, { titles }) {
  const terms = ["cfg", "sag"].filter((name) => settings[name] !== null).map((name) => `${titles[name]} ${short(settings[name])}`);
  return [terms.join(" + ") || "plain", settings.start && `from step ${settings.start.index + 1} on`].filter(Boolean).join(", ");
}

/** @returns {[string, string][]} */
function tableOf(settings, { sampler, model }, head = []) {
  const rows = {
    prompt: settings.prompt || "(none)", "negative prompt": settings.negative, seed: String(settings.seed), steps: `${settings.steps}, ${sampler}`,
    guidance: stretchesOf(settings, head).join("; "), model,
  };
  return Object.entries(rows).filter(([, value]) => value);
}

// Its guidance, and before it that of the steps that other runs made.
function stretchesOf(settings, head) {
  const all = [...head.map(({ made, index }) => ({ code: codeOf(made), index })), { code: codeOf(settings), index: head.length ? settings.start.index : 0 }];
  const changes = all.filter(({ code }, i) => code !== all[i - 1]?.code);
  return changes.map(({ code, index }) => (index ? `from step ${index + 1} on ${code}` : code));
}

// Its guidance as Python has it.
function codeOf({ cfg, sag, psi, sigma, mask }) {
  const own = [psi !== 1 && `threshold=${psi}`, sigma !== 1 && `blur_sigma=${sigma}`, mask !== "attention" && `mask_source="${mask}"`].filter(Boolean);
  const terms = [cfg !== null && `CFG(${cfg})`, sag !== null && `SAG(${[sag, ...own].join(", ")})`].filter(Boolean);
  return terms.join(" + ") || "None";
}
