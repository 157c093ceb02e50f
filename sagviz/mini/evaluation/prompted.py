"""The parts about prompts: whether the pictures show what was asked for, and look like renders."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sagviz.guidance import CG
from sagviz.image import to_images
from sagviz.measure import frechet, precision_recall
from sagviz.mini.evaluation.card import Rows, label
from sagviz.mini.evaluation.intervals import bootstrap, proportion
from sagviz.mini.evaluation.prompts import one_object_prompts, two_object_prompts
from sagviz.mini.evaluation.subject import PROMPTED, Evaluation
from sagviz.mini.training import autoencoder
from sagviz.mini.training.judge import Verdict
from sagviz.mini.world import BACKGROUNDS, GREYS, NAMES, caption


def one(evaluation: Evaluation) -> Rows:
    """Prompts of one object."""
    prompts = one_object_prompts(evaluation.count)
    texts = [caption((name,), background=colour) for name, colour in prompts]
    seen = evaluation.verdict(texts, PROMPTED)
    named = [found == {name} for found, (name, _) in zip(seen.named(1), prompts, strict=True)]
    backgrounds = _agree(seen, [colour for _, colour in prompts])
    return [
        [f"one-object prompts named right, {label(PROMPTED)}", proportion(named)],
        [f"background of one-object prompts right, {label(PROMPTED)}", proportion(backgrounds)],
    ]


def two(evaluation: Evaluation) -> Rows:
    """Prompts of two objects in a relation."""
    prompts = two_object_prompts(evaluation.count)
    seen = evaluation.verdict([caption(*prompt) for prompt in prompts], PROMPTED)
    pairs = zip(seen.named(2), prompts, strict=True)
    both = [found == set(pair) for found, (pair, _, _) in pairs]
    backgrounds = _agree(seen, [colour for _, _, colour in prompts])
    kept = [
        seen.relation(i, *pair) == relation
        for i, (pair, relation, _) in enumerate(prompts)
        if both[i]
    ]
    return [
        [f"two-object prompts, both named right, {label(PROMPTED)}", proportion(both)],
        [f"relation right where both are, {label(PROMPTED)}", proportion(kept)],
        [f"background of two-object prompts right, {label(PROMPTED)}", proportion(backgrounds)],
    ]


def wording(evaluation: Evaluation) -> Rows:
    """Captions as the world words them: all phrasings, sizes and marks that the model was
    taught.
    """
    drawn = evaluation.taught(evaluation.count // 4, 6)[1]
    seen = evaluation.verdict([each["caption"] for each in drawn], PROMPTED)
    names = [set(each["objects"]) for each in drawn]
    right = [seen.named(len(wanted))[i] == wanted for i, wanted in enumerate(names)]
    name = f"captions in all phrasings, all objects named right, {label(PROMPTED)}"
    return [[name, proportion(right)]]


def distance(evaluation: Evaluation) -> Rows:
    """Samples and reconstructions against renders that neither has seen, by whether the caption
    names the background.
    """
    others, _ = evaluation.taught(evaluation.count, 3)
    pixels, labels = evaluation.taught(evaluation.count, 2)
    real = evaluation.see(others).features.numpy()
    back = to_images(autoencoder.reconstruct(evaluation.model.vae, pixels))
    captions = [drawn["caption"] for drawn in labels]
    colours = {*BACKGROUNDS, *GREYS}
    named = np.array([not colours.isdisjoint(re.findall(r"\w+", text)) for text in captions])
    made = {
        "renders": pixels,
        "VAE reconstructions": np.stack([np.asarray(picture) for picture in back]),
        f"samples, {label(PROMPTED)}": evaluation.gallery.pictures(captions, PROMPTED),
    }
    subsets = {"": named | ~named, ", background named": named, ", background not named": ~named}
    rows = []
    for name, pictures in made.items():
        features = evaluation.see(pictures).features.numpy()
        for words, some in subsets.items():
            value = bootstrap(features[some], lambda drawn: frechet(real, drawn), 3)
            rows.append([f"Fréchet distance to renders, {name}{words}", value])
        both = precision_recall(real, features)
        value = f"{both.precision:.2f} and {both.recall:.2f}, n = {len(features)}"
        rows.append([f"precision and recall, {name}", value])
    return rows


def cg(evaluation: Evaluation) -> Rows:
    """Pictures that classifier guidance moves to a class, without a prompt."""
    if evaluation.model.classifier is None:
        return []
    names = [NAMES[index % len(NAMES)] for index in range(evaluation.count // 10)]
    rows = []
    for scale in (0.0, 5.0, 10.0, 20.0):
        seen = evaluation.verdict([""] * len(names), [CG(scale, name) for name in names])
        right = [found == {name} for found, name in zip(seen.named(1), names, strict=True)]
        rows.append([f"empty prompt moved to a class by CG, scale {scale:g}", proportion(right)])
    return rows


def _agree(seen: Verdict, wanted: Sequence[str | None]) -> list[bool]:
    """Of the pictures whose prompt names a background: is it that one?"""
    pairs = zip(seen.colours(), wanted, strict=True)
    return [found == colour for found, colour in pairs if colour]
