"""Stable Diffusion 1.5 and SDXL by their published configurations, written as folders without
weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny import build_scheduler

from sagviz.mini.training.diffusion import build_tokenizer

# What the published checkpoints hold.
PARAMETERS = {
    "sd15": 859_520_964,
    "sdxl": 2_567_463_684,
    "vae": 83_653_863,
    "text_encoder": 123_060_480,
}

UNETS: dict[str, dict[str, Any]] = {
    "sd15": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "sdxl": {
        "sample_size": 128,
        "block_out_channels": (320, 640, 1280),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "transformer_layers_per_block": (1, 2, 10),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "projection_dim": 768,
}


def write_sd15(folder: Path) -> Path:
    """Stable Diffusion 1.5 in diffusers' format, configurations only, with the tests' tokenizer set
    to 77 tokens.
    """
    tokenizer = build_tokenizer(folder / "words")
    tokenizer.model_max_length = 77
    tokenizer.save_pretrained(folder / "tokenizer")
    build_scheduler().save_pretrained(folder / "scheduler")
    for part, config in (("unet", UNETS["sd15"]), ("vae", VAE), ("text_encoder", TEXT)):
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(config))
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", type(tokenizer).__name__],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / "model_index.json").write_text(
        json.dumps({"_class_name": "StableDiffusionPipeline", **parts})
    )
    return folder
