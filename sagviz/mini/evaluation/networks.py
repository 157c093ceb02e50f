"""The parts about single networks: the autoencoder, the judge, the classifier of noisy latents."""

from __future__ import annotations

import numpy as np

from sagviz.mini.evaluation.card import Rows
from sagviz.mini.evaluation.intervals import bootstrap, proportion
from sagviz.mini.evaluation.subject import Evaluation
from sagviz.mini.noisy import NoisyClassifier
from sagviz.mini.scenes import scene
from sagviz.mini.training import autoencoder
from sagviz.mini.training.diffusion import build_scheduler
from sagviz.mini.training.judge import accuracy, look, to_targets
from sagviz.mini.training.noisy import accuracy as noisy_accuracy
from sagviz.mini.world import BACKGROUNDS, NAMES


def vae(evaluation: Evaluation) -> Rows:
    """How well pictures come back from the latent space."""
    errors = autoencoder.squared_errors(evaluation.model.vae, evaluation.renders[0]).numpy()
    everywhere = [
        scene(np.random.default_rng((5, i)), (NAMES[i // 10],), list(BACKGROUNDS)[i % 10])
        for i in range(480)
    ]
    pixels = np.stack([np.asarray(drawn.image) for drawn in everywhere])
    seen = look(evaluation.judge, autoencoder.reconstruct(evaluation.model.vae, pixels)).named(1)
    named = [found == set(drawn.objects) for found, drawn in zip(seen, everywhere, strict=True)]
    return [
        [
            "VAE, PSNR of held-out renders in dB",
            bootstrap(errors, lambda e: -10 * float(np.log10(e.mean()))),
        ],
        ["VAE, reconstructions named right, each object on each background", proportion(named)],
    ]


def judging(evaluation: Evaluation) -> Rows:
    """How often the judge is right on renders."""
    right = accuracy(evaluation.judge, *evaluation.renders)
    return [
        [f"judge, {key} of held-out renders right", proportion(hits)] for key, hits in right.items()
    ]


def noisy(evaluation: Evaluation) -> Rows:
    """How often the classifier of noisy latents is right, by the time; none where there is none."""
    classifier, (pixels, labels) = evaluation.model.classifier, evaluation.renders
    if not isinstance(classifier, NoisyClassifier):
        return []
    latents, present = autoencoder.encode(evaluation.model.vae, pixels), to_targets(labels)[0]
    signal = build_scheduler().alphas_cumprod
    found = noisy_accuracy(classifier, latents.float(), present, signal)
    return [
        [f"noisy-latent classifier, object named at {time}", proportion(hits)]
        for time, hits in found.items()
    ]
