"""The words that a model was taught, where it was taught few: what to type, and a warning where a
prompt has other words.
"""

from __future__ import annotations

import re
import unicodedata
from difflib import get_close_matches

from sagviz.checks import names_arguments
from sagviz.errors import warn
from sagviz.models.base import Model
from sagviz.models.load import as_model

# Letters (a) and symbols such as emoji (s), with the marks and joiners (m) that belong to them;
# punctuation between them is never a word.
WORD = re.compile("a[am]*|s[sm]*")
MIN_LIKENESS = 0.7  # difflib's ratio from which a known word is worth suggesting
KINDS = ("objects", "backgrounds", "relations", "sizes", "other words")  # JSON files sort them


@names_arguments()
def vocabulary(model: Model) -> dict[str, tuple[str, ...]] | None:
    """What a model with few words was taught, by kind; `None` for a model that takes any text, as
    Stable Diffusion does, or none.

    The list is kept with the model's tokenizer, so that a model that `sagviz.mini.training` wrote
    has its own.

    Example:
        >>> import sagviz as sv
        >>> words = sv.vocabulary(sv.load())
        >>> list(words)
        ['objects', 'backgrounds', 'relations', 'sizes', 'other words']
        >>> words["objects"][:3]
        ('apple', 'banana', 'strawberry')
    """
    model = as_model(model)
    kinds = getattr(model.tokenizer, "init_kwargs", {}).get("words")
    return {kind: tuple(kinds[kind]) for kind in KINDS} if kinds else None


def unknown_words(model: Model, prompt: str) -> dict[str, list[str]]:
    """Each word of a prompt, as it was typed, that the model was not taught, and the known words
    that look most like it.
    """
    kinds = vocabulary(model)
    if kinds is None:
        return {}
    known = {word for words in kinds.values() for phrase in words for word in phrase.split()}
    others = dict[str, str]()
    for word in _words(prompt):
        if word.lower() not in known:
            others.setdefault(word.lower(), word)
    telling = sorted(word for word in known if len(word) > 2)
    return {
        typed: get_close_matches(word, telling, n=2, cutoff=MIN_LIKENESS)
        for word, typed in others.items()
    }


def _words(prompt: str) -> list[str]:
    """The words and symbols of a prompt, as they were typed."""
    kinds = "".join(map(_kind, prompt))
    return [prompt[found.start() : found.end()] for found in WORD.finditer(kinds)]


def _kind(letter: str) -> str:
    category = unicodedata.category(letter)
    if letter.isalnum():
        return "a"
    if category[0] == "M" or category == "Cf":
        return "m"
    return "s" if category[0] in "SC" and not letter.isascii() else "."


def warn_of_unknown_words(model: Model, *prompts: str) -> None:
    """Warn where a prompt has words that the model was not taught: what they do is arbitrary."""
    found = unknown_words(model, " ".join(prompts))
    if found:
        listed = ", ".join(
            f"{word!r} (near: {', '.join(near)})" if near else repr(word)
            for word, near in found.items()
        )
        warn(
            f"{model.name} was not taught {listed}; the words that it knows are in the Playground's"
            " list and in sagviz.vocabulary(model)"
        )
