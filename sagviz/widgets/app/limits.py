"""What one visitor may ask of a computer that many share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from sagviz.checks import MAX_STEPS, check_whole
from sagviz.errors import ArgumentError
from sagviz.sampling.prepare import Run


@dataclass(frozen=True)
class Limits:
    """Of one run, and of the class.

    Attributes:
        steps: of a run, 1 to 999.
        pictures: that a run may make; CFG and CFG + SAG of one seed are two.
        visitors: open pages at once.

    Raises:
        ArgumentError: a limit is none.

    Example:
        >>> from sagviz.widgets.app.limits import Limits
        >>> Limits(steps=100)
        Limits(steps=100, pictures=8, visitors=40)
    """

    steps: int = 200
    pictures: int = 8
    visitors: int = 40

    def __post_init__(self) -> None:
        for field in fields(self):
            low, high = (2, 4096) if field.name == "pictures" else (1, MAX_STEPS)
            check_whole(field.name, getattr(self, field.name), low, high)

    def check(self, runs: Sequence[Run]) -> None:
        """Refuse runs that are larger, or whose pictures are larger than the model's own.

        Raises:
            ArgumentError: says what was asked, and what this class may.
        """
        first = runs[0]
        asked = {
            "steps": max(run.settings.steps for run in runs),
            "pictures": sum(run.settings.images for run in runs),
        }
        for name, count in asked.items():
            if count > getattr(self, name):
                raise ArgumentError(
                    f"this run asks for {count} {name}; in this class a run may have"
                    f" {getattr(self, name)}: ask for fewer"
                )
        (height, width), (high, wide) = first.settings.size, first.model.default_size
        if height * width > high * wide:
            raise ArgumentError(
                f"{height} x {width} pixels are more than this class may draw; {high} x {wide} is"
                " the model's own size: ask for no more"
            )
