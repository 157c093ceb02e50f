"""Where two finished pictures differ."""

from __future__ import annotations

from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from sagviz import describe
from sagviz.image import enlarge, from_images, heat_map
from sagviz.plot.display import Panel, Panels
from sagviz.plot.pictures import TERM_COLOURS
from sagviz.records.about_runs import about_runs
from sagviz.records.trace import Trace

PART = 3  # the part that is enlarged is a third as wide as the picture
SHOWN = 192  # least pixels on a side
Box = tuple[int, int, int, int]  # left, top, right, bottom


@about_runs
def difference(one: Trace, other: Trace) -> Panels:
    """Where the pictures of two runs differ, and the part of each where they do so most, enlarged.

    Args:
        one, other: runs that reached their end, of one size, e.g. what `compare` gives.

    Raises:
        ArgumentError: the pictures are of two sizes.

    Example:
        >>> import sagviz as sv
        >>> pair = sv.compare(sv.load(), "a fox", steps=2, progress=False)
        >>> [panel.title for panel in sv.plot.difference(*pair).panels]
        ['difference', 'CFG 3', 'CFG 3 + SAG 1']
    """
    apart = pixels_apart(one.image, other.image)
    box = _most(apart)
    words = f"of the pixels; bright is {float(apart.max()):.0%} of their range"
    panels = [Panel(_marked(apart, box), "difference", words)]
    for run in (one, other):
        name = describe.of_guidance(run.settings.guidance)
        panels.append(Panel(enlarge(run.image.crop(box), SHOWN), name, "inside the frame"))
    return Panels(tuple(panels), columns=3)


def pixels_apart(one: Image.Image, other: Image.Image) -> Tensor:
    """How far each pixel of two pictures of one size is from the other's, (H, W), 0 to 1: the mean
    over the channels.
    """
    first, second = from_images([one, other])
    return (first - second).abs().mean(dim=0) / 2


def _most(apart: Tensor) -> Box:
    """The square in which the sum is largest."""
    side = max(1, min(apart.shape) // PART)
    sums = F.avg_pool2d(apart[None, None], side, stride=1)[0, 0]
    top, left = divmod(int(sums.argmax()), sums.shape[1])
    return left, top, left + side, top + side


def _marked(apart: Tensor, box: Box) -> Image.Image:
    """The differences as colours, and a frame."""
    colours = heat_map(apart, 0, float(apart.max()), TERM_COLOURS)
    shown = enlarge(Image.fromarray(colours), SHOWN)
    scale = shown.width // apart.shape[1]
    left, top, right, bottom = (scale * edge for edge in box)
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline="white", width=2)
    return shown
