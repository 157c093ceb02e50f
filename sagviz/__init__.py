"""sagviz: Self-Attention Guidance, made visible. `sv.load()`, `sv.trace(...)`, `sv.compare(...)`, `sv.report(...)` to begin.

The public names are loaded when first used, so that `import sagviz` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sagviz import measure as measure
    from sagviz import plot as plot
    from sagviz.captures import Capture as Capture
    from sagviz.captures import Captured as Captured
    from sagviz.comparison import compare as compare
    from sagviz.errors import SagvizError as SagvizError
    from sagviz.errors import SagvizWarning as SagvizWarning
    from sagviz.guidance import APG as APG
    from sagviz.guidance import CFG as CFG
    from sagviz.guidance import CG as CG
    from sagviz.guidance import PAG as PAG
    from sagviz.guidance import SAG as SAG
    from sagviz.guidance import SEG as SEG
    from sagviz.guidance import Rescale as Rescale
    from sagviz.memory import estimate as estimate
    from sagviz.models import Model as Model
    from sagviz.models import load as load
    from sagviz.probe import attend as attend
    from sagviz.records import Step as Step
    from sagviz.reports import report as report
    from sagviz.sampling import steps as steps
    from sagviz.sampling import trace as trace
    from sagviz.sweeps import Sweep as Sweep
    from sagviz.sweeps import sweep as sweep
    from sagviz.traces import Trace as Trace
    from sagviz.whatif import branch as branch
    from sagviz.whatif import what_if as what_if
    from sagviz.widgets import Grid as Grid
    from sagviz.widgets import Microscope as Microscope
    from sagviz.widgets import Playground as Playground
    from sagviz.widgets import Preference as Preference
    from sagviz.widgets import Scrubber as Scrubber
    from sagviz.words import vocabulary as vocabulary

_HOME = {
    "APG": "guidance", "CFG": "guidance", "CG": "guidance", "PAG": "guidance", "Rescale": "guidance", "SAG": "guidance",
    "SEG": "guidance", "Model": "models", "SagvizError": "errors", "SagvizWarning": "errors",
    "Step": "records", "Trace": "traces", "compare": "comparison", "load": "models", "report": "reports",
    "Sweep": "sweeps", "branch": "whatif", "steps": "sampling", "sweep": "sweeps", "trace": "sampling", "vocabulary": "words",
    "estimate": "memory", "what_if": "whatif",
    "Capture": "captures", "Captured": "captures", "attend": "probe",
    "Grid": "widgets", "Microscope": "widgets", "Playground": "widgets", "Preference": "widgets", "Scrubber": "widgets",
}  # fmt: skip

__all__ = [*_HOME, "measure", "plot"]


def __getattr__(name: str) -> Any:
    if name in ("measure", "plot"):
        return import_module(f"sagviz.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'sagviz' has no attribute {name!r}")
    return getattr(import_module(f"sagviz.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
