"""`Predictor`: the network of a model that predicts, and what is particular to it."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from sagviz.attention.blocks import Blocks
from sagviz.attention.words import Tokens, padded
from sagviz.models.at_work import Worker
from sagviz.models.offload import execution_device


class Predictor(Worker):
    """A U-Net or transformer among the parts of a model: where its attention stands, what it was
    trained for, which tokens it reads.
    """

    NETWORK: ClassVar[str] = "unet"  # the part that predicts
    CLASSES: ClassVar[tuple[str, ...]]  # diffusers' classes of it
    ATTENTION: ClassVar[Blocks | None] = None  # where it stands in a transformer
    FLOW: ClassVar[bool] = False  # whether signal and noise of a latent add up to 1 (flow matching)
    embedded_guidance: float = 0.0  # what a network is given that was distilled to a scale
    tokenizer: Any = None

    @property
    def network(self) -> Any:
        """The U-Net or transformer that predicts."""
        return getattr(self, self.NETWORK)

    @property
    def reads_guidance(self) -> bool:
        """Whether the network was distilled to a guidance scale, which it reads."""
        return False

    @property
    def own_guidance(self) -> float | None:
        """The scale that the network is given, where it reads one and it is not the usual."""
        given = self.embedded_guidance
        return given if self.reads_guidance and given != type(self).embedded_guidance else None

    @property
    def max_tokens(self) -> int:
        """How many tokens of a text it reads; 0 where it reads none."""
        return getattr(self.tokenizer, "model_max_length", 0)

    def token_lists(self, prompt: str) -> list[Tokens]:
        """The tokens of a prompt as the network reads them, of each text encoder; hold the lock."""
        return [Tokens(self.tokenizer, padded(self.tokenizer, prompt, self.max_tokens).input_ids)]

    @property
    def device(self) -> torch.device:
        """Where the network works, even if its weights wait elsewhere."""
        return execution_device(self.network)

    @property
    def dtype(self) -> torch.dtype:
        """The number format that the network computes in; weights may be stored in another."""
        kind: torch.dtype = self.network.dtype
        return kind

    @property
    def latent_channels(self) -> int:
        """C of a latent."""
        channels: int = self.network.config.in_channels
        return channels

    def schedule(self, scheduler: Any, steps: int, size: tuple[int, int]) -> dict[str, Any]:  # noqa: ARG002
        """What the scheduler is told beside the number of steps to lay them out, for a picture of
        `size` = (height, width) pixels.
        """
        return {}
