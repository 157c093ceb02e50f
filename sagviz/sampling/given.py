"""Embeddings that are given in place of prompts, checked."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import shown
from sagviz.errors import ArgumentError, warn
from sagviz.guidance import Guidance
from sagviz.models import Model
from sagviz.records.settings import EMBEDDINGS, NEGATIVE, OF_PROMPT, Text


def checked_embeddings(
    model: Model,
    guidance: Guidance,
    prompts: Mapping[str, Text],
    images: int,
    given: Mapping[str, object],
    *,
    warns: bool,
) -> dict[str, Tensor]:
    """The embeddings that were given, float32 on the CPU.

    Args:
        prompts: what they take the place of: "" and "negative_" to the text of that branch.
        images: they are of one row, or of so many.
        given: by the names in `EMBEDDINGS`; `None` is not given.
        warns: whether to warn of what does nothing.

    Raises:
        ArgumentError: one does not fit the model, the other ones, or a text beside it.
    """
    there = {name: given[name] for name in EMBEDDINGS if given[name] is not None}
    if not there:
        return {}
    if not model.embedding_widths:
        raise ArgumentError(f"{min(there)} is given, and {model.name} reads no text; leave it out")
    found = {name: _checked(model, name, value, images) for name, value in there.items()}
    for sign, text in prompts.items():
        _check_branch(model, sign, text, found)
    if guidance.needs_both_branches:
        _check_lengths(model, found)
    elif warns and any(name.startswith(NEGATIVE) for name in found):
        warn("negative_prompt_embeds does nothing without CFG; add CFG(3.0) to the guidance")
    return found


def check_words(capture: Capture, embeddings: Mapping[str, Tensor]) -> None:
    """Refuse to read attention to words where there are none."""
    if "words" in capture.what and OF_PROMPT[0] in embeddings:
        raise ArgumentError(
            "capture asks for the attention to words, and prompt_embeds has none to name; give"
            " prompt=, or capture without 'words'"
        )


def _checked(model: Model, name: str, value: object, images: int) -> Tensor:
    pooled = "pooled" in name
    widths = dict(zip((False, True), model.embedding_widths, strict=False))
    if pooled not in widths:
        raise ArgumentError(f"{name} is given, and {model.name} has no use for it; leave it out")
    wanted = f"(1 or {images}, {'' if pooled else 'tokens, '}{widths[pooled]})"
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{name} is {shown(value)}; give a tensor {wanted}")
    shape = tuple(value.shape)
    fits = len(shape) == 3 - pooled and shape[0] in (1, images) and shape[-1] == widths[pooled]
    if not fits or not value.isfinite().all():
        state = "" if value.isfinite().all() else " and NaN or infinity in it"
        raise ArgumentError(f"{name} has the shape {shape}{state}; {model.name} takes {wanted}")
    return value.detach().float().cpu().clone()


def _check_branch(model: Model, sign: str, text: Text, found: Mapping[str, Tensor]) -> None:
    """Refuse embeddings of a branch that are not all there, or beside a text for the same."""
    names = [sign + name for name in OF_PROMPT[: len(model.embedding_widths)]]
    there = [name for name in names if name in found]
    if there and there != names:
        raise ArgumentError(
            f"{there[0]} is given alone, and {model.name} takes {' and '.join(names)}; give both"
        )
    other = f"{sign}prompt" if text.words else "clip_skip" if text.clip_skip is not None else None
    if there and other:
        raise ArgumentError(f"{other} and {there[0]} are both given; give one of the two")


def _check_lengths(model: Model, found: Mapping[str, Tensor]) -> None:
    """Refuse branches of different lengths, whose rows go in one U-Net call."""
    usual = model.tokenizer.model_max_length
    one, other = (
        found[name].shape[1] if name in found else usual
        for name in (OF_PROMPT[0], NEGATIVE + OF_PROMPT[0])
    )
    if one != other:
        raise ArgumentError(
            f"the prompt has {one} tokens and the negative one {other}, and with CFG they go"
            " together; give prompt_embeds and negative_prompt_embeds of one length"
        )
