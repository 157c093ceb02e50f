"""The parts about SAG: its settings beside CFG alone, and SAG alone without a prompt."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sagviz.guidance import CFG, SAG, Guidance, Term
from sagviz.measure import equivalent_cfg, frechet, sharpness
from sagviz.mini.evaluation.card import Rows, label
from sagviz.mini.evaluation.intervals import Statistic, bootstrap, proportion
from sagviz.mini.evaluation.prompts import one_object_prompts, two_object_prompts
from sagviz.mini.evaluation.subject import GUIDED, PROMPTED, Evaluation
from sagviz.mini.world import NAMES, caption
from sagviz.models import Model
from sagviz.sampling.loop import trace

CONFIDENT = 0.9
SETTINGS: tuple[Guidance | Term, ...] = (
    PROMPTED,
    PROMPTED + SAG(-0.5),
    PROMPTED + SAG(0.5),
    GUIDED,
    PROMPTED + SAG(2.0),
    PROMPTED + SAG(1.0, threshold=0.7),
    PROMPTED + SAG(1.0, threshold=1.3),
    PROMPTED + SAG(1.0, blur_sigma=0.5),
    PROMPTED + SAG(1.0, blur_sigma=2.0),
    PROMPTED + SAG(1.0, stop=0.5),
    PROMPTED + SAG(1.0, start=0.5),
)
ALONE = (
    SAG(0.5),
    SAG(1.0),
    SAG(2.0),
    SAG(1.0, threshold=0.7),
    SAG(1.0, blur_sigma=3.0),
    SAG(1.0, blur_sigma=2.0),
    SAG(1.0, threshold=0.7, blur_sigma=3.0),
    SAG(2.0, threshold=0.7, blur_sigma=3.0),
    SAG(1.0, stop=0.5),
    SAG(1.0, start=0.2),
)
TRIED_FROM = 10_000  # the first seed on which these are tried


def tried(evaluation: Evaluation) -> Rows:
    """No guidance and each of `ALONE`."""
    return [
        [f"{_without_prompt(term)}, seeds from {TRIED_FROM}", proportion(hits)]
        for term, hits in _tries(evaluation).items()
    ]


def empty(evaluation: Evaluation) -> Rows:
    """No guidance, and SAG alone at the best setting of those that were tried."""
    tries = _tries(evaluation)
    best = max(ALONE, key=lambda term: sum(tries[term]))
    return [
        [_without_prompt(term), proportion(_clear(evaluation, evaluation.count, 0, term))]
        for term in (None, best)
    ]


def _tries(evaluation: Evaluation) -> dict[Term | None, list[bool]]:
    """On seeds of their own: the pictures that measure the best must not have chosen it."""
    count = evaluation.count // 5
    return {term: _clear(evaluation, count, TRIED_FROM, term) for term in (None, *ALONE)}


def _clear(evaluation: Evaluation, count: int, first_seed: int, term: Term | None) -> list[bool]:
    """Which pictures of the empty prompt hold something that the judge is sure of."""
    seen = evaluation.verdict([""] * count, term, first_seed)
    return (seen.objects.sigmoid().amax(dim=1) >= CONFIDENT).tolist()


def _without_prompt(term: Term | None) -> str:
    return f"empty prompt, an object with confidence {CONFIDENT}, {label(term)}"


def sag(evaluation: Evaluation) -> Rows:
    """Settings of SAG beside CFG alone at the same and at the equivalent scale: half one object,
    half two.

    How much more or less than CFG alone at the same scale is of the same prompts and seeds,
    resampled together.
    """
    wanted = _wanted(evaluation.count // 16)
    real = evaluation.see(evaluation.taught(evaluation.count, 3)[0]).features.numpy()
    everyone, rows = np.arange(len(wanted)), []
    guidances = (*SETTINGS, CFG(round(equivalent_scale(evaluation.model), 2)))
    results = [_measured(evaluation, wanted, real, guidance) for guidance in guidances]
    _, alone = results[SETTINGS.index(PROMPTED)]
    for guidance, (right, found) in zip(guidances, results, strict=True):
        row = [label(guidance), proportion(right)]
        for value, usual in zip(found, alone, strict=True):
            row.append(bootstrap(everyone, value))
            row.append(bootstrap(everyone, _difference(value, usual)))
        rows.append(row)
    return rows


def equivalent_scale(model: Model) -> float:
    """The CFG scale nearest to the whole update of CFG 3 + SAG 1, over the steps of 12 runs."""
    runs = [
        trace(model, caption((name,)), seed=i, guidance=GUIDED, progress=False)
        for i, name in enumerate(NAMES[::4])
    ]
    return float(np.mean([equivalent_cfg(step) for run in runs for step in run]))


def _wanted(half: int) -> list[tuple[set[str], str]]:
    """Objects and prompts: `half` of them of one object, the others of two."""
    wanted = [({name}, caption((name,), None, colour)) for name, colour in one_object_prompts(half)]
    return wanted + [(set(prompt[0]), caption(*prompt)) for prompt in two_object_prompts(half)]


def _measured(
    evaluation: Evaluation,
    wanted: list[tuple[set[str], str]],
    real: np.ndarray,
    guidance: Guidance | Term,
) -> tuple[list[bool], list[Statistic]]:
    """Which pictures show their objects; the distance to renders and the sharpness of any rows."""
    pictures = evaluation.gallery.pictures([text for _, text in wanted], guidance)
    seen = evaluation.see(pictures)
    features = seen.features.numpy()
    sharp = np.array([sharpness(Image.fromarray(picture)) for picture in pictures])
    right = [seen.named(len(names))[i] == names for i, (names, _) in enumerate(wanted)]
    return right, [
        lambda some: frechet(real, features[some]),
        lambda some: 1000 * float(sharp[some].mean()),
    ]


def _difference(value: Statistic, usual: Statistic) -> Statistic:
    return lambda some: value(some) - usual(some)
