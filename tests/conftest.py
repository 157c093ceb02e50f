"""Fixtures of all tests: tiny random models, no network, and who runs beside whom."""

from __future__ import annotations

import ipaddress
import multiprocessing
import os
import socket
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported
os.environ["OMP_NUM_THREADS"] = "1"  # of kernels and other processes, too: the networks are tiny

import pytest
import torch
import warm
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from side_by_side import machine, shared
from tiny import FAMILIES, build_pipe, quiet
from tiny_transformers import TRANSFORMERS

import sagviz as sv

torch.set_num_threads(1)  # the networks are too small to be worth a second thread

BROWSER = Path(__file__).parent / "browser"


def pytest_itemcollected(item: pytest.Item) -> None:
    """All tests of the browser's folder are marked so."""
    if BROWSER in item.path.parents:
        item.add_marker("browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take long begin first: several workers share the files between them."""
    long: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        long[item.path] += max(map(_seconds, item.iter_markers()), default=0)
    items.sort(key=lambda item: -long[item.path])


def _seconds(mark: pytest.Mark) -> float:
    """About how long a test with this mark takes."""
    return {"slow": mark.args[0] if mark.args else 3, "browser": 8}.get(mark.name, 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """With several workers, a test that is marked `alone` has the machine for itself."""
    several = hasattr(item.config, "workerinput")
    with machine(item.get_closest_marker("alone") is not None) if several else nullcontext():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests start by `sys.executable` is forked from a warm interpreter, where that works."""
    multiprocessing.set_executable(sys.executable)  # it hands over more than a fork can take
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            (folder := shared(tmp_path_factory) / "warm").mkdir(exist_ok=True)
            patch.setattr(sys, "executable", warm.executable(folder))
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in diffusers' format: epsilon-prediction."""
    path = tmp_path_factory.mktemp("model")
    build_pipe(path / "words").save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def pipe(folder: Path) -> StableDiffusionPipeline:
    """diffusers' own pipeline on that folder: the oracle. It shares nothing with `model`."""
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="session")
def model(folder: Path) -> sv.Model:
    """That folder, loaded as a user loads it."""
    return sv.load(folder)


@pytest.fixture(scope="session")
def v_model(tmp_path_factory: pytest.TempPathFactory) -> sv.Model:
    """A model that predicts v, as Stable Diffusion 2.1 does."""
    path = tmp_path_factory.mktemp("v_model")
    build_pipe(path / "words", "v_prediction", seed=1).save_pretrained(path)
    return sv.load(path)


@dataclass(frozen=True)
class Family:
    """A tiny model of a family: its folder, diffusers' own pipeline on it, and ours, which share
    nothing.
    """

    folder: Path
    pipe: DiffusionPipeline
    model: sv.Model


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    """The family of a name in `tiny.FAMILIES` or `tiny_transformers.TRANSFORMERS`, made once."""

    @cache
    def made(name: str) -> Family:
        path = tmp_path_factory.mktemp(name)
        {**FAMILIES, **TRANSFORMERS}[name](path / "words").save_pretrained(path)
        return Family(path, quiet(DiffusionPipeline.from_pretrained(path)), sv.load(path))

    return made


def is_local(address: Any) -> bool:
    """Whether a socket's address stays on this machine: a path, or a loopback host."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection or a look-up that leaves this machine fails the test, whatever exceptions the
    code catches.
    """

    def guarded(function: Callable[..., Any], where: int) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            address = args[where] if where else (args[0] or "localhost",)
            if not is_local(address):
                pytest.fail(f"this test reaches for the network: {function.__name__} {address}")
            return function(*args, **kwargs)

        return call

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), 1))
    monkeypatch.setattr(socket, "getaddrinfo", guarded(socket.getaddrinfo, 0))
