"""What `engine.py` tells of the miniature, at the size of Stable Diffusion 1.5: its U-Net with
random numbers, at latents of 32 x 32. Nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.engine import Bench, repeats
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.utils import logging
from evidence import record
from tiny import build_pipe, build_unet
from transformers import CLIPTextConfig, CLIPTextModel

import sagviz as sv


def large_pipe(folder: Path) -> StableDiffusionPipeline:
    """Stable Diffusion 1.5's U-Net of random weights; text encoder and VAE are small."""
    pipe = build_pipe(folder)
    pipe.unet = build_unet(
        sample_size=32,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        norm_num_groups=32,
        cross_attention_dim=768,
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    words = pipe.text_encoder.config
    pipe.text_encoder = CLIPTextModel(
        CLIPTextConfig(
            **{
                **words.to_dict(),
                "hidden_size": 768,
                "intermediate_size": 768,
                "num_attention_heads": 12,
            }
        )
    ).eval()
    pipe.vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=256,
    ).eval()
    return pipe


def main() -> None:
    rounds = max(2, repeats() // 3)
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        model = sv.load(large_pipe(Path(folder) / "words"))
    bench = Bench("SD 1.5 size", model, 3, rounds)
    bench.overhead("<= 1.05")
    bench.compare(">= 1")
    bench.grid(">= 1", rounds=1)
    record("Speed at the size of Stable Diffusion 1.5", "make bench TABLES=large", bench.lines)


if __name__ == "__main__":
    main()
