"""Randomness that can be repeated: from the seed of an image alone, or mixed with the number of a
step.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def normal(shape: tuple[int, ...], drawn_by: torch.Generator) -> Tensor:
    """Noise of unit variance, float32 on the CPU, whatever torch's defaults are."""
    return torch.randn(shape, generator=drawn_by, device="cpu", dtype=torch.float32)


def generator(*entropy: int) -> torch.Generator:
    """A CPU generator: seeded plainly by one number, as users of diffusers expect, or by several
    mixed.
    """
    if len(entropy) == 1:
        return torch.Generator("cpu").manual_seed(entropy[0])
    (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator("cpu").manual_seed(int(state))
