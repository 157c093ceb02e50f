"""What a change at one step did: the run's own guided prediction, the changed one, and their
difference.
"""

from __future__ import annotations

from PIL import Image

from sagviz import describe
from sagviz.image import heat_map
from sagviz.models import Model
from sagviz.plot.decoder import Decoder
from sagviz.plot.display import Panel
from sagviz.plot.legend import bar
from sagviz.plot.pictures import TERM_COLOURS, magnitude, show
from sagviz.records.step import Step
from sagviz.records.trace import Trace

SHOWN = 384  # most pixels on a side of a decoded picture


def outcome(trace: Trace, step: Step, title: str, model: Model | Decoder | None = None) -> Panel:
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
    words = f"{describe.of_guidance(step.guidance)}, {how}"
    return Panel(picture, title, words, "x0_guided", sharp=model is None)


def difference(own: Step, changed: Step) -> Panel:
    """How far the guided predictions of two steps are apart in each cell of the first image."""
    size = (changed.x_t.shape[2], changed.x_t.shape[3])
    apart = magnitude(changed.x0_guided - own.x0_guided, size)
    most = float(apart.max())
    words = f"at most {most:.2f} latent units apart" if most else "no difference"
    picture = Image.fromarray(heat_map(apart, 0, most, TERM_COLOURS))
    legend = bar(TERM_COLOURS, 0, most) if most else ""
    return Panel(picture, "difference", words, "difference", legend)
