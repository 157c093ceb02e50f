"""The guidance terms, one paper in one file; they add up, `CFG(3.0) + SAG(1.0)`.

A term of your own is one class, in a notebook cell too. It has a name and a direction, and works
everywhere: in runs, files, what-if, branches, sweeps, plots, widgets and reports.

Example:
    >>> from dataclasses import dataclass
    >>> import sagviz as sv, torch
    >>> from sagviz.guidance import CFG, Term
    >>> @dataclass(frozen=True, repr=False)
    ... class Brighten(Term):
    ...     name = "brighten"
    ...     def in_noise(self, step):
    ...         return -0.1 * torch.ones_like(step.x_t)
    >>> total = CFG(3.0) + Brighten(0.5)
    >>> trace = sv.trace(sv.load(), "a fox", steps=2, guidance=total, progress=False)
    >>> trace[0].guidance, sorted(trace[0].terms)
    (CFG(3.0) + Brighten(0.5), ['brighten', 'cfg'])
"""

from sagviz.guidance.apg import APG as APG
from sagviz.guidance.base import Guidance as Guidance
from sagviz.guidance.base import Term as Term
from sagviz.guidance.cfg import CFG as CFG
from sagviz.guidance.cfg_zero import CFGZero as CFGZero
from sagviz.guidance.cg import CG as CG
from sagviz.guidance.fdg import FDG as FDG
from sagviz.guidance.nag import NAG as NAG
from sagviz.guidance.naming import as_guidance as as_guidance
from sagviz.guidance.naming import colour_of as colour_of
from sagviz.guidance.naming import title_of as title_of
from sagviz.guidance.pag import PAG as PAG
from sagviz.guidance.rescale import Rescale as Rescale
from sagviz.guidance.sag import MASK_SOURCES as MASK_SOURCES
from sagviz.guidance.sag import SAG as SAG
from sagviz.guidance.schedule import Schedule as Schedule
from sagviz.guidance.schedule import schedule as schedule
from sagviz.guidance.seg import SEG as SEG
from sagviz.guidance.slg import SLG as SLG
from sagviz.guidance.ssg import SSG as SSG
from sagviz.guidance.tpg import TPG as TPG
from sagviz.guidance.views import Classifier as Classifier
from sagviz.guidance.views import UNetRequest as UNetRequest
