// What the player is made of: bar with slider, curves, captions, scales, pictures, choices.

const THUMB = 20; // CSS pixels, as in player.css: the ends of a range input lie half a thumb inside
const DASHES = ["6 4", "2 4", "11 3 2 3", "3 2"]; // of the curves of several runs, the last of which is drawn through
const MAPS = new Set(["attention", "margin", "mask"]); // their pixels stay square whatever the reader chose
const NOTE = "A preview of this one step with other scales, put together here from its pushes. The steps after it would change too; curves and sentences stay as it ran.";

// What follows the step: play, slider, curves, and the step in words.
function bar(player) {
  player.playButton = make("button", { type: "button", class: "play", onclick: () => player.change("playing", !player.state.playing) });
  player.slider = make("input", {
    type: "range", min: 0, max: player.longest.evaluations - 1, step: 1, class: "step", "aria-label": "Step",
    oninput: () => player.goTo(player.slider.valueAsNumber / Math.max(1, player.slider.max)),
  });
  player.readout = make("output", { class: "readout" });
  player.times = make("span", { class: "times" });
  const speeds = [2, 5, 10, 20].map((n) => make("option", { value: n, selected: n === player.state.speed }, `${n} / s`));
  const speed = make("select", { "aria-label": "Speed in steps a second", onchange: () => player.change("speed", Number(speed.value)) }, ...speeds);
  const place = make("div", { class: "charts" });
  player.charts = curves(place, player.data);
  place.addEventListener("pointerdown", (event) => scrub(player, place, event));
  player.captions = player.runs.map(() => make("span", {}));
  const captions = player.runs.map((run, r) =>
    make("p", { class: "caption" }, ...(player.runs.length > 1 ? [sample(r, player.runs.length), make("b", {}, `${player.label(run)}. `)] : []), player.captions[r]));
  const line = make("div", { class: "line-up" }, player.playButton, player.readout, player.times, speed);
  return make("div", { class: "bar" }, make("div", { class: "control" }, line, player.slider), place, ...captions);
}

// How the curves of a run are drawn, as a key.
function sample(r, count) {
  const key = svg("svg", { class: "sample", viewBox: "0 0 28 8", "aria-hidden": "true" });
  key.append(svg("line", { x1: 0, x2: 28, y1: 4, y2: 4, "stroke-dasharray": dashes(r, count) }));
  return key;
}

function dashes(r, count) {
  return r === count - 1 ? "none" : DASHES[r % DASHES.length];
}

// A press on the curves goes to that step, and drags on.
function scrub(player, place, event) {
  const move = ({ clientX }) => {
    const { left, width } = player.slider.getBoundingClientRect();
    player.goTo((clientX - left - THUMB / 2) / (width - THUMB));
  };
  move(event);
  place.setPointerCapture(event.pointerId);
  place.addEventListener("pointermove", move);
  place.addEventListener("lostpointercapture", () => place.removeEventListener("pointermove", move), { once: true });
}

// Sliders for the scales of each run, from whose stored terms its guided prediction is made anew.
function whatIf(player) {
  const guided = player.runs.filter((run) => run.terms.length);
  if (!guided.length) return "";
  const rows = guided.map((run) => {
    const set = (scales) => player.change("scales", player.state.scales.with(run.number, scales));
    const knobs = run.terms.map((term) => knob(player, run, term, set));
    const parts = knobs.flatMap(({ part }, i) => [i ? " + " : "", part]);
    const head = player.runs.length > 1 ? [make("h3", {}, player.label(run))] : [];
    return make("div", {}, ...head, ...knobs.map(({ node }) => node), make("p", { class: "formula" }, "ε̃ = ε(xₜ) + ", ...parts));
  });
  const reset = make("button", { type: "button", onclick: () => player.change("scales", player.runs.map(scalesOf)) }, "As it ran");
  return make("fieldset", { class: "what-if" }, make("legend", {}, "What if?"), ...rows, make("p", { class: "note" }, NOTE), reset, ...(player.data.tries ?? []));
}

function knob(player, run, term, set) {
  const limits = { min: term.low, max: term.high, step: term.step };
  const hue = player.data.hues[term.name];
  const name = `${term.title} scale${player.runs.length > 1 ? ` of ${LETTERS[run.number]}` : ""}`;
  const { slide, box } = paired(`${term.title} scale`, limits, name, (scale) => set({ ...player.state.scales[run.number], [term.name]: scale }));
  const node = hued(make("div", { class: `knob of ${term.name}` }, make("span", {}, `${term.title} scale`), slide, box), term.name, hue);
  const number = make("b", {});
  const part = hued(make("span", { class: `of ${term.name}` }, number, ` · Δ${term.title}`), term.name, hue);
  const made = { node, part, run: run.number, term: term.name, slide, box, number };
  player.knobs.push(made);
  return made;
}

// A slider and a number that say the same; a number that cannot be is told below them once it is entered.
function paired(title, limits, name, then) {
  const slide = make("input", { type: "range", ...limits, "aria-label": name });
  const box = make("input", { type: "number", ...limits, required: true, "aria-label": `${name} as a number` });
  box.dataset.title = title;
  for (const [input, other] of [[slide, box], [box, slide]]) input.addEventListener("input", () => {
    if (faultOf(input)) return;
    tellFault(box, "");
    other.value = input.value;
    then(input.valueAsNumber);
  });
  box.addEventListener("change", () => tellFault(box, faultOf(box)));
  return { slide, box };
}

// One figure for each quantity, with a canvas for each run and one for their difference.
function figures(player) {
  player.figures = player.data.panes.map(([name, title]) => {
    const canvases = player.runs.map((run) => make("canvas", { role: "img", class: MAPS.has(name) ? "map" : "" }));
    const apart = make("canvas", { role: "img", class: "map" });
    const frames = player.runs.map((run, r) => frame(canvases[r], player.runs.length > 1 ? player.label(run) : ""));
    const last = frame(apart, "");
    const legend = make("div", { class: "legend" });
    const words = make("p", { class: "words" });
    const figure = make("figure", { class: `pane ${name}` }, make("figcaption", {}, title), make("div", { class: "frames" }, ...frames, last), legend, words);
    const node = hued(figure, name, player.data.hues[name]);
    return { name, title, node, canvases, frames, apart, last, legend, words };
  });
  return make("div", { class: "panes" }, ...player.figures.map(({ node }) => node));
}

function frame(canvas, label) {
  return make("div", { class: "frame" }, canvas, make("span", { class: "label" }, label));
}

// A colour bar with its two ends, or one colour and what it means.
function legendOf({ table, low, high, open, colour, words }, tables) {
  if (colour) {
    const patch = make("span", { class: "patch" });
    patch.style.background = `rgb(${colour})`;
    return [patch, make("span", {}, words)];
  }
  const stops = Array.from({ length: 9 }, (_, i) => tables[table].slice(96 * i - (i > 7 ? 3 : 0), 96 * i + (i > 7 ? 0 : 3)).join(" "));
  const strip = make("span", { class: "strip" });
  strip.style.background = `linear-gradient(90deg, ${stops.map((stop) => `rgb(${stop})`).join()})`;
  return [make("span", {}, written(low)), strip, make("span", {}, `${open ? "≥ " : ""}${written(high)}`)];
}

// A number as it stands beside a colour bar.
function written(number) {
  const size = Math.abs(number);
  return size < 0.1 ? `${Number(number.toPrecision(2))}` : number.toFixed(size < 1 ? 2 : 1);
}

// Two digits, and no -0.00.
/** @param {number} number */
function rounded(number) {
  return number.toFixed(2).replace(/^-(?=0\.00$)/, "");
}

// Six significant digits at most, as Python's :g has them.
/** @param {number} number */
function short(number) {
  return String(Number(number.toPrecision(6)));
}

// What is shown, and how: folded away until it is wanted.
function choices(player) {
  const panes = player.data.panes.map(([name, title]) => tick(title, player.state.panes.includes(name), (on) => {
    const names = player.data.panes.map(([other]) => other);
    player.change("panes", names.filter((other) => (other === name ? on : player.state.panes.includes(other))));
  }));
  panes.forEach((label, i) => (label.dataset.pane = player.data.panes[i][0]));
  const looks = [
    ...(player.runs.some((run) => run.decoded.x0_hat) ? [["decoded", "decoded pictures"]] : []),
    ["smooth", "smooth previews"], ["over", "maps over the picture"], ["sized", "pushes as sizes, not colours"], ["own", "colour scale of this step alone"],
  ].map(([name, words]) => tick(words, player.state[name], (on) => player.change(name, on)));
  return make("details", { class: "choices" }, make("summary", {}, "Choose pictures"),
    make("fieldset", {}, make("legend", {}, "Pictures"), ...panes), make("fieldset", {}, make("legend", {}, "How"), ...looks));
}

function tick(words, checked, then) {
  const box = make("input", { type: "checkbox", checked, onchange: () => then(box.checked) });
  return make("label", { class: "tick" }, box, words);
}

// Side by side, one in place of the other, or how far apart: only where there are several runs.
function views(player) {
  if (player.runs.length < 2) return "";
  const name = `sagviz-${Math.random()}`; // a group of its own beside other players of the page
  player.radios = [["beside", "side by side", ""], ["flip", "flip", " (F)"], ["difference", "difference", " (D)"]].map(([view, words, key]) => {
    const radio = make("input", { type: "radio", name, value: view, onchange: () => player.change("view", view) });
    return { view, radio, label: make("label", { class: "tick" }, radio, make("span", {}, words, make("span", { class: "by-key" }, key))) };
  });
  player.flipButton = make("button", { type: "button", onclick: () => player.flip() });
  const any = player.runs.length > 2 ? [pairs(player)] : [];
  return make("fieldset", { class: "views" }, make("legend", {}, "Compare"), ...player.radios.map(({ label }) => label), player.flipButton, ...any);
}

// Which two runs the difference is of; one that the other menu has is exchanged for what this one had.
function pairs(player) {
  player.menus = ["base", "front"].map((name, i) => {
    const options = player.runs.map((run, r) => make("option", { value: r }, LETTERS[r]));
    const menu = make("select", { "aria-label": `${["First", "Second"][i]} run of the difference` }, ...options);
    menu.addEventListener("change", () => {
      const pair = player.pair, chosen = Number(menu.value);
      if (chosen === pair[1 - i]) pair[1 - i] = pair[i];
      pair[i] = chosen;
      player.change("base", pair[0]);
      player.change("front", pair[1]);
      player.change("view", "difference");
    });
    return menu;
  });
  return make("span", { class: "pair" }, "difference of ", player.menus[0], " and ", player.menus[1]);
}

function settings(player) {
  const tables = player.runs.map((run) => {
    const rows = run.settings.map(([name, value]) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value)));
    return make("table", {}, make("caption", {}, player.label(run)), make("tbody", {}, ...rows));
  });
  const keys = "Keys: ← → one step, Page Up and Down five, Home and End, space plays" + (player.runs.length > 1 ? ", F flips, D shows the difference." : ".");
  return make("details", { class: "settings" }, make("summary", {}, "Settings and keys"), make("div", { class: "tables" }, ...tables), make("p", {}, keys));
}

// Brings the parts into the order in which the eye meets them, which player.css changes with the width: Tab goes the same way.
function ordered(root) {
  const parts = [...root.children].map((part) => ({ part, ...part.getBoundingClientRect().toJSON() }));
  parts.sort((a, b) => a.top - b.top || a.left - b.left);
  if (parts.every(({ part }, i) => part === root.children[i])) return;
  // what has the focus is not moved, or the page would scroll away
  const nodes = parts.map(({ part }) => part), still = Math.max(0, nodes.findIndex((part) => part.matches(":focus-within")));
  nodes[still].before(...nodes.slice(0, still));
  nodes[still].after(...nodes.slice(still + 1));
}

// A finger that scrolls the page leaves the sliders below it as they were: a press sets them, until the browser takes the finger.
function unscrolled(root) {
  let slide, before;
  root.addEventListener("pointerdown", ({ target }) => {
    slide = target.matches("input[type=range]") ? target : null;
    before = slide?.value;
  });
  root.addEventListener("pointercancel", () => {
    if (!slide || slide.value === before) return;
    slide.value = before;
    slide.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
