"""`Model`: all that the rest of sagviz sees of a network, whatever family it is of."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from sagviz import image
from sagviz.attention.layers import default_layer, self_attentions
from sagviz.errors import ArgumentError, ModelError
from sagviz.guidance import SAG
from sagviz.models.conditioning import Conditioning
from sagviz.models.memory import Footprint, too_much
from sagviz.models.offload import execution_device
from sagviz.models.oom import explained
from sagviz.models.origin import Origin

if TYPE_CHECKING:
    from PIL import Image

WORKS = "sagviz runs Stable Diffusion 1.x and 2.x, SDXL, and unconditional models of pixels"


class Model:
    """A diffusion model whose U-Net has self-attention. Its families are `StableDiffusion`, `SDXL`
    and `Pixels`.

    Attributes:
        name: what it was loaded from.
        unet, scheduler, and what else the family lists in `PARTS`: diffusers' and transformers' own
            objects, left as they are.
        tokenizer: `None` where the family reads no text.
        config: the settings of the pipeline that it comes from.
        device: where the U-Net works, even if its weights wait elsewhere; `dtype`: its number
            format. Noise is drawn on the CPU and guidance computed in float32.
        classifier: of noisy latents, for CG; `None` where there is none. See `guidance.Classifier`.
        origin: what `load` needs to load it again; `None` where it, or its classifier, comes from
            the memory of this process.
        lock: held while the tokenizer or a network works, so that widgets of one notebook can share
            the model.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("unet", "scheduler")
    reads_text: ClassVar[bool] = True
    unet: Any
    scheduler: Any
    tokenizer: Any = None
    vae: Any  # this and the next where the family has them
    text_encoder: Any

    def __init__(
        self,
        name: str,
        *,
        config: Mapping[str, Any] = MappingProxyType({}),
        classifier: Any = None,
        **parts: Any,
    ) -> None:
        self.name, self.config, self.classifier = name, config, classifier
        for part in self.PARTS:
            setattr(self, part, parts[part])
        self.origin: Origin | None = None
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
    def networks(self) -> dict[str, nn.Module]:
        """All parts that have weights, by name."""
        return {
            part: found
            for part in self.PARTS
            if isinstance(found := getattr(self, part), nn.Module)
        }

    @property
    def pixels_per_cell(self) -> int:
        """Side of the square of pixels that one latent cell stands for."""
        raise NotImplementedError

    @property
    def size_unit(self) -> int:
        """Both sides of a picture are multiples of this many pixels."""
        return self.pixels_per_cell

    @property
    def default_size(self) -> tuple[int, int]:
        """(height, width) in pixels that the model was trained for."""
        cells = self.unet.config.sample_size
        height, width = (cells, cells) if isinstance(cells, int) else cells
        return height * self.pixels_per_cell, width * self.pixels_per_cell

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, H, W) of the latent for a picture of `size` = (height, width) pixels."""
        unit, cell = self.size_unit, self.pixels_per_cell
        ok = (
            isinstance(size, Sequence)
            and len(size) == 2
            and all(isinstance(side, int) and side >= unit and side % unit == 0 for side in size)
        )
        if not ok:
            raise ArgumentError(
                f"size is {size!r}; give (height, width) in pixels, multiples of {unit}, e.g."
                f" {self.default_size}"
            )
        return self.unet.config.in_channels, size[0] // cell, size[1] // cell

    def sag(self, scale: float = 1.0, **changes: Any) -> SAG:
        """SAG with what suits this family where `changes`, other fields of `SAG`, do not say
        otherwise.

        `compare`, reports, the command line and the Playground use it; `SAG(scale)` itself is the
        same for all models.
        """
        return SAG(scale, **{**self.sag_defaults(), **changes})

    def sag_defaults(self) -> dict[str, Any]:
        """The fields in which this model's SAG differs from `SAG(scale)`: another layer, where the
        middle has no attention.
        """
        layer = default_layer(self.unet)
        return {} if layer == "mid" else {"layer": layer}

    def check(self) -> None:
        """Refuse networks that want what this family does not give them, or give what SAG cannot
        use.

        Raises:
            ModelError: says what is in the way, and what works.
        """
        wants = {
            "class_embed_type": "class labels",
            "num_class_embeds": "class labels",
            "encoder_hid_dim_type": (
                "pictures (of an IP-Adapter, which pipe.unload_ip_adapter() removes)"
            ),
            "time_cond_proj_dim": "a guidance scale (as distilled models do)",
        }
        for setting, what in wants.items():
            # an adapter sets the attribute alone, not the entry
            if getattr(self.unet.config, setting, None):
                raise ModelError(
                    f"the U-Net of {self.name} wants {what}, which sagviz does not give it; {WORKS}"
                )
        if not self_attentions(self.unet):
            raise ModelError(
                f"the U-Net of {self.name} has no self-attention, which SAG reads; {WORKS}"
            )
        if not hasattr(self.scheduler, "alphas_cumprod"):
            kind = type(self.scheduler).__name__
            raise ModelError(
                f"{self.name} has a {kind}, which has no schedule of signal and noise"
                f" (alphas_cumprod); {WORKS}"
            )

    def check_prompt(self, prompt: str, stacklevel: int = 2) -> None:
        """Warn of a prompt that is too long, and name the words that `embed` cuts."""
        raise NotImplementedError

    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        """What the U-Net is told, for one row.

        Args:
            prompt: a text, which may be empty and is cut where it is too long; `None` is no text:
                CFG's unconditional branch without a negative prompt, which for some models is not
                the same as the empty text.
            size: (height, width) of the picture in pixels; the model's own where `None`.
        """
        raise NotImplementedError

    def predict(self, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        """One U-Net pass: the network's own output, float32. `x` (B, C, H, W) as
        `scale_model_input` made it.

        Raises:
            OutOfMemoryError: says what was tried and what to lower.
        """
        with explained(lambda: too_much(self, x)):
            return self._output(x.to(self.dtype), t, told).float()

    def _output(self, x: Tensor, t: Tensor, told: Conditioning) -> Tensor:
        """The U-Net's output for `x` in its number format."""
        raise NotImplementedError

    def encode(self, pictures: Image.Image | Sequence[Image.Image]) -> Tensor:
        """Pictures of equal size to latents (B, C, H, W), float32 on the CPU, unit variance."""
        raise NotImplementedError

    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents (B, C, H, W) to pictures, one by one; those of more than 2048 x 1024 pixels in
        tiles.

        Raises:
            NotFiniteError: a picture came out as NaN or infinity, in float32 too.
            OutOfMemoryError: there is not even the memory to decode in tiles.
        """
        raise NotImplementedError

    @property
    def latent_rgb(self) -> Tensor:
        """A linear map from latents to colours, (C + 1, 3), for previews of a run that has no
        picture yet.
        """
        raise NotImplementedError

    def colours(self, latents: Tensor, pictures: list[Image.Image]) -> Tensor:
        """The map for previews of a run that ended with these latents and pictures."""
        return image.fit_latent_rgb(latents, pictures)

    def add_noise(self, latents: Tensor, noise: Tensor, t: int) -> Tensor:
        r"""Forward process: :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 -
        \bar\alpha_t}\epsilon`, t from 0 to 999.
        """
        bars = self.scheduler.alphas_cumprod
        if not isinstance(t, int) or not 0 <= t < len(bars):
            raise ArgumentError(f"t is {t!r}; give a whole number from 0 to {len(bars) - 1}")
        return math.sqrt(bars[t]) * latents + math.sqrt(1 - bars[t]) * noise

    def _pixels(self, pictures: Image.Image | Sequence[Image.Image]) -> Tensor:
        """Pictures to encode as (B, 3, H, W) in [-1, 1]; refuses none, several sizes, and sizes
        that do not fit the cells.
        """
        listed = list(pictures) if isinstance(pictures, Sequence) else [pictures]
        sizes = {picture.size for picture in listed}
        if len(sizes) != 1:
            raise ArgumentError(
                f"encode got {len(listed)} pictures of {len(sizes)} sizes; give one or more, all of"
                " one size"
            )
        self.latent_shape((listed[0].height, listed[0].width))
        return image.from_images(listed)
