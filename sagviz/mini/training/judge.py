"""Names what is on a picture, and where: a small network trained on rendered scenes only, never on
generated pictures.

It judges the miniature (prompt fidelity, Frechet distance), so it must not have seen what it
judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.mini import WEIGHTS
from sagviz.mini.scenes import Label
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.fit import Plan, fit
from sagviz.mini.world import BACKGROUNDS, NAMES

COLOURS = tuple(BACKGROUNDS)
FILE = "judge.safetensors"


@dataclass(frozen=True)
class Verdict:
    """What the judge sees on B pictures.

    Attributes:
        objects: logits (B, 48), each object present or not.
        places: centre (x, y) of each object if it is there, (B, 48, 2), in fractions of the
            picture.
        backgrounds: logits (B, 10).
        features: mean of the last grid, (B, 96): for distances between sets of pictures.
    """

    objects: Tensor
    places: Tensor
    backgrounds: Tensor
    features: Tensor

    def named(self, count: int) -> list[set[str]]:
        """The `count` most likely objects of each picture."""
        return [
            {NAMES[index] for index in row.topk(count).indices.tolist()} for row in self.objects
        ]

    def colours(self) -> list[str]:
        """The most likely background of each picture."""
        return [COLOURS[index] for index in self.backgrounds.argmax(dim=1).tolist()]

    def relation(self, row: int, first: str, second: str) -> str:
        """How `first` stands to `second` on picture `row`, by the longer side of the step from one
        to the other.
        """
        x, y = (
            self.places[row, NAMES.index(second)] - self.places[row, NAMES.index(first)]
        ).tolist()
        if abs(x) > abs(y):
            return "left of" if x > 0 else "right of"
        return "above" if y > 0 else "below"


class Judge(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to a `Verdict`: a logit for each object at each of 8 x 8
    places, and their maximum.
    """

    def __init__(self, channels: tuple[int, ...] = (24, 48, 96)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels[:-1]), channels, strict=True):
            for given, stride in ((before, 1), (after, 2)):
                layers += [
                    nn.Conv2d(given, after, 3, stride, 1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                ]
        self.features = nn.Sequential(*layers)
        self.objects = nn.Conv2d(channels[-1], len(NAMES), 1)
        self.backgrounds = nn.Linear(2 * channels[-1], len(COLOURS))

    def forward(self, images: Tensor) -> Verdict:
        grid = self.features(images)
        mean, logits = grid.mean(dim=(2, 3)), self.objects(grid)
        backgrounds = self.backgrounds(torch.cat([mean, grid.amax(dim=(2, 3))], dim=1))
        return Verdict(logits.amax(dim=(2, 3)), centres(logits.float()), backgrounds, mean)


def centres(logits: Tensor) -> Tensor:
    """Where each object is, (B, N, 2) as (x, y) in 0..1: the mean place under a softmax over the
    places of (B, N, H, W).
    """
    shares = logits.flatten(2).softmax(dim=2).unflatten(2, logits.shape[2:])
    x, y = ((torch.arange(side) + 0.5) / side for side in (logits.shape[3], logits.shape[2]))
    return torch.stack([shares.sum(dim=2) @ x, shares.sum(dim=3) @ y], dim=2)


@torch.no_grad()
def look(judge: Judge, images: Tensor) -> Verdict:
    """The verdict on any number of pictures (N, 3, 64, 64), 128 at a time."""
    parts = [
        judge(part.contiguous(memory_format=torch.channels_last)) for part in images.split(128)
    ]
    return Verdict(
        *(
            torch.cat([getattr(p, name) for p in parts])
            for name in ("objects", "places", "backgrounds", "features")
        )
    )


def load_judge(folder: Path = WEIGHTS) -> Judge:
    """The judge that ships with the miniature."""
    judge = Judge()
    missing = judge.load_state_dict(
        {k: v.float() for k, v in load_file(folder / FILE).items()}, strict=False
    )
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return judge.eval()


def to_targets(labels: Sequence[Label]) -> tuple[Tensor, Tensor]:
    """Labels of scenes to objects (N, 48) of 0 and 1, and background indices (N,)."""
    objects = torch.tensor(
        [[float(name in label["objects"]) for name in NAMES] for label in labels]
    )
    return objects, torch.tensor([COLOURS.index(label["background"]) for label in labels])


def roughen(images: Tensor) -> Tensor:
    """Blur half of the batch a little and add a little noise: a generated picture is not as crisp
    as a render.
    """
    half = len(images) // 2
    blurred = F.interpolate(F.avg_pool2d(images[:half], 2), scale_factor=2, mode="bilinear")
    return (
        torch.cat([blurred, images[half:]])
        + torch.randn_like(images) * torch.rand(len(images), 1, 1, 1) * 0.1
    )


def accuracy(judge: Judge, pixels: np.ndarray, labels: Sequence[Label]) -> dict[str, list[bool]]:
    """For each render: are exactly its objects the most likely ones, is its background right, and
    (of pairs) the relation?
    """
    learning = judge.training
    verdict = look(judge.eval(), to_tensor(pixels))
    judge.train(learning)
    right: dict[str, list[bool]] = {"objects": [], "background": [], "relation": []}
    for row, (label, colour) in enumerate(zip(labels, verdict.colours(), strict=True)):
        names = label["objects"]
        best = verdict.objects[row].topk(len(names)).indices.tolist()
        right["objects"].append({NAMES[index] for index in best} == set(names))
        right["background"].append(colour == label["background"])
        if label["relation"] is not None:
            right["relation"].append(verdict.relation(row, *names) == label["relation"])
    return right


def train(
    scenes: np.ndarray,
    labels: Sequence[Label],
    held_out: tuple[np.ndarray, Sequence[Label]],
    plan: Plan,
    checkpoint: Path,
) -> Judge:
    """Binary cross-entropy on the objects, cross-entropy on the background. Places are not taught:
    the maximum finds them.
    """
    torch.manual_seed(0)
    judge, truth = Judge(), to_targets(labels)
    judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = np.sort(rng.integers(len(scenes), size=64))
        images = roughen(to_tensor(scenes[chosen]))
        verdict = judge(images.contiguous(memory_format=torch.channels_last))
        present = F.binary_cross_entropy_with_logits(verdict.objects, truth[0][chosen])
        return len(NAMES) * 0.1 * present + 0.2 * F.cross_entropy(
            verdict.backgrounds, truth[1][chosen]
        )

    def measure(module: Judge) -> dict[str, float]:
        return {key: float(np.mean(hits)) for key, hits in accuracy(module, *held_out).items()}

    return fit(judge, loss_at, plan, checkpoint, measure=measure)
