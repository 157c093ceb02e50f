"""SDXL (Podell et al. 2023, arXiv 2307.01952): two text encoders, and a U-Net that is told the
picture's size.

Its U-Net samples down twice only: at 1,024 pixels the middle block works on 32 x 32 cells, where
Stable Diffusion 1.x has 8 x 8 at 512, so that SAG's map is four times as fine.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.errors import ModelError
from sagviz.models.base import WORKS
from sagviz.models.conditioning import Conditioning
from sagviz.models.offload import execution_device
from sagviz.models.stable_diffusion import StableDiffusion, padded


class SDXL(StableDiffusion):
    """Stable Diffusion XL's base model and its fine-tunes.

    The unconditional branch without a negative prompt is told zeros where the pipeline's
    `force_zeros_for_empty_prompt` says so, and else the empty text; so is an unguided run without a
    prompt, which is that same branch.
    """

    PARTS: ClassVar[tuple[str, ...]] = (
        "unet",
        "vae",
        "text_encoder",
        "text_encoder_2",
        "tokenizer",
        "tokenizer_2",
        "scheduler",
    )
    addition: ClassVar[str | None] = "text_time"
    text_encoder_2: Any
    tokenizer_2: Any

    def check(self) -> None:
        super().check()
        vector = self.text_encoder_2.config.projection_dim
        room = self.unet.config.projection_class_embeddings_input_dim - vector
        if room != 6 * self.unet.config.addition_time_embed_dim:
            raise ModelError(
                f"the U-Net of {self.name} wants to be told other things than size and crop, as"
                f" SDXL's refiner does; {WORKS}"
            )

    def sag_defaults(self) -> dict[str, Any]:
        """A blur of half the width: users of SDXL report blurry pictures at 1 latent pixel and
        advise 0.34 to 0.7 instead.

        That is advice and no measurement; Refiners, for one, keeps 1.
        """
        return {**super().sag_defaults(), "blur_sigma": 0.5}

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        texts = []
        with self.lock:
            for tokenizer, encoder in (
                (self.tokenizer, self.text_encoder),
                (self.tokenizer_2, self.text_encoder_2),
            ):
                ids = padded(tokenizer, prompt or "").input_ids
                found = encoder(ids.to(execution_device(encoder)), output_hidden_states=True)
                texts.append(found.hidden_states[-2])  # the last layer is left out, as in training
        text, pooled = torch.cat(texts, dim=-1), found[0]  # of the second encoder, projected
        if prompt is None and self.config.get("force_zeros_for_empty_prompt", True):
            text, pooled = torch.zeros_like(text), torch.zeros_like(pooled)
        height, width = self.default_size if size is None else size
        # original size, corner of the crop, target size
        told = [height, width, 0, 0, height, width]
        return Conditioning(
            text, pooled, torch.tensor([told], dtype=text.dtype, device=text.device)
        )

    def _output(self, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        added = {"text_embeds": told.pooled, "time_ids": told.time_ids}
        return self.unet(x, t, encoder_hidden_states=told.text, added_cond_kwargs=added).sample
