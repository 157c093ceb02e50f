"""`Prompted`: what a model makes of a prompt, or of embeddings that are given in its place."""

from __future__ import annotations

from torch import Tensor

from sagviz.models.conditioning import Conditioning


class Prompted:
    """The part of a `Model` that reads texts."""

    @property
    def max_clip_skip(self) -> int:
        """How many of the text encoder's last layers can be left out; 0 where it has none."""
        return 0

    @property
    def embedding_widths(self) -> tuple[int, ...]:
        """Of a token's embedding and, where there is one, of the pooled prompt; nothing where the
        family reads no text.
        """
        return ()

    def check_prompt(self, prompt: str) -> None:
        """Warn of a prompt that is too long, and name the words that `embed` cuts."""
        raise NotImplementedError

    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        """What the network is given beside the latent and its time, for one row.

        Args:
            prompt: a text, which may be empty and is cut where it is too long; `None` is no text:
                CFG's unconditional branch without a negative prompt, which for some models is not
                the same as the empty text.
            size: (height, width) of the picture in pixels; the model's own where `None`.

        Example:
            >>> import sagviz as sv
            >>> sv.load().embed("a fox").text.shape
            torch.Size([1, 24, 128])
        """
        raise NotImplementedError

    def condition(
        self, text: Tensor, pooled: Tensor | None = None, *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        """The same of embeddings (B, tokens, width) and, for SDXL, the pooled prompt (B, width)."""
        raise NotImplementedError
