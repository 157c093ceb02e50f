"""All that a call could leave changed behind it: of the process, of its thread and of a model.

A state is a flat dictionary, so that `changes` names what differs.
"""

from __future__ import annotations

import gc
import hashlib
import locale
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import diffusers
import huggingface_hub.utils as hub
import matplotlib
import numpy as np
import torch
import transformers
from ipywidgets import widget as widgets
from matplotlib import pyplot
from tiny import residue
from torch import nn

import sagviz as sv

State = dict[str, Any]
FRESH = ("logger ",)  # what a library may add when it is first used
DELETED = "(not there)"


def process() -> State:
    """The settings that everything in this process shares."""
    return {
        **{f"environment {name}": value for name, value in os.environ.items()},
        **{f"matplotlib {name}": repr(value) for name, value in matplotlib.rcParams.items()},
        **_loggers(),
        "figures": pyplot.get_fignums(),
        "folder": os.getcwd(),
        "files in it": sorted(os.listdir()),
        "temporary files": sorted(os.listdir(tempfile.gettempdir())),
        "open files": _open_files(),
        "threads": _threads(),
        "widgets": len(widgets._instances),
        "warnings": [repr(each) for each in warnings.filters],
        "who shows warnings": warnings.showwarning,
        "streams": [(id(each), each.errors) for each in (sys.stdin, sys.stdout, sys.stderr)],
        "hooks of Python": (sys.excepthook, sys.displayhook, sys.gettrace(), sys.getprofile()),
        "limits of Python": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled()),
        "paths of Python": list(sys.path),
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)],
        "locale": locale.setlocale(locale.LC_ALL),
        "bars of transformers": transformers.utils.logging.is_progress_bar_enabled(),
        "bars of the hub": not hub.are_progress_bars_disabled(),
        "bars of diffusers": diffusers.utils.logging.is_progress_bar_enabled(),
    }


def _loggers() -> State:
    known = logging.root.manager.loggerDict
    loggers = {
        name: each
        for name, each in known.items()
        if isinstance(each, logging.Logger) and name != "torch.__trace"  # torch's, at its first use
    }
    return {
        f"logger {name}": (each.level, each.disabled, each.propagate, list(each.handlers))
        for name, each in {"(root)": logging.root, **loggers}.items()
    }


def _open_files() -> int | None:
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None


def _threads() -> list[str]:
    """Those that are at work, but for those that watch over progress bars; one that is ending gets
    its time.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(5)
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name != "tqdm_monitor")


def numbers() -> State:
    """Random numbers, and how this thread and a new one compute."""
    backends = torch.backends
    return {
        "numbers of torch": torch.get_rng_state().numpy().tobytes(),
        "numbers of NumPy": repr(np.random.get_state()),  # noqa: NPY002
        "numbers of Python": random.getstate(),
        "errors of NumPy": np.geterr(),
        "printing": (np.get_printoptions(), repr(torch.tensor([1 / 3, 1e6]))),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomalies": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "defaults": (torch.get_default_dtype(), torch.get_default_device()),
        "a new tensor": (torch.ones(1).dtype, torch.ones(1).device),
        "attention": nn.functional.scaled_dot_product_attention,
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "precision": (torch.get_float32_matmul_precision(), backends.cuda.matmul.allow_tf32),
        "backends": (
            backends.cudnn.enabled,
            backends.cudnn.benchmark,
            backends.cudnn.deterministic,
            backends.cudnn.allow_tf32,
            backends.cuda.flash_sdp_enabled(),
            backends.cuda.math_sdp_enabled(),
        ),
        "CPU threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "CPU threads of a new thread": in_new_thread(torch.get_num_threads),
    }


def in_new_thread(call: Any, *args: Any) -> Any:
    """What a call gives in another thread, within ten seconds."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(call, *args).result(timeout=10)


def of_model(model: sv.Model) -> State:
    """Its parts, hooks, processors, modes, weights, scheduler, and that its lock is free."""
    in_new_thread(take, model.lock)
    scheduler = model.scheduler
    return {
        "scheduler": (id(scheduler), dict(scheduler.config)),
        **{f"scheduler {name}": repr(value) for name, value in vars(scheduler).items()},
        "parts": {part: id(getattr(model, part)) for part in model.PARTS},
        "CPU threads of the model": model.threads,
        **{
            f"{name}: {what}": found
            for name, network in model.networks.items()
            for what, found in _of_network(network).items()
        },
    }


def take(lock: Any) -> None:
    """Wait for a lock that nobody holds."""
    with lock:
        pass


def _of_network(network: nn.Module) -> State:
    weights = [*network.named_parameters(), *network.named_buffers()]
    return {
        "hooks and processors": residue(network),
        "train or eval": [module.training for module in network.modules()],
        "attributes": [sorted(vars(module)) for module in network.modules()],
        "gradients": [(name, w.requires_grad, w.grad is None) for name, w in weights],
        "weights": [(name, w.dtype, w.device, _digest(w)) for name, w in weights],
    }


def _digest(weight: torch.Tensor) -> str:
    return hashlib.sha256(weight.detach().contiguous().numpy().tobytes()).hexdigest()


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs, by name: before and after."""
    names = [name for name in {**before, **after} if name in before or not name.startswith(FRESH)]
    pairs = {name: (before.get(name, DELETED), after.get(name, DELETED)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@contextmanager
def unchanged(
    model: sv.Model | None = None, why: str = "", but: Collection[str] = ()
) -> Iterator[None]:
    """What is done here leaves nothing changed, except for what `but` names."""

    def state() -> State:
        found = {**process(), **numbers(), **(of_model(model) if model else {})}
        return {name: value for name, value in found.items() if name not in but}

    before = state()
    yield
    found = {name: f"{was} -> {now}" for name, (was, now) in changes(before, state()).items()}
    assert not found, f"{why} leaves changed: {found}"
