"""A run as a film: chosen pictures of each kept step side by side, as MP4, GIF or WebP."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from sagviz.checks import check_number, check_whole
from sagviz.describe import QUANTITIES, push_title
from sagviz.errors import ArgumentError, TraceError
from sagviz.files import expanded, save
from sagviz.guidance import Term
from sagviz.image import heat_map
from sagviz.models import Model, as_model
from sagviz.plot.montage import Tile, montage
from sagviz.plot.panels import BEFORE_TERMS
from sagviz.plot.pictures import TERM_COLOURS, StepPictures, magnitude, top
from sagviz.records.step import Step
from sagviz.records.trace import Trace

KINDS = (".mp4", ".gif", ".webp")
SIDE = 256  # pixels of a picture's longer side
LAST = 2.0  # seconds that the last step stays
PICTURES = (*BEFORE_TERMS, "x0_guided", "image")
INSTALL = (
    "an MP4 needs imageio-ffmpeg, which is not installed; try pip install 'sagviz[video]', or give"
    " a path that ends in .gif or .webp"
)


@dataclass(frozen=True, eq=False)
class Film:
    """The frames of a run.

    Attributes:
        trace: of one image.
        panes: names of the pictures, from left to right.
        model: decodes clean latents, where it is given.
        highest: the size that has the brightest colour, of attention and of each term.
    """

    trace: Trace
    panes: Sequence[str]
    model: Model | None
    highest: dict[str, float]

    @staticmethod
    def of(trace: Trace, panes: Sequence[str], model: Model | None) -> Film:
        """With one colour scale for all steps. A term's ends at the upper quartile of the steps'
        largest, because one step alone may be far above all others.
        """
        largest: dict[str, list[float]] = {}
        for step in trace:
            for name in set(panes) & set(step.terms):
                most = float(magnitude(step.terms[name], _size(step)).max())
                largest.setdefault(name, []).append(most)
        ends = {name: float(np.quantile(sizes, 0.75)) for name, sizes in largest.items()}
        return Film(trace, panes, model, {"attention": top(trace), **ends})

    def frames(self) -> Iterator[Image.Image]:
        """Of each kept step one, all of one size."""
        return map(self._frame, self.trace)

    def _frame(self, step: Step) -> Image.Image:
        # figure spaces: every caption has as many letters, so that all take as many lines
        number = str(step.number).rjust(len(str(self.trace.evaluations)), "\u2007")
        words = f"“{self.trace.settings.caption}”, seed {self.trace.settings.seed}"
        caption = f"{words}: step {number} of {self.trace.evaluations}"
        pictures = StepPictures(self.trace, step, self.model, self.highest["attention"])
        tiles = [self._tile(name, pictures) for name in self.panes]
        made = montage([""], [_title(name) for name in self.panes], [tiles], self.size, caption)
        # most players want even sides
        return made.crop((0, 0, made.width // 2 * 2, made.height // 2 * 2))

    def _tile(self, name: str, pictures: StepPictures) -> Tile:
        picture = self._picture(name, pictures)
        if picture is None:
            return Tile(None, "none at this step")
        how = Image.Resampling.NEAREST if pictures.is_sharp(name) else Image.Resampling.LANCZOS
        return Tile(picture.resize(self.size, how))

    def _picture(self, name: str, pictures: StepPictures) -> Image.Image | None:
        step = pictures.step
        if name == "image":
            return self.trace.image if step is self.trace[-1] and self.trace.pictures else None
        if name in step.terms:
            lengths = magnitude(step.terms[name], _size(step))
            return Image.fromarray(heat_map(lengths, 0, self.highest[name], TERM_COLOURS))
        there = name in PICTURES and QUANTITIES[name].is_there(step)
        return pictures.of(name) if there else None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a picture."""
        height, width = _size(self.trace[0])
        scale = SIDE / max(height, width)
        return round(width * scale), round(height * scale)


def write(
    trace: Trace,
    path: str | Path,
    *,
    panes: Sequence[str],
    model: Model | None,
    rate: float,
    image: int,
) -> Path:
    """See `Trace.to_video`."""
    path = expanded(path)
    if path.suffix.lower() not in KINDS:
        raise ArgumentError(f"{path} is no video's name; give one that ends in {', '.join(KINDS)}")
    if not len(trace):
        raise TraceError("this trace holds no step to show; run at least one")
    rate = check_number("rate", rate, 0.1, 60)
    one = trace.of_image(check_whole("image", image, 0, len(trace[0].x_t) - 1))
    known = (*PICTURES, *trace.acting)
    if isinstance(panes, str) or not panes or not set(panes) <= set(known):
        raise ArgumentError(f"panes is {panes!r}; give some of {', '.join(known)} in a list")
    frames = Film.of(one, panes, None if model is None else as_model(model)).frames()
    make = _mp4 if path.suffix.lower() == ".mp4" else _animation
    return save(path, make(frames, path.suffix.lower()[1:], rate, len(one)))


def _animation(frames: Iterable[Image.Image], kind: str, rate: float, count: int) -> bytes:
    """GIF or WebP, which repeat."""
    first, *rest = frames
    pause = round(1000 / rate)
    durations = [pause] * (count - 1) + [round(1000 * LAST)]
    buffer = io.BytesIO()
    first.save(
        buffer, kind, save_all=True, append_images=rest, duration=durations, loop=0, quality=90
    )
    return buffer.getvalue()


def _mp4(frames: Iterable[Image.Image], kind: str, rate: float, count: int) -> bytes:
    """H.264, which every browser plays."""
    del count
    try:
        import imageio_ffmpeg
    except ModuleNotFoundError as error:
        raise ArgumentError(INSTALL) from error
    pictures = iter(frames)
    first = next(pictures)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"film.{kind}"
        writer = imageio_ffmpeg.write_frames(
            str(file), first.size, fps=rate, quality=8, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        content = b""
        for frame in chain([first], pictures):
            content = frame.tobytes()
            writer.send(content)
        for _ in range(round(LAST * rate) - 1):  # the last one stays
            writer.send(content)
        writer.close()
        return file.read_bytes()


def _size(step: Step) -> tuple[int, int]:
    height, width = step.x_t.shape[2:]
    return height, width


def _title(name: str) -> str:
    return QUANTITIES[name].title if name in QUANTITIES else push_title(Term.kinds[name])
