"""The exercises, one file a notebook."""

from sagviz.mini.course.exercises import advice as advice
from sagviz.mini.course.exercises import attention as attention
from sagviz.mini.course.exercises import by_hand as by_hand
from sagviz.mini.course.exercises import evidence as evidence
from sagviz.mini.course.exercises import further as further
from sagviz.mini.course.exercises import guidance as guidance
from sagviz.mini.course.exercises import learning as learning
from sagviz.mini.course.exercises import noise as noise
