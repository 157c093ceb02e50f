r"""The classifier of noisy latents that classifier guidance (CG) needs: :math:`\nabla_{x_t}
\log p(c | x_t)`.

A small convolutional network on (x_t, t), trained on encoded renders with the schedule's noise
(Dhariwal & Nichol 2021, arXiv 2105.05233, section 4).
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.mini import WEIGHTS
from sagviz.mini.world import NAMES

FILE = "noisy_classifier.safetensors"
TIMES = 64  # width of the code of t


class Block(nn.Module):
    """Two convolutions, the second at stride 2; between them the code of t scales and shifts."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Conv2d(before, after, 3, 1, 1),
            nn.Conv2d(after, after, 3, 2, 1),
        )
        self.norm, self.times = nn.GroupNorm(8, after), nn.Linear(TIMES, 2 * after)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.times(code)[:, :, None, None].chunk(2, dim=1)
        return F.silu(self.second(F.silu(self.norm(self.first(x)) * (1 + scale) + shift)))


class NoisyClassifier(nn.Module):
    """Noisy latents (B, 4, 16, 16) and their t (B,) in 0..999 to logits of the 48 objects (B, 48),
    one of which is there.
    """

    labels = NAMES

    def __init__(self, channels: tuple[int, ...] = (64, 96, 128)) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(before, after)
            for before, after in zip((4, *channels[:-1]), channels, strict=True)
        )
        self.objects = nn.Linear(channels[-1], len(NAMES))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        code = time_code(t).to(x_t)
        for block in self.blocks:
            x_t = block(x_t, code)
        return self.objects(x_t.amax(dim=(2, 3)))


def time_code(t: Tensor) -> Tensor:
    """Sines and cosines of t, (B, 64), periods from 1 to 10,000."""
    places = torch.arange(TIMES // 2, device=t.device, dtype=torch.float32)
    angles = t[:, None].float() * torch.exp(-math.log(10_000) * places / (TIMES // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def load_noisy_classifier(folder: Path = WEIGHTS) -> NoisyClassifier:
    """The classifier of noisy latents in a folder; its classes are `world.NAMES`."""
    classifier = NoisyClassifier()
    classifier.load_state_dict(
        {name: numbers.float() for name, numbers in load_file(folder / FILE).items()}
    )
    return classifier.eval()
