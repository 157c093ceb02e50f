"""Where a network works, which is not where its weights wait if hooks fetch them for each call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def execution_device(network: nn.Module) -> torch.device:
    """The device that a network's inputs have to be on.

    Hooks of accelerate (`enable_model_cpu_offload`, `enable_sequential_cpu_offload`, `device_map`) and diffusers' group
    offloading say it themselves; without any it is where the weights are.
    """
    for module in network.modules():
        place = _of_hook(module)
        if place is not None:
            return torch.device(place)
    return next(network.parameters()).device


def is_offloaded(network: nn.Module) -> bool:
    """Whether a network's weights wait elsewhere until it is called."""
    return any(_of_hook(module) is not None for module in network.modules())


def weights(network: nn.Module) -> dict[str, Tensor]:
    """A network's state, with weights that are on the meta device between two calls taken from where hooks keep them."""
    state: dict[str, Tensor] = network.state_dict()
    for path, module in network.named_modules():
        for hook in _hooks(module):
            kept = getattr(hook, "weights_map", None) or {}
            names = {name: f"{path}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)}
            state |= {key: kept[name] for name, key in names.items() if kept and state[key].is_meta}
    return state


def _of_hook(module: nn.Module) -> Any:
    """The execution device of the hook on a module, if it has one."""
    for hook in _hooks(module):
        if getattr(hook, "execution_device", None) is not None:
            return hook.execution_device
    registry = getattr(module, "_diffusers_hook", None)
    group = None if registry is None else registry.get_hook("group_offloading")
    return getattr(getattr(group, "config", None), "onload_device", None)


def _hooks(module: nn.Module) -> Iterator[Any]:
    """accelerate's hooks on a module; a `SequentialHook` holds several."""
    outer = getattr(module, "_hf_hook", None)
    yield from getattr(outer, "hooks", (outer,) if outer is not None else ())
