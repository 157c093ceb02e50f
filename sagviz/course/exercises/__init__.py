"""The exercises, one file a notebook."""

from sagviz.course.exercises import attention as attention
from sagviz.course.exercises import by_hand as by_hand
from sagviz.course.exercises import guidance as guidance
from sagviz.course.exercises import learning as learning
from sagviz.course.exercises import noise as noise
