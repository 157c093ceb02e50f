"""`visit_in_turn`: networks wait on the CPU, and one at a time visits the GPU, by a hook of accelerate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn


class Visit(ModelHook):
    """Brings a network to the device when it is called, after the others have left; there it stays until one of them is called.

    accelerate's own `cpu_offload_with_hook` sends only the network before it in a fixed order away, and a notebook calls them
    in any order.
    """

    def __init__(self, networks: Sequence[nn.Module], place: torch.device) -> None:
        self.networks, self.execution_device = networks, place

    def init_hook(self, module: nn.Module) -> nn.Module:
        return module.to("cpu")

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        leaving = [other for other in self.networks if other is not module and not _is_at(other, torch.device("cpu"))]
        for other in leaving:
            other.to("cpu")
        if leaving and self.execution_device.type == "cuda":
            torch.cuda.empty_cache()
        if not _is_at(module, self.execution_device):
            module.to(self.execution_device)
        return send_to_device(args, self.execution_device), send_to_device(kwargs, self.execution_device)


def visit_in_turn(networks: Sequence[nn.Module], place: torch.device) -> None:
    """Let these networks visit `place` in turn."""
    for network in networks:
        add_hook_to_module(network, Visit(networks, place))


def _is_at(network: nn.Module, place: torch.device) -> bool:
    return next(network.parameters()).device == place
