"""Flow matching: its levels, its schedulers against diffusers' pipeline, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Family
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from tiny import difference, is_one_sentence, noise, same
from tiny_transformers import build_sd3

import sagviz as sv
from sagviz import CFG, SAG, Capture
from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.errors import ArgumentError, ModelError

Open = Callable[[str], Family]
BOUND = 1e-5
FLOW: dict[str, Any] = {
    "use_flow_sigmas": True,
    "prediction_type": "flow_prediction",
    "flow_shift": 3.0,
}
KINDS: dict[str, tuple[Any, dict[str, Any], int]] = {  # and how many evaluations 4 steps have
    "euler": (FlowMatchEulerDiscreteScheduler, {}, 4),
    "heun": (FlowMatchHeunDiscreteScheduler, {}, 7),
    "dpm++ 2m": (DPMSolverMultistepScheduler, FLOW, 4),
    "unipc": (UniPCMultistepScheduler, FLOW, 4),
}


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One that no other test has, without T5."""
    return build_sd3(tmp_path_factory.mktemp("sd3"), with_t5=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_scheduler_by_name_is_that_of_diffusers(pipe: Any, name: str) -> None:
    kind, options, evaluations = KINDS[name]
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipe.scheduler = own
    trace = sv.trace(
        sv.load(pipe),
        "a fox",
        steps=4,
        scheduler=name,
        guidance=CFG(4.0),
        noise=noise(),
        progress=False,
    )
    pipe.scheduler = kind.from_config(own.config, **options)
    theirs = pipe(
        "a fox",
        num_inference_steps=4,
        guidance_scale=4.0,
        latents=noise(),
        output_type="latent",
        height=32,
        width=32,
    ).images
    pipe.scheduler = own
    assert len(trace) == evaluations
    assert difference(trace.latents, theirs) < BOUND
    assert all(step.alpha + step.sigma == pytest.approx(1) for step in trace)
    sigmas = [step.sigma for step in trace]
    assert sigmas == sorted(sigmas, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler])
@pytest.mark.parametrize("size", [(32, 32), (32, 24)])
def test_times_shift_with_the_size(pipe: Any, kind: Any, size: tuple[int, int]) -> None:
    own = pipe.scheduler
    options = {} if kind is FlowMatchEulerDiscreteScheduler else FLOW
    pipe.scheduler = kind(use_dynamic_shifting=True, **options)
    start = noise(cells=(size[0] // 2, size[1] // 2))
    trace = sv.trace(sv.load(pipe), "", steps=3, noise=start, size=size, progress=False)
    theirs = pipe(
        "",
        num_inference_steps=3,
        guidance_scale=0.0,
        latents=start,
        output_type="latent",
        height=size[0],
        width=size[1],
    ).images
    pipe.scheduler = own
    assert difference(trace.latents, theirs) < BOUND


@pytest.mark.slow
def test_a_stochastic_run_can_be_branched(pipe: Any) -> None:
    """Its noise comes from the seed and the step, as any other scheduler's."""
    model = sv.load(pipe)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, stochastic_sampling=True)
    guidance = CFG(3.0) + SAG(1.0)
    options: dict[str, Any] = {
        "steps": 4,
        "scheduler": scheduler,
        "guidance": guidance,
        "progress": False,
    }
    trace = sv.trace(model, "a fox", **options)
    plain = sv.trace(model, "a fox", **{**options, "scheduler": "euler"})
    again = sv.branch(model, trace, 2, guidance=guidance, progress=False)
    torch.testing.assert_close(again.latents, trace.latents)
    assert difference(plain.latents, trace.latents) > 0.01


def test_the_velocity_means_what_it_should() -> None:
    """v = epsilon - x_0, at both ends too; the slope is that of v over x_0 at one x."""
    x0, eps = noise(seed=1).double(), noise(seed=2).double()
    for sigma in (1.0, 0.7, 0.01):
        level = NoiseLevel(1000 * sigma, 1 - sigma, sigma, "flow_prediction")
        x = level.mix(x0, eps)
        torch.testing.assert_close(level.x0(x, eps - x0), x0)
        torch.testing.assert_close(level.eps(x, eps - x0), eps)
        moved = level.x0(x, eps - x0 + level.slope * 0.5)
        torch.testing.assert_close(moved, x0 + 0.5)
        assert level.seen(x) is x


def test_noise_is_added_along_a_line(pipe: Any) -> None:
    model, x0, eps = sv.load(pipe), noise(seed=1), noise(seed=2)
    assert torch.equal(model.add_noise(x0, eps, 0), x0)
    assert torch.equal(model.add_noise(x0, eps, 1000), eps)
    torch.testing.assert_close(model.add_noise(x0, eps, 250), 0.75 * x0 + 0.25 * eps)
    with pytest.raises(ArgumentError, match="1001"):
        model.add_noise(x0, eps, 1001)


def test_what_is_of_the_other_kind_is_refused(model: sv.Model, pipe: Any) -> None:
    flow = sv.load(pipe)
    cases = [
        (flow, "ddim", "no scheduler 'ddim' of flow matching; give scheduler= one of euler, heun"),
        (flow, model.scheduler, "DDIMScheduler is no scheduler for models of flow matching"),
        (model, flow.scheduler, "FlowMatchEulerDiscreteScheduler is one for models of flow match"),
        (flow, FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "runs from the picture"),
    ]
    for each, scheduler, words in cases:
        with pytest.raises(ArgumentError, match=words) as error:
            sv.trace(each, scheduler=scheduler, steps=2)
        assert is_one_sentence(error.value)


def test_t5_may_be_left_out(pipe: Any, tmp_path: Path) -> None:
    """In memory and in a folder; its tokens, zeros, are attended to all the same."""
    pipe.save_pretrained(tmp_path)
    read = Capture("mid", ("words", "text"))
    options: dict[str, Any] = {"steps": 2, "capture": read, "progress": False}
    traces = [sv.trace(sv.load(source), "a fox", **options) for source in (pipe, tmp_path)]
    assert difference(traces[0].latents, traces[1].latents) < BOUND
    assert traces[0][0].captured["mid"].names[-1] == "[left out]"


def test_attention_that_cannot_be_seen_is_refused(pipe: Any) -> None:
    """As of a backend other than torch's; nothing stays attached."""
    model = sv.load(pipe)
    layer = model.network.get_submodule("transformer_blocks.2.attn")
    own = layer.processor
    layer.processor = lambda attn, hidden_states, encoder_hidden_states, **_: (
        attn.to_out[0](attn.to_v(hidden_states)),
        encoder_hidden_states,
    )
    try:
        with pytest.raises(ModelError, match="where it cannot be seen; let torch") as error:
            sv.trace(model, "a fox", steps=1, guidance=SAG(1.0), progress=False)
        assert is_one_sentence(error.value)
    finally:
        layer.processor = own
    assert not layer._forward_pre_hooks


def test_sizes_and_classes_that_are_not_there_are_refused(families: Open, pipe: Any) -> None:
    dit = families("dit").model
    cases: list[tuple[sv.Model, dict[str, Any], str]] = [
        (dit, {"prompt": "golden retreiver"}, "draws classes; .*such as golden retriever"),
        (dit, {"prompt": "1000"}, "a number from 0 to 999"),
        (dit, {"size": (32, 48)}, "squares alone; give size="),
        (sv.load(pipe), {"size": (96, 96)}, "places of 64 pixels a side at most"),
        (sv.load(pipe), {"capture": Capture("transformer_blocks.0.attn2", "text")}, "no share"),
        (dit, {"capture": Capture("mid", "words")}, "reads no words"),
    ]
    for model, given, words in cases:
        with pytest.raises(ArgumentError, match=words) as error:
            sv.trace(model, steps=1, progress=False, **given)
        assert is_one_sentence(error.value)
    by_number = sv.trace(dit, "1", steps=1, progress=False)
    by_name = sv.trace(dit, "Golden Retriever", steps=1, progress=False)
    assert torch.equal(by_number.latents, by_name.latents)


def test_a_trace_is_kept_in_a_file_and_asked_what_if(pipe: Any, tmp_path: Path) -> None:
    """With the text's share; another scale costs no call, and says what a run with it does."""
    model, guidance = sv.load(pipe), CFG(3.0) + SAG(1.0)
    read = Capture("mid", ("mass", "text"))
    options: dict[str, Any] = {"steps": 3, "progress": False, "capture": read}
    trace = sv.trace(model, "a fox", guidance=guidance, **options)
    trace.save(tmp_path / "fox.sagtrace")
    again = sv.Trace.load(tmp_path / "fox.sagtrace")
    assert all(same(one, other) for one, other in zip(trace, again, strict=True))
    other = CFG(5.0) + SAG(0.5)
    asked = sv.what_if(model, again, 0, guidance=other)
    assert asked.forwards == 0
    run = sv.trace(model, "a fox", guidance=other, **options)
    assert difference(asked.x_next, run[0].x_next) < BOUND
    assert trace[0].alpha == 0
