"""Networks that several models, threads and the pipeline itself share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny import build_pipe, build_unet, noise, same
from torch import nn

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.guidance import PAG, SEG

ALL = CFG(3.0) + SAG(1.0) + PAG(1.0) + SEG(1.0)
READ = sv.Capture("all", ("mass", "words"))


@pytest.fixture
def pipe(tmp_path: Path) -> StableDiffusionPipeline:
    return build_pipe(tmp_path)


@contextmanager
def amid(module: nn.Module, act: Callable[[], None]) -> Iterator[None]:
    """`act` runs inside the calls of a module that this thread makes."""
    thread = threading.get_ident()

    def hook(*_: Any) -> None:
        if threading.get_ident() == thread:
            act()

    handle = module.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def traced(model: sv.Model) -> sv.Trace:
    settings: dict[str, Any] = {"guidance": ALL, "steps": 2, "capture": READ, "progress": False}
    return sv.trace(model, "a fox", **settings)


@pytest.mark.slow
def test_the_pipeline_may_work_inside_a_call_of_ours(pipe: StableDiffusionPipeline) -> None:
    """Hooks act in their own thread: neither sees the other, to the bit."""

    def theirs() -> Any:
        given = {"num_inference_steps": 2, "latents": noise(3), "output_type": "np"}
        return pipe("a rocket", **given, num_images_per_prompt=3).images

    model, made = sv.load(pipe), list[Any]()
    alone, expected = traced(model), theirs()
    with (
        ThreadPoolExecutor(1) as other,
        amid(pipe.unet.conv_in, lambda: made.append(other.submit(theirs).result())),
    ):
        beside = traced(model)
    assert len(made) == beside.forwards
    assert all(np.array_equal(pictures, expected) for pictures in made)
    assert all(same(a, b) for a, b in zip(beside, alone, strict=True))


@pytest.mark.slow
def test_two_models_of_one_pipeline_take_turns(pipe: StableDiffusionPipeline) -> None:
    first, second = sv.load(pipe), sv.load(pipe)
    alone, pending = traced(second), list[Future[sv.Trace]]()
    with ThreadPoolExecutor(1) as other:

        def begin() -> None:
            pending.append(other.submit(traced, second))
            with pytest.raises(Late):
                pending[0].result(timeout=0.05)

        with amid(pipe.unet.conv_in, lambda: None if pending else begin()):
            own = traced(first)
        for trace in (own, pending[0].result()):
            assert all(same(a, b) for a, b in zip(trace, alone, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_a_part_in_common_is_one_at_a_time(
    pipe: StableDiffusionPipeline, tmp_path: Path, part: str
) -> None:
    """A U-Net of one's own beside a common autoencoder, too; what has nothing in common goes on."""
    apart, other = sv.load(build_pipe(tmp_path / "apart")), build_pipe(tmp_path / "other")
    setattr(other, part, getattr(pipe, part))
    sharing = sv.load(other)

    def take(model: sv.Model) -> bool:
        with model.lock:
            return True

    with ThreadPoolExecutor(1) as worker:
        with sv.load(pipe).lock, sv.load(pipe).lock:
            assert worker.submit(take, apart).result(timeout=10)
            waiting = worker.submit(take, sharing)
            with pytest.raises(Late):
                waiting.result(timeout=0.05)
        assert waiting.result(timeout=10)


def test_a_compiled_unet_is_the_one_that_was_compiled(pipe: StableDiffusionPipeline) -> None:
    plain = sv.load(pipe)
    pipe.unet = torch.compile(pipe.unet, backend="eager")
    with ThreadPoolExecutor(1) as worker, plain.lock:
        waiting = worker.submit(sv.load(pipe).lock.__enter__)
        with pytest.raises(Late):
            waiting.result(timeout=0.05)


@pytest.mark.slow
def test_networks_are_freed(pipe: StableDiffusionPipeline) -> None:
    import gc
    import weakref

    pipe.unet = build_unet()
    gone = weakref.ref(pipe.unet)
    with sv.load(pipe).lock:
        pass
    pipe.unet = build_unet()
    gc.collect()
    assert gone() is None
