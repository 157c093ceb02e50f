"""Ctrl-C, in each phase of a step and at any moment: the steps so far are kept, and the model is as
it was.
"""

from __future__ import annotations

import pkgutil
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from effort import MOMENTS
from faults.works import BOTH
from tiny import noise, residue, same
from torch import Tensor

import sagviz as sv
from sagviz.errors import Interrupted

STEPS = 4
# what is called in each phase, and how often before the interrupt
PHASES: dict[str, tuple[str, int]] = {
    "a step begins": ("sagviz.sampling.lockstep.begin", 2),
    "the passes begin": ("sagviz.sampling.unet_calls.UNetCalls.complete", 1),
    "first pass": ("sagviz.models.base.Model.predict", 2),
    "second pass": ("sagviz.models.base.Model.predict", 3),
    "the second pass is asked for": ("sagviz.guidance.SAG.request", 1),
    "the guidance is added": ("sagviz.guidance.SAG.in_noise", 1),
    "the scheduler's step": ("sagviz.sampling.lockstep.advance", 1),
    "the record is copied": ("sagviz.sampling.lockstep.to_host", 1),
    "the picture is decoded": ("sagviz.models.base.Model.decode", 0),
    "the picture is encoded": ("sagviz.sampling.collect.to_png", 0),
}


def run(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", seed=3, steps=STEPS, guidance=BOTH, progress=False)


def output(model: sv.Model) -> Tensor:
    with torch.no_grad():
        return model.predict(noise(2), torch.tensor(500), model.embed("a fox").expand(2))


@pytest.fixture(scope="module")
def whole(model: sv.Model) -> sv.Trace:
    return run(model)


@pytest.fixture(autouse=True)
def as_it_was(model: sv.Model) -> Iterator[None]:
    """Afterwards hooks, processors, the lock, the random state and the bits are as before."""
    before, bits, state = residue(model.unet), output(model), torch.random.get_rng_state()
    yield
    assert residue(model.unet) == before
    assert torch.equal(output(model), bits)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()


def prefix(part: sv.Trace, whole: sv.Trace) -> bool:
    return all(same(a, b) for a, b in zip(part, whole, strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
def test_an_interrupt_in_each_phase_of_a_step_keeps_the_steps_before(
    model: sv.Model, whole: sv.Trace, tmp_path: Path, phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, spared = PHASES[phase]
    plain, left = pkgutil.resolve_name(place), iter(range(spared))

    def stops(*args: Any, **kwargs: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(place, stops)
        with pytest.raises(Interrupted) as stopped:
            run(model)
    part = stopped.value.trace
    assert len(part) == (STEPS if "picture" in phase else 1)
    assert prefix(part, whole)
    assert prefix(sv.Trace.load(part.save(tmp_path / "part.sagtrace")), whole)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX's timer")
def test_an_interrupt_at_any_moment_keeps_the_steps_before(
    model: sv.Model, whole: sv.Trace, record_property: Callable[..., None]
) -> None:
    """A real signal, wherever Python is just then: what it raises is Ctrl-C's."""
    rng, hits, steps = random.Random("Ctrl-C"), 0, 0
    start = time.monotonic()
    run(model)
    span = time.monotonic() - start
    usual = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        while hits < MOMENTS:
            try:
                signal.setitimer(signal.ITIMER_REAL, max(1e-4, rng.random() * span))
                run(model)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt as stopped:
                hits += 1
                part = stopped.trace if isinstance(stopped, Interrupted) else None
                assert part is None or prefix(part, whole)
                steps += 0 if part is None else len(part)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    record_property("measured", f"{hits} interrupts, {steps} finished steps, none lost")
