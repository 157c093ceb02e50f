"""What only the page can do, where anywidget is installed: copy a text, save a file, scroll to
a place."""

from __future__ import annotations

from typing import Any

import ipywidgets as W
import traitlets

from sagviz.html import link
from sagviz.widgets.common.optional import anywidget

COPY = """
function render({ model, el }) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jupyter-button widget-button sag-copy";
  button.textContent = "Copy";
  button.title = "copy the text below";
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(model.get("text"));
      said.textContent = " copied";
    } catch {
      said.textContent = " the browser does not allow it: select all and copy";
    }
    setTimeout(() => { said.textContent = ""; }, 3000);
  });
  el.append(button, said);
}
export default { render };
"""
ARRIVE = """
function render({ model, el }) {
  if (model.get("seen")) return;
  model.set("seen", true);
  model.save_changes();
  setTimeout(() => el.scrollIntoView({ block: "start" }), 50); // once what follows has its size
}
export default { render };
"""

SAVE = """
function initialize({ model }) {
  // Here and not in a view, because several views would save the file several times.
  model.on("msg:custom", (message, buffers) => {
    const address = URL.createObjectURL(new Blob([buffers[0]], { type: message.type }));
    Object.assign(document.createElement("a"), { href: address, download: message.save }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  });
}
export default { initialize };
"""


class Links(W.HTML):
    """Offers a file behind a link."""

    def save(self, name: str, kind: str, content: bytes) -> None:
        """Offer a file of this name and kind."""
        self.value = link(content, kind, name, f"Download {name}")


if anywidget is not None:

    class CopyButton(anywidget.AnyWidget):
        """Copies a text that follows another widget's value."""

        _esm = COPY
        text = traitlets.Unicode("", help="what is copied").tag(sync=True)

    class Arrival(anywidget.AnyWidget):
        """A place that the page scrolls to when it is first shown."""

        _esm = ARRIVE
        seen = traitlets.Bool(False, help="whether it has").tag(sync=True)

    class Saver(anywidget.AnyWidget):
        """Lets the page save a file."""

        _esm = SAVE

        def save(self, name: str, kind: str, content: bytes) -> None:
            """Save a file of this name and kind."""
            self.send({"save": name, "type": kind}, [content])


def saver() -> Any:
    """What saves a file, by `save(name, kind, content)`; where the page cannot, behind a link."""
    return Links() if anywidget is None else Saver()


def copy_button(source: W.Widget) -> list[W.Widget]:
    """A button that copies what `source` holds; none where the page cannot."""
    if anywidget is None:
        return []
    made: Any = CopyButton()
    traitlets.dlink((source, "value"), (made, "text"))
    return [made]


def arrival() -> list[W.Widget]:
    """The place to scroll to, before what is to be seen; none where the page cannot."""
    return [] if anywidget is None else [Arrival()]
