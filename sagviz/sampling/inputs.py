"""`Inputs`: the tensors that a run is given beside its settings, and what is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.errors import ArgumentError
from sagviz.models import Conditioning, Model
from sagviz.records.settings import EMBEDDINGS, Settings, Text


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a run is given, on the CPU in float32; tensors of one row are for all images.

    Attributes:
        shape: (C, H, W) of a latent; `seeds`: one for each image.
        embeddings: in place of the prompts, by the names of `trace`.
        noise: the start noise, (B, C, H, W); `None` is drawn from the seeds.
    """

    shape: tuple[int, int, int]
    seeds: range
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    noise: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a trace stores of it, by which the run can be laid out again."""
        return {**self.embeddings, **({} if self.noise is None else {"noise": self.noise})}

    @property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """16 letters for each row of what was given, by which runs are told apart."""
        return {name: tuple(map(_digest, rows)) for name, rows in self.tensors.items()}

    @cached_property
    def start(self) -> Tensor:
        """The start noise of unit variance, (B, C, H, W)."""
        if self.noise is not None:
            return self.noise
        return torch.stack([normal(self.shape, generator(seed)) for seed in self.seeds])

    @staticmethod
    def stored(model: Model, settings: Settings, tensors: Mapping[str, Tensor]) -> Inputs:
        """The inputs of a run whose trace has these tensors.

        Raises:
            ArgumentError: one of those that the run was given is not among them.
        """
        for name in settings.inputs:
            if name not in tensors:
                raise ArgumentError(
                    f"this run was given {name}, which its settings alone do not hold; give it"
                    " again, or load the run from the file that Trace.save wrote"
                )
        return Inputs(
            shape=model.latent_shape(settings.size),
            seeds=settings.seeds,
            embeddings={name: tensors[name] for name in EMBEDDINGS if name in tensors},
            noise=tensors.get("noise"),
        )


def conditioning(
    model: Model, text: Text, embeddings: Mapping[str, Tensor], size: tuple[int, int]
) -> Conditioning:
    """What the U-Net is given for a text, or for the embeddings in its place, and a picture of
    `size` = (height, width) pixels.
    """
    if text.embeddings:
        return model.condition(*(embeddings[name] for name, _ in text.embeddings), size=size)
    return model.embed(text.words, size=size, clip_skip=text.clip_skip)


def _digest(row: Tensor) -> str:
    content = row.contiguous().numpy().tobytes()
    return hashlib.sha256(f"{tuple(row.shape)}".encode() + content).hexdigest()[:16]
