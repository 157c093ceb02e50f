"""sagviz: Self-Attention Guidance, made visible. `sv.load()`, `sv.trace(...)`, `sv.compare(...)`,
`sv.report(...)` to begin.

The public names are loaded when first used, so that `import sagviz` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sagviz import measure as measure
    from sagviz import plot as plot
    from sagviz.attention.capture import Capture as Capture
    from sagviz.attention.captured import Captured as Captured
    from sagviz.errors import SagvizError as SagvizError
    from sagviz.errors import SagvizWarning as SagvizWarning
    from sagviz.guidance import APG as APG
    from sagviz.guidance import CFG as CFG
    from sagviz.guidance import CG as CG
    from sagviz.guidance import PAG as PAG
    from sagviz.guidance import SAG as SAG
    from sagviz.guidance import SEG as SEG
    from sagviz.guidance import Rescale as Rescale
    from sagviz.models import Model as Model
    from sagviz.models.load import load as load
    from sagviz.models.vocabulary import vocabulary as vocabulary
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

_HOME = {
    **dict.fromkeys(("APG", "CFG", "CG", "PAG", "Rescale", "SAG", "SEG"), "guidance"),
    "Capture": "attention.capture",
    "Captured": "attention.captured",
    **dict.fromkeys(("SagvizError", "SagvizWarning"), "errors"),
    **dict.fromkeys(("Model", "load"), "models"),
    "vocabulary": "models.vocabulary",
    "Step": "records.step",
    "Trace": "records.trace",
    **dict.fromkeys(("steps", "trace"), "sampling.loop"),
    **dict.fromkeys(("branch", "what_if"), "sampling.what_if"),
    "attend": "sampling.attend",
    "compare": "sampling.compare",
    "estimate": "sampling.estimate",
    **dict.fromkeys(("Sweep", "sweep"), "sweeps"),
    "report": "reports.report",
    **dict.fromkeys(("Grid", "Microscope", "Playground", "Preference", "Scrubber"), "widgets"),
}

__all__ = [*_HOME, "measure", "plot"]


def __getattr__(name: str) -> Any:
    if name in ("measure", "plot"):
        return import_module(f"sagviz.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'sagviz' has no attribute {name!r}")
    return getattr(import_module(f"sagviz.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
