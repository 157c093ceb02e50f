"""`Trace`: a run that is kept, as a sequence of steps, and as one safe file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from PIL import Image
from torch import Tensor

from sagviz import html
from sagviz.checks import check_whole, plain
from sagviz.errors import ArgumentError, TraceError
from sagviz.files import save
from sagviz.guidance import Term
from sagviz.image import from_png
from sagviz.records import trace_file
from sagviz.records.settings import row_of
from sagviz.records.step import Step

FILMED = ("x_t", "x0_hat", "attention", "x0_guided")  # a film's pictures
PAGE_BYTES = 7_400_000  # of the player's page: 50 steps of Stable Diffusion with CFG + SAG


class Trace(trace_file.Content, Sequence[Step]):
    """A run: its kept steps in order, its settings, its pictures, and a linear map from latents to
    colours.

    `inputs` are the tensors that the run was given, such as embeddings, by name. `evaluations` is
    how many steps the whole run has; an interrupted run or one with `keep` holds
    fewer. `trace[i]` is the i-th kept step; its `index` says which evaluation it was.

    Example:
        >>> import sagviz as sv
        >>> trace = sv.trace(sv.load(), "a fox", seed=7, steps=4, keep=2, progress=False)
        >>> trace
        <Trace of 3/4 steps: 'a fox', seed 7, unguided>
        >>> [step.index for step in trace], trace.image.size
        ([0, 2, 3], (64, 64))
        >>> path = trace.save("fox.sagtrace")
        >>> sv.Trace.load(path).latents.equal(trace.latents)
        True
    """

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        return self.steps[index]

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        s, kept = self.settings, f"{len(self)}/{self.evaluations}"
        return f"<Trace of {kept} steps: {s.caption!r}, seed {s.seed}, {s.guidance}>"

    @property
    def latents(self) -> Tensor:
        """The latent after the last step, (B, C, H, W)."""
        last = self.steps[-1].x_next if self.steps else None
        if last is None:
            raise TraceError(
                "this trace holds no step, so it has no latents; run at least one step"
            )
        return last

    @property
    def images(self) -> list[Image.Image]:
        """The finished pictures, one for each image of the batch."""
        if not self.pictures:
            raise TraceError(
                "this run did not reach its end, so it has no picture; try"
                " model.decode(trace.latents)"
            )
        return [from_png(content) for content in self.pictures]

    @property
    def image(self) -> Image.Image:
        """The first finished picture."""
        return self.images[0]

    @property
    def acting(self) -> dict[str, Term]:
        """The terms of all its steps by name, as the run has them. A branch has those of the runs
        that it left too, as these had them, where it has none of the kind or gives it scale 0.
        """
        runs = [self.settings.guidance_at(step.index) for step in reversed(self.steps)]
        found: dict[str, Term] = {}
        for guidance in (self.settings.guidance, *runs):
            for term in guidance.terms:
                if term.name not in found or not found[term.name].peak:
                    found[term.name] = term
        return found

    @property
    def forwards(self) -> int:
        """Network calls of the kept steps."""
        return sum(step.forwards for step in self.steps)

    @property
    def samples(self) -> int:
        """Batch rows in those calls."""
        return sum(step.samples for step in self.steps)

    @property
    def nbytes(self) -> int:
        """Bytes that the steps hold in memory; what two of them share counts once."""
        held = {v.data_ptr(): v.nbytes for step in self.steps for v in step.tensors.values()}
        return sum(held.values())

    def position(self, index: int) -> int:
        """A position in the trace, from the front, of one that may count from the end.

        Raises:
            ArgumentError: there is no such step.
        """
        place = plain(index)
        if type(place) is not int or not -len(self) <= place < len(self):
            some = f"keeps {len(self)} of {self.evaluations} steps, at the positions"
            which = "has steps" if len(self) == self.evaluations else some
            raise ArgumentError(
                f"index is {place!r}; this trace {which} 0 to {len(self) - 1}, and -1 is the last"
            )
        return place % len(self)

    def as_step(self, step: int | Step) -> Step:
        """The step at a position, or a step as it is."""
        return step if isinstance(step, Step) else self[self.position(step)]

    def of_image(self, image: int) -> Trace:
        """The trace of one image of the batch, from 0.

        Raises:
            ArgumentError: there is no such image.
        """
        image = check_whole("image", image, 0, self.settings.images - 1)
        steps = tuple(step.of_image(image) for step in self.steps)
        pictures, settings = self.pictures[image : image + 1], self.settings.of_image(image)
        inputs = {name: row_of(value, image) for name, value in self.inputs.items()}
        return replace(self, settings=settings, steps=steps, pictures=pictures, inputs=inputs)

    def _repr_html_(self) -> str:
        """The player of at most 20 steps and a megabyte (`to_html` has all); without any kept step
        the finished pictures.
        """
        if self.steps:
            return html.viewer("trace fragment")(self)
        words = repr(self).strip("<>")
        shown = "".join(html.img(content, words) for content in self.pictures)
        return shown or f"<p>{html.escape(words)}</p>"

    def to_html(
        self,
        path: str | Path,
        *,
        max_bytes: int = PAGE_BYTES,
        image: int = 0,
        index: int | None = None,
        model: object = None,
    ) -> Path:
        """Write the player: one HTML file that shows every step, needs no kernel and no network,
        and opens on a phone.

        Args:
            path: an .html file in a folder that exists.
            max_bytes: bounds the stored tensors; where all steps would be more, fewer are shown.
            image: which image of a batch, from 0.
            index: of the step at which it opens, and which it prints; the middle one where `None`.
            model: from `load`, decodes the predictions, which come on top of `max_bytes`; without
                it they have their previews.

        Raises:
            ArgumentError: the file cannot be written, or there is no such image or step.
        """
        show = html.viewer("trace")
        return show(self, path, max_bytes=max_bytes, image=image, index=index, model=model)

    def to_video(
        self,
        path: str | Path,
        *,
        panes: Sequence[str] = FILMED,
        model: object = None,
        rate: float = 10.0,
        image: int = 0,
    ) -> Path:
        """Write the run as a film: these pictures of each kept step side by side, the last one for
        two seconds.

        Args:
            path: what it ends in says the kind: .gif or .webp, which repeat, or .mp4, for which
                `pip install 'sagviz[video]'`.
            panes: names of the pictures, of `x_t`, `x0_hat`, `attention`, `mask`, `x0_blurred`,
                `x_degraded`, `x0_guided`, `image` (the finished one) and the run's terms, such as
                `sag`.
            model: from `load`, decodes what is clean; without it latents have their own cells.
            rate: steps a second, from 0.1 to 60.
            image: which image of a batch, from 0.

        Raises:
            ArgumentError: the file cannot be written, is of another kind, or needs a package that
                is not installed; there is no such picture or image.
            TraceError: no step is kept.

        Example:
            >>> import sagviz as sv
            >>> trace = sv.trace(sv.load(), "a fox", steps=3, progress=False)
            >>> trace.to_video("fox.gif", panes=["x_t", "x0_guided"]).name
            'fox.gif'
        """
        show = html.viewer("trace video")
        return show(self, path, panes=panes, model=model, rate=rate, image=image)

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        return trace_file.to_bytes(self)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with a checksum, whole or not at all: no pickle, nothing runs
        when it is loaded.

        Raises:
            TraceError: it cannot be written.
        """
        return save(path, self.to_bytes(), TraceError)

    @staticmethod
    def load(path: str | Path) -> Trace:
        """Read a trace that `save` wrote, bit for bit.

        Raises:
            TraceError: the file is damaged, foreign or of another version.
        """
        return Trace(**vars(trace_file.from_path(path)))

    @staticmethod
    def from_bytes(content: bytes, name: str = "this") -> Trace:
        """The trace in the content of such a file; `name` is for the error.

        Raises:
            TraceError: it is damaged or foreign.
        """
        return Trace(**vars(trace_file.from_bytes(content, name)))
