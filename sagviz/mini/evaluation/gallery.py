"""The pictures that are measured: made in joint U-Net calls, and kept in a folder so that no
picture is made twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from sagviz.guidance import Guidance, as_guidance
from sagviz.models import Model
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import prepare

STEPS = 50
TOGETHER = 16  # pictures made at once


@dataclass(frozen=True)
class Shot:
    """One picture to make."""

    prompt: str
    seed: int
    guidance: Guidance


def fingerprint(model: Model) -> str:
    """Tells models apart by their numbers."""
    digest = hashlib.sha256()
    for part in (model.unet, model.text_encoder, model.vae):
        for name, numbers in part.state_dict().items():
            digest.update(name.encode() + numbers.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


class Gallery:
    """Pictures of one model, by prompt, seed and guidance. `folder` keeps them."""

    def __init__(self, model: Model, folder: Path) -> None:
        self.model, self.folder = model, folder / fingerprint(model)
        self.folder.mkdir(parents=True, exist_ok=True)
        # the same numbers, in the order in which CPUs are fastest
        model.unet.to(memory_format=torch.channels_last)

    def pictures(
        self, prompts: Sequence[str], guidance: object = None, first_seed: int = 0
    ) -> np.ndarray:
        """One picture of each prompt, seeds from `first_seed` on, uint8 (N, 64, 64, 3).

        `guidance` is that of all, or a list with one for each.
        """
        each = guidance if isinstance(guidance, list) else [guidance] * len(prompts)
        totals = [as_guidance(one) for one in each]
        shots = [
            Shot(prompt, first_seed + i, total)
            for i, (prompt, total) in enumerate(zip(prompts, totals, strict=True))
        ]
        starts = tqdm(range(0, len(shots), TOGETHER), desc=repr(totals[0])[:40], mininterval=10)
        return np.concatenate([self._part(shots[start : start + TOGETHER]) for start in starts])

    def _part(self, shots: Sequence[Shot]) -> np.ndarray:
        path = self.folder / (
            hashlib.sha256(repr((STEPS, shots)).encode()).hexdigest()[:24] + ".npy"
        )
        if not path.exists():
            runs = [
                prepare(
                    self.model, shot.prompt, guidance=shot.guidance, seed=shot.seed, steps=STEPS
                )
                for shot in shots
            ]
            made = collect(runs, keep=STEPS)
            np.save(path, np.stack([np.asarray(trace.image.convert("RGB")) for trace in made]))
        return np.load(path)
