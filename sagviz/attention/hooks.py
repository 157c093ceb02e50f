"""Hooks on a network's layers that act in the thread that attached them, and in no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import get_ident
from types import MappingProxyType
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

NOTHING: Mapping[str, Any] = MappingProxyType({})
Act = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def before(module: nn.Module, act: Act) -> RemovableHandle:
    """Let `act(module, args, kwargs)` run before each call of a module by this thread; what it
    returns, (args, kwargs) or `None`, is as for torch's `register_forward_pre_hook`.

    Other threads may be inside the same network, by another model or the pipeline that it is of.
    """
    thread = get_ident()

    # torch may call it without kwargs in a thread that looks while it is attached or removed
    def guarded(called: Any, args: tuple[Any, ...], kwargs: Any = NOTHING) -> Any:
        return act(called, args, kwargs) if get_ident() == thread else None

    return module.register_forward_pre_hook(guarded, with_kwargs=True)


def after(module: nn.Module, act: Callable[[], None]) -> RemovableHandle:
    """Let `act()` run after each call of a module by this thread that has ended well."""
    thread = get_ident()

    def guarded(*_: Any) -> None:
        if get_ident() == thread:
            act()

    return module.register_forward_hook(guarded)
