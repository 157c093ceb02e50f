"""What a change at one step did: the run's own guided prediction, the changed one, and their
difference.
"""

from __future__ import annotations

from PIL import Image

from sagviz import describe
from sagviz.image import heat_map
from sagviz.models import Model
from sagviz.plot.display import Panel, Panels
from sagviz.plot.pictures import TERM_COLOURS, magnitude, show
from sagviz.records.step import Step
from sagviz.records.trace import Trace

SHOWN = 384  # most pixels on a side of a decoded picture
# difference in latent units that is the brightest colour; a clean latent's values spread by about 1
BRIGHT = 1.0


def trial(trace: Trace, own: Step, changed: Step, model: Model | None = None) -> Panels:
    """The first image's guided predictions side by side.

    Args:
        trace: has the colours for latents.
        own: the run's own record of the step.
        changed: what `what_if` made of it.
        model: decodes the changed one, where it is given.
    """
    size = (changed.x_t.shape[2], changed.x_t.shape[3])
    apart = magnitude(changed.x0_guided - own.x0_guided, size)
    most = float(apart.max())
    where = f"at most {most:.2f} latent units apart" if most else "no difference"
    sides = (
        ("own", "the run's own guided x̂₀", own),
        ("x0_guided", "under these settings", changed),
    )
    panels = [
        Panel(show(step.x0_guided, trace, None), title, describe.of_guidance(step.guidance), name)
        for name, title, step in sides
    ]
    difference = Image.fromarray(heat_map(apart, 0, BRIGHT, TERM_COLOURS))
    words = f"{where}; black is 0, bright {BRIGHT:g}"
    panels.append(Panel(difference, "difference", words, "difference"))
    if model is not None:
        picture = model.decode(changed.x0_guided[:1])[0]
        picture.thumbnail((SHOWN, SHOWN))
        words = "what the decoder makes of these settings"
        panels.append(Panel(picture, "decoded", words, "decoded"))
    return Panels(tuple(panels), width=150)
