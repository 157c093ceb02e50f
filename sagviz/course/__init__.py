"""The course in the notebooks: exercises that are checked where they stand, and the plane, where
diffusion can be seen whole.

    from sagviz import course
    course.check("3.2", answer)
"""

from sagviz.course import exercises as exercises
from sagviz.course import plane as plane
from sagviz.course.check import check as check
