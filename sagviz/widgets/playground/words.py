"""The words that a model was taught, at hand under its prompt."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.models.vocabulary import vocabulary
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.common.still import live
from sagviz.widgets.playground.settings import FormSettings

if anywidget is not None:

    class Words(anywidget.AnyWidget):
        """The words as buttons."""

        _esm = (Path(__file__).parent / "words.js").read_text(encoding="utf-8")
        groups: Any = traitlets.List(help="[kind, words] in rows").tag(sync=True)


def known_words(settings: FormSettings) -> list[W.Widget]:
    """The words by kind, a press on one adds it to the prompt; nothing for a model that takes any
    text.
    """
    kinds = vocabulary(settings.model)
    if kinds is None:
        return []
    if anywidget is None:
        rows = "".join(
            f"<p><b>{kind}</b> {escape(', '.join(own))}</p>" for kind, own in kinds.items()
        )
        return [
            live(W.HTML(f"<details><summary>Words that this model knows</summary>{rows}</details>"))
        ]

    def add(_: object, message: dict[str, Any], __: object) -> None:
        word = message.get("word")
        if any(word in own for own in kinds.values()):
            settings.prompt = f"{settings.prompt} {word}".strip()

    made: Any = Words(groups=[[kind, list(own)] for kind, own in kinds.items()])
    made.on_msg(add)
    made.add_class("sag-vocabulary")
    return [live(made)]
