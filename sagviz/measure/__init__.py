"""Numbers: about a step and a run, about a picture, about sets of pictures.

The measures of a step are plain floats; NaN stands where a step has not what is measured.
"""

from sagviz.measure.masks import iou as iou
from sagviz.measure.pictures import contrast as contrast
from sagviz.measure.pictures import of_picture as of_picture
from sagviz.measure.pictures import saturation as saturation
from sagviz.measure.pictures import sharpness as sharpness
from sagviz.measure.sets import PrecisionRecall as PrecisionRecall
from sagviz.measure.sets import frechet as frechet
from sagviz.measure.sets import precision_recall as precision_recall
from sagviz.measure.spectrum import fine_share as fine_share
from sagviz.measure.spectrum import spectrum as spectrum
from sagviz.measure.steps import cosine as cosine
from sagviz.measure.steps import coverage as coverage
from sagviz.measure.steps import entropy as entropy
from sagviz.measure.steps import equivalent_cfg as equivalent_cfg
from sagviz.measure.steps import margin as margin
from sagviz.measure.steps import of_run as of_run
from sagviz.measure.steps import of_step as of_step
from sagviz.measure.steps import of_trace as of_trace
from sagviz.measure.steps import rms as rms
from sagviz.measure.steps import undecided as undecided
