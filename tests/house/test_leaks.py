"""A process that works all day: its memory does not climb from run to run, and between steps a GPU
holds next to nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import theilslopes
from tiny import DOWN_LAYER
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import sagviz as sv
from sagviz import CFG, SAG

WORKER = Path(__file__).parents[1] / "memory_worker.py"
BOUND = 7.5  # KiB a run: less than half of a single latent

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def climb(*arguments: str) -> float:
    """KiB a run, by a slope that single jumps do not move."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(WORKER), "--runs=60", "--warm-up=20", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    looks = json.loads(done.stdout)
    sizes, numbers = ([look[name] for look in looks] for name in ("MiB", "run"))
    return 1024 * float(theilslopes(sizes, numbers).slope)


@reads_proc
@pytest.mark.slow
def test_memory_has_no_slope_over_60_runs(folder: Path) -> None:
    assert climb("all_day", "--model", str(folder)) < BOUND


@pytest.mark.slow
@reads_proc
def test_a_leak_of_a_latent_a_run_would_be_seen() -> None:
    """The measure itself, on a leak of 16 KiB a run."""
    assert climb("leak") > BOUND


class OnDevice(TorchDispatchMode):
    """The bytes that live on the device: what is computed from the networks' weights, until it is
    copied to the CPU.

    On a machine that has only a CPU the device is a matter of descent.
    """

    def __init__(self, model: sv.Model) -> None:
        super().__init__()
        self.weights = [
            weight.untyped_storage()
            for network in model.networks.values()
            for weight in (*network.parameters(), *network.buffers())
        ]
        self.there = {storage._cdata for storage in self.weights}
        self.made: dict[int, tuple[weakref.ref[Any], int]] = {}

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.made.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given, made = (
            [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
            for tree in ((args, kwargs), out)
        )
        leaves = func is torch.ops.aten._to_copy.default and (kwargs or {}).get(
            "device"
        ) == torch.device("cpu")
        if not leaves and any(storage._cdata in self.there for storage in given):
            for storage in made:
                self.follow(storage)
        return out

    def follow(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self.there:
            self.there.add(key)
            self.made[key] = weakref.ref(storage, partial(self.forget, key)), storage.nbytes()

    def forget(self, key: int, _: object) -> None:
        self.there.remove(key)
        del self.made[key]


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["mid", DOWN_LAYER])
def test_between_two_steps_the_device_holds_the_latent_and_the_texts(
    model: sv.Model, layer: str
) -> None:
    """Neither outputs, nor maps, nor what was captured, nor the start noise: the records on the CPU
    have them.
    """
    guidance, capture = CFG(3.0) + SAG(1.0, layer=layer), sv.Capture("all", "maps")
    device, walk = (
        OnDevice(model),
        sv.steps(model, "a fox", steps=4, guidance=guidance, capture=capture, images=2),
    )
    texts = 2 * model.embed("").text.nbytes
    for index in range(4):
        with device:
            step = next(walk)
        latent = step.x_next.nbytes if index < 3 else 0
        assert 0 < device.bytes <= latent + texts, index
    assert step.captured


def test_the_measure_sees_what_stays(model: sv.Model) -> None:
    told = model.embed("")
    with OnDevice(model) as device:
        kept = model.predict(torch.zeros(1, 4, 16, 16), torch.tensor(1), told)
        assert device.bytes == kept.nbytes
        del kept
        assert device.bytes == 0
