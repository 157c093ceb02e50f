"""Models that were distilled to few steps, with guidance in their weights: what they are given of
it, and where guidance on top of it makes no sense.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FEW = 8  # steps, at which only distilled models are run
OF_FEW_STEPS = ("LCMScheduler", "TCDScheduler")


def scale_embedding(scale: float, width: int) -> Tensor:
    """A guidance scale w as a U-Net reads it that was distilled to one, (1, width): sine and cosine
    of 1000 (w - 1) at falling frequencies (latent consistency models, Luo et al. 2023, arXiv
    2310.04378).
    """
    half = width // 2
    rates = torch.exp(torch.arange(half, device="cpu") * (-math.log(10000.0) / (half - 1)))
    angles = 1000.0 * (scale - 1) * rates.float()
    return torch.cat([angles.sin(), angles.cos()])[None]


def blank_time_cond(config: Mapping[str, Any]) -> Tensor | None:
    """One of the right shape for a U-Net of these settings, without a meaning."""
    width = config.get("time_cond_proj_dim")
    return torch.empty(1, width) if width else None


def needless_cfg(model: Any, scheduler: Any, steps: int, negative_prompt: str) -> str | None:
    """Why CFG makes no sense with this model in so many steps, as a sentence; `None` where it does.

    Args:
        model: whose network may read a guidance scale.
        scheduler: of the run.
    """
    if model.reads_guidance and not negative_prompt:
        return (
            f"{model.name} was distilled to its guidance and is given the scale"
            f" {model.embedded_guidance:g} already (model.embedded_guidance); CFG doubles the cost"
            " and guides twice: leave it out, or give a negative_prompt to steer away from"
        )
    trailing = scheduler.config.get("timestep_spacing") == "trailing"
    if steps > FEW or not (trailing or type(scheduler).__name__ in OF_FEW_STEPS):
        return None
    return (
        f"{steps} steps of this scheduler are for models that were distilled to few (SD-Turbo, LCM,"
        " Lightning), and those have guidance in their weights: CFG burns their pictures; leave it"
        " out, and take more steps with any other model"
    )
