"""Training the classifier of noisy latents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.mini.noisy import NoisyClassifier
from sagviz.mini.scenes import Label
from sagviz.mini.training.fit import Plan, fit
from sagviz.mini.training.judge import to_targets

BATCH = 128
MEASURED = 400  # held-out latents in the log's measures
MEASURED_AT = (100, 300, 500, 700, 900)


@torch.no_grad()
def accuracy(
    classifier: NoisyClassifier, latents: Tensor, targets: Tensor, signal: Tensor
) -> dict[str, list[bool]]:
    """Of each latent (N, 4, 16, 16): is the likeliest object there, at some times? `targets` (N,
    48), `signal` is alpha bar.
    """
    right = {}
    for t in MEASURED_AT:
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(t))
        x_t = signal[t].sqrt() * latents + (1 - signal[t]).sqrt() * noise
        best = classifier(x_t, torch.full((len(latents),), t)).argmax(dim=1)
        right[f"t={t}"] = targets[torch.arange(len(latents)), best].bool().tolist()
    return right


def train(
    latents: Tensor,
    labels: Sequence[Label],
    held_out: tuple[Tensor, Sequence[Label]],
    signal: Tensor,
    plan: Plan,
    checkpoint: Path,
) -> NoisyClassifier:
    """Cross-entropy at uniform t; of two objects, each is half of the target. `signal` is the
    schedule's alpha bar.
    """
    torch.manual_seed(0)
    classifier, present = NoisyClassifier(), to_targets(labels)[0]
    classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    shares = present / present.sum(dim=1, keepdim=True)

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(latents), size=BATCH))
        x_0, noise, t = (
            latents[chosen].float(),
            torch.randn(BATCH, *latents.shape[1:]),
            torch.randint(len(signal), (BATCH,)),
        )
        alpha_bar = signal[t][:, None, None, None]
        return F.cross_entropy(
            classifier(alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise, t).float(),
            shares[chosen],
        )

    def measure(module: NoisyClassifier) -> dict[str, float]:
        found = accuracy(
            module, held_out[0][:MEASURED].float(), to_targets(held_out[1][:MEASURED])[0], signal
        )
        return {time: float(np.mean(hits)) for time, hits in found.items()}

    return fit(classifier, loss_at, plan, checkpoint, measure=measure)
