"""The course in the notebooks: exercises that are checked where they stand, the plane, where
diffusion can be seen whole, and a judge of pictures.

    from sagviz.mini import course
    course.check("3.2", answer)
"""

from sagviz.mini.course import exercises as exercises
from sagviz.mini.course import plane as plane
from sagviz.mini.course.check import check as check
from sagviz.mini.course.seen import clear as clear
from sagviz.mini.course.seen import seen as seen
