"""The words for each quantity of a step: its name, letter and title, and what its picture shows.
Plots and player take all of them from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sagviz import measure
from sagviz.guidance import MASK_SOURCES, SAG, Term
from sagviz.records.step import Step

# how close to the threshold, in units of the mean attention, a cell counts as one that may flip
NEAR = 0.1


@dataclass(frozen=True)
class Quantity:
    """The words for one quantity.

    Attributes:
        name: in code, mostly the attribute of `Step`.
        noun: what it is.
        symbol: its letter.
        words: what the picture of a step shows, for panes that follow a slider; `facts` fill it in.
        details: the same for a figure of one step, where there is room for its numbers ("" is
            `words`).
        needs: without which of the `facts` a step has it not; "" is nothing.
        title: of its picture ("" is noun and symbol).
    """

    name: str
    noun: str
    symbol: str
    words: str
    details: str = ""
    needs: str = ""
    title: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", self.details or self.words)
        object.__setattr__(self, "title", self.title or f"{self.noun} {self.symbol}".strip())

    def is_there(self, step: Step) -> bool:
        """Whether a step has it."""
        return not self.needs or self.needs in facts(step)


FACED = "noise of strength {step.sigma:.2f} over a picture of strength {step.alpha:.2f}"
FIRST = f"pure noise, which the schedule takes for {FACED}"  # it may say so of few steps: 0.03
SECOND = "blurred under the mask, the same noise put back: what the network sees the second time"
CLEAN = "what the network takes the clean picture to be, before guidance"
RECEIVED = "attention received per cell"
MARGIN = "attention less the threshold {sag.threshold:g}; cells within {NEAR:g} of it: {near}"
BLURRED = "x̂₀ blurred, σ = {sag.blur_sigma:g} latent pixels"
TABLE = (  # in the order of the method; each term's own stands before their sum
    Quantity(
        "x_t",
        "noisy latent",
        "xₜ",
        "what goes in: {faced}",
        "step {step.number}, t = {step.t:.0f}, noise σ = {step.sigma:.2f}",
    ),
    Quantity("x0_hat", "prediction", "x̂₀", CLEAN),
    Quantity(
        "attention",
        "attention",
        "Aₜ",
        f"{RECEIVED}, from {{low:.2f}} to {{high:.2f}}; the mean is 1",
        f"{RECEIVED}, mean 1, here up to {{high:.1f}}",
        "high",
    ),
    Quantity("margin", "margin", "Aₜ − ψ", MARGIN, needs="high"),
    Quantity(
        "mask",
        "mask",
        "Mₜ",
        "the {share:.0%} of the latent that SAG blurs, tinted",
        "{source} {share:.0%} of the latent",
        "share",
    ),
    Quantity(
        "x0_blurred",
        "blurred",
        "x̃₀",
        "the prediction blurred by {sag.blur_sigma:g} latent pixels",
        BLURRED,
        "share",
    ),
    Quantity(
        "x_degraded",
        "degraded",
        "x̂ₜ",
        SECOND,
        "the same noise put back; xₜ itself outside the mask",
        "share",
    ),
    Quantity("sum", "sum of pushes", "", "what all terms add together", needs="terms"),
    Quantity(
        "x0_guided",
        "guided prediction",
        "guided x̂₀",
        "what guidance makes of the prediction",
        "after {total}",
        title="guided x̂₀",
    ),
    Quantity("image", "finished picture", "", "what the decoder makes of the last latent"),
)
DECODED = ("x0_hat", "x0_blurred", "x0_guided")  # clean latents: a decoder makes pictures of them
QUANTITIES: Mapping[str, Quantity] = {each.name: each for each in TABLE}


def begins(step: Step, strength: float | None) -> bool:
    """Whether a run of that strength (`None` without a picture) begins there, with noise alone."""
    return step.index == 0 and strength is None


def facts(step: Step, strength: float | None = None) -> dict[str, Any]:
    """The numbers of a step that the words are filled in with; what it has not is left out.

    Args:
        strength: of a run from a picture.
    """
    terms = step.guidance.terms
    total = " + ".join(f"{term.scale:g} × {term.title}" for term in terms) or "no guidance"
    faced = (FIRST if begins(step, strength) else FACED).format(step=step)
    found: dict[str, Any] = {"step": step, "NEAR": NEAR, "total": total, "faced": faced}
    if terms:
        found["terms"] = terms
    sag = step.guidance.get(SAG)
    if sag is not None and step.attention is not None:
        low, high = float(step.attention.min()), float(step.attention.max())
        found |= {"low": low, "high": high, "near": near(step)}
    if sag is not None and step.mask is not None:
        found |= {"share": measure.coverage(step), "source": _source(step, sag)}
    return found | {"sag": sag}


def of_panes(step: Step, strength: float | None = None) -> dict[str, str]:
    """What each picture of the step shows, in a few words, by the name of the quantity; `strength`
    is that of a run from a picture.
    """
    known = facts(step, strength)
    there = [each for each in TABLE if not each.needs or each.needs in known]
    pushes = {term.name: _push(term) for term in step.guidance.terms}
    return {each.name: each.words.format(**known) for each in there} | pushes


def near(step: Step) -> int:
    """How many cells of the map lie within `NEAR` of the threshold: a small change would flip
    them.
    """
    sag = step.guidance.get(SAG)
    if step.attention is None or sag is None:
        return 0
    return int(((step.attention - sag.threshold).abs() <= NEAR).sum())


def push_title(term: type[Term] | Term) -> str:
    """What the picture is called that shows what a term adds to the prediction."""
    return f"{term.title}'s push"


def _push(term: Term) -> str:
    made_of = [
        f"; made of {Term.kinds[name].title} at the run's own scale" for name in term.requires
    ]
    return f"what {term.title} adds to the prediction{''.join(made_of)}"


def _source(step: Step, sag: SAG) -> str:
    """What the mask is made of."""
    if step.hand_mask is not None:
        return "made by hand:"
    if sag.mask_source != "attention":
        return f"{MASK_SOURCES[sag.mask_source]};"
    return f"where Aₜ > {sag.threshold:g}:"
