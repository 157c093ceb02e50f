// Words as buttons, in rows; a press on one tells the kernel.
function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function render({ model, el }) {
  const place = make("div"), title = model.get("title");
  const show = () => place.replaceChildren(...model.get("groups").map(([kind, words]) => make("div", { className: "sag-words-row" },
    make("span", { className: "sag-kind", textContent: kind }),
    make("span", { className: "sag-words-of" }, ...words.map((word) => make("button", {
      type: "button", className: "jupyter-button sag-chip", textContent: word, title: `${model.get("offer")} “${word}”`,
      onclick: () => model.send({ kind, word }),
    }))))));
  el.append(title ? make("details", {}, make("summary", { textContent: title }), place) : place);
  model.on("change:groups", show);
  show();
}

export default { render };
