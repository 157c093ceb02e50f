"""NaN and infinity stop a run where they arise, and the sentence says why and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from tiny import is_one_sentence, noise

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import NotFiniteError, SagvizError

BOTH = CFG(3.0) + SAG(1.0)


def stopped(model: sv.Model, words: str, **settings: Any) -> NotFiniteError:
    with pytest.raises(NotFiniteError, match=words) as error:
        sv.trace(
            model,
            **{"prompt": "a fox", "steps": 4, "guidance": BOTH, "progress": False, **settings},
        )
    assert isinstance(error.value, SagvizError)
    assert is_one_sentence(error.value)
    return error.value


class Poisons:
    """Puts one NaN into a row of the U-Net's n-th output."""

    def __init__(self, model: sv.Model, call: int, row: int) -> None:
        self.left, self.row = call, row
        self.handle = model.unet.register_forward_hook(self.poison)

    def poison(self, _module: object, _args: object, output: Any) -> None:
        self.left -= 1
        if self.left == 0:
            output.sample[self.row, 0, 3, 5] = torch.nan


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "row", "step", "name"),
    [
        (1, 0, 0, "out_uncond"),
        (5, 1, 2, "out_cond"),
        (6, 0, 2, "out_degraded"),
        (8, 0, 3, "out_degraded"),
    ],
)
def test_the_step_and_the_first_quantity_are_named(
    model: sv.Model, call: int, row: int, step: int, name: str
) -> None:
    """One number of one branch, in the first or the second pass; the steps before are there."""
    poison = Poisons(model, call, row)
    error = stopped(
        model,
        rf"at step {step + 1} of 4 \(t = .*alpha = .*sigma = .*\): {name} holds NaN or infinity in"
        r" 1 of 1024",
    )
    poison.handle.remove()
    assert [kept.index for kept in error.trace] == list(range(step))
    assert error.step.index == step
    assert not error.step.x_next.isfinite().all()
    assert sv.trace(model, "a fox", steps=4, guidance=BOTH, progress=False).latents.isfinite().all()


def test_the_generator_stops_as_well(model: sv.Model) -> None:
    poison, walk = Poisons(model, 3, 0), sv.steps(model, "a fox", steps=4, guidance=BOTH)
    next(walk)
    with pytest.raises(NotFiniteError, match="step 2 of 4"):
        next(walk)
    poison.handle.remove()


def test_a_what_if_stops_as_well(model: sv.Model) -> None:
    trace = sv.trace(model, "a fox", steps=3, guidance=BOTH, progress=False)
    poison = Poisons(model, 1, 0)
    with pytest.raises(NotFiniteError, match="step 2 of 3"):
        sv.what_if(model, trace, 1, guidance=CFG(3.0) + SAG(1.0, blur_sigma=2.0))
    poison.handle.remove()


def test_an_overflow_of_float16_is_known_for_one(folder: Path) -> None:
    """A real one: a layer goes beyond 65504."""
    model = sv.load(folder, dtype="float16")
    model.unet.conv_in.weight.mul_(2e5)
    assert model.unet.conv_in.weight.isfinite().all()
    stopped(model, "out_uncond .*float16 ends at 65504.*dtype='bfloat16', or 'float32'")
    stopped(model, "out_cond .*float16 ends at 65504", guidance=None)


def test_a_damaged_weight_is_named(folder: Path) -> None:
    model = sv.load(folder)
    model.unet.mid_block.resnets[0].conv1.bias[3] = torch.nan
    stopped(
        model,
        r"the U-Net's weight mid_block\.resnets\.0\.conv1\.bias is not finite itself: fetch the"
        r" model again",
    )


@pytest.mark.parametrize("guidance", [CFG(1e39), CFG(3.0) + SAG(-1e39)], ids=repr)
def test_too_much_guidance_is_told(model: sv.Model, guidance: Any) -> None:
    stopped(model, r"x_next .*too much guidance .*lower the scale of .*1e\+39", guidance=guidance)


@pytest.mark.parametrize("guidance", [None, CFG(3.0)], ids=repr)
def test_a_scheduler_that_makes_it_is_named(model: sv.Model, guidance: Any) -> None:
    """In diffusers, too, UniPC ends so where its last step is not of the first order."""
    settings = {**model.scheduler.config, "lower_order_final": False}
    solver = UniPCMultistepScheduler.from_config(settings)
    words = "x_next .*UniPCMultistepScheduler made it of a finite latent and a finite prediction"
    stopped(model, words, guidance=guidance, scheduler=solver, steps=3)


def test_guidance_that_drove_the_latent_away_before_is_told(model: sv.Model) -> None:
    """The network fails, and what it was given is the cause."""
    error = stopped(
        model,
        r"too much guidance drives the latent, .* times its noise level",
        guidance=CFG(1e25),
        steps=8,
    )
    assert error.step.index > 0


def test_noise_that_is_not_finite_is_told(model: sv.Model) -> None:
    given = noise()
    given[0, 0, 0, 0] = torch.inf
    stopped(model, "step 1 of 4 .*x_t holds .*finite noise=", noise=given)


def test_runs_in_lockstep_keep_what_they_have(model: sv.Model) -> None:
    poison = Poisons(model, 5, 0)
    with pytest.raises(NotFiniteError, match="step 3") as error:
        sv.compare(model, "a fox", steps=4, progress=False)
    poison.handle.remove()
    assert [len(trace) for trace in error.value.traces] == [2, 2]
