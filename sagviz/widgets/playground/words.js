// The words that a model knows, by kind; a press on one tells the kernel.
function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const rows = model.get("groups").map(([kind, words]) => make("div", { className: "sag-words-row" },
    make("span", { className: "sag-kind", textContent: kind }),
    make("span", { className: "sag-words-of" }, ...words.map((word) => make("button", {
      type: "button", className: "jupyter-button sag-chip", textContent: word, title: `add “${word}” to the prompt`,
      onclick: () => model.send({ word }),
    })))));
  el.append(make("details", {}, make("summary", { textContent: "Words that this model knows" }), ...rows));
}

export default { render };
