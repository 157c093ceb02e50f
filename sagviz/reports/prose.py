r"""What a report says of its method, in sentences that are true of its very runs: of their network,
their prompt or none, the terms that act, the charts that there are.

Each function gives Markdown, or the words under a figure. `runs` are those of `compare`, the one
with SAG last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sagviz import measure
from sagviz.diffusion.noise_level import FLOW
from sagviz.guidance import CFG, SAG, Guidance, Term
from sagviz.models import Model
from sagviz.models.unfit import network_word
from sagviz.plot.difference import same
from sagviz.records.step import Step
from sagviz.records.trace import Trace

LEARNT = {  # what a network predicts -> how its training is told
    "epsilon": r"predict the noise, $\epsilon(x_t)$",
    "v_prediction": r"predict a mixture of noise and clean latent, from which the noise"
    r" $\epsilon(x_t)$ follows",
    "sample": r"predict the clean latent, from which the noise $\epsilon(x_t)$ follows",
    FLOW: r"predict the way from one to the other, $\epsilon - x_0$, from which the noise"
    r" $\epsilon(x_t)$ follows",
}
CFG_FORMULA = r"$$\epsilon(x_t) + w\,\bigl(\epsilon(x_t, c) - \epsilon(x_t)\bigr)$$"
MASKED = r"$$\hat x_t = (1 - M_t)\, x_t + M_t\, (\alpha_t \tilde x_0 + \sigma_t\, \epsilon(x_t))$$"
DELTAS = {
    "cfg": r"$$\Delta_{CFG} = \epsilon(x_t, c) - \epsilon(x_t)$$",
    "sag": r"$$\Delta_{SAG} = \epsilon(x_t) - \epsilon(\hat x_t)$$",
}
IN_SUM = {"cfg": r" + w\,\Delta_{CFG}", "sag": r" + s\,\Delta_{SAG}"}
COARSE = (
    "; attention and mask are coarse because the layer that is read works on a coarser grid than"
    " the latent"
)
TIMES = ("first", "second", "third")


@dataclass(frozen=True, repr=False)
class Prose:
    """Paragraphs in Markdown, as a notebook shows them."""

    text: str

    def __repr__(self) -> str:
        return "<Prose>"  # notebooks keep it beside the text itself

    def _repr_markdown_(self) -> str:
        return self.text


def of_pictures(runs: Sequence[Trace]) -> str:
    """What the runs share, and what each has more than the one before."""
    sums = [run.settings.guidance.terms for run in runs]
    added = [more[len(fewer) :] for fewer, more in pairwise(sums)]
    titles = ", then ".join(listed([term.title for term in terms]) for terms in added)
    return f"{_prompt(runs)} and one noise; from left to right guidance is added: {titles}."


def _prompt(runs: Sequence[Trace]) -> str:
    return "One prompt" if runs[-1].settings.caption else "No prompt"


def of_difference(one: Trace, other: Trace) -> str:
    """Where two pictures differ, or that they do not."""
    if same(one.image, other.image):
        return "The last two pictures are the same in every pixel."
    return "Where the last two pictures differ, and there a part of each, enlarged."


def of_seeds(found: Sequence[Sequence[Trace]]) -> str:
    """Which seeds the pictures of a gallery have."""
    if len(found) < 2:
        return "The last two pictures again: the finding is of this one seed."
    return "The same with other noise, nothing chosen: the seeds that the finding counts."


def of_noise(model: Model, run: Trace) -> Prose:
    """Forward and reverse process as this model and scheduler have them."""
    level = run[0].level
    pixels = "The latent of this model is the picture itself: nothing need be decoded."
    space = "The latent lives in a small space of its own; a decoder turns it into pixels."
    return Prose(
        f"({_amplitudes(run[0])})\n\nand the network learns to {LEARNT[level.prediction]}."
        " A predicted noise also implies a clean latent:\n\n"
        r"$$\hat x_0 = \frac{x_t - \sigma_t\, \epsilon(x_t)}{\alpha_t}$$"
        "\n\nThe *reverse process* starts from noise alone and repeats: guess, mix again with a"
        f" little less noise. {pixels if model.bounded else space}"
    )


def _amplitudes(step: Step) -> str:
    if step.level.prediction == FLOW:
        return r"with $\alpha_t = 1 - \sigma_t$"
    if math.isclose(step.level.norm, 1, rel_tol=1e-3):
        return r"with $\alpha_t = \sqrt{\bar\alpha_t}$ and $\sigma_t = \sqrt{1 - \bar\alpha_t}$"
    return r"with $\alpha_t = 1$: this scheduler adds noise and leaves the picture as strong"


def of_cfg(run: Trace) -> Prose:
    """The section on CFG; nothing for a run without it."""
    settings = run.settings
    if settings.guidance.get(CFG) is None:
        return Prose("")
    without = "with the negative prompt" if settings.negative_prompt else "without"
    idle = " This run has no prompt, so both predictions are the same, and CFG adds nothing."
    alike = all(math.isnan(measure.equivalent_cfg(step)) for step in run)
    return Prose(
        "## Classifier-free guidance\n\nThe network predicts twice from the same $x_t$: once with"
        f" the prompt $c$, once {without}. Their difference is the direction “more like the"
        f" prompt”, and CFG [2] exaggerates it by the scale $w$:\n\n{CFG_FORMULA}\n\n"
        "$w = 0$ ignores the prompt, $w = 1$ is the plain prediction given the prompt. (Papers that"
        r" start from $\epsilon(x_t, c)$ write the same thing with $s = w - 1$.)"
        f"{idle if alike and not settings.caption else ''}"
    )


def of_sag(model: Model, run: Trace) -> Prose:
    """How SAG finds its direction, and the sum of all terms."""
    guidance, word = run.settings.guidance, network_word(model.NETWORK)
    sag = guidance.get(SAG)
    place = "In the middle" if sag is None or sag.layer == "mid" else f"In the layer `{sag.layer}`"
    such = "such a" if guidance.get(CFG) else "a"
    deltas = "\n\n".join(formula for name, formula in DELTAS.items() if guidance.get(name))
    in_sum = "".join(part for name, part in IN_SUM.items() if guidance.get(name))
    rest, others = _others(guidance)
    return Prose(
        f"SAG finds {such} direction without any prompt. {place} of"
        f" the {word} each cell of the latent attends to all others. Let $A_t$ be the attention"
        " that a cell *receives*, averaged over heads and summed over the cells that look; its"
        r" mean is exactly 1. The mask $M_t$ is 1 where $A_t > \psi$, and 0 elsewhere. The whole"
        r" guess is blurred to $\tilde x_0$; under the mask it takes the place of the guess, and"
        f" **the same** noise is put back:\n\n{MASKED}\n\nThe network predicts once more, now from"
        f" $\\hat x_t$, and guidance moves away from that:\n\n{deltas}\n\n"
        rf"$$\tilde\epsilon = \epsilon(x_t){in_sum}{rest}$${others}"
    )


def _others(guidance: Guidance) -> tuple[str, str]:
    """The terms beside CFG and SAG: in the sum, and in words."""
    terms = [term for term in guidance.terms if not isinstance(term, CFG | SAG)]
    if not terms:
        return "", ""
    named = listed([f"{term.title} ({term.formula}), scale {term.scale:g}" for term in terms], "; ")
    sum_ = r" + \sum_k s_k\,\Delta_k"
    return sum_, f"\n\nThe $\\Delta_k$ are the further terms of this run: {named}."


def of_curves(runs: Sequence[Trace]) -> Prose:
    """How the player is used, and what its charts are: those for which there are numbers."""
    steps = [step for run in runs[-2:] for step in run]
    found = [measure.of_step(step) for step in steps]
    known = {name for row in found for name, value in row.items() if math.isfinite(value)}
    terms = runs[-1].settings.guidance.terms
    lengths = f"the length of {_each(terms)}, relative to the prediction itself"
    angle = (
        "the cosine of the angle between CFG and SAG: near 1 SAG repeats what CFG says, near 0 it"
        " says something else, below 0 it takes a part of it back"
    )
    charts = {"cosine": angle, "coverage": "the share of the latent under the mask"}
    there = [lengths, *(words for name, words in charts.items() if name in known)]
    told = " ".join(f"The {n} curve is {words}." for n, words in zip(TIMES, there, strict=False))
    linear = "its scale" if len(terms) == 1 else "their scales"
    coarse = any(map(_is_coarse, steps))
    return Prose(
        "The last two runs beside each other. Move the slider, or press play. The pictures show"
        " every quantity of the step, in the order in which it is computed"
        f"{COARSE if coarse else ''}. Colours mean the same at every step of the run.\n\n{told}\n\n"
        "*What if?* takes other scales for the step that is shown: guidance is linear in"
        f" {linear}, so the page computes the guided prediction anew from the stored terms."
    )


def _each(terms: Sequence[Term]) -> str:
    return "the scaled term" if len(terms) == 1 else "each scaled term"


def _is_coarse(step: Step) -> bool:
    return step.attention is not None and step.attention.shape[-1] < step.x_t.shape[-1]


def of_limits(runs: Sequence[Trace], found: Sequence[Sequence[Trace]]) -> Prose:
    """What the finding is not about, and what is a fair rival."""
    before, after = (run.settings.guidance for run in runs[-2:])
    subject = "prompt, model and setting" if runs[-1].settings.caption else "model and setting"
    seeds, what = ("a few seeds", "other seeds of ") if len(found) > 1 else ("one seed", "")
    rows, fewer = _rows(after), _rows(before)
    shared = math.gcd(rows, fewer)
    plain = f"steps of {_sum(before)}" if before.terms else "plain steps"
    return Prose(
        f"* {_prompt(runs)} and {seeds}. The finding is about {what}*this* {subject}, and about"
        " nothing else.\n"
        "* Sharpness counts noise as detail; a sharper picture need not be a better one.\n"
        "* Attention says where one layer looks, not why.\n* Guidance costs time; a fair rival has"
        f" as many rows of the network: {rows // shared} {plain} for {fewer // shared} of"
        f" {_sum(after)}."
    )


def of_cost(model: Model, run: Trace) -> Prose:
    """How many predictions and calls of the network a step is made of."""
    terms, costs = run.settings.guidance.terms, run.settings.guidance.costs
    before = next((i for i, (_, calls) in enumerate(costs) if calls), len(terms))
    told = "; ".join(_cost(term.title, *costs[i], after=i - before) for i, term in enumerate(terms))
    return Prose(
        "A step without guidance is one prediction, in one call of the"
        f" {network_word(model.NETWORK)}. {told}. The same settings give the same picture again."
    )


def _sum(guidance: Guidance) -> str:
    return " + ".join(term.title for term in guidance.terms)


def _rows(guidance: Guidance) -> int:
    """Rows of the network that a step costs."""
    return 1 + sum(rows for rows, _ in guidance.costs)


def _cost(title: str, rows: int, calls: int, *, after: int) -> str:
    """What a term costs that stands so far after the first one with a call of its own."""
    if not rows:
        return f"{title} adds none"
    where = f"in the {'first' if after > 0 else 'same'} call"
    if calls:
        own = "that second call" if after else "a call of its own"
        where = f"in {own}, because its input depends on what the first call gave"
    return f"{title} adds {rows}, {where}"


def listed(names: Sequence[str], comma: str = ", ") -> str:
    """`a, b and c`."""
    *most, last = names or [""]
    return f"{comma.join(most)} and {last}" if most else last
