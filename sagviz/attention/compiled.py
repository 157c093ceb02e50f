"""Networks under `torch.compile`. A compiled graph leaves hooks out, so calls with hooks run as
they are written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from sagviz.errors import ModelError

_turn = threading.RLock()  # torch has one such setting for all threads


def plain(network: Any) -> Any:
    """The network itself where `torch.compile(network)` stands before it."""
    return getattr(network, "_orig_mod", network)


def is_compiled(network: nn.Module) -> bool:
    """Whether a network is compiled, or a part of it."""
    return any(
        vars(module).get("_compiled_call_impl") is not None or "_orig_mod" in module._modules
        for module in network.modules()
    )


@contextmanager
def uncompiled() -> Iterator[None]:
    """While open, compiled networks run as they are written.

    Raises:
        ModelError: this torch cannot do that.
    """
    if not hasattr(torch.compiler, "set_stance"):
        raise ModelError(
            f"the network is compiled, and torch {torch.__version__} cannot run it without for the"
            " calls whose attention is read or changed; take torch 2.6 or later, or do not compile"
        )
    with _turn, torch.compiler.set_stance("force_eager"):
        yield
