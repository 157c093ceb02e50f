"""Schedulers for few steps, and the stochastic ones, against diffusers' pipeline."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    TCDScheduler,
)
from tiny import build_pipe, build_sdxl, build_unet, difference, is_one_sentence, noise

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.codegen import code_of_run
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++ 2m sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "dpm++ 2s": (DPMSolverSinglestepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
BOUND = 1e-4
ADVICE = "ignore:.*those have guidance in their weights"  # against CFG, as some tests want it


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
@pytest.mark.filterwarnings(ADVICE)
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


@pytest.mark.slow
@pytest.mark.filterwarnings(ADVICE)
@pytest.mark.parametrize("name", KINDS)
def test_a_branch_goes_on_as_the_run_did(model: sv.Model, name: str) -> None:
    """Their memory and their noise are those of the run."""
    guidance = CFG(3.0) + SAG(1.0)
    trace = sv.trace(model, "a fox", steps=6, scheduler=name, guidance=guidance, progress=False)
    again = sv.branch(model, trace, 3, guidance=guidance, progress=False)
    torch.testing.assert_close(again.latents, trace.latents)


@pytest.mark.parametrize("steps", [1, 4, 8])
@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, EulerAncestralDiscreteScheduler])
def test_few_steps_of_trailing_spacing_are_those_of_diffusers(
    model: sv.Model, restored: Any, kind: Any, steps: int
) -> None:
    """As SD-Turbo, SDXL-Turbo and Lightning are run: from the last time on, without CFG."""
    given = {"timestep_spacing": "trailing"}
    own = kind.from_config(restored.scheduler.config, **given)
    restored.scheduler = seeded(own, 7) if "generator" in kind.step.__code__.co_varnames else own
    theirs = restored(
        "a fox",
        num_inference_steps=steps,
        guidance_scale=0.0,
        latents=noise(),
        output_type="latent",
    ).images
    ours = kind.from_config(model.scheduler.config, **given)
    made = sv.trace(
        model, "a fox", steps=steps, seed=7, scheduler=ours, noise=noise(), progress=False
    )
    assert difference(made.latents, theirs) < BOUND
    assert made[0].t == 999


@pytest.mark.slow
@pytest.mark.parametrize("build", [build_pipe, build_sdxl])
def test_a_latent_consistency_model_is_that_of_diffusers(tmp_path: Path, build: Any) -> None:
    """Its U-Net reads the guidance scale that it was distilled to, in place of a second row."""
    pipe = build(tmp_path)
    shape = {**pipe.unet.config, "time_cond_proj_dim": 16}
    pipe.unet = build_unet(**{name: shape[name] for name in shape if not name.startswith("_")})
    pipe.register_to_config(unet=("diffusers", "UNet2DConditionModel"))
    model, found = sv.load(pipe), {}
    for scale in (8.5, 3.0):
        model.embedded_guidance = scale
        trace = sv.trace(model, "a fox", steps=4, noise=noise(), progress=False)
        found[scale] = trace.latents
        theirs = pipe(
            "a fox",
            num_inference_steps=4,
            guidance_scale=scale,
            latents=noise(),
            output_type="latent",
        ).images
        assert difference(found[scale], theirs) < BOUND
        assert trace.samples == 4
        notes = "embedded guidance 3" in trace.settings.model, "= 3.0" in code_of_run(model, trace)
        assert notes == (scale == 3.0,) * 2
    pipe.save_pretrained(tmp_path / "saved")
    opened = sv.load(tmp_path / "saved")
    opened.embedded_guidance = 3.0
    assert pickle.loads(pickle.dumps(opened)).embedded_guidance == 3.0
    assert difference(found[3.0], found[8.5]) > 10 * BOUND
    assert model.network_bytes(1, (4, 16, 16)) > 0


@pytest.mark.slow
def test_a_sentence_says_where_cfg_makes_no_sense(model: sv.Model, tmp_path: Path) -> None:
    """Few steps of such a schedule, and a model that was distilled to its guidance."""
    few: dict[str, Any] = {"steps": 4, "scheduler": "lcm", "progress": False}
    with pytest.warns(sv.SagvizWarning, match="4 steps .*SD-Turbo, LCM.* leave it") as found:
        sv.trace(model, "a fox", guidance=CFG(3.0), **few)
    assert is_one_sentence(str(found[0].message))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sv.trace(model, "a fox", guidance=SAG(1.0), **few)
        sv.trace(model, "a fox", guidance=CFG(3.0), **{**few, "steps": 9})
    pipe = build_pipe(tmp_path)
    pipe.unet = build_unet(time_cond_proj_dim=16)
    with pytest.warns(sv.SagvizWarning, match=r"distilled to its guidance .* 8\.5") as found:
        sv.trace(pipe, "a fox", guidance=CFG(3.0), steps=9, progress=False)
    assert is_one_sentence(str(found[0].message))


@pytest.mark.parametrize("name", ["lcm", "tcd"])
def test_more_steps_than_a_distilled_schedule_has_are_refused(model: sv.Model, name: str) -> None:
    with pytest.raises(ArgumentError, match="steps is 60"):
        sv.trace(model, steps=60, scheduler=name)
