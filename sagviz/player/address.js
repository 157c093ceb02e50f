// The view of a page of its own in its address, after the #: step, pictures, scales and what is compared, so that a link
// restores it. Steps count from 1 there, as on the page.

const REST = 300; // milliseconds until a change is written: browsers bound how often
const LOOKS = ["decoded", "smooth", "over", "sized", "own"];

// "step=21&panes=x_t,mask&scales=cfg:3,sag:0.5"; what is as it opens without an address is left out, but for the step.
function toAddress({ state, longest, unchanged }) {
  const usual = partsOf(unchanged), parts = Object.entries(partsOf(state)).filter(([name, value]) => value !== usual[name]);
  return [["step", longest.steps[state.index].index + 1], ...parts].map((part) => part.join("=")).join("&");
}

function partsOf({ panes, scales, view, front, base, ...looks }) {
  const written = (own) => Object.entries(own).map(([name, scale]) => `${encodeURIComponent(name)}:${scale}`).join();
  return {
    panes: panes.map(encodeURIComponent).join(), scales: scales.map(written).join(";"), view, front, base,
    looks: LOOKS.filter((name) => looks[name]).join(),
  };
}

// What of an address a player of this data can show, as its state; all else is passed over.
function fromAddress(address, data) {
  const given = new URLSearchParams(address.replace(/^#/, "")), state = {};
  const { steps } = leading(data.runs);
  const wanted = Number(given.get("step")) - 1;
  if (given.has("step") && Number.isFinite(wanted)) {
    const apart = steps.map(({ index }) => Math.abs(index - wanted));
    state.index = apart.indexOf(Math.min(...apart));
  }
  const panes = (given.get("panes") ?? "").split(","); // decoded by now: once more, and a lone % is an error
  if (given.has("panes")) state.panes = data.panes.map(([name]) => name).filter((name) => panes.includes(name));
  const written = (given.get("scales") ?? "").split(";"), view = given.get("view") ?? "", looks = (given.get("looks") ?? "").split(",");
  if (given.has("scales")) state.scales = data.runs.map((run, r) => scalesIn(written[r] ?? "", run));
  if (["beside", "flip", "difference"].includes(view)) state.view = view;
  for (const name of ["front", "base"]) if (data.runs[given.get(name) ?? ""]) state[name] = Number(given.get(name));
  if (given.has("looks")) for (const name of LOOKS) state[name] = looks.includes(name);
  return state;
}

// The scales of one run: within the sliders, and those that it ran with where nothing else is said.
function scalesIn(text, run) {
  const said = new Map(text.split(",").map((part) => part.split(":")).map(([name, scale]) => [name, Number(scale)]));
  return Object.fromEntries(run.terms.map(({ name, scale, low, high }) => {
    const number = said.get(name);
    return [name, Number.isFinite(number) ? Math.min(high, Math.max(low, number)) : scale];
  }));
}
