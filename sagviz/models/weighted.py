"""`weighted`: a prompt whose words have weights, as embeddings in its place, by compel."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from sagviz.attention.unshared import unshared
from sagviz.attention.words import with_all_vectors
from sagviz.checks import check_kind, names_arguments
from sagviz.errors import ArgumentError
from sagviz.models.base import Model
from sagviz.models.load import as_model
from sagviz.models.offload import execution_device
from sagviz.models.sdxl import SDXL

WEIGHT = re.compile(r":\s*\+?([-+.,\de]+)\s*\)$")  # the end of (word:1.3)
JOINED = re.compile(r"\.(and|blend|swap)\(")  # compel's own syntax, which has quotation marks


@names_arguments()
def weighted(model: Model, prompt: str, *, negative_prompt: str = "") -> dict[str, Any]:
    """The embeddings of a prompt with weights, for `trace(model, **weighted(model, ...))`.

    "a (red:1.3) fox" insists on red, "a (red:0.5) fox" halves it; compel's own "red++" and
    "(a, b).and()" are taken as well. A weight moves a token away from the empty prompt, or towards
    it; it is no paper's, and programs differ in it. A prompt that is longer than the text encoder
    takes goes through it in pieces. It needs the package compel: `pip install sagviz[weights]`.

    Args:
        model: from `load`.
        prompt, negative_prompt: with weights or without.

    Raises:
        ArgumentError: compel is not there, the model takes no embeddings, or a prompt is none.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> given = sv.weighted(model, "a (fox:1.3) on a blue background")
        >>> list(given)
        ['prompt_embeds', 'negative_prompt_embeds']
        >>> sv.trace(model, **given, steps=2, guidance=sv.CFG(3.0), progress=False)
        <Trace of 2/2 steps: 'given embeddings', seed 0, CFG(3.0)>
    """
    model = as_model(model)
    if not model.embedding_widths:
        raise ArgumentError(
            f"{model.name} takes no embeddings; give a model of Stable Diffusion 1.x, 2.x or SDXL"
        )
    for name, text in (("prompt", prompt), ("negative_prompt", negative_prompt)):
        check_kind(name, text, str, "a text, such as 'a (red:1.3) fox'")
    none = model.embed(None)
    with model.at_work():
        words, others = (
            _as_compel(with_all_vectors(model.tokenizer, text))
            for text in (prompt, negative_prompt)
        )
        found = _compel(model)(words, negative_prompt=others or None)
    negative, pooled = found.negative_embeds, found.negative_pooled_embeds
    if negative is None:  # of the length of the prompt, which may be in several pieces
        pieces = found.embeds.shape[1] // none.tensors["text"].shape[1]
        negative, pooled = none.tensors["text"].repeat(1, pieces, 1), none.tensors.get("pooled")
    made = {
        "prompt_embeds": found.embeds,
        "pooled_prompt_embeds": found.pooled_embeds,
        "negative_prompt_embeds": negative,
        "negative_pooled_prompt_embeds": pooled,
    }
    return {name: value for name, value in made.items() if value is not None}


def _as_compel(text: str) -> str:
    """(word:1.3) as compel writes it, (word)1.3, also in one another."""
    written, opened, joined = "", list[int](), JOINED.search(text)
    weighed = -1  # where the last weight ends
    for letter in text:
        escaped = written.endswith("\\")
        if letter == '"' and not (escaped or joined):
            written += "\\"  # else compel leaves it out
        if letter.isdigit() and weighed == len(written):
            written += " "  # else it would be a digit of the weight
        written += letter
        if letter == "(" and not escaped:
            opened.append(len(written) - 1)
        if letter == ")" and opened and not escaped:
            start = opened.pop()
            inner, count = WEIGHT.subn(_weight, written[start:])
            written = written[:start] + inner
            weighed = len(written) if count else -1
    return written


def _weight(end: re.Match[str]) -> str:
    try:
        weight = float(end[1])
    except ValueError:
        weight = -1.0
    if weight < 0:
        raise ArgumentError(f"the weight {end[1]!r} in the prompt; give one like (fox:1.3), from 0")
    return f"){weight:g}"


def _compel(model: Model) -> Any:
    try:
        import compel
    except ImportError as error:
        raise ArgumentError(
            "weighted needs the package compel, which is not installed; try pip install"
            " sagviz[weights]"
        ) from error
    kind = compel.CompelForSDXL if isinstance(model, SDXL) else compel.CompelForSD
    parts = {name: getattr(model, name) for name in model.PARTS}
    own = {n: unshared(part) if n.startswith("tokenizer") else part for n, part in parts.items()}
    return kind(SimpleNamespace(**own), device=str(execution_device(model.text_encoder)))
