"""The guidance terms, one paper in one file; they add up, `CFG(3.0) + SAG(1.0)`."""

from sagviz.checks import check_number as check_number
from sagviz.guidance.apg import APG as APG
from sagviz.guidance.base import Ask as Ask
from sagviz.guidance.base import Guidance as Guidance
from sagviz.guidance.base import Term as Term
from sagviz.guidance.base import as_guidance as as_guidance
from sagviz.guidance.base import title_of as title_of
from sagviz.guidance.cfg import CFG as CFG
from sagviz.guidance.cg import CG as CG
from sagviz.guidance.cg import Classifier as Classifier
from sagviz.guidance.pag import PAG as PAG
from sagviz.guidance.rescale import Rescale as Rescale
from sagviz.guidance.sag import MASK_SOURCES as MASK_SOURCES
from sagviz.guidance.sag import SAG as SAG
from sagviz.guidance.seg import SEG as SEG
