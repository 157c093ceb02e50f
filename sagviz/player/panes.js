// How each quantity of a step becomes a picture with a legend.
// `look` is what the reader chose and what holds for the whole page:
// {scales: one set for each run, decoded, sized, own, over, limits by quantity, tables by colour map, masked: colour and tint}.

// The plane that a pane shows, or null where the step lacks it.
function quantity(name, run, step, look) {
  const scales = look.scales[run.number];
  if (name === "image") return run.image;
  if (name === "x0_guided") return guided(run, step, scales);
  if (name === "sum") return push(run, step, scales, Object.keys(scales));
  if (name in scales) return step.at[name] === undefined ? null : push(run, step, scales, [name]);
  if (name !== "margin") return plane(run, step, name);
  const map = plane(run, step, "attention");
  if (!map || step.threshold === null) return null;
  return { ...map, values: map.values.map((value) => value - step.threshold) };
}

// Whether it is a term's push, or the sum of all.
function isOfPushes(name, scales) {
  return name === "sum" || name in scales;
}

// {bitmap: what the decoder made, or image: pixels, legend: {table, low, high, open: whether more than high may be} for maps, margin: the map whose cells near 0 are to be marked, mask: the one whose
// rim is to be drawn, more: words about this very picture}, or null.
function picture(name, run, step, look) {
  const shown = quantity(name, run, step, look);
  if (!shown) return null;
  const bitmap = look.decoded && decodedStep(name, run, step, look.scales[run.number]);
  if (bitmap) return { bitmap };
  const below = look.over ? plane(run, step, "x0_hat") : null;
  const isPush = isOfPushes(name, look.scales[run.number]);
  if (name === "mask") return { image: tinted(plane(run, step, "x0_hat"), shown, look.masked), mask: shown, legend: { colour: look.masked.colour, words: "blurred" } };
  if (name === "attention") return coloured(shown, "viridis", name, look, below);
  if (name === "margin") return { ...coloured(shown, "PuOr", name, look, below), margin: shown };
  if (isPush && look.sized) {
    const sizes = size(shown);
    const made = coloured(sizes, "magma", name, look, below);
    return { ...made, legend: { ...made.legend, open: !look.own }, more: `; size per cell, here at most ${written(ownRange(sizes.values)[1])}` };
  }
  return { image: colourPixels(shown), more: isPush ? "; grey is nothing" : "" };
}

// What the decoder made of it; of the guided prediction only at the scales of the run, because others are made anew from latents.
function decodedStep(name, run, step, scales) {
  const moved = name === "x0_guided" && run.terms.some((term) => scales[term.name] !== term.scale);
  return moved ? null : run.bitmaps[name]?.[run.steps.indexOf(step)];
}

// How far two runs are apart in each cell: 0 is equal, 1 half the way from black to white. Pushes may be far beyond what a screen can
// show, and are apart by more: the colours' end is that of their sizes.
function difference(name, runs, steps, look) {
  const [a, b] = runs.map((run, i) => quantity(name, run, steps[i], look));
  if (!a || !b || a.width !== b.width || a.height !== b.height) return null;
  if (isOfPushes(name, look.scales[runs[0].number])) {
    const made = coloured(size(minus(a, b)), "magma", name, look, null);
    return { ...made, legend: { ...made.legend, open: !look.own } };
  }
  const apart = a.channels === 1 ? minus(a, b) : minus(clipped(a), clipped(b));
  return coloured(size(apart), "magma", "difference", look, null);
}

function coloured(map, table, name, look, below) {
  const [low, high] = look.own ? ownRange(map.values, table) : look.limits[name];
  const image = mapPixels(map, low, high, look.tables[table]);
  return { image: below ? overlay(image, below) : image, legend: { table, low, high } };
}

// The range of this step alone; around 0 where the map has a sign.
function ownRange(values, table) {
  const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return [table === "PuOr" ? -top : 0, top];
}

// One range for all steps and runs, for each quantity.
function limitsOf(runs) {
  const top = Math.max(1, ...runs.map((run) => run.planes.attention?.high ?? 0));
  const thresholds = runs.flatMap((run) => run.steps.map((step) => step.threshold ?? 1));
  const margin = Math.max(...thresholds.map((threshold) => Math.max(Math.abs(top - threshold), Math.abs(threshold))));
  return { attention: [0, top], margin: [-margin, margin], difference: [0, 1], ...pushLimits(runs) };
}

// Of each term and of their sum, at the scales of the runs: a weak term has a range of its own, or it would be dark beside a
// strong one; and it ends at the upper quartile of the steps' largest, because one step alone may be far above all others.
function pushLimits(runs) {
  const largest = {};
  for (const run of runs) {
    const scales = scalesOf(run), terms = Object.keys(scales);
    for (const [name, parts] of [...terms.map((term) => [term, [term]]), ["sum", terms]]) {
      (largest[name] ??= []).push(...run.steps.map((step) => ownRange(size(push(run, step, scales, parts)).values)[1]));
    }
  }
  const end = (sizes) => sizes.sort((a, b) => a - b)[Math.floor(0.75 * (sizes.length - 1))] || Math.max(...sizes) || 1;
  return Object.fromEntries(Object.entries(largest).map(([name, sizes]) => [name, [0, end(sizes)]]));
}

function scalesOf(run) {
  return Object.fromEntries(run.terms.map((term) => [term.name, term.scale]));
}

// Puts a picture on a canvas, pixel for pixel; one whose cells are to be marked is enlarged.
/** @param {any} canvas @param {{bitmap?: any, image?: any, margin?: any, mask?: any}} made @param {{near?: any, masked?: any}} data */
function paint(canvas, { bitmap, image, margin, mask }, { near, masked }) {
  if (bitmap) {
    Object.assign(canvas, { width: bitmap.width, height: bitmap.height }).getContext("2d").drawImage(bitmap, 0, 0);
    return;
  }
  const factor = margin || mask ? Math.max(1, Math.floor(256 / image.width)) : 1;
  if (canvas.width !== image.width * factor || canvas.height !== image.height * factor) {
    canvas.width = image.width * factor;
    canvas.height = image.height * factor;
  }
  const context = canvas.getContext("2d");
  context.putImageData(image, 0, 0);
  if (!margin && !mask) return;
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, image.width, image.height, 0, 0, canvas.width, canvas.height);
  if (mask) rim(context, mask, masked.colour);
  else dots(context, margin, near);
}

// A line around the cells of a mask, inside them; the frame has none.
function rim(context, { width, height, values }, colour) {
  const [across, down] = [context.canvas.width / width, context.canvas.height / height];
  const line = Math.max(1, across / 4);
  context.fillStyle = `rgb(${colour})`;
  values.forEach((inside, i) => {
    if (!inside) return;
    const x = i % width, y = Math.floor(i / width), [left, top] = [x * across, y * down];
    if (x > 0 && !values[i - 1]) context.fillRect(left, top, line, down);
    if (x < width - 1 && !values[i + 1]) context.fillRect(left + across - line, top, line, down);
    if (y > 0 && !values[i - width]) context.fillRect(left, top, across, line);
    if (y < height - 1 && !values[i + width]) context.fillRect(left, top + down - line, across, line);
  });
}

// Marks the cells that are near 0.
function dots(context, { width, height, values }, near) {
  const [across, down] = [context.canvas.width / width, context.canvas.height / height];
  values.forEach((value, i) => {
    if (Math.abs(value) > near) return;
    context.beginPath();
    context.arc(((i % width) + 0.5) * across, (Math.floor(i / width) + 0.5) * down, across / 6, 0, 7);
    context.fillStyle = "#000";
    context.fill();
    context.lineWidth = across / 16;
    context.strokeStyle = "#fff";
    context.stroke();
  });
}

// An empty canvas that takes the place of a picture of this shape.
function blank(canvas, [, height, width]) {
  canvas.width = width;
  canvas.height = height;
}
