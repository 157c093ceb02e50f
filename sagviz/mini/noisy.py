r"""Names the object in a noisy latent: what classifier guidance (CG) needs, :math:`\nabla_{x_t} \log p(c | x_t)`.

A small convolutional network on (x_t, t), trained on encoded renders with the schedule's noise (Dhariwal & Nichol 2021,
arXiv 2105.05233, section 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.mini import WEIGHTS
from sagviz.mini.fit import Plan, fit
from sagviz.mini.judge import NAMES, to_targets

FILE = "noisy_classifier.safetensors"
TIMES = 64  # width of the code of t
BATCH = 128
MEASURED = 400  # held-out latents in the log's measures
MEASURED_AT = (100, 300, 500, 700, 900)


class Block(nn.Module):
    """Two convolutions, the second halving the grid; the code of t scales and shifts between them."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(before, after, 3, 1, 1), nn.Conv2d(after, after, 3, 2, 1)
        self.norm, self.times = nn.GroupNorm(8, after), nn.Linear(TIMES, 2 * after)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale, shift = self.times(code)[:, :, None, None].chunk(2, dim=1)
        return F.silu(self.second(F.silu(self.norm(self.first(x)) * (1 + scale) + shift)))


class NoisyClassifier(nn.Module):
    """Noisy latents (B, 4, 16, 16) and their t (B,) in 0..999 to logits of the 48 objects (B, 48), one of which is there."""

    labels = NAMES

    def __init__(self, channels: tuple[int, ...] = (64, 96, 128)) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(before, after) for before, after in zip((4, *channels[:-1]), channels, strict=True))
        self.objects = nn.Linear(channels[-1], len(NAMES))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        code = time_code(t).to(x_t)
        for block in self.blocks:
            x_t = block(x_t, code)
        return self.objects(x_t.amax(dim=(2, 3)))


def time_code(t: Tensor) -> Tensor:
    """Sines and cosines of t, (B, 64), periods from 1 to 10,000."""
    angles = t[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(TIMES // 2) / (TIMES // 2)).to(t.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def load_noisy_classifier(folder: Path = WEIGHTS) -> NoisyClassifier:
    """The classifier of noisy latents that ships with the miniature; `judge.NAMES` are its classes."""
    classifier = NoisyClassifier()
    classifier.load_state_dict({name: numbers.float() for name, numbers in load_file(folder / FILE).items()})
    return classifier.eval()


@torch.no_grad()
def accuracy(classifier: NoisyClassifier, latents: Tensor, targets: Tensor, signal: Tensor) -> dict[str, list[bool]]:
    """Of each latent (N, 4, 16, 16): is the likeliest object there, at some times? `targets` (N, 48), `signal` is alpha bar."""
    right = {}
    for t in MEASURED_AT:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
        x_t = signal[t].sqrt() * latents + (1 - signal[t]).sqrt() * noise
        best = classifier(x_t, torch.full((len(latents),), t)).argmax(dim=1)
        right[f"t={t}"] = targets[torch.arange(len(latents)), best].bool().tolist()
    return right


def train(
    latents: Tensor, labels: Sequence[dict[str, object]], held_out: tuple[Tensor, Sequence[dict[str, object]]], signal: Tensor,
    plan: Plan, checkpoint: Path,
) -> NoisyClassifier:  # fmt: skip
    """Cross-entropy at uniform t; of two objects, each is half of the target. `signal` is the schedule's alpha bar."""
    torch.manual_seed(0)
    classifier, present = NoisyClassifier(), to_targets(labels)[0]
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shares = present / present.sum(dim=1, keepdim=True)

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        x_0, noise, t = latents[chosen].float(), torch.randn(BATCH, *latents.shape[1:]), torch.randint(len(signal), (BATCH,))
        alpha_bar = signal[t][:, None, None, None]
        return F.cross_entropy(classifier(alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise, t).float(), shares[chosen])

    def measure(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, NoisyClassifier)
        found = accuracy(module, held_out[0][:MEASURED].float(), to_targets(held_out[1][:MEASURED])[0], signal)
        return {time: float(np.mean(hits)) for time, hits in found.items()}

    trained = fit(classifier, loss_at, plan, checkpoint, measure=measure)
    assert isinstance(trained, NoisyClassifier)
    return trained
