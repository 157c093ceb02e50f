"""What transformers in the place of a U-Net share: patches of an autoencoder's latent as tokens."""

from __future__ import annotations

from inspect import signature
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from sagviz.checks import check_whole
from sagviz.models.latent import LatentModel

TEXT_PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")  # with one encoder
CELLS = 128  # side of a latent where a network does not say for which it was trained: 1,024 pixels


class Transformer(LatentModel):
    """A transformer over patches of a latent. All its blocks work on one grid: "mid" is the block
    at half the depth, a choice, since none is coarser than the others as a U-Net's middle is.
    """

    NETWORK: ClassVar[str] = "transformer"
    KNOWN_BY: ClassVar[str] = "transformer"
    transformer: Any

    @property
    def size_unit(self) -> int:
        return self.pixels_per_cell * self.side

    @property
    def side(self) -> int:
        """Of a token, in latent cells."""
        assert self.ATTENTION is not None, "a transformer says where its attention stands"
        return self.ATTENTION.side or self.network.config.patch_size

    @property
    def autoencoder_channels(self) -> int:
        """C of the autoencoder's latents."""
        channels: int = self.vae.config.latent_channels
        return channels

    def misfit(self) -> str | None:
        if (reason := super().misfit()) is not None:
            return reason
        given, channels = self.autoencoder_channels, self.latent_channels
        if channels == given:
            return None
        return (
            f"the transformer of {self.name} takes {channels} channels and its autoencoder has"
            f" {given}: it wants a picture beside the noise, or another autoencoder"
        )


class FlowTransformer(Transformer):
    r"""A transformer that was trained by flow matching: a latent is :math:`x_t = (1 - \sigma) x_0 +
    \sigma\epsilon`, and the network predicts its velocity :math:`\epsilon - x_0`.
    """

    FLOW: ClassVar[bool] = True
    EVEN: ClassVar[bool] = False  # whether the scheduler is told even steps of sigma from 1 on
    # settings of a scheduler and, where it says nothing, the pipeline's own
    SHIFTS: ClassVar[tuple[tuple[str, float], ...]] = (
        ("base_image_seq_len", 256),
        ("max_image_seq_len", 4096),
        ("base_shift", 0.5),
        ("max_shift", 1.15),
    )

    def schedule(self, scheduler: Any, steps: int, size: tuple[int, int]) -> dict[str, Any]:
        """Where the times shift with the size: by how much, mu, a line through two numbers of
        tokens (Esser et al. 2024, arXiv 2403.03206, section 5.3.2, as diffusers has it).
        """
        told, config = signature(scheduler.set_timesteps).parameters, scheduler.config
        even = self.EVEN and "sigmas" in told and not config.get("use_flow_sigmas")
        found = {"sigmas": np.linspace(1.0, 1 / steps, steps)} if even else {}
        if "mu" not in told or not config.get("use_dynamic_shifting"):  # Heun's has a fixed one
            return found
        return {**found, "mu": self._shift(scheduler, size)}

    def _shift(self, scheduler: Any, size: tuple[int, int]) -> float:
        _, height, width = self.latent_shape(size)
        fewest, most, low, high = (scheduler.config.get(*each) for each in self.SHIFTS)
        tokens = height * width // self.side**2
        return float(low + (high - low) / (most - fewest) * (tokens - fewest))

    @property
    def default_size(self) -> tuple[int, int]:
        cells = self.network.config.get("sample_size", CELLS)
        return cells * self.pixels_per_cell, cells * self.pixels_per_cell

    def add_noise(self, latents: Tensor, noise: Tensor, t: int) -> Tensor:
        r"""Forward process: :math:`x_t = (1 - t/1000) x_0 + t/1000\,\epsilon`, t from 0 to 1000."""
        last = self.scheduler.config.num_train_timesteps
        sigma = check_whole("t", t, 0, last) / last
        return (1 - sigma) * latents + sigma * noise


class PackedTransformer(FlowTransformer):
    """One whose network takes a latent as tokens, of `side` x `side` cells each, see `packed`."""

    @property
    def latent_channels(self) -> int:
        channels: int = self.network.config.in_channels
        return channels // self.side**2


def packed(x: Tensor) -> Tensor:
    """A latent (B, C, H, W) as tokens of 2 x 2 cells, (B, H W / 4, 4 C): channel by channel."""
    cells = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, C, H/2, 2, W/2, 2)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """The latent of such tokens on a grid (h, w)."""
    cells = tokens.unflatten(2, (-1, 2, 2)).unflatten(1, grid)  # (B, h, w, C, 2, 2)
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
