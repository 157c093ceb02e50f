"""CFG-Zero* and FDG: against diffusers' guiders, the pyramid written out, and their limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ClassifierFreeZeroStarGuidance
from scipy import ndimage
from tiny import counted, difference, is_one_sentence

import sagviz as sv
from sagviz import CFG, FDG, CFGZero, measure
from sagviz.errors import ArgumentError

PROMPT = "a fox on a blue background"


def run(model: sv.Model, guidance: Any, **changes: Any) -> sv.Trace:
    options = {"steps": 4, "seed": 3, "images": 2, "progress": False, **changes}
    return sv.trace(model, PROMPT, guidance=guidance, **options)


@pytest.fixture(params=["epsilon", "v_prediction"])
def network(request: pytest.FixtureRequest, model: sv.Model, v_model: sv.Model) -> sv.Model:
    return model if request.param == "epsilon" else v_model


# CFG-Zero*.


@pytest.mark.parametrize("zero_steps", [0, 2])
def test_cfg_zero_is_that_of_diffusers(network: sv.Model, zero_steps: int) -> None:
    guider = ClassifierFreeZeroStarGuidance(guidance_scale=6.0, zero_init_steps=zero_steps)
    for step in run(network, CFG(6.0) + CFGZero(1.0, zero_steps=zero_steps)):
        guider.set_state(step=step.index, num_inference_steps=4, timestep=torch.tensor(1))
        wanted = guider.forward(step.out_cond, step.out_uncond).pred
        assert float((step.output - wanted).abs().max()) < 2e-5
        assert (float(wanted.abs().max()) == 0) == (step.index < zero_steps)


def test_the_fitted_prediction_leaves_what_is_at_right_angles(model: sv.Model) -> None:
    """At w = 1 nothing changes; at w = 0 the result is eps_c's projection on eps."""
    for step in run(model, CFG(1.0) + CFGZero(1.0)):
        assert measure.rms(step.terms["cfg_zero"]) < 1e-6
    for step in run(model, CFG(0.0) + CFGZero(1.0)):
        for row in range(2):
            rest = step.eps_cond[row] - step.eps[row]
            assert abs(measure.cosine(rest[None], step.eps_uncond[row : row + 1])) < 1e-4


@pytest.mark.slow
def test_cfg_zero_at_scale_0_is_cfg_and_rests_with_it(model: sv.Model) -> None:
    off = run(model, CFG(5.0) + CFGZero(0.0))
    assert torch.equal(off.latents, run(model, CFG(5.0)).latents)
    resting = run(model, CFG(5.0, stop=0.5) + CFGZero(1.0))
    assert ["cfg_zero" in step.terms for step in resting] == [True, True, False, False]
    with pytest.raises(ArgumentError, match="CFGZero does nothing without CFG"):
        run(model, CFGZero(1.0))


def test_it_costs_nothing(model: sv.Model) -> None:
    with counted(model.unet) as rows:
        run(model, CFG(5.0) + CFGZero(1.0) + FDG(1.0))
    assert rows == [4] * 4


# FDG.


def halved(x: Any) -> Any:
    return x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean((3, 5))


def doubled(x: Any) -> Any:
    """Bilinear, cell centres kept, the border repeated."""
    for axis in (2, 3):
        before, after = (np.roll(x, shift, axis) for shift in (1, -1))
        first, last = [slice(None)] * 4, [slice(None)] * 4
        first[axis], last[axis] = slice(0, 1), slice(-1, None)
        before[tuple(first)], after[tuple(last)] = x[tuple(first)], x[tuple(last)]
        pairs = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def smooth(x: Any) -> Any:
    taps = np.array([1, 4, 6, 4, 1]) / 16
    for axis in (2, 3):
        x = ndimage.correlate1d(x, taps, axis, mode="mirror")
    return x


def low_of(x: Any, levels: int) -> Any:
    if levels == 1:
        return x
    return smooth(doubled(low_of(halved(smooth(x)), levels - 1)))


@pytest.mark.parametrize("levels", [2, 3])
def test_fdg_is_the_pyramids(network: sv.Model, levels: int) -> None:
    for step in run(network, FDG(7.0, low=0.4, levels=levels)):
        delta = (step.out_cond - step.out_uncond).double().numpy()
        low = low_of(delta, levels)
        wanted = torch.from_numpy(7.0 * (delta - low) + 2.8 * low) + step.out_uncond
        assert difference(step.output, wanted) < 1e-5
        assert difference(step.level.eps(step.x_t, step.output), step.eps) < 1e-5


def test_fdg_is_that_of_diffusers(network: sv.Model) -> None:
    pytest.importorskip("kornia")
    from diffusers import FrequencyDecoupledGuidance

    guider = FrequencyDecoupledGuidance(guidance_scales=[10.0, 5.0])
    for step in run(network, FDG(10.0)):
        guider.set_state(step=step.index, num_inference_steps=4, timestep=torch.tensor(1))
        assert difference(step.output, guider.forward(step.out_cond, step.out_uncond).pred) < 1e-5


def test_fdg_with_one_scale_for_all_is_cfg(network: sv.Model) -> None:
    assert (
        difference(run(network, FDG(4.0, low=1.0)).latents, run(network, CFG(4.0)).latents) < 1e-4
    )


def test_a_flat_difference_is_low_and_a_checkerboard_high(model: sv.Model) -> None:
    step = run(model, FDG(1.0), steps=1)[0]
    term = FDG(1.0, low=0.0)
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    for change, share in ((torch.ones(16, 16), 0.0), (board, 1.0)):
        told = replace(step, out_cond=step.out_uncond + change)
        inner = (term.in_output(told) - share * change)[..., 3:-3, 3:-3]
        assert float(inner.abs().max()) < 1e-5


def test_odd_sizes_have_a_pyramid_and_tiny_ones_are_refused(model: sv.Model) -> None:
    assert run(model, FDG(3.0), size=(36, 44), steps=1).latents.isfinite().all()
    with pytest.raises(ArgumentError, match="a pyramid of 8 levels does not fit") as error:
        run(model, FDG(3.0, levels=8))
    assert is_one_sentence(error.value)
