"""What people are told of each quantity of a step: its name, letter and title, and what its picture
shows. Plots and player take all of it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sagviz import measure
from sagviz.guidance import MASK_SOURCES, SAG, Term
from sagviz.records.step import Step

# how close to the threshold, in units of the mean attention, a cell counts as one that may flip
NEAR = 0.1


@dataclass(frozen=True)
class Quantity:
    """What people are told of one quantity.

    Attributes:
        name: in code, mostly the attribute of `Step`.
        noun: what it is.
        symbol: its letter.
        title: of its picture.
        words: what the picture of a step shows, for panes that follow a slider.
        details: the same for a figure of one step, where there is room for its numbers.
        is_there: whether a step has it.
    """

    name: str
    noun: str
    symbol: str
    title: str
    words: Callable[[Step], str]
    details: Callable[[Step], str]
    is_there: Callable[[Step], bool] = lambda _: True


def _always(words: str) -> Callable[[Step], str]:
    return lambda _: words


def _sag(step: Step) -> SAG:
    sag = step.guidance.get(SAG)
    assert sag is not None, "a quantity of SAG without SAG"
    return sag


def _has_map(step: Step) -> bool:
    return step.guidance.get(SAG) is not None and step.attention is not None


def _has_mask(step: Step) -> bool:
    return step.guidance.get(SAG) is not None and step.mask is not None


def _received(step: Step) -> str:
    assert step.attention is not None, "a map that is not there"
    low, high = float(step.attention.min()), float(step.attention.max())
    return f"attention received per cell, from {low:.2f} to {high:.2f}; the mean is 1"


def _highest(step: Step) -> str:
    assert step.attention is not None, "a map that is not there"
    return f"attention received per cell, mean 1, here up to {float(step.attention.max()):.1f}"


def _margin(step: Step) -> str:
    return (
        f"attention less the threshold {_sag(step).threshold:g}; {near(step)} cells are within"
        f" {NEAR:g} of it"
    )


def _mask(step: Step) -> str:
    share = f"{measure.coverage(step):.0%} of the latent"
    if step.hand_mask is not None:
        return f"made by hand: {share}"
    sag = _sag(step)
    if sag.mask_source != "attention":
        return f"{MASK_SOURCES[sag.mask_source]}; {share}"
    return f"where Aₜ > {sag.threshold:g}: {share}"


def _sum(step: Step) -> str:
    terms = [f"{term.scale:g} × {term.title}" for term in step.guidance.terms]
    return f"after {' + '.join(terms) or 'no guidance'}"


BEFORE = "what the network takes the clean picture to be, before guidance"
ALL_TERMS = "what all terms add together; grey is nothing"
FINISHED = "what the decoder makes of the last latent"

# in the order of the method; each term's own stands before their sum
QUANTITIES: Mapping[str, Quantity] = {
    each.name: each
    for each in (
        Quantity(
            "x_t",
            "noisy latent",
            "xₜ",
            "noisy latent xₜ",
            lambda step: (
                f"what goes in: noise of strength {step.sigma:.2f} over a picture of"
                f" strength {step.alpha:.2f}"
            ),
            lambda step: f"step {step.index}, t = {step.t:.0f}, noise σ = {step.sigma:.2f}",
        ),
        Quantity("x0_hat", "prediction", "x̂₀", "prediction x̂₀", _always(BEFORE), _always(BEFORE)),
        Quantity("attention", "attention", "Aₜ", "attention Aₜ", _received, _highest, _has_map),
        Quantity("margin", "margin", "Aₜ − ψ", "margin Aₜ − ψ", _margin, _margin, _has_map),
        Quantity(
            "mask",
            "mask",
            "Mₜ",
            "mask Mₜ",
            lambda step: (
                f"the {measure.coverage(step):.0%} of the latent that SAG blurs; the rest is faded"
            ),
            _mask,
            _has_mask,
        ),
        Quantity(
            "x0_blurred",
            "blurred prediction",
            "x̃₀",
            "blurred x̃₀",
            lambda step: f"the prediction blurred by {_sag(step).blur_sigma:g} latent pixels",
            lambda step: f"x̂₀ blurred inside the mask, σ = {_sag(step).blur_sigma:g} latent pixels",
            _has_mask,
        ),
        Quantity(
            "x_degraded",
            "degraded latent",
            "x̂ₜ",
            "degraded x̂ₜ",
            _always(
                "blurred under the mask, the same noise put back: what the network sees the second"
                " time"
            ),
            _always("the same noise put back; xₜ itself outside the mask"),
            _has_mask,
        ),
        Quantity(
            "sum",
            "sum of all terms",
            "Σ",
            "sum of pushes",
            _always(ALL_TERMS),
            _always(ALL_TERMS),
            lambda step: bool(step.guidance.terms),
        ),
        Quantity(
            "x0_guided",
            "guided prediction",
            "guided x̂₀",
            "guided x̂₀",
            _always("what guidance makes of the prediction"),
            _sum,
        ),
        Quantity(
            "image", "picture", "x₀", "finished picture", _always(FINISHED), _always(FINISHED)
        ),
    )
}


def push_title(term: type[Term] | Term) -> str:
    """What the picture is called that shows what a term adds to the prediction."""
    return f"{term.title}'s push"


def of_panes(step: Step) -> dict[str, str]:
    """What each picture of the step shows, in a few words, by the name of the quantity."""
    there = {name: each.words(step) for name, each in QUANTITIES.items() if each.is_there(step)}
    return {**there, **{term.name: _push(term) for term in step.guidance.terms}}


def _push(term: Term) -> str:
    made_of = [
        f"; made of {Term.kinds[name].title} at the run's own scale" for name in term.requires
    ]
    return f"what {term.title} adds to the prediction; grey is nothing{''.join(made_of)}"


def near(step: Step) -> int:
    """How many cells of the map lie within `NEAR` of the threshold: a small change would flip
    them.
    """
    if step.attention is None or step.guidance.get(SAG) is None:
        return 0
    return int(((step.attention - _sag(step).threshold).abs() <= NEAR).sum())
