"""Where a network works, which is not where its weights wait if hooks fetch them for each call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import Tensor, nn

from sagviz.attention.compiled import plain


def execution_device(network: nn.Module) -> torch.device:
    """The device that a network's inputs have to be on.

    Hooks of accelerate (`enable_model_cpu_offload`, `enable_sequential_cpu_offload`, `device_map`)
    and diffusers' group offloading say it themselves; without any it is where the weights are.
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
    """A network's state, with weights that are on the meta device between two calls taken from
    where hooks keep them.
    """
    network = plain(network)
    state: dict[str, Tensor] = network.state_dict()
    for path, module in network.named_modules():
        for hook in _hooks(module):
            kept = getattr(hook, "weights_map", None) or {}
            names = {
                name: f"{path}.{name}".lstrip(".")
                for name, _ in module.named_parameters(recurse=False)
            }
            state |= {key: kept[name] for name, key in names.items() if kept and state[key].is_meta}
    return state


def _of_hook(module: nn.Module) -> Any:
    """The execution device of the hook on a module, if it has one."""
    for hook in _hooks(module):
        if getattr(hook, "execution_device", None) is not None:
            return hook.execution_device
    registry = vars(module).get("_diffusers_hook")
    group = None if registry is None else registry.get_hook("group_offloading")
    return getattr(getattr(group, "config", None), "onload_device", None)


def _hooks(module: nn.Module) -> Iterator[Any]:
    """accelerate's hooks on a module; a `SequentialHook` holds several. A module is slow to say
    that it lacks an attribute, and a network has a thousand of them.
    """
    outer = vars(module).get("_hf_hook")
    yield from getattr(outer, "hooks", (outer,) if outer is not None else ())


class Visit(ModelHook):
    """Brings a network to the device when it is called, after the others have left; there it stays
    until one of them is called.

    accelerate's own `cpu_offload_with_hook` sends only the network before it in a fixed order away,
    and a notebook calls them in any order.
    """

    def __init__(self, networks: Sequence[nn.Module], place: torch.device) -> None:
        self.networks, self.execution_device = networks, place

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module.to("cpu")

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        leaving = [
            other
            for other in self.networks
            if other is not module and not _is_at(other, torch.device("cpu"))
        ]
        for other in leaving:
            other.to("cpu")
        if leaving and self.execution_device.type == "cuda":
            torch.cuda.empty_cache()
        if not _is_at(module, self.execution_device):
            module.to(self.execution_device)
        moved: tuple[Any, Any] = send_to_device((args, kwargs), self.execution_device)
        return moved


def visit_in_turn(networks: Sequence[nn.Module], place: torch.device) -> None:
    """Let these networks visit `place` in turn."""
    for network in networks:
        add_hook_to_module(network, Visit(networks, place))


def _is_at(network: nn.Module, place: torch.device) -> bool:
    return next(network.parameters()).device == place
