// Small charts over the steps, as wide as the slider above them: one for each kind of measure, one line for each run.

const LIMITS = { cosine: [-1, 1], coverage: [0, 1] }; // lengths have none: from 0 to their largest
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// The points of one run; a gap where a step lacks the measure.
function path(run, name, low, high) {
  let pen = "M";
  return run.steps.map((step, i) => {
    const value = step.measures[name];
    if (value === undefined) { pen = "M"; return ""; }
    const x = (1000 * i) / Math.max(1, run.steps.length - 1);
    const y = 96 - (92 * (value - low)) / (high - low || 1);
    const point = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
}

// Draws the charts into `place`; gives `move`, which puts the cursor at a share of the width, and `tell`, which writes the numbers.
function curves(place, data) {
  const cursor = make("div", { class: "cursor" }); // over all charts: they need not be drawn anew when it moves
  const readouts = [];
  for (const names of data.charts) {
    const of = (name) => data.runs.flatMap((run) => run.steps.map((step) => step.measures[name] ?? 0));
    const [bottom, top] = LIMITS[names[0]] ?? [0, Math.max(...names.flatMap(of))];
    const chart = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    if (bottom < 0) chart.append(svg("line", { x1: 0, x2: 1000, y1: 50, y2: 50, class: "zero" }));
    const key = make("div", { class: "key" });
    for (const name of names) {
      data.runs.forEach((run, r) => {
        const line = svg("path", { d: path(run, name, bottom, top), class: `line ${name}`, "stroke-dasharray": dashes(r, data.runs.length) });
        chart.append(hued(line, name, data.hues[name]));
      });
      const number = make("b", {});
      key.append(hued(make("span", { class: `of ${name}` }, data.lines[name] + " ", number), name, data.hues[name]));
      readouts.push({ name, number });
    }
    place.append(make("div", { class: "chart" }, key, chart));
  }
  if (data.charts.length) place.append(cursor);
  const move = (share) => (cursor.style.transform = `translateX(calc(${share} * (100cqw - 20px)))`);
  const tell = (steps) => {
    for (const { name, number } of readouts) {
      const said = steps.map((step) => step.measures[name]).filter((value) => value !== undefined);
      const written = said.map((value) => (name === "coverage" ? `${Math.round(100 * value)}%` : value.toFixed(2)));
      say(number, [...new Set(written)].join(" · ") || "–");
    }
  };
  return { move, tell };
}
