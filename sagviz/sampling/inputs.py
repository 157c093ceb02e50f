"""`Inputs`: the tensors that a run is given beside its settings, and what is made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

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
        model: it encodes the picture.
        size: (height, width) of the images in pixels; `seeds`: one for each of them.
        embeddings: in place of the prompts, by the names of `trace`.
        noise: the start noise, (B, C, H, W); `None` is drawn from the seeds.
        pixels: the picture to start from, (1 or B, 3, height, width) in [-1, 1].
        latents: the same where it was encoded before, (B, C, H, W).
        paint: 1 in the cells of the latent that are made anew, (1 or B, 1, H, W).
    """

    model: Model
    size: tuple[int, int]
    seeds: range
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)
    noise: Tensor | None = None
    pixels: Tensor | None = None
    latents: Tensor | None = None
    paint: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a latent."""
        return self.model.latent_shape(self.size)

    @property
    def has_picture(self) -> bool:
        """Whether the run starts from a picture."""
        return self.pixels is not None or self.latents is not None

    @property
    def digests(self) -> dict[str, tuple[str, ...]]:
        """16 letters for each row of what was given, by which runs are told apart."""
        given = {"image": self.pixels, "paint": self.paint, "noise": self.noise}
        there = {**self.embeddings, **_there(given)}
        return {name: tuple(map(_digest, rows)) for name, rows in there.items()}

    @cached_property
    def drawn(self) -> tuple[Tensor, Tensor | None]:
        """The start noise of unit variance and the picture's latents, both (B, C, H, W). A seed
        draws in diffusers' order: first of the autoencoder's distribution, then the noise.
        """
        drawn_by, latents = [generator(seed) for seed in self.seeds], self.latents
        if self.pixels is not None:
            encoded = self.model.encode_pixels(self.pixels, drawn_by)
            latents = encoded.expand(len(drawn_by), *self.shape)
        if self.noise is not None:
            return self.noise, latents
        return torch.stack([normal(self.shape, each) for each in drawn_by]), latents

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What a trace stores, by which the run can be laid out again: with a picture the noise,
        which cannot be drawn without encoding it once more.
        """
        noise, latents = self.drawn if self.has_picture else (self.noise, None)
        return {
            **self.embeddings,
            **_there({"image": latents, "paint": self.paint, "noise": noise}),
        }

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
            model=model,
            size=settings.size,
            seeds=settings.seeds,
            embeddings={name: tensors[name] for name in EMBEDDINGS if name in tensors},
            noise=tensors.get("noise"),
            latents=tensors.get("image"),
            paint=tensors.get("paint"),
        )


def conditioning(
    model: Model, text: Text, embeddings: Mapping[str, Tensor], size: tuple[int, int]
) -> Conditioning:
    """What the U-Net is given for a text, or for the embeddings in its place, and a picture of
    `size` = (height, width) pixels.
    """
    if text.embeddings:
        return model.condition(*(embeddings[name] for name, _ in text.embeddings), size=size)
    skip: dict[str, Any] = {} if text.clip_skip is None else {"clip_skip": text.clip_skip}
    return model.embed(text.words, size=size, **skip)


def _there(tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if value is not None}


def _digest(row: Tensor) -> str:
    content = row.contiguous().numpy().tobytes()
    return hashlib.sha256(f"{tuple(row.shape)}".encode() + content).hexdigest()[:16]
