"""Qwen-Image (Wu et al. 2025, arXiv 2508.02324): tokens of a text before those of the picture in
one softmax, Qwen2.5-VL as the text encoder, and a video model's autoencoder, for single frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from sagviz import image
from sagviz.attention.blocks import Blocks
from sagviz.attention.unshared import unshared
from sagviz.attention.words import Tokens
from sagviz.models.conditioning import Conditioning, MaskedConditioning
from sagviz.models.cut_words import warn_of_cut_words
from sagviz.models.offload import execution_device
from sagviz.models.oom import explained, too_much_to_decode
from sagviz.models.transformer import TEXT_PARTS, PackedTransformer, packed, unpacked
from sagviz.models.vae import decoded, encoded

TRAIN_TIMES = 1000  # the network reads times from 0 to 1
HEAD = 34  # tokens of the message before the prompt, which the network is not given
MESSAGE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity,"
    " text, spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
    "{}<|im_end|>\n<|im_start|>assistant\n"
)


class QwenImage(PackedTransformer):
    """Qwen-Image, by its text alone.

    CFG is the plain sum; the pipeline's own then gives each token the length of the prediction
    given the prompt.
    """

    title: ClassVar[str] = "Qwen-Image"
    CLASSES: ClassVar[tuple[str, ...]] = ("QwenImageTransformer2DModel",)
    PARTS: ClassVar[tuple[str, ...]] = TEXT_PARTS
    ATTENTION: ClassVar[Blocks | None] = Blocks(layers=("attn",), text="first", side=2)
    EVEN: ClassVar[bool] = True

    @property
    def max_tokens(self) -> int:
        return 512  # as many as diffusers' pipeline passes on

    @property
    def autoencoder_channels(self) -> int:
        channels: int = self.vae.config.z_dim
        return channels

    @property
    def pixels_per_cell(self) -> int:
        side: int = 2 ** len(self.vae.config.temperal_downsample)
        return side

    def token_lists(self, prompt: str) -> list[Tokens]:
        return [Tokens(self.tokenizer, self._ids(prompt, truncation=True), begin=0)]

    def _ids(self, prompt: str, **options: Any) -> list[int]:
        """The tokens from the prompt on; hold the lock."""
        length = self.max_tokens + HEAD
        tokenizer = unshared(self.tokenizer)
        found = tokenizer(MESSAGE.format(prompt), max_length=length, padding=False, **options)
        ids: list[int] = found.input_ids[HEAD:]
        return ids

    def check_prompt(self, prompt: str) -> None:
        def count(text: str) -> int:
            with self.at_work():  # a tokenizer keeps padding as its own state
                return len(self._ids(text, truncation=False))

        warn_of_cut_words(prompt, self.max_tokens, count)

    @torch.no_grad()
    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        encoder = self.text_encoder
        with self.at_work():
            tokens = unshared(self.tokenizer)(
                MESSAGE.format(prompt or ""),
                max_length=self.max_tokens + HEAD,
                padding=False,
                truncation=True,
                return_tensors="pt",
            ).to(execution_device(encoder))
            found = encoder(
                input_ids=tokens.input_ids,
                attention_mask=tokens.attention_mask,
                output_hidden_states=True,
            )
        text = found.hidden_states[-1][:, HEAD:]
        return MaskedConditioning(text, torch.ones(text.shape[:2], dtype=torch.int64, device="cpu"))

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        height, width = x.shape[2] // 2, x.shape[3] // 2
        mask = None if conditioning.mask.all() else conditioning.mask.to(x.device)
        out = network(
            hidden_states=packed(x),
            timestep=t.expand(len(x)).to(x.dtype) / TRAIN_TIMES,
            encoder_hidden_states_mask=mask,
            encoder_hidden_states=conditioning.text,
            img_shapes=[[(1, height, width)]] * len(x),
        ).sample
        return unpacked(out, (height, width))

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        text = torch.empty(1, tokens, config["joint_attention_dim"])
        return MaskedConditioning(text, torch.ones(1, tokens, dtype=torch.int64, device="cpu"))

    def decoding_bytes(self, latent: tuple[int, int, int], tiled: bool = False) -> int:
        """Always in one piece: its autoencoder's own tiles are another matter."""
        del tiled
        shape = (self.autoencoder_channels, 1, *latent[1:])
        return self.footprint.decoder(self.vae, self.vae.dtype, latent=shape)

    def encode_pixels(
        self, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None
    ) -> Tensor:
        with self.at_work(), torch.no_grad():
            latents = encoded(self.vae, pixels[:, :, None], drawn_by).squeeze(2)
        spread, offset = self._spread
        return (latents - offset) / spread

    def decode_latents(self, latents: Tensor) -> list[Image.Image]:
        spread, offset = self._spread
        frames = (latents.float().cpu() * spread + offset)[:, :, None]
        with self.at_work(), torch.no_grad(), explained(lambda: too_much_to_decode(self, latents)):
            return image.to_images(decoded(self.vae, frames)[:, :, 0])
