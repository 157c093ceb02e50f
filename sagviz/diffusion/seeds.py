"""Randomness that can be repeated: from the seed of an image alone, or mixed with the number of a
step.
"""

from __future__ import annotations

import numpy as np
import torch


def generator(*entropy: int) -> torch.Generator:
    """A CPU generator: seeded plainly by one number, as users of diffusers expect, or by several
    mixed.
    """
    if len(entropy) == 1:
        return torch.Generator().manual_seed(entropy[0])
    (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state))
