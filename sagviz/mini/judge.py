"""Names what is on a picture: a small network trained on rendered scenes only, never on generated pictures.

It judges the miniature (prompt fidelity), so it must not have seen what it judges.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.mini.fit import Plan, fit
from sagviz.mini.world import BACKGROUNDS, OBJECTS

NAMES, COLOURS = tuple(OBJECTS), tuple(BACKGROUNDS)


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to logits of 48 objects (each present or not) and of 10 backgrounds."""

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels[:-1]), channels, strict=True):
            for given, stride in ((before, 1), (after, 2)):
                layers += [nn.Conv2d(given, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.objects = nn.Linear(channels[-1], len(NAMES))
        self.backgrounds = nn.Linear(channels[-1], len(COLOURS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(images).amax(dim=(2, 3))
        return self.objects(features), self.backgrounds(features)


def to_targets(labels: list[dict[str, object]]) -> tuple[Tensor, Tensor]:
    """Labels of `train.render` to objects (N, 48) of 0 and 1, and background indices (N,)."""
    objects = torch.tensor([[float(name in label["objects"]) for name in NAMES] for label in labels])  # type: ignore[operator]
    return objects, torch.tensor([COLOURS.index(str(label["background"])) for label in labels])


def roughen(images: Tensor) -> Tensor:
    """Blur half of the batch a little and add a little noise: a generated picture is not as crisp as a render."""
    half = len(images) // 2
    blurred = F.interpolate(F.avg_pool2d(images[:half], 2), scale_factor=2, mode="bilinear")
    return torch.cat([blurred, images[half:]]) + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) * 0.1


@torch.no_grad()
def accuracy(judge: Judge, images: Tensor, objects: Tensor) -> float:
    """Fraction of pictures whose objects are exactly the judge's most likely ones."""
    judge.eval()
    logits = torch.cat([judge(part)[0] for part in images.split(128)])
    judge.train()
    hits = [set(row.topk(int(truth.sum())).indices.tolist()) == set(truth.nonzero()[:, 0].tolist())
            for row, truth in zip(logits, objects, strict=True)]  # fmt: skip
    return float(np.mean(hits))


def train(scenes: Tensor, labels: tuple[Tensor, Tensor], held_out: Tensor, truth: Tensor, plan: Plan, checkpoint: Path) -> Judge:
    """Binary cross-entropy on the objects, cross-entropy on the background. `scenes` uint8 (N, H, W, 3)."""
    torch.manual_seed(0)
    judge = Judge()
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(scenes), size=64))
        images = roughen(scenes[chosen].permute(0, 3, 1, 2).float() / 127.5 - 1)
        objects, backgrounds = judge(images.contiguous(memory_format=torch.channels_last))
        return len(NAMES) * 0.1 * F.binary_cross_entropy_with_logits(objects, labels[0][chosen]) + 0.2 * F.cross_entropy(
            backgrounds, labels[1][chosen]
        )

    pictures = held_out.permute(0, 3, 1, 2).float() / 127.5 - 1
    trained = fit(judge, loss_at, plan, checkpoint, measure=lambda m: {"accuracy": accuracy(m, pictures, truth)})  # type: ignore[arg-type]
    assert isinstance(trained, Judge)
    return trained
