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
    Of equal pictures there is no such part: they are shown whole.

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
    runs = [(describe.of_guidance(run.settings.guidance), run.image) for run in (one, other)]
    if same(one.image, other.image):
        none = Panel(_coloured(apart), "difference", "none: the pictures are the same")
        whole = [Panel(enlarge(image, SHOWN), name, "the whole picture") for name, image in runs]
        return Panels((none, *whole), columns=3)
    box = _most(apart)
    words = f"of the pixels; bright is {percent(float(apart.max()))} of their range"
    marked = Panel(_marked(apart, box), "difference", words)
    parts = [(name, enlarge(image.crop(box), SHOWN)) for name, image in runs]
    inside = [Panel(image, name, "inside the frame") for name, image in parts]
    return Panels((marked, *inside), columns=3)


def same(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are equal in every pixel."""
    return (one.size, one.mode, one.tobytes()) == (other.size, other.mode, other.tobytes())


def percent(share: float, digits: int = 0) -> str:
    """A share that is not 0 in percent, and so that it does not read as 0."""
    least = 10.0**-digits
    return f"{share:.{digits}%}" if 100 * share >= least else f"less than {least:g}%"


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
    shown = _coloured(apart)
    scale = shown.width // apart.shape[1]
    left, top, right, bottom = (scale * edge for edge in box)
    ImageDraw.Draw(shown).rectangle((left, top, right - 1, bottom - 1), outline="white", width=2)
    return shown


def _coloured(apart: Tensor) -> Image.Image:
    colours = heat_map(apart, 0, float(apart.max()), TERM_COLOURS)
    return enlarge(Image.fromarray(colours), SHOWN)
