"""CPU threads: the miniature takes one, and everyone's settings stay as they were."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from tiny import same

import sagviz as sv
from sagviz import CFG, SAG

HERE = 2  # of the thread that runs the tests; threads that have not computed yet have NEW
NEW = 3


def in_new_thread(call: Callable[..., Any], *args: Any) -> Any:
    with ThreadPoolExecutor(1) as other:
        return other.submit(call, *args).result()


def settings() -> tuple[int, int]:
    """What this thread computes with, and what a new one would."""
    return torch.get_num_threads(), in_new_thread(torch.get_num_threads)


@pytest.fixture
def two() -> Iterator[None]:
    """This thread has two, and new ones have three."""
    before = settings()
    torch.set_num_threads(HERE)
    in_new_thread(torch.set_num_threads, NEW)
    yield
    assert settings() == (HERE, NEW), "as they were"
    torch.set_num_threads(before[0])
    in_new_thread(torch.set_num_threads, before[1])


def seen(model: sv.Model) -> list[tuple[int, int]]:
    """`settings` inside each call of the U-Net, the text encoder and the autoencoder's decoder."""
    found: list[tuple[int, int]] = []
    for part in (model.unet, model.text_encoder, model.vae.decoder):
        part.register_forward_pre_hook(lambda *_: found.append(settings()))
    return found


def traced(model: sv.Model, **changes: Any) -> sv.Trace:
    guidance = CFG(3.0) + SAG(1.0)
    return sv.trace(model, "a fox", steps=3, guidance=guidance, progress=False, **changes)


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_the_miniature_computes_with_one_thread_and_others_as_before() -> None:
    model = sv.load()
    found = seen(model)
    trace = traced(model)
    assert set(found) == {(1, NEW)}
    assert len(found) == 6 + 2 + 1
    sv.what_if(model, trace, 1, guidance=CFG(3.0) + SAG(1.0, threshold=1.2))
    sv.attend(model, trace, 1, (3, 3))
    assert set(found) == {(1, NEW)}


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_other_models_keep_torchs_own_number(model: sv.Model) -> None:
    found: list[tuple[int, int]] = []
    handle = model.unet.register_forward_pre_hook(lambda *_: found.append(settings()))
    sv.trace(model, steps=1, progress=False)
    handle.remove()
    assert set(found) == {(HERE, NEW)}


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_between_the_steps_of_a_generator_nothing_is_changed() -> None:
    model = sv.load()
    walk = sv.steps(model, "a fox", steps=4)
    for _ in range(2):
        next(walk)
        assert settings() == (HERE, NEW)
    walk.close()  # type: ignore[attr-defined]
    half_way = sv.steps(model, "a fox", steps=4)
    next(half_way)
    assert settings() == (HERE, NEW)
    del half_way


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_a_run_that_fails_puts_them_back() -> None:
    model = sv.load()

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    model.unet.register_forward_pre_hook(fail)
    with pytest.raises(sv.SagvizError):
        traced(model)
    assert settings() == (HERE, NEW)


@pytest.mark.slow
@pytest.mark.usefixtures("two")
def test_two_runs_that_overlap_put_back_what_each_had() -> None:
    """Each begins and ends while the other is within a step."""
    models, first_in, second_in = [sv.load(), sv.load()], threading.Event(), threading.Event()
    both = threading.Barrier(2)

    def meet(own: threading.Event, other: threading.Event) -> Callable[..., None]:
        def hook(*_: object) -> None:
            own.set()
            assert other.wait(timeout=60)

        return hook

    models[0].unet.register_forward_pre_hook(meet(first_in, second_in))
    models[1].unet.register_forward_pre_hook(meet(second_in, first_in))

    def run(model: sv.Model) -> tuple[int, sv.Trace, int]:
        before = torch.get_num_threads()
        both.wait(timeout=60)  # a thread that begins later may find the other's setting
        return before, traced(model), torch.get_num_threads()

    with ThreadPoolExecutor(2) as workers:
        (a, one, b), (c, other, d) = workers.map(run, models)
    assert (a, b, c, d) == (NEW,) * 4
    assert settings() == (HERE, NEW)
    assert all(same(x, y) for x, y in zip(one, other, strict=True))


@pytest.mark.slow
def test_a_thread_of_one_stays_so_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the processes of a pool."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(torch, "set_num_threads", None)
    try:
        assert traced(sv.load()).image.size == (64, 64)
    finally:
        monkeypatch.undo()
        torch.set_num_threads(before)
