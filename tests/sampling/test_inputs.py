"""What goes into a run beside prompt and seed, against diffusers' own pipelines: layers of the text
encoder that are left out, timesteps of one's own, embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
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
from sagviz import CFG, SAG
from sagviz.codegen import code
from sagviz.errors import ArgumentError
from sagviz.records.settings import Settings
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import prepare

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


@pytest.mark.slow
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
        ("flux", 1, "takes what its text encoders say last; leave it out"),
        ("pixart", 0, "takes what its text encoders say last; leave it out"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    families: Open, family: str, skip: int, words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        sv.trace(families(family).model, clip_skip=skip)
    assert is_one_sentence(error.value)


# Timesteps of one's own.


@pytest.mark.slow
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
        ({}, "DDIMScheduler takes none.* euler, heun, dpm.. 2m, dpm.. 2m sde, dpm.. 2s, lcm, tcd$"),
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


@pytest.mark.parametrize("family", ["sd3", "flux", "qwen", "z_image"])
@pytest.mark.parametrize("scheduler", [None, "euler", "dpm++ 2m", "unipc"])
def test_timesteps_of_flow_matching_are_refused(
    families: Open, family: str, scheduler: str | None
) -> None:
    """diffusers would shift the levels, and tell the network the times as they were given."""
    with pytest.raises(ArgumentError, match="lays out its own noise levels; give steps=") as error:
        sv.trace(families(family).model, "a fox", timesteps=TIMES, scheduler=scheduler)
    assert is_one_sentence(error.value)


# Embeddings in place of prompts.


def embedded(found: Family, text: str, sign: str = "") -> dict[str, Any]:
    """What diffusers makes of a text, a little changed, by the names that its pipelines take."""
    pipe: Any = found.pipe
    made = pipe.encode_prompt(
        text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    parts = [1.1 * made[0]] if len(made) == 2 else [1.1 * made[0], 0.9 * made[2]]
    names = (f"{sign}prompt_embeds", f"{sign}pooled_prompt_embeds")
    return dict(zip(names, parts, strict=False))


@pytest.mark.parametrize(
    ("family", "negative", "images"),
    [("sd1", True, 1), ("sd1", False, 2), ("sdxl", True, 2), ("sdxl", False, 1)],
)
def test_embeddings_are_those_of_diffusers(
    families: Open, family: str, negative: bool, images: int
) -> None:
    found = families(family)
    given = embedded(found, "a fox") | (embedded(found, "red", "negative_") if negative else {})
    start = noise(images, seed=3)
    expected = by_diffusers(found.pipe, None, latents=start, num_images_per_prompt=images, **given)
    made = traced(found.model, "", noise=start, images=images, **given)
    assert difference(made.latents, expected) < BOUND
    assert difference(traced(found.model, noise=start, images=images).latents, expected) > 1e-3


def test_each_image_has_its_own_embeddings(families: Open) -> None:
    found = families("sdxl")
    one, other = embedded(found, "a fox"), embedded(found, "a cat on a tree")
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    made = traced(found.model, "", images=2, noise=None, **both)
    alone = traced(found.model, "", seed=1, noise=None, **other)
    assert difference(made.latents[1:], alone.latents) < 1e-4
    assert made.of_image(1).settings == alone.settings
    assert torch.equal(made.of_image(1).inputs["prompt_embeds"], other["prompt_embeds"])


def test_a_trace_keeps_its_embeddings(families: Open, tmp_path: Path) -> None:
    """For what-if, branch and attention, also when it was loaded."""
    found = families("sdxl")
    given = embedded(found, "a fox") | embedded(found, "red", "negative_")
    trace = traced(found.model, "", **given)
    back = sv.Trace.load(trace.save(tmp_path / "fox.sagtrace"))
    assert back.settings == trace.settings == Settings.from_json(trace.settings.to_json())
    assert back.inputs.keys() == {*given, "noise"} == back.settings.inputs.keys()
    assert torch.equal(sv.branch(found.model, back, 2, progress=False).latents, trace.latents)
    lone = traced(found.model, "", guidance=None, **embedded(found, "a fox"))
    both = sv.what_if(found.model, lone, 1, guidance=CFG(4.0))
    assert both.forwards == 1, "the conditional branch is the same"
    assert sv.attend(found.model, back, 1, (3, 3)).words is None
    assert "given embeddings" in repr(back)
    assert "prompt_embeds: write it once with" in code(found.model, back, back[1])


@pytest.mark.slow
def test_runs_with_other_embeddings_share_nothing_but_the_noise(families: Open) -> None:
    found = families("sd1")
    given = [embedded(found, text) for text in ("a fox", "a tree")]
    runs = [
        prepare(found.model, steps=3, guidance=CFG(4.0), scheduler="ddim", **each) for each in given
    ]
    for made, each in zip(collect(runs), given, strict=True):
        alone = traced(found.model, "", steps=3, noise=None, scheduler="ddim", **each)
        assert difference(made.latents, alone.latents) < 1e-4
    plain, cfg, _ = sv.compare(found.model, unguided=True, steps=3, progress=False, **given[0])
    for made, guidance in ((plain, None), (cfg, CFG(3.0))):
        alone = traced(found.model, "", steps=3, noise=None, guidance=guidance, **given[0])
        assert difference(made.latents, alone.latents) < 1e-4
        assert made.settings == alone.settings


@pytest.mark.parametrize(
    ("family", "settings", "words"),
    [
        ("sd1", {"prompt": "a fox", "prompt_embeds": (1, 24, 32)}, "both given"),
        ("sd1", {"clip_skip": 1, "prompt_embeds": (1, 24, 32)}, "clip_skip and prompt_embeds"),
        ("sd1", {"prompt_embeds": (1, 24, 31)}, "takes .1 or 1, tokens, 32."),
        ("sd1", {"prompt_embeds": (2, 24, 32)}, "takes .1 or 1, tokens, 32."),
        ("sd1", {"prompt_embeds": (24, 32)}, "takes .1 or 1, tokens, 32."),
        ("sd1", {"prompt_embeds": (1, 48, 32)}, "48 tokens and the negative one 24"),
        ("sd1", {"pooled_prompt_embeds": (1, 24)}, "has no use for it"),
        ("sdxl", {"prompt_embeds": (1, 24, 48)}, "give both"),
        ("pixels", {"prompt_embeds": (1, 24, 32), "guidance": None}, "reads no text"),
    ],
    ids=str,
)
def test_embeddings_that_do_not_fit_are_refused(
    families: Open, family: str, settings: dict[str, Any], words: str
) -> None:
    given: dict[str, Any] = {"guidance": CFG(3.0), **settings}
    given = {k: torch.zeros(v) if isinstance(v, tuple) else v for k, v in given.items()}
    with pytest.raises(ArgumentError, match=words) as error:
        sv.trace(families(family).model, **given)
    assert is_one_sentence(error.value)


def test_what_has_no_words_or_no_cell_says_so(model: sv.Model) -> None:
    given: Any = {"prompt_embeds": torch.zeros(1, 24, 32)}
    with pytest.raises(ArgumentError, match="attention to words"):
        sv.trace(model, capture=sv.Capture("mid", ("words",)), **given)
    with pytest.raises(ArgumentError, match=r"no argument 'prompt_embeds'; a cell is known by"):
        sv.sweep(model, **given)
    with pytest.raises(ArgumentError, match="prompt_embeds is 3; give a tensor"):
        sv.trace(model, prompt_embeds=3)  # type: ignore[arg-type]
    nan: Any = {"prompt_embeds": torch.full((1, 24, 32), torch.nan)}
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        sv.trace(model, **nan)
    with pytest.warns(sv.SagvizWarning, match="does nothing without CFG"):
        sv.trace(model, "a fox", negative_prompt_embeds=given["prompt_embeds"], steps=1)


def test_embeddings_that_are_read_or_come_in_pairs_are_not_warned_of(
    model: sv.Model, recwarn: pytest.WarningsRecorder
) -> None:
    text = torch.zeros(1, 24, 32)
    given: dict[str, Any] = {"steps": 1, "progress": False, "negative_prompt_embeds": text}
    sv.trace(model, "a fox", guidance=sv.NAG(1.0), **given)
    sv.trace(model, prompt_embeds=text, guidance=SAG(1.0), **given)
    assert [str(each.message) for each in recwarn] == []


def test_texts_of_unlike_lengths_are_refused_wherever_both_are_read(model: sv.Model) -> None:
    """They would go in one call, and the shorter would be read with zeros at its end."""
    long: Any = {"prompt_embeds": torch.zeros(1, 48, 32), "progress": False}
    trace = sv.trace(model, guidance=SAG(1.0), steps=2, **long)
    words = "48 tokens and the negative one 24"
    with pytest.raises(ArgumentError, match=words):
        sv.what_if(model, trace, 1, guidance=CFG(3.0))
    with pytest.raises(ArgumentError, match=words):
        sv.branch(model, trace, 0, guidance=CFG(3.0))
    with pytest.raises(ArgumentError, match=words) as error:
        sv.trace(model, guidance=sv.NAG(0.0), **long)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("family", ["sd3", "flux", "pixart"])
def test_a_model_of_texts_alone_says_so(families: Open, family: str) -> None:
    found = families(family).model
    with pytest.raises(ArgumentError, match="is run with texts alone; give prompt="):
        sv.trace(found, prompt_embeds=torch.zeros(1, 24, 32))
    with pytest.raises(ArgumentError, match="takes no embeddings; give a model of"):
        sv.weighted(found, "a (fox:1.2)")


# Wherever settings go.


@pytest.mark.slow
def test_they_are_kept_with_the_run(model: sv.Model) -> None:
    """In the file, in what-if and branch, for each picture, and read back from JSON."""
    given: dict[str, Any] = {"clip_skip": 1, "timesteps": TIMES, "scheduler": "euler"}
    trace = traced(model, **given, images=2, noise=None)
    back = sv.Trace.from_bytes(trace.to_bytes())
    assert back.settings == trace.settings == Settings.from_json(trace.settings.to_json())
    assert (trace.settings.clip_skip, trace.settings.timesteps) == (1, TIMES)
    again = sv.branch(model, back, 3, progress=False)
    assert torch.equal(again.latents, trace.latents)
    assert sv.what_if(model, back, 3, guidance=CFG(1.0)).forwards == 0
    one = traced(model, **given, seed=1, noise=None)
    assert back.settings.of_image(1) == one.settings


@pytest.mark.slow
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


def test_noise_of_words_is_refused(model: sv.Model) -> None:
    with pytest.raises(ArgumentError, match=r"noise is a ndarray; give a tensor"):
        sv.trace(model, "a fox", noise=np.array(["a", "b"]))  # type: ignore[arg-type]
