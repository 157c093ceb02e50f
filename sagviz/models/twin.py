"""`twin`: a network in float32 beside the same in float16."""

from __future__ import annotations

from collections.abc import Mapping
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from sagviz.attention.compiled import plain
from sagviz.models.offload import execution_device, weights

HOOKS = ("_hf_hook", "_diffusers_hook")  # accelerate's and diffusers'
COMPILED = ("_compiled_call_impl", "encode", "decode")  # what people put in place of a method


def twin(network: nn.Module) -> Any:
    """The network as one in float32, which holds float16 exactly: its own layers, settings and
    changes, weights where it works. The network stays as it is for all others.

    A pipeline that puts it in float32 and back meanwhile is not noticed.
    """
    network, place = plain(network), execution_device(network)
    whole = {name: part.to(place, torch.float32) for name, part in weights(network).items()}
    made = _copied(network, whole, "")
    for name in COMPILED:
        if not isinstance(vars(made).get(name), MethodType):
            vars(made).pop(name, None)
    return made


def twin_bytes(network: nn.Module) -> int:
    """What its weights take beside the network's own; those in float32 are used as they are."""
    narrow = (part for part in network.parameters() if part.dtype != torch.float32)
    return sum(part.numel() * torch.float32.itemsize for part in narrow)


def _copied(module: nn.Module, whole: Mapping[str, Tensor], path: str) -> nn.Module:
    made = module.__new__(type(module))  # a third of the time of copy.copy
    own = vars(made)
    own.update(vars(module))
    hooked = any(name in own for name in HOOKS)
    for name, value in list(own.items()):
        if hooked and name in ("forward", "_old_forward"):
            del own[name]  # which fetches the weights of the module itself
        elif isinstance(value, MethodType) and value.__self__ is module:
            own[name] = MethodType(value.__func__, made)
    for name in HOOKS if path else ():  # the outermost lets other networks leave
        own.pop(name, None)
    own["_parameters"] = {
        name: part if part is None else nn.Parameter(whole[path + name], requires_grad=False)
        for name, part in module._parameters.items()
    }
    own["_buffers"] = {name: whole.get(path + name, part) for name, part in module._buffers.items()}
    own["_modules"] = {
        name: part if part is None else _copied(part, whole, f"{path}{name}.")
        for name, part in module._modules.items()
    }
    return made
