"""`Capture`: what to read of the attention during a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sagviz.attention.layers import (
    check_shared,
    cross_of,
    find_cross,
    find_layer,
    has_text,
    layers,
    path_of,
)
from sagviz.attention.read import KINDS, OF_TEXT, Reading
from sagviz.attention.words import TextModel, words_of
from sagviz.checks import check_number, check_wholes, format_bytes
from sagviz.checks.classes import NamesArguments
from sagviz.errors import ArgumentError

MAX_BYTES = 2 * 2**30


class AttentionModel(TextModel, Protocol):
    """What is needed of a model to say what can be read, and how large it is."""

    @property
    def name(self) -> str: ...
    @property
    def network(self) -> Any: ...
    @property
    def default_size(self) -> tuple[int, int]: ...
    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]: ...


@dataclass(frozen=True)
class Capture(metaclass=NamesArguments):
    r"""What to read of a network's attention. The pictures stay the same to the bit.

    Self-attention is read on the branch that guidance starts from (the unconditional one under CFG,
    where SAG's map comes from, else the single one), attention to words on the branch that is given
    the prompt.

    Args:
        layers: self-attention layers, "mid", a dotted path, several of them, or "all";
            `sagviz.attention.layers.layers` lists them.
        what: one or several of "mass" (A_t: what each cell receives, its mean is 1), "row" (what
            the cell at `place` gives to each cell, summing to 1), "maps" (all of it, cell by cell:
            N^2 numbers), "words" (what each cell gives to each word of the prompt, by the
            cross-attention beside the layer; with [start] and [end] it sums to 1 at each cell) and
            "text" (where picture and text share a softmax, as in SD3 and Flux: the share that each
            cell gives to the text, to which "words" sums there; the others are of the picture's
            part, renormalised).
        place: (y, x) in cells of the latent, for "row"; a pixel's is the pixel divided by
            `model.pixels_per_cell`.
        heads: which heads; all where `None`.
        per_head: whether to keep heads apart instead of averaging them.
        steps: which evaluations: all (`None`), or their indices, such as `range(0, 50, 10)`.
        max_bytes: how much may be captured, in a step that is handed out and in all that a trace
            keeps; 2 GiB.

    Example:
        >>> import sagviz as sv
        >>> read = sv.Capture("mid", "words", steps=(0,))
        >>> trace = sv.trace(sv.load(), "a fox", steps=2, capture=read, progress=False)
        >>> [list(step.captured) for step in trace]
        [['mid'], []]
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
            several = isinstance(value, Iterable) and not isinstance(value, str)
            object.__setattr__(self, name, tuple(value) if several else (value,))
        check_number("max_bytes", self.max_bytes, 0)
        for name in ("heads", "steps", "place"):
            value = getattr(self, name)
            object.__setattr__(self, name, value if value is None else check_wholes(name, value))
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

    def resolved(self, model: AttentionModel, size: tuple[int, int]) -> Capture:
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
        if "words" in self.what and model.tokenizer is None:
            raise ArgumentError(
                f"{model.name} reads no words, so that there is no attention to them; leave"
                " 'words' out"
            )
        names = self.layers
        if self.layers == ("all",):
            every = layers(model.network, size)
            names = tuple(
                name
                for name in every
                if ("words" not in self.what or cross_of(model.network, name))
                and ("text" not in self.what or has_text(model.network, name))
            )
        for name in names or self.layers:
            find_layer(model.network, name, self.heads)
            if "words" in self.what:
                find_cross(model.network, name)
            if "text" in self.what:
                check_shared(model.network, name)
        return replace(self, layers=names)

    def readings(self, *, words: bool) -> tuple[Reading, ...]:
        """What to read of the branch with the prompt (`words`: what concerns the text), or of the
        one that guidance starts from.
        """
        return tuple(
            Reading(layer, kind, self.heads, self.per_head, self.place if kind == "row" else None)
            for layer in self.layers
            for kind in KINDS
            if kind in self.what and (kind in OF_TEXT) == words
        )

    def bytes(
        self,
        model: AttentionModel,
        prompt: str = "",
        *,
        size: tuple[int, int] | None = None,
        images: int = 1,
        evaluations: int = 1,
    ) -> int:
        """Memory of what is captured, float32, in `evaluations` of them.

        Args:
            model: the model to read.
            prompt: "words" keeps a map for each of its words.
            size: (height, width) in pixels; the model's own where `None`.
            images: pictures at once.
            evaluations: how many evaluations are read.

        Example:
            >>> import sagviz as sv
            >>> sv.Capture("mid", "mass").bytes(sv.load(), evaluations=50)  # 8 x 8 cells
            12800
        """
        _, height, width = model.latent_shape(model.default_size if size is None else size)
        wanted, known = (
            self.resolved(model, (height, width)),
            layers(model.network, (height, width)),
        )
        words = len(words_of(model, prompt)) if "words" in self.what else 0
        numbers = 0
        for name in wanted.layers:
            layer = known[path_of(model.network, name)]
            heads = len(self.heads or range(layer.heads)) if self.per_head else 1
            a_cell = {"mass": 1, "row": 1, "maps": layer.tokens, "words": words, "text": 1}
            numbers += heads * layer.tokens * sum(a_cell[kind] for kind in set(self.what))
        return 4 * numbers * images * evaluations

    def check(self, needed: int, what: str) -> None:
        """Refuse more than `max_bytes`."""
        if needed > self.max_bytes:
            raise ArgumentError(
                f"the attention captured in {what} needs {format_bytes(needed)}, more than"
                f" max_bytes, {format_bytes(self.max_bytes)}; capture fewer layers, averaged heads,"
                " 'mass' instead of 'maps', or fewer steps"
            )
