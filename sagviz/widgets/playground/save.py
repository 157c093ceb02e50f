"""A run of the Playground as files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sagviz.describe import file_stem
from sagviz.errors import SagvizError
from sagviz.image import from_png, to_png
from sagviz.models import Model
from sagviz.player import page
from sagviz.player.stills import Progress
from sagviz.widgets.playground.made import Made

FACTOR, GAP = 4, 16  # how much larger than the pictures, pixels around them
TITLE = 1 / 14  # height of the words above, of a picture's width


def pair(made: Made, image: int) -> tuple[str, str, bytes]:
    """Both pictures side by side at four times their size, with what they are called: name, kind
    and bytes of a PNG, which has the settings of the second inside.
    """
    pictures = [from_png(content).convert("RGB") for content in made.pair(image)]
    width, height = (FACTOR * side for side in pictures[0].size)
    above = round(width * TITLE)
    sheet = Image.new("RGB", (2 * width + 3 * GAP, height + above + 2 * GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(0.7 * above)
    for number, (picture, name) in enumerate(zip(pictures, made.names, strict=True)):
        left = GAP + number * (width + GAP)
        pen.text((left, GAP / 2), name, fill="black", font=font)
        large = picture.resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(large, (left, above + GAP))
    settings = made.settings(image)[-1]
    return f"{file_stem(settings)}-pair.png", "image/png", to_png(sheet, settings.note())


def player(model: Model, progress: Progress, made: Made, image: int) -> tuple[str, str, bytes]:
    """Both runs, step by step, as one page that needs no kernel; predictions as the model decodes
    them, each of which is told to `progress` (done, total).
    """
    traces = with_steps(made).of_image(image)
    write = partial(page, traces, model=model, progress=progress)
    return _file(made, image, "html", "text/html", write)


def trace(made: Made, image: int) -> tuple[str, str, bytes]:
    """The run with SAG and all its steps, for `Trace.load`."""
    own = with_steps(made).of_image(image)[-1]
    return _file(made, image, "sagtrace", "application/octet-stream", own.save)


def with_steps(made: Made | None) -> Made:
    """The same, where it has steps to show.

    Raises:
        SagvizError: there is no run, or it has lost its steps to newer ones.
    """
    if made is None or not len(made.traces[-1]):
        raise SagvizError("there are no steps to show; press Run first")
    return made


def _file(
    made: Made, image: int, ending: str, kind: str, write: Callable[[Path], object]
) -> tuple[str, str, bytes]:
    name = f"{file_stem(made.settings(image)[-1])}.{ending}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return name, kind, path.read_bytes()
