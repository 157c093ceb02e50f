"""Signal and noise amplitudes against diffusers' schedulers, and the conversions between what
networks predict.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from tiny import build_scheduler, is_one_sentence, noise

import sagviz as sv
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
@pytest.mark.slow
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


# Every configuration that is accepted.

SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
MULTISTEP = ("dpm++ 2m", "deis", "unipc")
SIGMAS = ("lms", "euler", "heun", "kdpm2")  # without noise of their own
CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ("ddim", "pndm", *SIGMAS, *MULTISTEP)),
    *((name, {each: True}) for name in (*SIGMAS, *MULTISTEP) for each in SPACINGS[:3]),
    ("dpm++ 2m", {"use_lu_lambdas": True}),
    *((name, {"timestep_spacing": "trailing"}) for name in (*SIGMAS, *MULTISTEP)),
    *((name, {"final_sigmas_type": "sigma_min"}) for name in ("dpm++ 2m", "unipc", "euler")),
    ("dpm++ 2m", {"solver_order": 3, "beta_schedule": "squaredcos_cap_v2"}),
    ("dpm++ 2m", {"lambda_min_clipped": -5.1, "timestep_spacing": "trailing"}),
    ("unipc", {"predict_x0": False, "use_exponential_sigmas": True}),
    ("pndm", {"skip_prk_steps": False}),
    ("ddim", {"trained_betas": np.linspace(1e-3, 1e-2, 1000)}),
    ("euler", {"interpolation_type": "log_linear"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CONFIGURATIONS, ids=str)
def test_the_levels_are_those_on_which_the_scheduler_itself_moves(
    model: Model, name: str, options: dict[str, Any]
) -> None:
    """Where all data are one point c, the network that knows it predicts the same noise at every
    time, and each solver goes exactly along x = alpha c + sigma eps.
    """
    own = make_scheduler(model, name)
    scheduler = make_scheduler(model, type(own).from_config(own.config, **options))
    scheduler.set_timesteps(10)
    levels, c, eps = noise_levels(scheduler), noise(seed=5), noise(seed=6)
    x = levels[0].mix(c, eps)
    for level, t in zip(levels, scheduler.timesteps, strict=True):
        torch.testing.assert_close(x, level.mix(c, eps), rtol=1e-4, atol=2e-4 * level.norm)
        output = (x - level.alpha * c) / level.sigma
        x = scheduler.step(output, t, x).prev_sample


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        *((name, {"use_flow_sigmas": True}, "flow matching") for name in MULTISTEP),
        ("unipc", {"use_dynamic_shifting": True}, "flow matching"),
        ("unipc", {"solver_p": DDIMScheduler()}, "an object"),
    ],
    ids=lambda given: next(iter(given)) if isinstance(given, dict) else given,
)
def test_what_cannot_be_honoured_is_refused(
    model: Model, name: str, options: dict[str, Any], words: str
) -> None:
    own = make_scheduler(model, name)
    with pytest.raises(ArgumentError, match=words) as refused:
        sv.trace(model, steps=2, scheduler=type(own).from_config(own.config, **options))
    assert is_one_sentence(refused.value)
    assert next(iter(options)) in str(refused.value)


def test_a_kind_by_name_has_its_own_spacing(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the model's own scheduler has."""
    expected = make_scheduler(model, "unipc")
    own = type(expected).from_config(expected.config, use_exponential_sigmas=True)
    monkeypatch.setattr(model, "scheduler", own)
    for name, karras in (("unipc", False), ("dpm++ 2m karras", True)):
        found = make_scheduler(model, name)
        assert not found.config.use_exponential_sigmas
        assert found.config.use_karras_sigmas == karras


def test_betas_of_ones_own_are_in_the_settings(model: Model) -> None:
    """Else what-if and a file would go on with other ones."""
    betas = np.linspace(1e-3, 1e-2, 1000)
    scheduler = DDIMScheduler(trained_betas=betas, clip_sample=False)
    trace = sv.trace(model, steps=3, scheduler=scheduler, progress=False)
    again = sv.what_if(model, trace, 1)
    assert torch.equal(again.x_next, trace[1].x_next)
    assert trace.settings.scheduler["trained_betas"] == betas.tolist()
