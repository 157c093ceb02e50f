"""Out of memory: the real errors of torch, told in a sentence, and what they held let go of."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import OutOfMemoryError, SagvizError
from sagviz.models.oom import explained, is_shortage

BOTH = CFG(3.0) + SAG(1.0)


def too_large() -> Any:
    """A real refusal of the CPU's allocator: a pebibyte."""
    return torch.empty(2**50, dtype=torch.uint8)


def on_cuda() -> Any:
    raise torch.cuda.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.58 GiB"
    )


class Breaks:
    """Before the U-Net's middle: these calls hold an activation and ask for too much memory."""

    def __init__(self, model: sv.Model, *calls: int, ask: Any = too_large) -> None:
        self.calls, self.ask, self.made = calls, ask, 0
        self.held: list[weakref.ref[Any]] = []
        self.handle = model.unet.mid_block.register_forward_pre_hook(self.count)

    def count(self, *_: object) -> None:
        self.made += 1
        if self.made in self.calls:
            activation = torch.ones(1000)
            self.held.append(weakref.ref(activation))
            self.ask()
            del activation


@pytest.mark.slow
@pytest.mark.parametrize("ask", [too_large, on_cuda])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_the_sentence_says_what_was_tried_and_what_to_lower(
    model: sv.Model, ask: Any, call: int
) -> None:
    """In either pass of a step; the steps so far are kept, and the network's activations are gone
    while the error is there.
    """
    breaks = Breaks(model, call, ask=ask)
    rows = 2 if call % 2 == 0 else 4
    words = (
        rf"no memory left on cpu in a U-Net call of {rows} rows of 16 x 24 latent cells in float32,"
        r" which needs about "
        r"[\d.]+ MiB beside weights of [\d.]+ MiB; lower images= or size=.*batch=.*dtype='float16'"
    )
    with pytest.raises(OutOfMemoryError, match=words) as stopped:
        sv.trace(model, "a fox", steps=4, guidance=BOTH, images=2, size=(32, 48), progress=False)
    breaks.handle.remove()
    assert isinstance(stopped.value, SagvizError)
    assert is_one_sentence(stopped.value)
    assert [step.index for step in stopped.value.trace] == list(range((call - 1) // 2))
    assert is_shortage(stopped.value.__cause__)
    assert breaks.held[0]() is None, "the error still holds the activations"
    assert sv.trace(model, "a fox", steps=1, progress=False).latents.isfinite().all()


@pytest.mark.slow
def test_the_generator_and_what_if_and_attend_say_it_as_well(model: sv.Model) -> None:
    trace = sv.trace(model, "a fox", steps=2, guidance=BOTH, progress=False)
    for call in (
        lambda: next(sv.steps(model, "a fox")),
        lambda: sv.what_if(model, trace, 0, guidance=CFG(3.0) + SAG(1.0, blur_sigma=2.0)),
        lambda: sv.attend(model, trace, 0, (3, 3)),
    ):
        breaks = Breaks(model, 1)
        with pytest.raises(OutOfMemoryError, match="no memory left"):
            call()
        breaks.handle.remove()


def test_a_sweep_tries_each_cell_alone_and_notes_the_sentence(
    model: sv.Model, tmp_path: Path
) -> None:
    """The batch of three fails, then the first cell alone; the others are made."""
    breaks = Breaks(model, 1, 2)
    made = sv.sweep(
        model, ["a fox", "a cat", "a tree"], steps=1, guidance=[CFG(3.0)], store=tmp_path
    )
    breaks.handle.remove()
    (reason,) = made.failed.values()
    assert "no memory left on cpu in a U-Net call of 2 rows" in reason
    assert breaks.made == 4
    assert all(held() is None for held in breaks.held)


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("x"), True),
        (RuntimeError("MPS backend out of memory (..."), True),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate"
                " memory"
            ),
            True,
        ),
        (
            RuntimeError(
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
            ),
            True,
        ),
        (RuntimeError("out of memory"), False),
        (RuntimeError("sizes do not match"), False),
        (ValueError("CUDA out of memory"), False),
        (KeyboardInterrupt(), False),
    ],
    ids=repr,
)
def test_other_errors_are_left_alone(error: BaseException, known: bool) -> None:
    assert is_shortage(error) is known
    with pytest.raises(OutOfMemoryError if known else type(error)), explained(lambda: "no memory"):
        raise error


def test_the_real_refusal_of_the_allocator_is_known() -> None:
    with pytest.raises(RuntimeError) as error:
        too_large()
    assert is_shortage(error.value)


def test_what_was_explained_once_is_not_explained_again() -> None:
    with (
        pytest.raises(OutOfMemoryError, match="inner"),
        explained(lambda: "outer"),
        explained(lambda: "inner"),
    ):
        raise MemoryError
