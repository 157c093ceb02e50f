"""Which steps a run keeps, and what memory one takes."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from sagviz.checks import check_whole
from sagviz.errors import ArgumentError
from sagviz.sampling.prepare import Run


def kept_steps(keep: int | Collection[int] | None, evaluations: int) -> set[int]:
    """The indices that `keep` means."""
    if keep is None:
        return set(range(evaluations))
    if isinstance(keep, int | float | np.number):
        check_whole("keep", keep, 1, evaluations)
        return {*range(0, evaluations, int(keep)), evaluations - 1}
    wrong = [
        index
        for index in keep
        if not isinstance(index, int | np.integer) or not 0 <= index < evaluations
    ]
    if wrong:
        raise ArgumentError(f"keep names the steps {wrong}; this run has 0 to {evaluations - 1}")
    return {int(index) for index in keep}


def record_bytes(run: Run) -> int:
    """Memory of one step in float32: x_t, x_next, an output for each branch, and what its terms
    keep, maps at the most.
    """
    guidance, (images, channels, height, width) = run.settings.guidance, run.start.shape
    latents = 3 + guidance.needs_both_branches
    kept = sum(term.kept_numbers((channels, height, width)) for term in guidance.terms)
    return 4 * (latents * run.start.numel() + images * kept)
