"""Schedulers for few steps, and the stochastic ones, against diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    TCDScheduler,
)
from tiny import difference, noise

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++ 2m sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++ 2s": (DPMSolverSinglestepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
BOUND = 1e-4


def seeded(scheduler: Any, seed: int) -> Any:
    """A scheduler of diffusers that draws the noise of step i from (seed, i), as a run does."""
    own, taken = scheduler.step, iter(range(1000))

    def step(output: Any, t: Any, sample: Any, **given: Any) -> Any:
        return own(output, t, sample, **{**given, "generator": [generator(seed, next(taken))]})

    scheduler.step = step
    return scheduler


@pytest.fixture
def restored(pipe: StableDiffusionPipeline) -> Iterator[StableDiffusionPipeline]:
    own = pipe.scheduler
    yield pipe
    pipe.scheduler = own


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("name", KINDS)
def test_a_run_is_that_of_diffusers(model: sv.Model, restored: Any, name: str, steps: int) -> None:
    kind, options = KINDS[name]
    own = kind.from_config(restored.scheduler.config, clip_sample=False, **options)
    restored.scheduler = own if name in ("tcd", "dpm++ 2s") else seeded(own, 7)
    theirs = restored(
        "a fox",
        num_inference_steps=steps,
        guidance_scale=7.5,
        latents=noise(),
        output_type="latent",
    ).images
    made = sv.trace(
        model,
        "a fox",
        steps=steps,
        seed=7,
        scheduler=name,
        guidance=CFG(7.5),
        noise=noise(),
        progress=False,
    )
    assert difference(made.latents, theirs) < BOUND


@pytest.mark.parametrize("name", KINDS)
def test_a_branch_goes_on_as_the_run_did(model: sv.Model, name: str) -> None:
    """Their memory and their noise are those of the run."""
    guidance = CFG(3.0) + SAG(1.0)
    trace = sv.trace(model, "a fox", steps=6, scheduler=name, guidance=guidance, progress=False)
    again = sv.branch(model, trace, 3, guidance=guidance, progress=False)
    torch.testing.assert_close(again.latents, trace.latents)


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_more_steps_than_a_distilled_schedule_has_are_refused(model: sv.Model, name: str) -> None:
    with pytest.raises(ArgumentError, match="steps is 60"):
        sv.trace(model, steps=60, scheduler=name)
