"""The sentences about a step: how much noise there is, what the mask covers, how hard each term
pushes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

from sagviz import measure
from sagviz.checks import shortened
from sagviz.describe.quantities import begins, near
from sagviz.guidance import CFG, SAG, Guidance, Term
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.records.trace import Trace

LETTERS = 40  # of a prompt in a file's name
LONGEST = 100  # letters of a prompt in words about a run
NOTHING = 1e-5  # of the prediction's length: rounding, where there is no prompt or an empty mask
SHARES = (  # up to which ratio a term's push is called what, compared with another's
    (0.05, "almost nothing beside CFG's"),
    (0.15, "a tenth of CFG's"),
    (0.22, "a fifth of CFG's"),
    (0.29, "a quarter of CFG's"),
    (0.41, "a third of CFG's"),
    (0.58, "half of CFG's"),
    (0.85, "three quarters of CFG's"),
    (1.15, "as large as CFG's"),
    (1.75, "one and a half times CFG's"),
    (2.5, "twice CFG's"),
)
WAYS = (  # up to which cosine it points where
    (-0.7, "against it"),
    (-0.3, "partly against it"),
    (0.3, "elsewhere"),
    (0.7, "partly the same way"),
    (1.01, "the same way"),
)


def quoted(prompt: str) -> str:
    """A prompt as it is shown to people."""
    return f"“{prompt}”" if prompt else "no prompt"


def of_guidance(guidance: Guidance, between: str = " + ") -> str:
    """`CFG 3 + SAG 1`, or `plain`."""
    return between.join(f"{term.title} {term.scale:g}" for term in guidance.terms) or "plain"


def by_stretch(settings: Settings, words: Callable[[Guidance], str]) -> list[str]:
    """What the words say of a run's guidance; of a branch also of that of the runs that it left,
    where it acted.
    """
    return [
        f"from step {start + 1} on {words(own)}" if start else words(own)
        for start, own in settings.stretches.items()
    ]


def of_run(trace: Trace) -> str:
    """Which run it is, in a few words: prompt, seeds, scales, steps, what it began with, and
    whether it was stopped.
    """
    settings = trace.settings
    made = trace[-1].number if len(trace) else 0  # `keep` may have left out some of them
    stopped = "" if trace.pictures else f", stopped after {made}"
    scales = ", ".join(by_stretch(settings, partial(of_guidance, between=", ")))
    prompt = shortened(settings.caption, LONGEST) or "no prompt"
    last = settings.seeds[-1]
    seeds = f"seed {settings.seed}" if settings.images == 1 else f"seeds {settings.seed} to {last}"
    start = (
        "" if settings.strength is None else f", from a picture at strength {settings.strength:g}"
    )
    return f"{prompt}, {seeds}, {scales}, {settings.steps} steps{start}{stopped}"


def file_stem(settings: Settings) -> str:
    """A run as a file's name without its ending: the first words of the prompt, the seed, the
    scales.
    """
    words = re.sub(r"\W+", "-", settings.caption.lower()).strip("-")[:LETTERS].rstrip("-")
    scales = [f"{term.name}{term.scale:g}" for term in settings.guidance.terms] or ["plain"]
    return "-".join([words or "no-prompt", f"seed{settings.seed}", *scales])


def of_step(step: Step, evaluations: int, strength: float | None = None) -> str:
    """What happens in this step, for people.

    Args:
        evaluations: of the whole run. Steps count from 1 in words: `trace[0]` is step 1.
        strength: of a run from a picture; others begin with noise alone.
    """
    return " ".join([_where(step, evaluations, strength), *_mask(step), *_pushes(step)])


def _where(step: Step, evaluations: int, strength: float | None) -> str:
    place = {1: ", the first", evaluations: ", the last"}.get(step.number, "")
    noise = (step.sigma / step.level.norm) ** 2  # share of the variance, the clean latent's being 1
    share = f"{noise:.0%}" if noise >= 0.005 else "hardly any"
    if begins(step, strength):  # few steps may begin where the schedule has little noise
        amount = f"the latent is pure noise; the schedule takes {share} of its variance for noise"
    elif noise >= 0.005:
        amount = f"noise is still {share} of the latent's variance"
    else:
        amount = "hardly any noise is left"
    return f"Step {step.number}{place} of {evaluations}: {amount}."


def _mask(step: Step) -> list[str]:
    if step.mask is None:
        return []
    sag, covers = step.guidance.get(SAG), f"covers {measure.coverage(step):.0%} of the cells"
    if step.hand_mask is not None or step.attention is None or sag is None:
        return [f"The hand-made mask {covers}."]
    if sag.mask_source != "attention":
        return [f"The mask (source: {sag.mask_source}) {covers}."]
    close = near(step)
    are = f"{close} of {step.attention.numel()} {'is' if close == 1 else 'are'}"
    return [f"The mask {covers}; {are} close to the threshold."]


def _pushes(step: Step) -> list[str]:
    if not step.guidance.terms:
        return ["No guidance acts here."]
    numbers = measure.of_step(step)
    return [_push(term, step, numbers) for term in step.guidance.terms]


def _push(term: Term, step: Step, numbers: dict[str, float]) -> str:
    name, size, cfg = term.title, numbers[term.name], step.guidance.get(CFG)
    if not term.scale:
        return f"{name}'s scale is 0: it adds nothing."
    if size < NOTHING:
        return f"{name}'s push is 0 here: it adds nothing."
    if term is cfg or cfg is None or numbers["cfg"] < NOTHING:
        return f"{name}'s push is {size:.0%} of the prediction's length."
    between = measure.cosine(step.terms["cfg"], step.terms[term.name])
    # of what is added, signs and all
    cosine = math.copysign(between, between * term.factor * cfg.factor)
    way = next(way for most, way in WAYS if cosine <= most)
    rounded = round(cosine, 2) + 0.0  # no -0.00
    measured = f"cosine\N{NO-BREAK SPACE}{rounded:.2f}"  # no line begins with the number
    return f"{name}'s push is {_share(size / numbers['cfg'])} and points {way} ({measured})."


def _share(ratio: float) -> str:
    return next((words for most, words in SHARES if ratio <= most), f"{ratio:.0f} times CFG's")
