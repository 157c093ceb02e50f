"""Real Stable Diffusion networks, tiny and random, and the few measures that tests share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from sagviz.mini.diffusion import build_tokenizer
from sagviz.records import STORED, Step

TEXT_WIDTH = 32
LOUDER = {  # factors on fresh weights, which attend to everything alike and hardly read the prompt
    "attn1.to_q": 5.0,
    "attn2.to_v": 5.0,
}
MARGIN = 1e-5  # |A - psi| below which float32 cannot tell on which side of the threshold a cell is
DOWN_LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"  # at the latent's full size


def build_unet(**changes: Any) -> UNet2DConditionModel:
    """U-Net with self- and cross-attention in the down, middle and up blocks; the middle has half the latent's sides."""
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


def build_scheduler(prediction: str = "epsilon") -> DDIMScheduler:
    """DDIM on Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type=prediction,
    )  # fmt: skip


def build_pipe(folder: Path, prediction: str = "epsilon", seed: int = 0) -> StableDiffusionPipeline:
    """A complete Stable Diffusion of random weights: 16 x 16 latent cells of 2 pixels, prompts of 24 tokens."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(folder)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=64, projection_dim=TEXT_WIDTH,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 16), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4, sample_size=32,
        ).eval(),
        text_encoder=CLIPTextModel(text).eval(), tokenizer=tokenizer, unet=build_unet(), scheduler=build_scheduler(prediction),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise(images: int = 1, cells: tuple[int, int] = (16, 16), seed: int = 0) -> Tensor:
    """Start noise, (images, 4, H, W)."""
    return torch.randn(images, 4, *cells, generator=torch.Generator().manual_seed(seed))


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the RMS of b."""
    return float((a - b).abs().max() / b.square().mean().sqrt())


def margin(trace: Iterable[Step]) -> float:
    """The smallest |A - psi| of a run: where it is tiny, rounding decides the mask."""
    return min(float((step.attention - step.guidance.sag.threshold).abs().min()) for step in trace if step.mask is not None)


def same(a: Step, b: Step) -> bool:
    """Whether two records hold the same bits in every stored field."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in STORED]
    return (a.index, a.level) == (b.index, b.level) and all(
        x is y if x is None or y is None else torch.equal(x, y) for x, y in pairs
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
    """All that could be left attached: each module's hooks, and the identity of its attention processor."""
    return [
        (
            name,
            [*module._forward_hooks, *module._forward_pre_hooks, *module._backward_hooks],
            id(getattr(module, "processor", None)),
        )
        for name, module in unet.named_modules()
    ]


def is_one_sentence(error: BaseException) -> bool:
    """One line, and no full stop in front of a capital."""
    return bool(str(error)) and "\n" not in str(error) and not re.search(r"[.!?]\s+[A-Z]", str(error))
