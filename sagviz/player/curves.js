// Small charts over the steps, as wide as the slider above them: one for each kind of measure, one line for each run.

const LIMITS = { cosine: [-1, 1], coverage: [0, 1] }; // lengths have none: from 0 to their largest
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// How many steps a run has in the end, of which one that still computes has some.
function planned(run) {
  return run.planned ?? run.steps.length;
}

// How far along its run a step is, from 0 to 1: the kept steps of a run that was stopped, or that keeps only some, stand where they were.
function wayOf(run, step) {
  return step.index / Math.max(1, run.evaluations - 1);
}

// Which of a run's kept steps is nearest to that.
function nearest(run, way) {
  const apart = run.steps.map((step) => Math.abs(wayOf(run, step) - way));
  return apart.indexOf(Math.min(...apart));
}

// The run through whose kept steps the slider goes: one that comes furthest, of these the one with most steps. As in pack.py.
function leading(runs) {
  const far = (run) => (run.planned ? 1 : wayOf(run, run.steps[run.steps.length - 1]));
  return runs.reduce((a, b) => (far(b) > far(a) || (far(b) === far(a) && planned(b) > planned(a)) ? b : a));
}

// The points of one run; a gap where a step lacks the measure.
function path(run, name, low, high) {
  let pen = "M";
  return run.steps.map((step) => {
    const value = step.measures[name];
    if (value === undefined) { pen = "M"; return ""; }
    const x = 1000 * wayOf(run, step);
    const y = 96 - (92 * (value - low)) / (high - low || 1);
    const point = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
    return point;
  }).join("");
}

// Puts the charts into `place`; gives `draw`, which draws the lines of the steps that there are, `move`, which puts the cursor at a
// share of the width, and `tell`, which writes the numbers.
function curves(place, data) {
  const cursor = make("div", { class: "cursor" }); // over all charts: they need not be drawn anew when it moves
  const readouts = [], lines = [];
  for (const names of data.charts) {
    const chart = svg("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" });
    if (LIMITS[names[0]]?.[0] < 0) chart.append(svg("line", { x1: 0, x2: 1000, y1: 50, y2: 50, class: "zero" }));
    const key = make("div", { class: "key" });
    for (const name of names) {
      data.runs.forEach((run, r) => {
        const line = svg("path", { class: `line ${name}`, "stroke-dasharray": dashes(r, data.runs.length) });
        chart.append(hued(line, name, data.hues[name]));
        lines.push({ line, run, name, names });
      });
      const number = make("b", {});
      key.append(hued(make("span", { class: `of ${name}` }, data.lines[name] + " ", number), name, data.hues[name]));
      readouts.push({ name, number });
    }
    place.append(make("div", { class: "chart" }, key, chart));
  }
  if (data.charts.length) place.append(cursor);
  const of = (name) => data.runs.flatMap((run) => run.steps.map((step) => step.measures[name] ?? 0));
  const draw = () => {
    for (const { line, run, name, names } of lines) {
      line.setAttribute("d", path(run, name, ...(LIMITS[names[0]] ?? [0, Math.max(...names.flatMap(of))])));
    }
  };
  draw();
  const move = (share) => (cursor.style.transform = `translateX(calc(${share} * (100cqw - 20px)))`);
  const tell = (steps) => {
    for (const { name, number } of readouts) {
      const said = steps.map((step) => step.measures[name]).filter((value) => value !== undefined);
      const written = said.map((value) => (name === "coverage" ? `${Math.round(100 * value)}%` : rounded(value)));
      say(number, [...new Set(written)].join(" · ") || "–");
    }
  };
  return { draw, move, tell };
}
