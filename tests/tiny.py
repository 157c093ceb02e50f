"""Real Stable Diffusion networks, tiny and random, and the few measures that tests share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from sagviz.guidance import SAG
from sagviz.mini.training.diffusion import build_tokenizer
from sagviz.records.step import Step

TEXT_WIDTH = 32
LOUDER = {  # factors on fresh weights, which attend to everything alike and hardly read the prompt
    "attn1.to_q": 5.0,
    "attn2.to_v": 5.0,
}
NO_SAFETY: dict[str, Any] = {
    "safety_checker": None,
    "feature_extractor": None,
    "requires_safety_checker": False,
}
MARGIN = 1e-5  # |A - psi| below which float32 cannot tell on which side of the threshold a cell is
DOWN_LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"  # at the latent's full size


def build_unet(**changes: Any) -> UNet2DConditionModel:
    """U-Net with self- and cross-attention in the down, middle and up blocks; the middle has half
    the latent's sides.
    """
    shape: dict[str, Any] = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 4,  # diffusers' historical name: the number of heads
        "cross_attention_dim": TEXT_WIDTH,
        "norm_num_groups": 8,
    }
    unet = UNet2DConditionModel(**{**shape, **changes}).eval().requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.mul_(next((factor for part, factor in LOUDER.items() if part in name), 1.0))
    return unet


def build_scheduler(prediction: str = "epsilon", **changes: Any) -> DDIMScheduler:
    """DDIM on Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=prediction,
        **changes,
    )


def build_vae() -> AutoencoderKL:
    """Latent cells of 2 x 2 pixels."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=32,
    ).eval()


def text_config(tokenizer: CLIPTokenizer, **changes: Any) -> CLIPTextConfig:
    """A CLIP text encoder of two layers, for prompts of 24 tokens."""
    shape: dict[str, Any] = {
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 64,
        "projection_dim": TEXT_WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": tokenizer.model_max_length,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**{**shape, **changes})


def build_pipe(folder: Path, prediction: str = "epsilon", seed: int = 0) -> StableDiffusionPipeline:
    """A complete Stable Diffusion of random weights: 16 x 16 latent cells of 2 pixels, prompts of
    24 tokens.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(folder)
    pipe = StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=build_scheduler(prediction),
        **NO_SAFETY,
    )
    return quiet(pipe)


def quiet(pipe: Any) -> Any:
    """The pipeline without its progress bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


def open_clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """OpenCLIP's way of filling up: with the token of "!", where CLIP repeats the end."""
    build_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder, pad_token="!")


def build_sd2(folder: Path, seed: int = 1) -> StableDiffusionPipeline:
    """As Stable Diffusion 2.x at 768 pixels, in its variant of zero terminal SNR: v, OpenCLIP, its
    own heads at each level.
    """
    torch.manual_seed(seed)
    tokenizer = open_clip_tokenizer(folder)
    pipe = StableDiffusionPipeline(
        vae=build_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer, hidden_act="gelu")).eval(),
        tokenizer=tokenizer,
        unet=build_unet(
            attention_head_dim=(2, 4), use_linear_projection=True, upcast_attention=True
        ),
        scheduler=build_scheduler(
            "v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
        ),
        **NO_SAFETY,
    )
    return quiet(pipe)


def build_sdxl(folder: Path, seed: int = 2, **options: Any) -> StableDiffusionXLPipeline:
    """As SDXL: no attention at the latent's own size, two transformer blocks a layer, two text
    encoders, size and crop.
    """
    torch.manual_seed(seed)
    tokenizer, second = build_tokenizer(folder / "one"), open_clip_tokenizer(folder / "two")
    wide = text_config(
        second, hidden_size=16, num_hidden_layers=3, projection_dim=24, hidden_act="gelu"
    )
    unet = build_unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=TEXT_WIDTH + 16,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24 + 6 * 8,
    )
    known = build_scheduler().config  # which Euler keeps for other kinds, as the published one does
    scheduler = EulerDiscreteScheduler.from_config(known, timestep_spacing="leading")
    pipe = StableDiffusionXLPipeline(
        vae=build_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)).eval(),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(wide).eval(),
        tokenizer_2=second,
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
        **options,
    )
    return quiet(pipe)


def build_pixels(folder: Path | None = None, seed: int = 3, **changes: Any) -> DDPMPipeline:
    """As DDPM: 16 x 16 pixels, attention in the inner blocks, a scheduler that clips."""
    del folder  # it has no tokenizer to write
    torch.manual_seed(seed)
    shape: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 3,
        "out_channels": 3,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    unet = UNet2DModel(**{**shape, **changes}).eval().requires_grad_(False)
    for name, parameter in unet.named_parameters():
        parameter.mul_(3.0 if "to_q.weight" in name else 1.0)  # else all places attend alike
    return quiet(DDPMPipeline(unet=unet, scheduler=DDPMScheduler()))


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "sd1": build_pipe,
    "sd2": build_sd2,
    "sdxl": build_sdxl,
    "pixels": build_pixels,
}


def noise(
    images: int = 1, cells: tuple[int, int] = (16, 16), seed: int = 0, channels: int = 4
) -> Tensor:
    """Start noise, (images, channels, H, W)."""
    return torch.randn(images, channels, *cells, generator=torch.Generator().manual_seed(seed))


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the RMS of b."""
    return float((a - b).abs().max() / b.square().mean().sqrt())


def margin(trace: Iterable[Step]) -> float:
    """The smallest |A - psi| of a run: where it is tiny, rounding decides the mask."""
    return min(
        float((step.attention - step.guidance.get(SAG).threshold).abs().min())
        for step in trace
        if step.mask is not None
    )


def same(a: Step, b: Step) -> bool:
    """Whether two records hold the same bits in every stored field."""
    one, other = a.tensors, b.tensors
    return (a.index, a.level, one.keys()) == (b.index, b.level, other.keys()) and all(
        torch.equal(value, other[name]) for name, value in one.items()
    )


@contextmanager
def counted(unet: nn.Module) -> Iterator[list[int]]:
    """The batch rows of each U-Net call made in this block."""
    rows: list[int] = []
    handle = unet.register_forward_hook(lambda _module, args, _output: rows.append(len(args[0])))
    try:
        yield rows
    finally:
        handle.remove()


def residue(unet: nn.Module) -> list[tuple[str, list[int], int]]:
    """All that could be left attached: each module's hooks, and the identity of its attention
    processor.
    """
    return [
        (
            name,
            [*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks],
            id(getattr(module, "processor", None)),
        )
        for name, module in unet.named_modules()
    ]


def is_one_sentence(error: BaseException | str) -> bool:
    """One line, and no full stop in front of a capital."""
    return (
        bool(str(error)) and "\n" not in str(error) and not re.search(r"[.!?]\s+[A-Z]", str(error))
    )
