"""`Capture`: what to read of the attention during a run. `Captured`: what was read at one layer in
one step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sagviz.attention.layers import cross_of, find_layer, layers, path_of
from sagviz.attention.read import KINDS, Reading
from sagviz.errors import ArgumentError

if TYPE_CHECKING:
    from sagviz.models import Model

START, END = "[start]", "[end]"  # the text encoder's own tokens; padding counts as the end
MAX_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Capture:
    r"""What to read of a U-Net's attention. The pictures stay the same to the bit.

    Self-attention is read on the branch that guidance starts from (the unconditional one under CFG,
    where SAG's map comes from, else the single one), attention to words on the branch that is given
    the prompt.

    Args:
        layers: self-attention layers, "mid", a dotted path, several of them, or "all";
            `sagviz.attention.read.layers` lists them.
        what: one or several of "mass" (A_t: what each cell receives, its mean is 1), "row" (what
            the cell at `place` gives to each cell, summing to 1), "maps" (all of it, cell by cell:
            N^2 numbers) and "words" (what each cell gives to each word of the prompt, by the
            cross-attention beside the layer; with [start] and [end] it sums to 1 at each cell).
        place: (y, x) in cells of the latent, for "row"; a pixel's is the pixel divided by
            `model.pixels_per_cell`.
        heads: which heads; all where `None`.
        per_head: whether to keep heads apart instead of averaging them.
        steps: which evaluations: all (`None`), or their indices, such as `range(0, 50, 10)`.
        max_bytes: how much may be captured, in a step that is handed out and in all that a trace
            keeps; 2 GiB.
    """

    layers: str | tuple[str, ...] = "mid"
    what: str | tuple[str, ...] = "mass"
    place: tuple[int, int] | None = None
    heads: tuple[int, ...] | None = None
    per_head: bool = False
    steps: tuple[int, ...] | None = None
    max_bytes: int = MAX_BYTES

    def __post_init__(self) -> None:
        for name in ("layers", "what"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        for name in ("heads", "steps", "place"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None else _whole_numbers(name, value))
        if not self.layers or not all(isinstance(layer, str) for layer in self.layers):
            raise ArgumentError(
                f"layers is {self.layers!r}; give 'mid', 'all', or dotted paths of self-attention"
                " layers"
            )
        if not self.what or not set(self.what) <= set(KINDS):
            raise ArgumentError(
                f"what is {self.what!r}; give one or several of {', '.join(map(repr, KINDS))}"
            )
        if ("row" in self.what) != (self.place is not None) or len(self.place or (0, 0)) != 2:
            raise ArgumentError(
                f"place is {self.place!r} and what {self.what!r}; give place=(y, x) with 'row', and"
                " only then"
            )

    def acts(self, index: int) -> bool:
        """Whether evaluation `index` is read."""
        return self.steps is None or index in self.steps

    def resolved(self, model: Model, size: tuple[int, int]) -> Capture:
        """The same with "all" spelt out, as far as the layers have what is wanted, for a latent of
        `size` = (H, W).

        Raises:
            ArgumentError: a layer, a head or the place is not there.
        """
        y, x = self.place or (0, 0)
        if y >= size[0] or x >= size[1]:
            raise ArgumentError(
                f"place is {self.place}; give (y, x) in cells of the latent, which has {size[0]} x"
                f" {size[1]}"
            )
        if "words" in self.what and not model.reads_text:
            raise ArgumentError(
                f"{model.name} reads no words, so that there is no attention to them; leave"
                " 'words' out"
            )
        names = self.layers
        if self.layers == ("all",):
            every = layers(model.unet, size)
            names = tuple(
                name for name in every if "words" not in self.what or cross_of(model.unet, name)
            )
        for name in names:
            find_layer(model.unet, name, self.heads)
            if "words" in self.what and cross_of(model.unet, name) is None:
                raise ArgumentError(
                    f"no words at {name!r}: no cross-attention stands beside it; choose another"
                    " layer"
                )
        return replace(self, layers=names)

    def readings(self, *, words: bool) -> tuple[Reading, ...]:
        """What to read of the branch with the prompt (`words`), or of the one that guidance starts
        from.
        """
        return tuple(
            Reading(layer, kind, self.heads, self.per_head, self.place if kind == "row" else None)
            for layer in self.layers
            for kind in KINDS
            if kind in self.what and (kind == "words") == words
        )

    def bytes(
        self,
        model: Model,
        prompt: str = "",
        *,
        size: tuple[int, int] | None = None,
        images: int = 1,
        evaluations: int = 1,
    ) -> int:
        """Memory of what is captured, float32, in one evaluation or in as many as told.

        Args:
            model: the model to read.
            prompt: "words" keeps a map for each of its words.
            size: (height, width) in pixels; the model's own where `None`.
            images: pictures at once.
            evaluations: how many evaluations are read.
        """
        _, height, width = model.latent_shape(model.default_size if size is None else size)
        wanted = self.resolved(model, (height, width)).layers
        known, entries = (
            layers(model.unet, (height, width)),
            len(words_of(model, prompt)) if "words" in self.what else 0,
        )
        numbers = 0
        for name in wanted:
            layer = known[path_of(model.unet, name)]
            each = {"mass": 1, "row": 1, "maps": layer.tokens, "words": entries}
            heads = (
                1 if not self.per_head else layer.heads if self.heads is None else len(self.heads)
            )
            numbers += heads * layer.tokens * sum(each[kind] for kind in set(self.what))
        return 4 * numbers * images * evaluations

    def check(self, needed: int, what: str) -> None:
        """Refuse more than `max_bytes`."""
        if needed > self.max_bytes:
            raise ArgumentError(
                f"the attention captured in {what} needs {_readable(needed)}, more than max_bytes,"
                f" {_readable(self.max_bytes)}; capture fewer layers, averaged heads, 'mass'"
                " instead of 'maps', or fewer steps"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Captured:
    """What was read at one layer in one step: float32, `None` where it was not asked for.

    With `per_head` each tensor has the heads as a dimension after the first.

    Attributes:
        layer: the name that it was asked by.
        mass: A_t, (B, h, w): what each cell receives from all; its mean is 1.
        row: (B, h, w): what the cell at `place` gives to each; it sums to 1.
        maps: (B, N, N): what each cell (second dimension) gives to each (third), row by row of the
            grid.
        words: (B, W, h, w): what each cell gives to each of the `names`; at each cell they sum to
            1.
        names: the prompt's words as the tokenizer splits it, between "[start]" and "[end]" (which
            padding is part of).
        place: (y, x) of the row's query, in cells of the latent.
    """

    layer: str
    mass: Tensor | None = None
    row: Tensor | None = None
    maps: Tensor | None = None
    words: Tensor | None = None
    names: tuple[str, ...] = ()
    place: tuple[int, int] | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What there is, by its attribute."""
        return {kind: value for kind in KINDS if (value := getattr(self, kind)) is not None}

    def with_tensors(self, tensors: Mapping[str, Any]) -> Captured:
        """The same reading with other numbers: moved, or of fewer images."""
        return replace(self, **tensors)


@dataclass(frozen=True)
class Word:
    """A word of a prompt and its tokens, from `first` up to but without `beyond`."""

    name: str
    first: int
    beyond: int


def words_of(model: Model, prompt: str) -> list[Word]:
    """How the tokens of a prompt make up its words; CLIP's tokenizer marks the last piece of each
    by "</w>".
    """
    tokenizer = model.tokenizer
    # a tokenizer keeps padding and truncation as its own state, which threads would share
    with model.lock:
        ids = tokenizer(
            prompt, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
        ).input_ids
        end = ids.index(tokenizer.eos_token_id, 1)
        ends = [
            place + 1
            for place in range(1, end)
            if tokenizer.convert_ids_to_tokens(ids[place]).endswith("</w>")
        ]
        ends += [end] if ends[-1:] != [end] and end > 1 else []  # a word that was cut
        spans = list(zip([1, *ends], ends, strict=False))
        words = [
            Word(tokenizer.decode(ids[first:beyond]).strip(), first, beyond)
            for first, beyond in spans
        ]
    return [Word(START, 0, 1), *words, Word(END, end, len(ids))]


def captured_of(read: Mapping[Reading, Tensor], words: Sequence[Word] = ()) -> dict[str, Captured]:
    """The readings of one step by layer, those of tokens joined to words."""
    found: dict[str, dict[str, Any]] = {}
    for reading, value in read.items():
        parts = found.setdefault(reading.layer, {})
        if reading.kind == "words":
            parts["names"] = tuple(word.name for word in words)
            value = torch.stack(
                [value[..., word.first : word.beyond, :, :].sum(-3) for word in words], dim=-3
            )
        if reading.kind == "row":
            parts["place"] = reading.place
        parts[reading.kind] = value
    return {layer: Captured(layer=layer, **parts) for layer, parts in found.items()}


def _readable(amount: int) -> str:
    return f"{amount / 2**30:.2f} GiB" if amount >= 2**30 / 10 else f"{amount / 2**20:.2f} MiB"


def _whole_numbers(name: str, value: Any) -> tuple[int, ...]:
    """A tuple of whole numbers from 0 on, at least one."""
    listed = tuple(value) if isinstance(value, Collection) and not isinstance(value, str) else ()
    if not listed or not all(
        isinstance(number, int | np.integer) and number >= 0 for number in listed
    ):
        raise ArgumentError(
            f"{name} is {value!r}; give whole numbers from 0 on, at least one, such as (0, 3), or"
            " None"
        )
    return tuple(map(int, listed))
