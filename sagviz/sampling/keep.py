"""Which steps a run keeps, and what memory one takes."""

from __future__ import annotations

import math
from collections.abc import Collection

from sagviz.checks import check_whole, plain
from sagviz.errors import ArgumentError
from sagviz.sampling.prepare import Run

Keep = int | Collection[int] | None  # every k-th and the last, these, or all


def kept_steps(keep: Keep, evaluations: int) -> set[int]:
    """The indices that `keep` means."""
    if keep is None:
        return set(range(evaluations))
    keep = plain(keep)
    if isinstance(keep, str):
        raise ArgumentError(
            f"keep is {keep!r}; give None for all steps, a whole number for every so manyth, or the"
            " indices of those to keep, such as [0, 9]"
        )
    if not isinstance(keep, Collection):
        every = check_whole("keep", keep, 1, evaluations)
        return {*range(0, evaluations, every), evaluations - 1}
    indices = [plain(index) for index in keep]
    wrong = [
        index for index in indices if not isinstance(index, int) or not 0 <= index < evaluations
    ]
    if wrong:
        raise ArgumentError(f"keep names the steps {wrong}; this run has 0 to {evaluations - 1}")
    return set(indices)


def record_bytes(run: Run) -> int:
    """Memory of one step in float32: x_t, x_next, an output for each branch, and what its terms
    keep, maps at the most.
    """
    guidance, shape = run.settings.guidance, run.inputs.shape
    latents = 3 + guidance.needs_both_branches
    kept = sum(term.kept_numbers(shape) for term in guidance.terms)
    return 4 * run.settings.images * (latents * math.prod(shape) + kept)
