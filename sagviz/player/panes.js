// How each quantity of a step becomes a picture with a legend.
// `look` is what the reader chose and what holds for the whole page:
// {scales: one set for each run, sized, own, over, limits and tables by colour map}.

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

// {image: pixels, legend: {table, low, high} for maps, margin: the map whose cells near 0 are to be marked}, or null.
function picture(name, run, step, look) {
  const shown = quantity(name, run, step, look);
  if (!shown) return null;
  const below = look.over ? plane(run, step, "x0_hat") : null;
  const isPush = name === "sum" || name in look.scales[run.number];
  if (name === "mask") return { image: spotlight(plane(run, step, "x0_hat"), shown) };
  if (name === "attention") return coloured(shown, "viridis", look, below);
  if (name === "margin") return { ...coloured(shown, "PuOr", look, below), margin: shown };
  if (isPush && look.sized) return coloured(size(shown), "magma", look, below);
  return { image: colourPixels(shown) };
}

// How far two runs are apart in each cell: 0 is equal, 1 half the way from black to white.
function difference(name, runs, steps, look) {
  const [a, b] = runs.map((run, i) => quantity(name, run, steps[i], look));
  if (!a || !b || a.values.length !== b.values.length) return null;
  const apart = a.channels === 1 ? minus(a, b) : minus(clipped(a), clipped(b));
  return coloured(size(apart), "magma", { ...look, limits: { magma: [0, 1] } }, null);
}

function coloured(map, table, look, below) {
  const [low, high] = look.own ? ownRange(map.values, table) : look.limits[table];
  const image = mapPixels(map, low, high, look.tables[table]);
  return { image: below ? overlay(image, below) : image, legend: { table, low, high } };
}

// The range of this step alone; around 0 where the map has a sign.
function ownRange(values, table) {
  const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return [table === "PuOr" ? -top : 0, top];
}

// One range for all steps and runs, for each colour map.
function limitsOf(runs) {
  const top = Math.max(1, ...runs.map((run) => run.planes.attention?.high ?? 0));
  const thresholds = runs.flatMap((run) => run.steps.map((step) => step.threshold ?? 1));
  const margin = Math.max(...thresholds.map((threshold) => Math.max(Math.abs(top - threshold), Math.abs(threshold))));
  return { viridis: [0, top], PuOr: [-margin, margin], magma: [0, largestPush(runs)] };
}

// Of all terms and their sum, at the scales of the runs.
function largestPush(runs) {
  let most = 0;
  for (const run of runs) {
    const scales = scalesOf(run);
    for (const names of [...Object.keys(scales).map((name) => [name]), Object.keys(scales)]) {
      for (const step of run.steps) most = Math.max(most, ...size(push(run, step, scales, names)).values);
    }
  }
  return most || 1;
}

function scalesOf(run) {
  return Object.fromEntries(run.terms.map((term) => [term.name, term.scale]));
}

// Puts a picture on a canvas, pixel for pixel; a margin is enlarged, so that its doubtful cells can be marked by dots.
function paint(canvas, { image, margin }, near) {
  const factor = margin ? Math.max(1, Math.floor(256 / image.width)) : 1;
  if (canvas.width !== image.width * factor || canvas.height !== image.height * factor) {
    canvas.width = image.width * factor;
    canvas.height = image.height * factor;
  }
  const context = canvas.getContext("2d");
  context.putImageData(image, 0, 0);
  if (!margin) return;
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, image.width, image.height, 0, 0, canvas.width, canvas.height);
  const [across, down] = [canvas.width / margin.width, canvas.height / margin.height];
  margin.values.forEach((value, i) => {
    if (Math.abs(value) > near) return;
    context.beginPath();
    context.arc(((i % margin.width) + 0.5) * across, (Math.floor(i / margin.width) + 0.5) * down, across / 6, 0, 7);
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
