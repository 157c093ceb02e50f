"""What goes into a run beside prompt and seed, against diffusers' own pipelines: layers of the text
encoder that are left out, timesteps of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from conftest import Family
from diffusers import (
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    StableDiffusionPipeline,
)
from tiny import difference, is_one_sentence, noise
from transformers import CLIPTextModel

import sagviz as sv
from sagviz import CFG
from sagviz.errors import ArgumentError
from sagviz.records.settings import Settings

BOUND = 1e-5
TIMES = (999, 845, 730, 587, 310, 187, 80)
SCHEDULERS: dict[str, Any] = {
    "euler": EulerDiscreteScheduler,
    "heun": HeunDiscreteScheduler,
    "dpm++ 2m": DPMSolverMultistepScheduler,
    "dpm++ 2s": DPMSolverSinglestepScheduler,
}
Open = Callable[[str], Family]


@pytest.fixture(autouse=True)
def text_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' pipelines look for the layers of a text encoder where older transformers had
    them.
    """
    monkeypatch.setattr(CLIPTextModel, "text_model", property(lambda self: self), raising=False)


@pytest.fixture
def restored(pipe: StableDiffusionPipeline) -> Iterator[StableDiffusionPipeline]:
    own = pipe.scheduler
    yield pipe
    pipe.scheduler = own


def traced(model: sv.Model, prompt: str = "a fox", **settings: Any) -> sv.Trace:
    given = {"guidance": CFG(4.0), "steps": 4, "noise": noise(seed=3), "progress": False}
    return sv.trace(model, prompt, **{**given, **settings})


def by_diffusers(pipe: Any, prompt: str | None = "a fox", **settings: Any) -> torch.Tensor:
    given = {"guidance_scale": 4.0, "num_inference_steps": 4, "latents": noise(seed=3)}
    found: torch.Tensor = pipe(prompt, **{**given, "output_type": "latent", **settings}).images
    return found


# Layers of the text encoder.


@pytest.mark.parametrize(("family", "skip"), [("sd1", 1), ("sd2", 2), ("sdxl", 1)])
def test_layers_are_left_out_as_in_diffusers(families: Open, family: str, skip: int) -> None:
    """Of the prompt alone: the negative one has all of its layers."""
    found = families(family)
    texts = {"negative_prompt": "red"}
    expected = by_diffusers(found.pipe, clip_skip=skip, **texts)
    made = traced(found.model, clip_skip=skip, **texts)
    assert difference(made.latents, expected) < BOUND
    usual = traced(found.model, **texts)
    assert (difference(usual.latents, expected) > 100 * BOUND) == (skip > 0)


@pytest.mark.parametrize(
    ("family", "skip", "words"),
    [
        ("sd1", 3, "from 0 to 2"),
        ("sdxl", 2, "from 0 to 1"),
        ("sd1", True, "whole number"),
        ("pixels", 1, "no text encoder"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    families: Open, family: str, skip: int, words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        sv.trace(families(family).model, clip_skip=skip)
    assert is_one_sentence(error.value)


# Timesteps of one's own.


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_timesteps_are_those_of_diffusers(
    model: sv.Model, restored: StableDiffusionPipeline, scheduler: str
) -> None:
    restored.scheduler = SCHEDULERS[scheduler].from_config(restored.scheduler.config)
    expected = by_diffusers(restored, timesteps=list(TIMES))
    made = traced(model, scheduler=scheduler, timesteps=TIMES)
    assert difference(made.latents, expected) < BOUND
    assert {step.t for step in made} == set(TIMES)
    assert made.settings.steps == len(TIMES)


@pytest.mark.parametrize("scheduler", ["lcm", "tcd", "ddpm"])
def test_stochastic_schedulers_evaluate_where_they_are_told(
    model: sv.Model, scheduler: str
) -> None:
    times = (999, 759, 499, 259)
    made = traced(model, scheduler=scheduler, timesteps=list(times))
    assert tuple(step.t for step in made) == times


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "DDIMScheduler takes none.* euler"),
        ({"scheduler": "dpm++ 2m karras"}, "use_karras_sigmas"),
        ({"timesteps": (1000, 20)}, "from 999 at most"),
        ({"timesteps": (20, 20)}, "falling"),
        ({"timesteps": ()}, "at least one"),
        ({"timesteps": (20.5, 1)}, "whole numbers"),
    ],
    ids=str,
)
def test_timesteps_that_cannot_be_taken_are_refused(
    model: sv.Model, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        sv.trace(model, **{"timesteps": TIMES, **settings})
    assert is_one_sentence(error.value)


# Both, wherever settings go.


def test_they_are_kept_with_the_run(model: sv.Model) -> None:
    """In the file, in what-if and branch, for each picture, and read back from JSON."""
    given = {"clip_skip": 1, "timesteps": TIMES, "scheduler": "euler"}
    trace = traced(model, **given, images=2, noise=None)
    back = sv.Trace.from_bytes(trace.to_bytes())
    assert back.settings == trace.settings == Settings.from_json(trace.settings.to_json())
    assert (trace.settings.clip_skip, trace.settings.timesteps) == (1, TIMES)
    again = sv.branch(model, back, 3, progress=False)
    assert torch.equal(again.latents, trace.latents)
    assert sv.what_if(model, back, 3, guidance=CFG(1.0)).forwards == 0
    one = traced(model, **given, seed=1, noise=None)
    assert back.settings.of_image(1) == one.settings


def test_compare_and_sweep_take_them(model: sv.Model) -> None:
    given: dict[str, Any] = {"clip_skip": 1, "timesteps": TIMES}
    _, cfg, _ = sv.compare(
        model, "a fox", unguided=True, scheduler="euler", progress=False, **given
    )
    trace = sv.trace(model, "a fox", guidance=CFG(3.0), scheduler="euler", progress=False, **given)
    made = sv.sweep(model, "a fox", guidance=CFG(3.0), schedulers="euler", progress=False, **given)
    assert made.trace().settings == cfg.settings == trace.settings
    for other in (made.trace(), cfg):
        torch.testing.assert_close(other.latents, trace.latents, atol=1e-4, rtol=1e-4)
    plain = sv.sweep(model, "a fox", steps=7, guidance=CFG(3.0), schedulers="euler")
    assert not {cell.key for cell in plain.plan.cells} & {cell.key for cell in made.plan.cells}
    with pytest.raises(ArgumentError, match="steps has 2 values"):
        sv.sweep(model, "a fox", steps=[4, 7], schedulers="euler", timesteps=TIMES)
