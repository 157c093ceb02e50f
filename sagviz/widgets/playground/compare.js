// Two pictures beside each other, one in front of the other, or one wiped over the other; a click shows them large.
// The pictures are the kernel's: here is only how they lie.
const VIEWS = [["beside", "Side by side"], ["flip", "Flip"], ["wipe", "Wipe"]];

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

// The controls of a stage, the element that holds both pictures.
function controls(stage, view, tell) {
  const flip = make("button", { type: "button", className: "jupyter-button sag-turn", textContent: "Show the other" });
  const wipe = make("input", { type: "range", min: 0, max: 100, value: 50, className: "sag-wipe" });
  wipe.setAttribute("aria-label", "how much of the right picture is seen, in percent");
  const choices = VIEWS.map(([name, words]) => {
    const button = make("button", { type: "button", className: "jupyter-button", textContent: words });
    button.onclick = () => choose(name);
    return button;
  });
  const turn = () => { stage.dataset.front = stage.dataset.front === "second" ? "first" : "second"; };
  function choose(name) {
    stage.dataset.view = name;
    VIEWS.forEach(([own], number) => choices[number].setAttribute("aria-pressed", own === name));
    flip.hidden = name !== "flip";
    wipe.hidden = name !== "wipe";
    tell?.(name);
  }
  flip.onclick = turn;
  wipe.oninput = () => stage.style.setProperty("--wipe", `${wipe.value}%`);
  wipe.onkeydown = (event) => event.stopPropagation(); // arrows are the slider's: a notebook would take them
  const follow = (event) => { // the pointer draws the line, too
    if (stage.dataset.view !== "wipe") return;
    const { left, width } = stage.firstElementChild.getBoundingClientRect();
    wipe.value = 100 - (100 * (event.clientX - left)) / width;
    wipe.oninput();
  };
  stage.addEventListener("pointermove", follow);
  stage.style.setProperty("--wipe", "50%");
  stage.dataset.front = "first";
  choose(view);
  const group = make("div", { className: "sag-views" }, ...choices, flip, wipe);
  group.dataset.lmSuppressShortcuts = "true"; // as JupyterLab's shortcuts would
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "how the two pictures are compared");
  return { group, turn, choose, leave: () => stage.removeEventListener("pointermove", follow) };
}

function enlarge(stage, alt) {
  const copy = make("div", { className: "sag-stage" });
  for (const figure of stage.querySelectorAll("figure")) copy.append(make("div", { className: "sag-side" }, figure.cloneNode(true)));
  const close = make("button", { type: "button", className: "jupyter-button", textContent: "Close" });
  const { group } = controls(copy, stage.dataset.view);
  group.append(close);
  const dialog = make("dialog", { className: "sag-view sag-large-pictures" }, group, copy);
  dialog.setAttribute("aria-label", alt);
  close.onclick = () => dialog.close();
  dialog.onclose = () => dialog.remove();
  dialog.onclick = (event) => { if (event.target === dialog) dialog.close(); };
  document.body.append(dialog);
  dialog.showModal();
}

function render({ model, el }) {
  let stage = null;
  const larger = make("button", { type: "button", className: "jupyter-button", textContent: "Enlarge" });
  const open = () => enlarge(stage, "both pictures, large");
  function click(event) {
    if (!event.target.closest?.("img")) return;
    if (stage.dataset.view === "flip") made.turn();
    else if (stage.dataset.view === "beside") open();
  }
  let made = null;
  const wait = setInterval(() => { // until the pictures, which are others' views, are on the page
    stage = el.closest(".sag-screen")?.querySelector(".sag-stage");
    if (!stage) return;
    clearInterval(wait);
    made = controls(stage, model.get("view"), (view) => {
      model.set("view", view);
      model.save_changes();
    });
    larger.onclick = open;
    made.group.append(larger);
    el.append(made.group);
    stage.addEventListener("click", click);
  }, 30);
  const follow = () => made && stage.dataset.view !== model.get("view") && made.choose(model.get("view"));
  model.on("change:view", follow);
  return () => {
    clearInterval(wait);
    model.off("change:view", follow);
    stage?.removeEventListener("click", click);
    made?.leave();
  };
}

export default { render };
