"""The loop: what it costs, its limits and laws, and that nothing stays behind however it ends."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
)
from diffusers.configuration_utils import FrozenDict
from instruments import held
from pairs import pairs
from tiny import (
    DOWN_LAYER,
    MARGIN,
    counted,
    difference,
    is_one_sentence,
    margin,
    noise,
    residue,
    same,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError, Interrupted, RunError, SagvizError, Unfinished
from sagviz.models import SCHEDULERS, StableDiffusion
from sagviz.sampling import memory_check
from sagviz.sampling.prepare import prepare

BOTH = CFG(3.0) + SAG(1.0)


def run(model: sv.Model, guidance: Any = BOTH, **settings: Any) -> sv.Trace:
    return sv.trace(
        model,
        **{"prompt": "a fox", "steps": 4, "guidance": guidance, "progress": False, **settings},
    )


def identical(a: sv.Trace, b: sv.Trace) -> bool:
    return len(a) == len(b) and all(same(one, other) for one, other in zip(a, b, strict=True))


# Costs.


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(
    ("guidance", "forwards", "samples"),
    [(None, 1, 1), (CFG(3.0), 1, 2), (SAG(1.0), 2, 2), (BOTH, 2, 3), (SAG(0.0), 2, 2)],
    ids=str,
)
def test_a_step_costs_what_its_guidance_needs(
    model: sv.Model, guidance: Any, forwards: int, samples: int, images: int
) -> None:
    """The U-Net's own count of calls and batch rows, step by step, is what the records say."""
    with counted(model.unet) as rows:
        for step in sv.steps(model, "a fox", steps=3, guidance=guidance, images=images):
            assert (
                (step.forwards, step.samples)
                == (len(rows), sum(rows))
                == (forwards, samples * images)
            )
            rows.clear()


@pytest.mark.parametrize(
    ("scheduler", "evaluations"), [("ddim", 4), ("pndm", 5), ("dpm++ 2m", 4), ("euler", 4)]
)
def test_a_run_costs_the_sum_of_its_steps(
    model: sv.Model, scheduler: str, evaluations: int
) -> None:
    with counted(model.unet) as rows:
        trace = run(model, scheduler=scheduler)
    assert len(trace) == trace.evaluations == evaluations
    assert (
        (trace.forwards, trace.samples)
        == (len(rows), sum(rows))
        == (2 * evaluations, 3 * evaluations)
    )


def test_sag_costs_nothing_outside_its_window(model: sv.Model) -> None:
    with counted(model.unet) as rows:
        trace = run(model, CFG(3.0) + SAG(1.0, start=0.25, stop=0.75))
    assert rows == [2, 2, 1, 2, 1, 2]
    assert [step.mask is not None for step in trace] == [False, True, True, False]


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for the device: copies to the CPU, and numbers read off a
    tensor that is on the device.

    On a machine that has only a CPU, those are the U-Net's parameters and all that is computed from
    them.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.on_device: dict[int, Tensor] = {
            id(parameter): parameter for parameter in unet.parameters()
        }
        self.copies = self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(id(value) in self.on_device for value in tree_leaves((args, kwargs))):
            self.numbers += func is torch.ops.aten._local_scalar_dense.default
            if func is torch.ops.aten._to_copy.default and (kwargs or {}).get(
                "device"
            ) == torch.device("cpu"):
                self.copies += 1
            else:
                self.on_device.update(
                    {id(value): value for value in tree_leaves(out) if isinstance(value, Tensor)}
                )
        return out


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("guidance", [None, CFG(3.0), BOTH], ids=str)
def test_a_step_waits_for_the_device_once(model: sv.Model, guidance: Any, scheduler: str) -> None:
    """For the copy of its records."""
    walk, waits = (
        sv.steps(model, "a fox", steps=4, guidance=guidance, scheduler=scheduler),
        Waits(model.unet),
    )
    for index in range(4):
        with waits:
            next(walk)
        assert (waits.copies, waits.numbers) == (index + 1, 0)


# Limits.


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_sag_of_scale_zero_is_cfg_bit_for_bit(model: sv.Model, scheduler: str) -> None:
    with_sag, cfg = (
        run(model, guidance, scheduler=scheduler) for guidance in (CFG(3.0) + SAG(0.0), CFG(3.0))
    )
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(with_sag, cfg, strict=True))
    assert with_sag.image.tobytes() == cfg.image.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit",
    [SAG(1.0, threshold=math.inf), SAG(1.0, blur_sigma=0.0), SAG(1.0, blur_kernel=1)],
    ids=str,
)
def test_sag_that_masks_or_blurs_nothing_is_cfg(model: sv.Model, limit: SAG) -> None:
    assert difference(run(model, CFG(3.0) + limit).latents, run(model, CFG(3.0)).latents) < 1e-4
    assert difference(run(model).latents, run(model, CFG(3.0)).latents) > 0.01


@pytest.mark.slow
def test_cfg_of_scale_zero_ignores_the_prompt(model: sv.Model) -> None:
    """And of scale 1 it is the plain prediction given the prompt."""
    ignored = [run(model, CFG(0.0), prompt=prompt).latents for prompt in ("a fox", "a tree")]
    assert difference(*ignored) < 1e-5
    assert difference(ignored[0], run(model, None, prompt="").latents) < 1e-5
    assert difference(run(model, CFG(1.0)).latents, run(model, None).latents) < 1e-4
    assert difference(run(model, None).latents, ignored[0]) > 0.01


def test_both_branches_are_kept_at_any_scale(model: sv.Model) -> None:
    for scale in (0.0, 1.0):
        (step,) = run(model, CFG(scale), steps=1)
        assert step.eps_uncond is not None
        assert step.eps_cond is not None


def test_a_negative_scale_is_the_mirror_of_a_positive_one(model: sv.Model) -> None:
    """The guided noise is linear in the scale."""
    plain, more, less = (run(model, CFG(3.0) + SAG(s), steps=1)[0].eps for s in (0.0, 0.1, -0.1))
    torch.testing.assert_close((more + less) / 2, plain, rtol=0, atol=1e-5)
    assert difference(more, less) > 0.001


@pytest.mark.parametrize("layer", ["mid", DOWN_LAYER])
def test_the_layer_and_the_heads_are_those_asked_for(model: sv.Model, layer: str) -> None:
    everything, one = (
        run(model, SAG(1.0, layer=layer, heads=heads), steps=1)[0].attention
        for heads in (None, (2,))
    )
    assert everything.shape == one.shape == ((1, 8, 8) if layer == "mid" else (1, 16, 16))
    assert not torch.allclose(everything, one, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_runs_work(model: sv.Model, scheduler: str, steps: int) -> None:
    trace = run(model, steps=steps, scheduler=scheduler)
    assert trace.latents.isfinite().all()


# by how far two levels are apart; of 999 steps the first two are at one
DIVIDING = ("dpm++ 2m", "dpm++ 2m sde", "deis", "unipc")


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", sorted({*SCHEDULERS} - {"lcm", "tcd"}))  # they take fewer
def test_the_longest_run_can_be_laid_out(model: sv.Model, scheduler: str) -> None:
    steps = 998 if scheduler in DIVIDING else 999
    first = next(sv.steps(model, steps=steps, scheduler=scheduler, guidance=BOTH))
    assert first.x_next.isfinite().all()


@pytest.mark.slow
def test_a_v_model_is_guided_where_no_signal_is_left(v_model: sv.Model) -> None:
    """At zero terminal SNR (alpha = 0 at the first step) every field is finite, and SAG acts."""
    config = {
        **v_model.scheduler.config,
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    traces = [
        run(v_model, guidance, scheduler=DDIMScheduler.from_config(config))
        for guidance in (BOTH, CFG(3.0))
    ]
    assert traces[0][0].alpha == 0
    for step in traces[0]:
        for name in (
            "x0_hat",
            "x0_blurred",
            "x_degraded",
            "eps_degraded",
            "eps",
            "x0_guided",
            "x_next",
        ):
            assert getattr(step, name).isfinite().all(), (step.index, name)
    assert difference(traces[0][0].x_next, traces[1][0].x_next) > 0.001


# Seeds, batches, precision.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "settings"),
    [(BOTH, {}), (None, {"scheduler": "pndm"}), (BOTH, {"eta": 1.0, "images": 2})],
)
def test_the_same_settings_give_the_same_bits(
    model: sv.Model, guidance: Any, settings: dict[str, Any]
) -> None:
    first = run(model, guidance, **settings)
    torch.manual_seed(99)  # the global generator has no part in it
    assert identical(run(model, guidance, **settings), first)
    assert not identical(run(model, guidance, **settings, seed=1), first)


def test_the_generator_yields_what_a_trace_keeps(model: sv.Model) -> None:
    assert all(
        same(a, b)
        for a, b in zip(sv.steps(model, "a fox", steps=4, guidance=BOTH), run(model), strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"eta": 1.0}, {"scheduler": "euler"}, {"scheduler": "dpm++ 2m", "size": (32, 48)}],
    ids=str,
)
def test_a_batch_of_two_is_two_of_one(model: sv.Model, settings: dict[str, Any]) -> None:
    """Image i uses seed + i, and its own mask."""
    both = run(model, images=2, seed=7, **settings)
    assert margin(both) > MARGIN, "rounding decides a cell of this mask: choose another seed"
    for i in range(2):
        alone = run(model, seed=7 + i, **settings)
        for step, single in zip(both, alone, strict=True):
            assert torch.equal(step.mask[i : i + 1], single.mask)
            assert difference(step.x_next[i : i + 1], single.x_next) < 1e-4


@pytest.mark.slow
def test_a_seed_that_was_drawn_is_recorded(model: sv.Model) -> None:
    drawn, other = run(model, seed=None), run(model, seed=None)
    assert drawn.settings.seed != other.settings.seed
    assert identical(run(model, seed=drawn.settings.seed), drawn)


@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
def test_given_noise_is_used_and_left_alone(model: sv.Model, scheduler: str) -> None:
    """Also where the scheduler starts from more than unit variance."""
    given = noise(2, (16, 24))
    trace = run(model, noise=given, images=2, size=(32, 48), scheduler=scheduler)
    assert torch.equal(given, noise(2, (16, 24)))
    given.zero_()
    scale = math.hypot(trace[0].alpha, trace[0].sigma)
    assert scale > 2 if scheduler == "euler" else scale == pytest.approx(1)
    assert difference(trace[0].x_t, noise(2, (16, 24)) * scale) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [DDPMScheduler, EulerAncestralDiscreteScheduler, "eta"])
def test_the_noise_of_a_stochastic_step_comes_from_the_seed_and_the_index(
    model: sv.Model, kind: Any
) -> None:
    """Reproducible, its own in each image, and the same whatever the guidance."""
    settings = (
        {"eta": 1.0} if kind == "eta" else {"scheduler": kind.from_config(model.scheduler.config)}
    )
    stochastic, again = (run(model, CFG(3.0), images=2, steps=3, **settings) for _ in range(2))
    assert identical(stochastic, again)
    assert (
        difference(
            stochastic.latents[1:], run(model, CFG(3.0), seed=1, steps=3, **settings).latents
        )
        < 1e-4
    )
    quiet = run(model, CFG(3.0), images=2, steps=3)
    assert difference(stochastic[0].x_next, quiet[0].x_next) > 0.01


@pytest.mark.slow
def test_eta_adds_what_the_seed_says_whatever_the_guidance(model: sv.Model) -> None:
    added = []
    for guidance in (None, CFG(7.0)):
        noisy, still = (run(model, guidance, eta=eta)[0] for eta in (1.0, 0.0))
        bar, after = noisy.alpha**2, run(model)[1].alpha ** 2
        # DDIM's sigma_t(1), eq. 16 of arXiv 2010.02502
        deviation = math.sqrt((1 - after) / (1 - bar) * (1 - bar / after))
        shrunk = (math.sqrt(1 - after - deviation**2) - math.sqrt(1 - after)) * noisy.eps
        added.append((noisy.x_next - still.x_next - shrunk) / deviation)
    torch.testing.assert_close(*added, rtol=0, atol=1e-3)
    assert float(added[0].std()) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_records_are_float32_whatever_the_models_precision(folder: Path, model: sv.Model) -> None:
    """The guidance too: the blurred prediction is not rounded."""
    half = sv.load(folder, dtype="bfloat16")
    trace = run(half)
    for step in trace:
        assert {"out_uncond", "out_cond", "kept.out_degraded"} < step.tensors.keys()
        for name, value in {**step.tensors, "x̂ₜ": step.x_degraded, "ε̃": step.eps}.items():
            assert value.dtype == torch.float32, name
        assert step.x0_blurred.bfloat16().float().ne(step.x0_blurred).any()
    for step, after in pairwise(trace):  # DDIM by hand, from the records
        assert difference(after.x_t, after.alpha * step.x0_guided + after.sigma * step.eps) < 1e-5
    assert 0 < difference(trace[0].eps_uncond, run(model)[0].eps_uncond) < 0.1
    assert abs(float(trace[0].attention.mean()) - 1) < 1e-5


@pytest.mark.slow
def test_two_threads_share_a_model(model: sv.Model) -> None:
    """Their passes take turns, so that neither reads the other's attention."""
    settings = [(BOTH, 1), (CFG(3.0), 2), (SAG(1.0, layer=DOWN_LAYER), 3)]
    expected = [run(model, guidance, seed=seed) for guidance, seed in settings]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda pair: run(model, pair[0], seed=pair[1]), settings))
    assert all(identical(a, b) for a, b in zip(found, expected, strict=True))


# A network with a known answer.


class Gaussian(nn.Module):
    """The exact network for data of variance 4: E[epsilon | x_t] = sigma x_t / (4 alpha^2 +
    sigma^2), as diffusers calls it.
    """

    def __init__(self, bars: Tensor) -> None:
        super().__init__()
        self.bars, self.unused = bars, nn.Parameter(torch.zeros(()))
        self.config, self.dtype = FrozenDict(sample_size=8, in_channels=4), torch.float32

    def forward(self, x: Tensor, t: Tensor, **_: Tensor | None) -> SimpleNamespace:
        bar = self.bars[t.long()].reshape(-1, 1, 1, 1)
        return SimpleNamespace(sample=(1 - bar).sqrt() * x / (4 * bar + 1 - bar))


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++ 2m"])
def test_gaussian_data_is_sampled_exactly_in_the_limit_of_many_steps(
    model: sv.Model, scheduler: str
) -> None:
    """Along the exact path x_t / sqrt(4 alpha^2 + sigma^2) is constant; a first-order error halves
    with the step.
    """
    parts = {
        name: getattr(model, name) for name in ("vae", "text_encoder", "tokenizer", "scheduler")
    }
    gaussian = StableDiffusion("gaussian", unet=Gaussian(model.scheduler.alphas_cumprod), **parts)
    errors = []
    for steps in (20, 40, 80, 160):
        trace = run(gaussian, CFG(3.0), steps=steps, scheduler=scheduler)
        first, bar = (
            trace[0],
            float(model.scheduler.alphas_cumprod[0]) if scheduler == "ddim" else 1.0,
        )
        exact = first.x_t * math.sqrt((4 * bar + 1 - bar) / (4 * first.alpha**2 + first.sigma**2))
        errors.append(difference(trace.latents, exact))
    ratios = [coarse / fine for coarse, fine in pairwise(errors)]
    assert errors[-1] < 0.03
    assert (
        all(1.5 < ratio < 2.5 for ratio in ratios)
        if scheduler != "dpm++ 2m"
        else all(ratio > 1.5 for ratio in ratios)
    )


# Nothing stays behind.


@pytest.fixture
def untouched(model: sv.Model) -> Iterator[None]:
    """Afterwards the U-Net has its hooks and processors, gives the bits it gave, and its lock is
    free.
    """

    def output() -> Tensor:
        with torch.no_grad():
            return model.predict(noise(2), torch.tensor(500), model.embed("a fox").expand(2))

    before, bits = residue(model.unet), output()
    yield
    assert residue(model.unet) == before
    assert torch.equal(output(), bits)
    with ThreadPoolExecutor(1) as other:
        other.submit(take, model.lock).result(timeout=10)


def take(lock: Any) -> None:
    """Wait for a lock that nobody holds."""
    with lock:
        pass


class BreaksAt:
    """Raises in the middle of the U-Net's n-th pass: in the mid block, while the attention is being
    read.
    """

    def __init__(self, model: sv.Model, call: int, error: BaseException) -> None:
        self.layer, self.left, self.error = model.unet.mid_block.resnets[1], call, error

    def __enter__(self) -> None:
        self.handle = self.layer.register_forward_hook(self.count)

    def __exit__(self, *_: object) -> None:
        self.handle.remove()

    def count(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


@pytest.mark.usefixtures("untouched")
def test_nothing_stays_after_a_run(model: sv.Model) -> None:
    run(model)


@pytest.mark.slow
@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("call", [1, 2, 5, 6])
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=repr)
def test_nothing_stays_after_a_pass_that_breaks_and_the_steps_so_far_are_kept(
    model: sv.Model, tmp_path: Path, call: int, error: BaseException
) -> None:
    """In the first or the second pass of a step; the error carries a trace that can be read, saved
    and loaded.
    """
    with BreaksAt(model, call, error), pytest.raises((RunError, Interrupted)) as stopped:
        run(model)
    assert isinstance(stopped.value, KeyboardInterrupt) or stopped.value.__cause__ is error
    assert isinstance(stopped.value, Unfinished)
    partial = stopped.value.trace
    whole = run(model)
    assert len(partial) == (call - 1) // 2
    assert partial.evaluations == 4
    assert all(same(a, b) for a, b in zip(partial, whole, strict=False))
    loaded = sv.Trace.load(partial.save(tmp_path / "partial.sagtrace"))
    assert identical(loaded, partial)


@pytest.mark.slow
@pytest.mark.usefixtures("untouched")
def test_a_picture_that_cannot_be_decoded_leaves_the_whole_trace(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(type(model), "decode", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted) as stopped:
            run(model)
    assert identical(stopped.value.trace, run(model))


@pytest.mark.usefixtures("untouched")
def test_nothing_is_attached_between_the_steps(model: sv.Model) -> None:
    """Nor after a generator that is closed, or forgotten, halfway."""
    before = residue(model.unet)
    for end in (lambda walk: walk.close(), lambda _: None):
        walk = sv.steps(model, "a fox", steps=4, guidance=BOTH)
        next(walk)
        assert residue(model.unet) == before
        next(walk)
        end(walk)
        del walk


@pytest.mark.slow
def test_two_generators_do_not_disturb_each_other(model: sv.Model) -> None:
    walks = [sv.steps(model, "a fox", steps=4, guidance=BOTH, seed=seed) for seed in (1, 2)]
    for one, other, first, second in zip(
        *walks, run(model, seed=1), run(model, seed=2), strict=True
    ):
        assert same(one, first)
        assert same(other, second)


def test_the_progress_bar_can_be_switched_off(
    model: sv.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    run(model)
    assert capsys.readouterr() == ("", "")
    run(model, progress=True)
    assert "4/4" in capsys.readouterr().err


# Keeping.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "indices"),
    [
        (None, range(7)),
        (1, range(7)),
        (2, [0, 2, 4, 6]),
        (4, [0, 4, 6]),
        (7, [0, 6]),
        ([5, 1], [1, 5]),
        ({0}, [0]),
        ([], []),
    ],
    ids=str,
)
def test_keep_says_which_steps_stay(model: sv.Model, keep: Any, indices: Any) -> None:
    """The picture and the kept steps are those of the whole run."""
    whole, trace = run(model, steps=7), run(model, steps=7, keep=keep)
    assert [step.index for step in trace] == list(indices)
    assert trace.evaluations == 7
    assert all(same(step, whole[step.index]) for step in trace)
    assert trace.image.tobytes() == whole.image.tobytes()


@pytest.mark.parametrize(
    ("keep", "indices"),
    [(None, range(5)), (3, [0, 3, 4]), (4, [0, 4]), ([1, 5], [1, 4]), ([], [4])],
    ids=str,
)
def test_a_run_that_is_stopped_keeps_its_last_step_too(
    model: sv.Model, keep: Any, indices: Any
) -> None:
    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    whole = run(model, steps=7)
    with pytest.raises(Interrupted) as stopped:
        run(model, steps=7, keep=keep, progress=stop)
    part = stopped.value.trace
    assert [step.index for step in part] == list(indices)
    assert all(same(step, whole[step.index]) for step in part)


@pytest.mark.parametrize(
    "keep", [0, 8, -1, True, 2.5, "all", "last", [7], [-1], [0, "1"], [0.5]], ids=repr
)
def test_a_keep_that_names_no_steps_is_refused(model: sv.Model, keep: Any) -> None:
    refused("keep", model, steps=7, keep=keep)


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [None, CFG(3.0), BOTH], ids=str)
@pytest.mark.parametrize("keep", [None, 2, 5, [3]], ids=str)
def test_a_trace_within_the_bound_stays_within_it(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch, keep: Any, guidance: Any
) -> None:
    """The refusal counts no less than what the records hold in the end, and not much more."""
    bytes_held = held(run(model, guidance, steps=10, keep=keep))
    monkeypatch.setattr(memory_check, "MAX_TRACE_BYTES", bytes_held - 1)
    refused("GiB", model, guidance=guidance, steps=10, keep=keep)
    monkeypatch.setattr(memory_check, "MAX_TRACE_BYTES", 2 * bytes_held)
    run(model, guidance, steps=10, keep=keep)


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "keep", "share"), pairs([9, 10, 23], [None, 2], [0.5, 0.7, 0.9]))
def test_the_advice_of_a_refusal_can_be_followed(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch, steps: int, keep: int | None, share: float
) -> None:
    monkeypatch.setattr(
        memory_check, "MAX_TRACE_BYTES", int(share * held(run(model, steps=steps, keep=keep)))
    )
    message = refused("keep=", model, guidance=BOTH, steps=steps, keep=keep)
    run(model, steps=steps, keep=int(message.partition("keep=")[2].split()[0]))


def test_a_run_too_large_for_a_single_record_is_refused(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "MAX_TRACE_BYTES", 1000)
    assert "keep=" not in refused("fewer images", model, guidance=BOTH)


# Refusals: before anything runs, in one sentence.


def refused(words: str, model: sv.Model, **settings: Any) -> str:
    with counted(model.unet) as rows, pytest.raises(ArgumentError, match=words) as error:
        sv.trace(model, **{"prompt": "a fox", "steps": 4, "progress": False, **settings})
    assert isinstance(error.value, SagvizError)
    assert isinstance(error.value, ValueError)
    assert is_one_sentence(error.value)
    assert not rows, "a pass was made before the refusal"
    return str(error.value)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("steps is 0; .*1 to 999", {"steps": 0}),
        ("steps is 5000", {"steps": 5000}),
        ("steps", {"steps": 1000}),
        ("steps", {"steps": 2.5}),
        ("steps", {"steps": True}),
        ("steps", {"steps": "50"}),
        ("steps", {"steps": None}),
        ("images", {"images": 0}),
        ("images", {"images": 5000}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**63}),
        ("seed", {"seed": 1.5}),
        ("eta", {"eta": 2.0}),
        ("eta", {"eta": math.nan}),
        ("eta is 0.5.*DPMSolver", {"eta": 0.5, "scheduler": "dpm++ 2m"}),
        ("multiples of 2", {"size": (33, 32)}),
        ("multiples of 2", {"size": 32}),
        ("multiples of 2", {"size": "32"}),
        ("prompt is 3", {"prompt": 3}),
        ("prompt is None", {"prompt": None}),
        ("negative_prompt is", {"negative_prompt": ["a"]}),
        ("no scheduler 'banana'", {"scheduler": "banana"}),
        ("guidance is 3", {"guidance": 3.0}),
        (r"noise has the shape \(1, 4, 8, 8\).*\(1, 4, 16, 16\)", {"noise": noise(cells=(8, 8))}),
        ("noise has the shape", {"noise": noise(2)}),
        ("noise has the shape", {"noise": noise(), "images": 2}),
        ("noise is", {"noise": [1.0]}),
        ("noise is", {"noise": 3}),
        ("no self-attention layer 'top'", {"guidance": SAG(1.0, layer="top")}),
        (r"heads \(9,\).*0\.\.3", {"guidance": CFG(3.0) + SAG(1.0, heads=(9,))}),
        ("heads", {"guidance": SAG(1.0, heads=(7,), start=0.5)}),
        ("33 taps.*blur_kernel=31", {"guidance": SAG(1.0, blur_sigma=4.0)}),
        ("9 taps", {"guidance": SAG(1.0), "size": (8, 32)}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused(model: sv.Model, words: str, settings: dict[str, Any]) -> None:
    refused(words, model, **settings)


def test_the_generator_refuses_when_it_is_made(model: sv.Model) -> None:
    """Not only when its first step is asked for."""
    with pytest.raises(ArgumentError, match="steps"):
        sv.steps(model, steps=0)


def test_the_advice_about_the_blur_can_be_followed(model: sv.Model) -> None:
    message = refused("taps", model, guidance=SAG(1.0, blur_sigma=9.0), size=(20, 32))
    taps = int(message.partition("blur_kernel=")[2].split()[0])
    run(model, SAG(1.0, blur_sigma=9.0, blur_kernel=taps), size=(20, 32), steps=1)


def test_a_negative_prompt_without_cfg_warns(model: sv.Model) -> None:
    with pytest.warns(sv.SagvizWarning, match="negative_prompt does nothing") as caught:
        trace = run(model, None, negative_prompt="a tree")
    assert caught[0].filename == __file__
    assert torch.equal(trace.latents, run(model, None).latents)


def test_whole_numbers_of_numpy_are_whole_numbers(model: sv.Model, tmp_path: Path) -> None:
    trace = run(model, steps=np.int64(2), seed=np.int64(3), images=np.int32(1), keep=np.int64(1))
    assert identical(trace, run(model, steps=2, seed=3))
    assert sv.Trace.load(trace.save(tmp_path / "a.sagtrace")).settings == trace.settings


def test_settings_say_all_that_the_run_depends_on(model: sv.Model) -> None:
    trace = run(
        model, steps=3, seed=5, images=2, size=[32, 48], scheduler="euler", negative_prompt="a tree"
    )
    content = json.loads(json.dumps(trace.settings.to_json()))
    assert content["prompt"] == "a fox"
    assert content["negative_prompt"] == "a tree"
    assert (content["steps"], content["seed"], content["images"], content["size"]) == (
        3,
        5,
        2,
        [32, 48],
    )
    assert content["scheduler"]["class"] == "EulerDiscreteScheduler"
    assert content["scheduler"]["beta_end"] == 0.012
    assert content["guidance"] == BOTH.to_json()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["attention", "random"])
def test_a_step_of_one_image_is_that_image_of_the_batch(model: sv.Model, source: str) -> None:
    """Derived quantities too, and a random mask, which is drawn from the image's own seed."""
    trace = run(
        model, CFG(3.0) + SAG(1.0, mask_source=source), images=3, capture=sv.Capture(what="words")
    )
    for number in range(3):
        one = trace[2].of_image(number)
        derived = {name: getattr(trace[2], name) for name in ("mask", "eps", "x0_guided")}
        for name, whole in {**trace[2].tensors, **derived}.items():
            own = getattr(one, name) if name in derived else one.tensors[name]
            assert torch.equal(own, whole[number : number + 1]), name


@pytest.mark.parametrize(
    ("scheduler", "steps", "fitting"),
    [("ddim", 750, 500), ("euler", 334, 333), ("dpm++ 2m", 500, 499), ("unipc", 253, 249)],
)
def test_many_steps_that_begin_late_are_warned_of(
    model: sv.Model, scheduler: str, steps: int, fitting: int
) -> None:
    """Strides are whole numbers, rounded down. What is advised instead is all right."""
    with pytest.warns(sv.SagvizWarning, match=rf"begin at t = .* give steps={fitting},"):
        late = prepare(model, steps=steps, scheduler=scheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("error", sv.SagvizWarning)
        whole = prepare(model, steps=fitting, scheduler=scheduler)
    noisy = [run.levels[0].sigma / run.levels[0].alpha for run in (late, whole)]
    assert 2 * noisy[0] < noisy[1]


def test_strides_that_do_not_arrive_are_warned_of(model: sv.Model) -> None:
    """DDIM goes by its own stride, whatever the spacing of its times is."""
    trailing = DDIMScheduler.from_config(model.scheduler.config, timestep_spacing="trailing")
    with pytest.warns(sv.SagvizWarning, match="rounded down to 1, leave noise in the picture"):
        prepare(model, steps=750, scheduler=trailing)


@pytest.mark.parametrize("scheduler", DIVIDING)
def test_two_levels_that_are_one_are_refused(model: sv.Model, scheduler: str) -> None:
    """A solver that divides by how far they are apart made NaN of them."""
    with pytest.raises(ArgumentError, match=r"steps is 999, which .* does not take; give fewer"):
        prepare(model, steps=999, scheduler=scheduler)


@pytest.mark.parametrize("spacing", ["use_karras_sigmas", "use_exponential_sigmas"])
def test_levels_that_are_one_after_the_last_step_are_taken(
    model: sv.Model, pipe: StableDiffusionPipeline, spacing: str
) -> None:
    """DEIS ends where its spacing does, so that its last step goes nowhere."""
    solver = DEISMultistepScheduler.from_config(model.scheduler.config, **{spacing: True})
    made = sv.trace(
        model, "a fox", steps=6, noise=noise(), guidance=CFG(3.0), scheduler=solver, progress=False
    )
    own, pipe.scheduler = pipe.scheduler, solver
    settings: Any = {"num_inference_steps": 6, "guidance_scale": 3.0, "output_type": "latent"}
    expected = pipe("a fox", latents=noise(), **settings).images
    pipe.scheduler = own
    assert difference(made.latents, expected) < 1e-5


@pytest.mark.parametrize("scheduler", ["heun", "euler", "dpm++ 2m"])
def test_diffusers_has_nothing_to_remark(
    model: sv.Model, families: Any, scheduler: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a step that is asked again, of an odd number of steps, of a flow's settings."""
    logging.getLogger("diffusers").addHandler(caplog.handler)
    try:
        trace = sv.trace(model, "a fox", steps=3, scheduler=scheduler, progress=False)
        sv.what_if(model, trace, 1, guidance=CFG(5.0))
        prepare(model, steps=3, scheduler="dpm++ 2s")
        prepare(families("sd3").model, steps=3, scheduler=scheduler)
    finally:
        logging.getLogger("diffusers").removeHandler(caplog.handler)
    assert caplog.messages == []
