"""Signal and noise amplitudes against diffusers' schedulers, and the conversions between what
networks predict.
"""

from __future__ import annotations

import math

import pytest
import torch
from tiny import build_scheduler, noise

from sagviz.diffusion.noise_level import (
    PREDICTIONS,
    NoiseLevel,
    is_variance_exploding,
    noise_levels,
)
from sagviz.errors import ArgumentError
from sagviz.models import SCHEDULERS, Model, make_scheduler

LEVELS = [
    (0.6, 0.8),
    (0.99, math.sqrt(1 - 0.99**2)),
    (0.07, math.sqrt(1 - 0.07**2)),
    (1.0, 0.03),
    (1.0, 14.6),
]
X, OUT, D = (noise(seed=seed).double() for seed in (1, 2, 3))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_the_slope_is_the_inverse_of_x0s(alpha: float, sigma: float, prediction: str) -> None:
    level = NoiseLevel(500, alpha, sigma, prediction)
    torch.testing.assert_close(
        level.x0(X, OUT + level.slope * D), level.x0(X, OUT) + D, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_signal_and_noise_add_up_to_the_latent(alpha: float, sigma: float, prediction: str) -> None:
    """x = alpha x0 + sigma eps, from any output."""
    level = NoiseLevel(500, alpha, sigma, prediction)
    torch.testing.assert_close(
        level.mix(level.x0(X, OUT), level.eps(X, OUT)), X, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize(("alpha", "sigma"), LEVELS)
def test_a_perfect_network_of_any_kind_gives_the_truth(alpha: float, sigma: float) -> None:
    """v = alpha eps - sigma x0 in variance preserving coordinates (Salimans & Ho 2022)."""
    x0, eps, norm = X, OUT, math.hypot(alpha, sigma)
    x = alpha * x0 + sigma * eps
    for prediction, out in {
        "epsilon": eps,
        "sample": x0,
        "v_prediction": (alpha * eps - sigma * x0) / norm,
    }.items():
        level = NoiseLevel(500, alpha, sigma, prediction)
        torch.testing.assert_close(level.x0(x, out), x0, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(level.eps(x, out), eps, rtol=1e-9, atol=1e-9)


def test_v_keeps_the_image_where_no_signal_is_left() -> None:
    """At alpha = 0 a v-model still knows x0: it is -v."""
    level = NoiseLevel(999, 0.0, 1.0, "v_prediction")
    assert torch.equal(level.x0(X, OUT), -OUT)
    torch.testing.assert_close(level.x0(X, OUT + level.slope * D), level.x0(X, OUT) + D)


EXPLODING = {"lms", "euler", "euler a", "heun", "kdpm2", "kdpm2 a"}


@pytest.mark.parametrize("steps", [1, 7, 50])
# its add_noise leaves out the levels in between
@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"kdpm2"}))
def test_levels_are_the_amplitudes_of_the_scheduler(model: Model, name: str, steps: int) -> None:
    """Its own `add_noise` mixes with the same alpha and sigma at every evaluation."""
    scheduler = make_scheduler(model, name)
    scheduler.set_timesteps(steps)
    x0, eps, found = noise(seed=3), noise(seed=4), noise_levels(scheduler)
    assert len(found) == len(scheduler.timesteps)
    for index, level in enumerate(found):
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(index)
        mixed = scheduler.add_noise(x0, eps, scheduler.timesteps[index : index + 1])
        torch.testing.assert_close(level.mix(x0, eps), mixed, rtol=1e-5, atol=1e-5)
        assert level.t == float(scheduler.timesteps[index])


@pytest.mark.parametrize(
    ("name", "evaluations"),
    [("ddim", 50), ("pndm", 51), ("dpm++ 2m", 50), ("euler", 50), ("heun", 99), ("kdpm2", 99)],
)
def test_one_level_per_evaluation(model: Model, name: str, evaluations: int) -> None:
    scheduler = make_scheduler(model, name)
    scheduler.set_timesteps(50)
    assert len(noise_levels(scheduler)) == evaluations


@pytest.mark.parametrize("name", SCHEDULERS)
def test_only_exploding_schedulers_keep_the_signal_whole(model: Model, name: str) -> None:
    scheduler = make_scheduler(model, name)
    scheduler.set_timesteps(5)
    found = noise_levels(scheduler)
    assert is_variance_exploding(scheduler) == (name in EXPLODING)
    for level in found:
        assert (
            level.alpha == 1.0
            if name in EXPLODING
            else math.isclose(level.norm, 1.0, rel_tol=1e-12)
        )


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_kind_of_output_comes_from_the_scheduler(prediction: str) -> None:
    scheduler = build_scheduler(prediction)
    scheduler.set_timesteps(2)
    assert {level.prediction for level in noise_levels(scheduler)} == {prediction}


def test_an_unknown_kind_of_output_is_refused() -> None:
    scheduler = build_scheduler("flow_prediction")
    scheduler.set_timesteps(2)
    with pytest.raises(ArgumentError, match=r"flow_prediction.*epsilon"):
        noise_levels(scheduler)
