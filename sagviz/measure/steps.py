"""Numbers about a step: how long each guidance term is, where it points, what it amounts to, how
sure the mask is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.checks import check_number
from sagviz.errors import ArgumentError
from sagviz.guidance import SAG
from sagviz.measure.given import Numbers, as_numbers
from sagviz.records.about_runs import about_runs
from sagviz.records.step import Step

NAN = float("nan")
NOTHING = 1e-5  # a term shorter than this part of the base is what rounding leaves
CLOSE = 0.01  # |A - psi| under which a cell of the map counts as undecided; the map averages 1


def rms(x: Numbers) -> float:
    """Root mean square: the length of a latent, free of its size. Unit noise has 1.

    Example:
        >>> import sagviz as sv, torch
        >>> sv.measure.rms(torch.tensor([3.0, -3.0]))
        3.0
    """
    return float(as_numbers("x", x, "a tensor").square().mean().sqrt())


def cosine(a: Numbers, b: Numbers) -> float:
    """Cosine of the angle between two latents (B, ...), averaged over the images of the batch in
    which both have a direction; NaN where there is none.

    Example:
        >>> import sagviz as sv, torch
        >>> sv.measure.cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]))
        0.0
    """
    one, other = (as_numbers(*each, "latents (B, ...)", dims=2) for each in (("a", a), ("b", b)))
    if one.shape != other.shape:
        raise ArgumentError(
            f"a has the shape {tuple(one.shape)} and b {tuple(other.shape)}; give latents of one"
        )
    one, other = one.flatten(1), other.flatten(1)
    directed = one.any(1) & other.any(1)
    return float(F.cosine_similarity(one[directed], other[directed]).mean())


@about_runs
def coverage(step: Step) -> float:
    """Fraction of the latent that the mask covers, 0..1; NaN where there is no mask.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> sv.measure.coverage(run[0])
        0.375
    """
    return NAN if step.mask is None else float(step.mask.mean())


@about_runs
def margin(step: Step) -> float:
    """The smallest |A_t - psi| of the map's cells, in units of the mean attention; NaN where no
    threshold makes the mask.

    Where it is tiny, rounding decides on which side of the mask a cell falls, and with it how large
    the area of the other mask sources is.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> sv.measure.margin(run[0]) < 0.1
        True
    """
    distance = _to_threshold(step)
    return NAN if distance is None else float(distance.min())


@about_runs
def undecided(step: Step, within: float = CLOSE) -> float:
    """Fraction of the map's cells, 0..1, whose |A_t - psi| is under `within`; NaN where no
    threshold makes the mask.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> sv.measure.undecided(run[0], within=0.1)
        0.3125
    """
    within = check_number("within", within, 0)
    distance = _to_threshold(step)
    return NAN if distance is None else float((distance < within).float().mean())


def _to_threshold(step: Step) -> Tensor | None:
    """|A_t - psi| of each cell; `None` where that does not decide the mask."""
    sag, attention = step.guidance.get(SAG), step.attention
    if sag is None or attention is None or sag.mask_source == "none" or step.hand_mask is not None:
        return None
    if math.isinf(sag.threshold):  # which masks nothing, whatever the map is
        return None
    return (attention - sag.threshold).abs()


def entropy(attention: Numbers) -> float:
    r"""Entropy of the attention received, as a distribution over the cells: :math:`-\sum p \ln p /
    \ln N`, mean of the batch.

    1 is attention spread evenly, 0 all of it on one cell. A map of a single cell is even.

    Args:
        attention: A_t, (B, h, w), not negative.

    Example:
        >>> import sagviz as sv, torch
        >>> sv.measure.entropy(torch.ones(1, 8, 8))
        1.0
    """
    flat = as_numbers("attention", attention, "maps (B, h, w)", dims=3).flatten(1)
    if (flat < 0).any():
        raise ArgumentError("attention has negative cells; give what a layer received, as A_t is")
    cells = flat.shape[1]
    if cells == 1:
        return 1.0
    return float(
        torch.special.entr(flat / flat.sum(1, keepdim=True)).sum(1).mean() / math.log(cells)
    )


@about_runs
def equivalent_cfg(step: Step) -> float:
    r"""The CFG scale that comes nearest to the whole update: its projection on :math:`d =
    \epsilon(x_t, c) - \epsilon(x_t)`.

    :math:`w_{eq} = \langle u, d \rangle / \langle d, d \rangle` with the update :math:`u =
    \tilde\epsilon - \epsilon(x_t)`, averaged over the images in which there is one. `CFG(w)` alone
    has exactly w; what another term adds to w is the part of it that a larger w would have done as
    well, which is often much of it ("Guidance Matters", 2026, arXiv 2602.22570).

    It is taken between the network's own outputs, which a v-model keeps apart where its noises
    coincide (alpha = 0). NaN where a branch is missing or both are the same but for rounding.

    Example:
        >>> import sagviz as sv
        >>> cfg, _ = sv.compare(sv.load(), "a fox", cfg=3, steps=4, progress=False)
        >>> round(sv.measure.equivalent_cfg(cfg[0]), 4)
        3.0
    """
    if step.out_uncond is None or step.out_cond is None:
        return NAN
    base, prompted, guided = (
        output.double().flatten(1) for output in (step.out_uncond, step.out_cond, step.output)
    )
    towards, update = prompted - base, guided - base
    squares = towards.square().sum(1)
    directed = squares > NOTHING**2 * base.square().sum(1)  # of rounding there is no direction
    return float(((update * towards).sum(1) / squares)[directed].mean())


@about_runs
def of_step(step: Step) -> dict[str, float]:
    """All measures of one step that it has.

    `<term>` is the RMS of the scaled term, relative to that of the base prediction; `cosine` the
    one between CFG and SAG, and `cosine_<a>_<b>` that of any other two terms; `coverage`, `margin`,
    `undecided`, `entropy` and `cfg_equivalent` are the functions of this module.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> list(sv.measure.of_step(run[0]))[:4]
        ['cfg', 'sag', 'cosine', 'coverage']
    """
    base, terms = rms(step.eps_base), step.terms
    unscaled = {name: rms(term) / base for name, term in terms.items()}
    lengths = {term.name: abs(term.factor) * unscaled[term.name] for term in step.guidance.terms}
    angles = {
        # of rounding there is no direction
        _pair(a, b): cosine(terms[a], terms[b]) if min(unscaled[a], unscaled[b]) > NOTHING else NAN
        for a, b in combinations(terms, 2)
    }
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


@about_runs
def of_trace(steps: Iterable[Step]) -> Any:
    """The measures of a run's steps as a pandas frame: one row a step, by `index`, from 0, with its
    `t`, `alpha` and `sigma`.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> sv.measure.of_trace(run).shape
        (4, 11)
    """
    import pandas as pd

    rows = [
        {"step": step.index, "t": step.t, "alpha": step.alpha, "sigma": step.sigma, **of_step(step)}
        for step in steps
    ]
    return pd.DataFrame(rows, columns=None if rows else ["step", "t", "alpha", "sigma"]).set_index(
        "step"
    )


@about_runs
def of_run(steps: Iterable[Step]) -> dict[str, float]:
    """One number for each measure: the mean over the steps that have it; of `margin` the smallest.

    Example:
        >>> import sagviz as sv
        >>> _, run = sv.compare(sv.load(), "a fox", steps=4, progress=False)
        >>> sorted(sv.measure.of_run(run)) == sorted(sv.measure.of_step(run[0]))
        True
    """
    return averaged([of_step(step) for step in steps])


def averaged(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """The same of what `of_step` gave for each."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {
        name: [row[name] for row in rows if not math.isnan(row.get(name, NAN))] for name in names
    }
    return {
        name: min(values) if name == "margin" else math.fsum(values) / len(values)
        for name, values in found.items()
        if values
    }
