"""What a run of the Playground leaves: traces, pictures, small ones, and words about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL.Image import Resampling

from sagviz import describe
from sagviz.guidance import Guidance
from sagviz.image import enlarge, from_png, preview, to_jpeg, to_png
from sagviz.models import Model
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW = 256  # pixels of a preview's shorter side
THUMBNAIL, SMOOTH = 96, 512  # of the longer side of a small picture, and of one on the screen


@dataclass(frozen=True, eq=False)
class Made:
    """What a run left: its traces (cfg, cfg_sag), its pictures as PNG with settings inside, two for
    each image of the batch, small ones as JPEG, some words, the picture that it started from, and
    what there was to warn of.
    """

    traces: tuple[Trace, ...]
    pictures: tuple[bytes, ...]
    thumbnails: tuple[bytes, ...]
    words: str
    start: Image | None = None
    warnings: tuple[str, ...] = ()

    @staticmethod
    def of(
        traces: Sequence[Trace],
        model: Model,
        start: Image | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Made:
        """Of traces with at least one step. A run that was stopped has the predictions that it had
        reached for pictures.
        """
        images = [trace.images if trace.pictures else rough(trace[-1], model) for trace in traces]
        every = [
            (trace.settings.of_image(number), own[number])
            for number in range(len(images[0]))
            for trace, own in zip(traces, images, strict=True)
        ]
        return Made(
            tuple(traces),
            tuple(to_png(picture, settings.note()) for settings, picture in every),
            tuple(to_jpeg(scaled(picture, THUMBNAIL)) for _, picture in every),
            describe.of_run(traces[-1]),
            start,
            warnings,
        )

    @property
    def images(self) -> int:
        """How many pictures of each kind."""
        return self.traces[0].settings.images

    def pair(self, image: int) -> tuple[bytes, ...]:
        """The pictures of one seed, (cfg, cfg_sag)."""
        return self.pictures[2 * image : 2 * image + 2]

    def small(self, image: int) -> tuple[bytes, ...]:
        """The same as small pictures."""
        return self.thumbnails[2 * image : 2 * image + 2]

    def settings(self, image: int) -> tuple[Settings, ...]:
        """Those that make these two alone."""
        return tuple(trace.settings.of_image(image) for trace in self.traces)

    def of_image(self, image: int) -> tuple[Trace, ...]:
        """The runs of one seed alone."""
        return tuple(trace.of_image(image) for trace in self.traces)

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called."""
        first, second = (named(trace.settings.guidance) for trace in self.traces)
        return first, second

    @property
    def whole(self) -> bool:
        """Whether the run came to its end."""
        return all(trace.pictures for trace in self.traces)

    @property
    def nbytes(self) -> int:
        """Bytes of the steps."""
        return sum(trace.nbytes for trace in self.traces)

    @property
    def thinned(self) -> Made:
        """The same without its steps."""
        return replace(self, traces=tuple(replace(trace, steps=()) for trace in self.traces))


def named(guidance: Guidance) -> str:
    """A sum in its terms' titles: "CFG + SAG", "plain"."""
    return " + ".join(term.title for term in guidance.terms) or "plain"


def rough(step: Step, model: Model) -> list[Image]:
    """What the guided predictions mean, in the colours of latents: quick, a square for a cell."""
    cells = preview(step.x0_guided, model.latent_rgb)
    return [enlarge(picture, PREVIEW) for picture in cells]


def smooth(content: bytes) -> bytes:
    """A finished picture for the screen: a small one larger, which a browser would do less well."""
    picture = from_png(content).convert("RGB")
    return content if max(picture.size) >= SMOOTH else to_jpeg(scaled(picture, SMOOTH))


def scaled(picture: Image, longest: int) -> Image:
    """The same in another size, smooth."""
    factor = longest / max(picture.size)
    size = round(picture.width * factor), round(picture.height * factor)
    return picture.resize(size, Resampling.LANCZOS)
