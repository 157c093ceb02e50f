"""Float32 that stays float32, whatever the user has opened around it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def exact(device: torch.device) -> AbstractContextManager[object]:
    """While open, `torch.autocast` of the user does not act on a device of that type."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)
