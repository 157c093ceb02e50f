"""Numbers about a step: how long each guidance term is, where it points, what it amounts to, how
sure the mask is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.guidance import SAG

if TYPE_CHECKING:
    from sagviz.records.step import Step

NAN = float("nan")
CLOSE = 0.01  # |A - psi| under which a cell of the map counts as undecided; the map averages 1


def rms(x: Tensor) -> float:
    """Root mean square: the length of a latent, free of its size. Unit noise has 1."""
    return float(x.square().mean().sqrt())


def cosine(a: Tensor, b: Tensor) -> float:
    """Cosine of the angle between two latents, averaged over the batch."""
    return float(F.cosine_similarity(a.flatten(1), b.flatten(1)).mean())


def coverage(step: Step) -> float:
    """Fraction of the latent that the mask covers, 0..1; NaN where there is no mask."""
    return NAN if step.mask is None else float(step.mask.mean())


def margin(step: Step) -> float:
    """The smallest |A_t - psi| of the map's cells, in units of the mean attention; NaN where no
    threshold makes the mask.

    Where it is tiny, rounding decides on which side of the mask a cell falls; of the sources of
    equal area, how large that is.
    """
    distance = _to_threshold(step)
    return NAN if distance is None else float(distance.min())


def undecided(step: Step, within: float = CLOSE) -> float:
    """Fraction of the map's cells, 0..1, whose |A_t - psi| is under `within`; NaN where no
    threshold makes the mask.
    """
    distance = _to_threshold(step)
    return NAN if distance is None else float((distance < within).float().mean())


def _to_threshold(step: Step) -> Tensor | None:
    sag = step.guidance.get(SAG)
    if (
        sag is None
        or sag.mask_source == "none"
        or step.attention is None
        or step.hand_mask is not None
    ):
        return None
    return (step.attention - sag.threshold).abs()


def entropy(attention: Tensor) -> float:
    r"""Entropy of the attention received, as a distribution over the cells: :math:`-\sum p \ln p /
    \ln N`, mean of the batch.

    1 is attention spread evenly, 0 all of it on one cell. A map of a single cell is even.

    Args:
        attention: A_t, (B, h, w), not negative.
    """
    flat = attention.double().flatten(1)
    cells = flat.shape[1]
    if cells == 1:
        return 1.0
    return float(
        torch.special.entr(flat / flat.sum(1, keepdim=True)).sum(1).mean() / math.log(cells)
    )


def equivalent_cfg(step: Step) -> float:
    r"""The CFG scale that comes nearest to the whole update: its projection on :math:`d =
    \epsilon(x_t, c) - \epsilon(x_t)`.

    :math:`w_{eq} = \langle u, d \rangle / \langle d, d \rangle` with the update :math:`u =
    \tilde\epsilon - \epsilon(x_t)`, for each image, then averaged over the batch. `CFG(w)` alone
    has exactly w; what another term adds to w is the part of it that a larger w would have done as
    well, which is often much of it ("Guidance Matters", 2026, arXiv 2602.22570).

    It is taken between the network's own outputs, which a v-model keeps apart where its noises
    coincide (alpha = 0). NaN where a branch is missing or both are the same.
    """
    if step.out_uncond is None or step.out_cond is None:
        return NAN
    base = step.out_uncond.double().flatten(1)
    towards, update = (
        step.out_cond.double().flatten(1) - base,
        step.output.double().flatten(1) - base,
    )
    return float(((update * towards).sum(1) / towards.square().sum(1)).mean())


def of_step(step: Step) -> dict[str, float]:
    """All measures of one step that it has.

    `<term>` is the RMS of the scaled term, relative to that of the base prediction; `cosine` the
    one between CFG and SAG, and `cosine_<a>_<b>` that of any other two terms; `coverage`, `margin`,
    `undecided`, `entropy` and `cfg_equivalent` are the functions of this module.
    """
    base, terms = rms(step.eps_base), step.terms
    lengths = {
        term.name: abs(term.scale) * rms(terms[term.name]) / base for term in step.guidance.terms
    }
    angles = {_pair(a, b): cosine(terms[a], terms[b]) for a, b in combinations(terms, 2)}
    found = {**lengths, **angles, "coverage": coverage(step)}
    if step.attention is not None:
        found |= {
            "margin": margin(step),
            "undecided": undecided(step),
            "entropy": entropy(step.attention),
        }
    if step.out_uncond is not None and step.out_cond is not None:
        found["cfg_equivalent"] = equivalent_cfg(step)
    return found


def _pair(a: str, b: str) -> str:
    return "cosine" if {a, b} == {"cfg", "sag"} else f"cosine_{a}_{b}"


def of_trace(steps: Iterable[Step]) -> Any:
    """The measures of a run's steps as a pandas frame: one row a step, by `index`, with its `t`,
    `alpha` and `sigma`.
    """
    import pandas as pd

    rows = [
        {"step": step.index, "t": step.t, "alpha": step.alpha, "sigma": step.sigma, **of_step(step)}
        for step in steps
    ]
    return pd.DataFrame(rows, columns=None if rows else ["step", "t", "alpha", "sigma"]).set_index(
        "step"
    )


def of_run(steps: Iterable[Step]) -> dict[str, float]:
    """One number for each measure: the mean over the steps that have it, and the smallest `margin`."""
    rows = [of_step(step) for step in steps]
    names = dict.fromkeys(name for row in rows for name in row)
    found = {
        name: [row[name] for row in rows if not math.isnan(row.get(name, NAN))] for name in names
    }
    return {
        name: min(values) if name == "margin" else math.fsum(values) / len(values)
        for name, values in found.items()
        if values
    }
