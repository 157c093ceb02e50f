"""What a change at one step did: the run's own guided prediction, the changed one, and their
difference.
"""

from __future__ import annotations

from PIL import Image

from sagviz import describe
from sagviz.image import heat_map
from sagviz.models import Model
from sagviz.plot.display import Panel
from sagviz.plot.pictures import TERM_COLOURS, magnitude, show
from sagviz.records.step import Step
from sagviz.records.trace import Trace

SHOWN = 384  # most pixels on a side of a decoded picture
# difference in latent units that is the brightest colour; a clean latent's values spread by about 1
BRIGHT = 1.0


def outcome(trace: Trace, step: Step, title: str, model: Model | None = None) -> Panel:
    """The first image's guided prediction.

    Args:
        trace: has the colours for latents.
        step: the record that it is of.
        title: what the step is called.
        model: decodes it; without one it is the latent's preview.
    """
    picture = show(step.x0_guided, trace, model)
    picture.thumbnail((SHOWN, SHOWN))
    how = "latent preview" if model is None else "decoded"
    return Panel(picture, title, f"{describe.of_guidance(step.guidance)}, {how}", "x0_guided")


def difference(own: Step, changed: Step) -> Panel:
    """How far the guided predictions of two steps are apart in each cell of the first image."""
    size = (changed.x_t.shape[2], changed.x_t.shape[3])
    apart = magnitude(changed.x0_guided - own.x0_guided, size)
    most = float(apart.max())
    where = f"at most {most:.2f} latent units apart" if most else "no difference"
    picture = Image.fromarray(heat_map(apart, 0, BRIGHT, TERM_COLOURS))
    words = f"{where}; black is 0, bright {BRIGHT:g}"
    return Panel(picture, "difference", words, "difference")
