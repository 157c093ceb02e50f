"""sagviz: Self-Attention Guidance (SAG), made visible.

    import sagviz as sv
    from sagviz import CFG, SAG

Run a model
    load        the bundled miniature, a folder, a hub name or a diffusers pipeline, as a `Model`
    trace       run to the end and keep every step, as a `Trace`
    steps       the same as a generator of `Step`
    compare     CFG and CFG + SAG from the same noise
    estimate    what memory a run would take
    vocabulary  the words that a small model was taught
    weighted    a prompt with weights, "a (red:1.3) fox", as embeddings

Guidance, in any sum: CFG(3.0) + SAG(1.0)
    CFG         classifier-free guidance
    SAG         self-attention guidance
    PAG, SEG    perturbed-attention guidance, smoothed-energy guidance
    TPG, SSG    token perturbation guidance, self-swap guidance
    SLG, NAG    skip-layer guidance, normalized attention guidance
    APG, FDG    adaptive projected guidance, frequency-decoupled guidance
    CFGZero     CFG-Zero*
    CG          classifier guidance
    Rescale     guidance rescale
    schedule    a scale that changes over the run: CFG(schedule("cosine", 1, 7))
    guidance.Term  the base of a term of your own

Ask of a run
    what_if     one step under another guidance
    branch      another guidance from one step on
    attend      where one place of the picture attends to
    atlas       every guidance term at one step beside the others
    layers      what each layer and head does at one step, ranked
    Capture     what to read of the attention during a run, kept as `Captured`

Many runs
    sweep       every combination of settings, resumable, as a `Sweep`

See it
    plot        pictures of a step, of a run, of a sweep
    measure     numbers about them
    Playground, Microscope, Scrubber, Grid, Preference  widgets
    report      one HTML file about a run
    live_page   one HTML file that makes runs itself

What goes wrong is a `SagvizError`, what is ignored a `SagvizWarning`: one sentence each.
`help(sv.trace)` tells of one name; ARCHITECTURE.md of the rooms below.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sagviz.html import VIEWERS

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sagviz import guidance as guidance
    from sagviz import measure as measure
    from sagviz import plot as plot
    from sagviz.attention.capture import Capture as Capture
    from sagviz.attention.captured import Captured as Captured
    from sagviz.errors import SagvizError as SagvizError
    from sagviz.errors import SagvizWarning as SagvizWarning
    from sagviz.guidance import APG as APG
    from sagviz.guidance import CFG as CFG
    from sagviz.guidance import CG as CG
    from sagviz.guidance import FDG as FDG
    from sagviz.guidance import NAG as NAG
    from sagviz.guidance import PAG as PAG
    from sagviz.guidance import SAG as SAG
    from sagviz.guidance import SEG as SEG
    from sagviz.guidance import SLG as SLG
    from sagviz.guidance import SSG as SSG
    from sagviz.guidance import TPG as TPG
    from sagviz.guidance import CFGZero as CFGZero
    from sagviz.guidance import Rescale as Rescale
    from sagviz.guidance import schedule as schedule
    from sagviz.models import Model as Model
    from sagviz.models.load import load as load
    from sagviz.models.vocabulary import vocabulary as vocabulary
    from sagviz.models.weighted import weighted as weighted
    from sagviz.player.live.page import live_page as live_page
    from sagviz.plot.atlas import atlas as atlas
    from sagviz.plot.layers import layers as layers
    from sagviz.records.step import Step as Step
    from sagviz.records.trace import Trace as Trace
    from sagviz.reports.report import report as report
    from sagviz.sampling.attend import attend as attend
    from sagviz.sampling.compare import compare as compare
    from sagviz.sampling.estimate import estimate as estimate
    from sagviz.sampling.loop import steps as steps
    from sagviz.sampling.loop import trace as trace
    from sagviz.sampling.what_if import branch as branch
    from sagviz.sampling.what_if import what_if as what_if
    from sagviz.sweeps import Sweep as Sweep
    from sagviz.sweeps import sweep as sweep
    from sagviz.widgets import Grid as Grid
    from sagviz.widgets import Microscope as Microscope
    from sagviz.widgets import Playground as Playground
    from sagviz.widgets import Preference as Preference
    from sagviz.widgets import Scrubber as Scrubber

# Names are loaded when first used, so that `import sagviz` costs nothing. There is no __all__:
# help(sagviz) would print every class behind it instead of the map above.
_ROOMS = ("guidance", "measure", "plot")
_HOME = {
    **dict.fromkeys(("APG", "CFG", "CFGZero", "CG", "FDG", "NAG", "PAG", "Rescale"), "guidance"),
    **dict.fromkeys(("SAG", "SEG", "SLG", "SSG", "TPG", "schedule"), "guidance"),
    "Capture": "attention.capture",
    "Captured": "attention.captured",
    **dict.fromkeys(("SagvizError", "SagvizWarning"), "errors"),
    **dict.fromkeys(("Model", "load"), "models"),
    "vocabulary": "models.vocabulary",
    "weighted": "models.weighted",
    "Step": "records.step",
    "Trace": "records.trace",
    **dict.fromkeys(("steps", "trace"), "sampling.loop"),
    **dict.fromkeys(("branch", "what_if"), "sampling.what_if"),
    "atlas": "plot.atlas",
    "attend": "sampling.attend",
    "layers": "plot.layers",
    "live_page": "player.live.page",
    "compare": "sampling.compare",
    "estimate": "sampling.estimate",
    **dict.fromkeys(("Sweep", "sweep"), "sweeps"),
    "report": "reports.report",
    **dict.fromkeys(("Grid", "Microscope", "Playground", "Preference", "Scrubber"), "widgets"),
}

VIEWERS |= {
    "trace": "sagviz.player:page",
    "trace fragment": "sagviz.player:fragment",
    "trace video": "sagviz.plot.video:write",
    "sweep": "sagviz.player.sweep_page:page",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"sagviz.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'sagviz' has no attribute {name!r}")
    return getattr(import_module(f"sagviz.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*_HOME, *_ROOMS))
