"""The words that a model was taught: at hand under its prompt, and in place of others."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.models.vocabulary import unknown_words, vocabulary
from sagviz.widgets.common.optional import anywidget
from sagviz.widgets.common.still import LIVE, live
from sagviz.widgets.playground.settings import FormSettings

KNOWN = "Words that this model knows"
PROMPTS = ("prompt", "negative_prompt")

if anywidget is not None:

    class Words(anywidget.AnyWidget):
        """The words as buttons."""

        _esm = (Path(__file__).parent / "words.js").read_text(encoding="utf-8")
        groups: Any = traitlets.List(help="[kind, words] in rows").tag(sync=True)
        title = traitlets.Unicode("", help="what they are folded under").tag(sync=True)
        offer = traitlets.Unicode("", help="what a press on one does").tag(sync=True)


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
        return [live(W.HTML(f"<details><summary>{KNOWN}</summary>{rows}</details>"))]

    def add(_: str, word: str) -> None:
        settings.prompt = f"{settings.prompt} {word}".strip()

    made = _words("sag-vocabulary", add, title=KNOWN, offer="add to the prompt:")
    made.groups = [[kind, list(own)] for kind, own in kinds.items()]
    return [made]


def near_words(settings: FormSettings) -> list[W.Widget]:
    """For each word of the prompts that the model was not taught those that look like it, a press
    on one puts it in its place; nothing for a model that takes any text.
    """
    if anywidget is None or vocabulary(settings.model) is None:
        return []

    def put(typed: str, word: str) -> None:
        whole = re.compile(rf"(?<!\w){re.escape(typed)}(?!\w)", re.IGNORECASE)
        for name in PROMPTS:
            setattr(settings, name, whole.sub(lambda _: word, getattr(settings, name)))

    made = _words("sag-near", put, offer="put in its place:")

    def show(_: object = None) -> None:
        texts = " ".join(getattr(settings, name) for name in PROMPTS)
        found = unknown_words(settings.model, texts)
        made.groups = [[typed, near] for typed, near in found.items() if near]

    settings.observe(show, PROMPTS)
    show()
    return [made]


def _words(name: str, press: Callable[[str, str], None], **traits: str) -> Any:
    """`press` takes the kind and the word, if they are some that were shown. Its classes are there
    from the start: a page that is still loading its script would miss a later one.
    """
    made: Any = Words(_dom_classes=(name, LIVE), **traits)

    def pressed(_: object, message: dict[str, Any], __: object) -> None:
        kind, word = message.get("kind"), message.get("word")
        if any(kind == own and word in words for own, words in made.groups):
            press(str(kind), str(word))

    made.on_msg(pressed)
    return made
