"""`Model`: all that the rest of sagviz sees of a network, whatever family it is of."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sagviz import image
from sagviz.errors import ArgumentError, SagvizWarning
from sagviz.footprint import Footprint
from sagviz.models.decoding import decoded, encoded
from sagviz.models.needs import too_much, too_much_to_decode
from sagviz.models.places import execution_device
from sagviz.shortage import explained

if TYPE_CHECKING:
    from PIL import Image


class Model:
    """A text-to-image latent diffusion model of the Stable Diffusion 1.x / 2.x kind.

    Attributes:
        name: what it was loaded from.
        unet, vae, text_encoder, tokenizer, scheduler: diffusers' and transformers' own objects, left as they are.
        device: where the U-Net works, even if its weights wait elsewhere; `dtype`: its number format. Noise is drawn on the CPU
            and guidance computed in float32.
        lock: held while the tokenizer or a network works, so that widgets of one notebook can share the model.
    """

    def __init__(self, name: str, **parts: Any) -> None:
        self.name = name
        self.unet, self.vae = parts["unet"], parts["vae"]
        self.text_encoder, self.tokenizer = parts["text_encoder"], parts["tokenizer"]
        self.scheduler = parts["scheduler"]
        self.lock = threading.RLock()
        self.footprint = Footprint()

    def __repr__(self) -> str:
        return f"<Model {self.name} on {self.device}, {str(self.dtype).removeprefix('torch.')}>"

    @property
    def device(self) -> torch.device:
        return execution_device(self.unet)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    @property
    def pixels_per_cell(self) -> int:
        """Side of the square of pixels that one latent cell stands for."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def default_size(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was trained for."""
        cells = self.unet.config.sample_size
        height, width = (cells, cells) if isinstance(cells, int) else cells
        return height * self.pixels_per_cell, width * self.pixels_per_cell

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the latent for a picture of `size` = (height, width) pixels."""
        cell = self.pixels_per_cell
        ok = (
            isinstance(size, Sequence)
            and len(size) == 2
            and all(isinstance(side, int) and side >= cell and side % cell == 0 for side in size)
        )
        if not ok:
            raise ArgumentError(
                f"size is {size!r}; give (height, width) in pixels, multiples of {cell}, e.g. {self.default_size}"
            )
        return self.unet.config.in_channels, size[0] // cell, size[1] // cell

    def check_prompt(self, prompt: str, stacklevel: int = 2) -> None:
        """Warn of a prompt that is too long, and name the words that `embed` cuts."""
        length = self.tokenizer.model_max_length
        with self.lock:  # a fast tokenizer keeps padding and truncation as its own state, which threads would share
            ids = self.tokenizer(prompt, truncation=False, verbose=False).input_ids
        if len(ids) > length:
            cut = self.tokenizer.decode(ids[length - 1 : -1]).strip()
            shown = cut if len(cut) < 200 else cut[:200] + " ..."
            message = f"the prompt is longer than {length - 2} tokens; these words were cut: {shown}"
            warnings.warn(message, SagvizWarning, stacklevel=stacklevel)

    @torch.no_grad()
    def embed(self, prompt: str) -> Tensor:
        """Text to (1, tokens, width). A prompt that is too long is cut."""
        length = self.tokenizer.model_max_length
        masked = getattr(self.text_encoder.config, "use_attention_mask", False)
        with self.lock:
            ids = self.tokenizer(prompt, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            place = execution_device(self.text_encoder)
            mask = ids.attention_mask.to(place) if masked else None
            return self.text_encoder(ids.input_ids.to(place), attention_mask=mask)[0]

    def predict(self, x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """One U-Net pass: the network's own output, float32. `x` (B, C, H, W) as `scale_model_input` made it.

        Raises:
            OutOfMemoryError: says what was tried and what to lower.
        """
        with explained(lambda: too_much(self, x)):
            return self.unet(x.to(self.dtype), t, encoder_hidden_states=embeddings).sample.float()

    @torch.no_grad()
    def encode(self, pictures: Image.Image | Sequence[Image.Image]) -> Tensor:
        """Pictures of equal size to latents (B, C, H, W), float32 on the CPU, unit variance."""
        listed = list(pictures) if isinstance(pictures, Sequence) else [pictures]
        sizes = {picture.size for picture in listed}
        if len(sizes) != 1:
            raise ArgumentError(f"encode got {len(listed)} pictures of {len(sizes)} sizes; give one or more, all of one size")
        self.latent_shape((listed[0].height, listed[0].width))
        with self.lock:
            latents = encoded(self.vae, image.from_images(listed))
        shift = self.vae.config.get("shift_factor") or 0.0
        return (latents - shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents (B, C, H, W) to pictures, one by one; those of more than 2048 x 1024 pixels in tiles.

        Raises:
            NotFiniteError: a picture came out as NaN or infinity, in float32 too.
            OutOfMemoryError: there is not even the memory to decode in tiles.
        """
        shift = self.vae.config.get("shift_factor") or 0.0
        unscaled = latents.float() / self.vae.config.scaling_factor + shift
        with self.lock, explained(lambda: too_much_to_decode(self, latents)):
            return image.to_images(decoded(self.vae, unscaled))

    @cached_property
    def latent_rgb(self) -> Tensor:
        """A linear map from latents to colours for previews of a run that has no picture yet, fitted on smooth random latents."""
        channels, height, width = self.latent_shape(self.default_size)
        coarse = torch.randn(4, channels, 4, 4, generator=torch.Generator().manual_seed(0))
        latents = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
        return image.fit_latent_rgb(latents, self.decode(latents))

    def add_noise(self, latents: Tensor, noise: Tensor, t: int) -> Tensor:
        r"""Forward process: :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t}\epsilon`, t from 0 to 999."""
        bars = self.scheduler.alphas_cumprod
        if not isinstance(t, int) or not 0 <= t < len(bars):
            raise ArgumentError(f"t is {t!r}; give a whole number from 0 to {len(bars) - 1}")
        return math.sqrt(bars[t]) * latents + math.sqrt(1 - bars[t]) * noise
