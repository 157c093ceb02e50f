"""The classifier of noisy latents: it learns, and its slope is what classifier guidance needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.guidance.cg import slope
from sagviz.mini.noisy import NoisyClassifier
from sagviz.mini.scenes import Label
from sagviz.mini.training import noisy
from sagviz.mini.training.diffusion import build_scheduler
from sagviz.mini.training.fit import Plan
from sagviz.mini.training.judge import to_targets


@pytest.mark.parametrize(("t", "place"), [(10, 0), (500, 7), (990, 47)])
def test_the_slope_is_that_of_the_log_probability(t: int, place: int) -> None:
    """Against central differences in float64, one direction for each picture: no picture sees
    another.
    """
    torch.manual_seed(0)
    classifier, level = (
        NoisyClassifier().double(),
        NoiseLevel(t=t, alpha=0.6, sigma=0.8, prediction="epsilon"),
    )
    x_t, towards = torch.randn(2, 3, 4, 16, 16, dtype=torch.float64)

    def log_p(x: torch.Tensor) -> torch.Tensor:
        return classifier(x, torch.full((3,), t)).log_softmax(dim=1)[:, place]

    found = (slope(classifier, x_t, level, place) * towards).sum(dim=(1, 2, 3))
    expected = (log_p(x_t + 1e-5 * towards) - log_p(x_t - 1e-5 * towards)) / 2e-5
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_it_learns_to_tell_two_latents_apart(tmp_path: Path) -> None:
    torch.manual_seed(0)
    latents = torch.randn(2, 4, 16, 16).repeat(20, 1, 1, 1)
    labels: list[Label] = [
        {
            "caption": "",
            "objects": [("fox", "owl")[i % 2]],
            "sizes": [""],
            "background": "red",
            "relation": None,
        }
        for i in range(40)
    ]
    signal = build_scheduler().alphas_cumprod
    classifier = noisy.train(
        latents,
        labels,
        (latents, labels),
        signal,
        Plan(steps=15, rate=2e-3, warmup=3, autocast=False),
        tmp_path / "noisy.pt",
    )
    right = noisy.accuracy(classifier, latents, to_targets(labels)[0], signal)
    assert sum(right["t=300"]) == 40
