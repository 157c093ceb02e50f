"""The one door to third-party models: `load` finds a Stable Diffusion, and `Model` is all that the rest of sagviz sees of it."""

from __future__ import annotations

import json
import math
import re
import socket
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from torch import Tensor

from sagviz import image
from sagviz.errors import ArgumentError, ModelError, SagvizWarning
from sagviz.mini import WEIGHTS

if TYPE_CHECKING:
    from PIL import Image

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


class Model:
    """A text-to-image latent diffusion model of the Stable Diffusion 1.x / 2.x kind.

    Attributes:
        name: what it was loaded from.
        unet, vae, text_encoder, tokenizer, scheduler: diffusers' and transformers' own objects, left as they are.
        device: where the U-Net is; `dtype`: its number format. Noise is drawn on the CPU and guidance computed in float32.
        lock: held while the tokenizer or a network works, so that widgets of one notebook can share the model.
    """

    def __init__(self, name: str, **parts: Any) -> None:
        self.name = name
        self.unet, self.vae = parts["unet"], parts["vae"]
        self.text_encoder, self.tokenizer = parts["text_encoder"], parts["tokenizer"]
        self.scheduler = parts["scheduler"]
        self.lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Model {self.name} on {self.device}, {str(self.dtype).removeprefix('torch.')}>"

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

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
            mask = ids.attention_mask.to(self.text_encoder.device) if masked else None
            return self.text_encoder(ids.input_ids.to(self.text_encoder.device), attention_mask=mask)[0]

    def predict(self, x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """One U-Net pass: the network's own output, float32. `x` (B, C, H, W) as `scale_model_input` made it."""
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
            pixels = image.from_images(listed).to(self.vae.device, self.vae.dtype)
            latents = self.vae.encode(pixels).latent_dist.mode().float().cpu()
        shift = self.vae.config.get("shift_factor") or 0.0
        return (latents - shift) * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Latents (B, C, H, W) to pictures."""
        shift = self.vae.config.get("shift_factor") or 0.0
        unscaled = latents.float() / self.vae.config.scaling_factor + shift
        with self.lock:
            parts = [self.vae.decode(row[None].to(self.vae.device, self.vae.dtype)).sample for row in unscaled]
        return image.to_images(torch.cat(parts))

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


def load(source: object = None, *, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None) -> Model:
    """Open a model.

    Args:
        source: `None` for the bundled miniature (offline, no download), a folder in diffusers' format, a name on the
            Hugging Face hub such as "stable-diffusion-v1-5/stable-diffusion-v1-5", or a diffusers pipeline in memory,
            which is used as it is.
        device: "cpu", "cuda" ...; by default a GPU where there is one, and the CPU for the miniature.
        dtype: "float32", "float16", "bfloat16"; by default float16 on CUDA and float32 elsewhere.

    Raises:
        ModelError: there is no such model, or it is of a kind without a self-attention U-Net.
    """
    if source is not None and not isinstance(source, str | Path):
        return _from_pipeline(source, device, dtype)
    place = _device(device or ("cpu" if source is None else _best_device()))
    kind = _dtype(dtype) if dtype else torch.float16 if place.type == "cuda" else torch.float32
    folder = str(WEIGHTS if source is None else source)
    parts = _load_parts(folder, kind)
    for name in ("unet", "vae", "text_encoder"):
        parts[name] = parts[name].to(place).eval().requires_grad_(False)
    return Model("miniature" if source is None else str(source), **parts)


def make_scheduler(model: Model, chosen: object = None) -> Any:
    """A fresh scheduler: the model's own kind, a kind by name on the model's noise schedule, or the like of an instance.

    Raises:
        ArgumentError: the name is unknown, or the kind is not one whose levels and history are tested.
    """
    import diffusers

    if isinstance(chosen, dict):  # as `Settings.scheduler` has it
        return getattr(diffusers, chosen["class"]).from_config({k: v for k, v in chosen.items() if k != "class"})
    if chosen is None or hasattr(chosen, "set_timesteps"):
        template: Any = model.scheduler if chosen is None else chosen
        if type(template).__name__ not in {kind for kind, _ in SCHEDULERS.values()}:
            raise ArgumentError(f"{type(template).__name__} is not among the schedulers that are tested; {_offer()}")
        return type(template).from_config(template.config)
    if str(chosen).lower() not in SCHEDULERS:
        raise ArgumentError(f"no scheduler {chosen!r}; {_offer()}")
    kind, options = SCHEDULERS[str(chosen).lower()]
    config = {key: value for key, value in model.scheduler.config.items() if key != "use_karras_sigmas"}
    return getattr(diffusers, kind).from_config(config, **options)


def _offer() -> str:
    return f"give scheduler= one of {', '.join(SCHEDULERS)}, or a diffusers scheduler of such a kind"


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # no such kind, none of that number, torch built without it
        reason = _first_sentence(error)
        raise ArgumentError(
            f"device is {device!r}, which torch cannot use here ({reason}); give 'cpu' or leave it out"
        ) from error


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, str(dtype).removeprefix("torch."), None)
    if found not in (torch.float32, torch.float16, torch.bfloat16):
        raise ArgumentError(f"dtype is {dtype!r}; give 'float32', 'float16' or 'bfloat16'")
    return found


def _from_pipeline(pipe: Any, device: object, dtype: object) -> Model:
    missing = [part for part in PARTS if getattr(pipe, part, None) is None]
    if missing:
        raise ModelError(
            f"{type(pipe).__name__} has no {', '.join(missing)}; give a Stable Diffusion 1.x / 2.x pipeline, folder or hub name"
        )
    if device is not None or dtype is not None:
        raise ArgumentError("a pipeline is used as it is; move it with pipe.to(device, dtype) instead of device= and dtype=")
    _refuse_other_families(pipe.unet.config, type(pipe).__name__)
    return Model(type(pipe).__name__, **{part: getattr(pipe, part) for part in PARTS})


def _load_parts(folder: str, dtype: torch.dtype) -> dict[str, Any]:
    """Each part by its own class, so that nothing else of a pipeline (safety checker, image processor) is fetched."""
    index = _read_index(folder)
    missing = [part for part in PARTS if not isinstance(index.get(part), list) or index[part][0] is None]
    if missing:
        raise ModelError(
            f"{folder} is a {index.get('_class_name', 'model')} without {', '.join(missing)}; "
            "SAG needs the self-attention of a U-Net: use a Stable Diffusion 1.x or 2.x"
        )
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    local = Path(folder).is_dir() or _is_offline()
    parts: dict[str, Any] = {}
    with _quiet(transformers):
        for part in PARTS:
            library, kind = index[part]
            weights = {} if part in ("tokenizer", "scheduler") else {"torch_dtype": dtype}
            if part == "text_encoder":
                weights = {"dtype": dtype} if int(transformers.__version__.split(".")[0]) >= 5 else weights
            try:
                parts[part] = getattr(libraries[library], kind).from_pretrained(
                    folder, subfolder=part, local_files_only=local, **weights
                )
            except (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
                raise ModelError(
                    f"the {part} of {folder} cannot be read ({_first_sentence(error)}); check or fetch it again"
                ) from error
    _refuse_other_families(parts["unet"].config, folder)
    return parts


def _is_offline() -> bool:
    """Whether the hub's name cannot be looked up: its client would try for half a minute. A proxy does its own look-ups."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        return not getproxies() and not socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return True


def _read_index(folder: str) -> dict[str, Any]:
    """`model_index.json` of a folder or of a hub repository."""
    path = Path(folder) / "model_index.json"
    if not path.is_file() and not Path(folder).exists() and folder.count("/") == 1:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(folder, "model_index.json", local_files_only=_is_offline()))
        except Exception as error:  # the hub's client raises many kinds: offline, missing, gated
            raise ModelError(
                f"no folder {folder!r} here, and the hub does not deliver a model of that name ({_first_sentence(error)}); "
                "give a folder in diffusers' format, a hub name, or nothing for the bundled miniature"
            ) from error
    if not path.is_file():
        raise ModelError(
            f"no model at {folder!r}; give a folder with a model_index.json, a hub name, or nothing for the miniature"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({_first_sentence(error)}); check or fetch it again") from error
    if not isinstance(index, dict):
        raise ModelError(f"{path} does not list the parts of a model; check or fetch it again")
    return index


def _refuse_other_families(config: Any, name: str) -> None:
    if config.get("addition_embed_type") == "text_time":
        raise ModelError(f"{name} is of the SDXL kind, which sagviz does not run yet; use a Stable Diffusion 1.x or 2.x")


def _first_sentence(error: BaseException) -> str:
    """What a library's error says first, without its full stop, to stand inside a sentence of ours."""
    lines = (line.strip() for line in str(error).splitlines())
    line = next((line for line in lines if line), type(error).__name__)
    return re.split(r"[.!?]\s+(?=[A-Z])", line)[0].rstrip(".")


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar for weights that load in a blink; the setting is put back."""
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
