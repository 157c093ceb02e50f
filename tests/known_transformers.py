"""Transformers by their published configurations, written as folders in diffusers' format without
weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import FlowMatchEulerDiscreteScheduler
from known import TEXT, VAE
from tiny import build_scheduler
from tiny_transformers import build_t5

from sagviz.mini.training.diffusion import build_tokenizer

EMBEDDING = 1001 * 1152 + 256 * 1152 + 1152**2 + 2 * 1152  # of classes and of times, in DiT-XL/2
# What was published, in billions of parameters:
PARAMETERS = {
    # the paper's 675 million (float16 files of 1.35 GB at huggingface.co/city96/DiT) have one
    # embedding, where diffusers' has one in each of the 28 blocks
    "DiT-XL/2": 0.675 + 27 * EMBEDDING / 1e9,
    # files of 2.44 GB in float32 at huggingface.co/PixArt-alpha/PixArt-Sigma-XL-2-1024-MS
    "PixArt-Σ": 0.611,
    # "model size" at huggingface.co/ND911/stable-diffusion-3.5-medium-GGUF and -large-GGUF
    "SD3.5 medium": 2.47,
    "SD3.5 large": 8.15,
    # likewise at huggingface.co/bluepen5805/FLUX.1-dev-minus and other copies of it
    "Flux.1 dev": 11.9,
}
SD35: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 2048,
    "qk_norm": "rms_norm",
}
LEGACY: dict[str, Any] = {  # as the published files call the class that diffusers has split up
    "attention_head_dim": 72,
    "num_attention_heads": 16,
    "num_layers": 28,
    "in_channels": 4,
    "out_channels": 8,
    "patch_size": 2,
    "norm_elementwise_affine": False,
    "attention_bias": True,
    "activation_fn": "gelu-approximate",
    "num_embeds_ada_norm": 1000,
}
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "DiT-XL/2": ("Transformer2DModel", {**LEGACY, "sample_size": 32, "norm_type": "ada_norm_zero"}),
    "PixArt-Σ": (
        "Transformer2DModel",
        {
            **LEGACY,
            "sample_size": 128,
            "norm_type": "ada_norm_single",
            "caption_channels": 4096,
            "cross_attention_dim": 1152,
            "norm_eps": 1e-6,
            "interpolation_scale": 2,
            "use_additional_conditions": False,
        },
    ),
    "SD3.5 medium": (
        "SD3Transformer2DModel",
        {
            **SD35,
            "num_layers": 24,
            "num_attention_heads": 24,
            "caption_projection_dim": 1536,
            "pos_embed_max_size": 384,
            "dual_attention_layers": list(range(13)),
        },
    ),
    "SD3.5 large": (
        "SD3Transformer2DModel",
        {
            **SD35,
            "num_layers": 38,
            "num_attention_heads": 38,
            "caption_projection_dim": 2432,
            "pos_embed_max_size": 192,
        },
    ),
    "Flux.1 dev": (
        "FluxTransformer2DModel",
        {
            "patch_size": 1,
            "in_channels": 64,
            "num_layers": 19,
            "num_single_layers": 38,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "pooled_projection_dim": 768,
            "guidance_embeds": True,
            "axes_dims_rope": [16, 56, 56],
        },
    ),
}
T5 = {  # XXL
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
}
BIG_G = {
    **TEXT,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
PROJECTED = ("transformers", "CLIPTextModelWithProjection")
ENCODERS: dict[str, list[tuple[tuple[str, str], dict[str, Any]]]] = {
    "DiT": [],
    "PixArt": [(("transformers", "T5EncoderModel"), T5)],
    "SD3.5": [(PROJECTED, TEXT), (PROJECTED, BIG_G), (("transformers", "T5EncoderModel"), T5)],
    "Flux.1": [(("transformers", "CLIPTextModel"), TEXT), (("transformers", "T5EncoderModel"), T5)],
}


def write(folder: Path, name: str) -> Path:
    """A folder of that model: configurations only, with the tests' tokenizers."""
    kind, config = NETWORKS[name]
    flow = kind != "Transformer2DModel"
    vae = {**VAE, "latent_channels": 16 if flow else 4, "scaling_factor": 1.5, "shift_factor": 0.06}
    parts = {"transformer": ("diffusers", kind), "vae": ("diffusers", "AutoencoderKL")}
    configs = {"transformer": config, "vae": vae}
    encoders = next(found for words, found in ENCODERS.items() if name.startswith(words))
    for number, (encoder, settings) in enumerate(encoders, start=1):
        which = f"_{number}" * (number > 1)
        parts[f"text_encoder{which}"], configs[f"text_encoder{which}"] = encoder, settings
        tokenizer = build_t5(folder / "words")[0] if settings is T5 else _clip(folder / "words")
        tokenizer.save_pretrained(folder / f"tokenizer{which}")
        parts[f"tokenizer{which}"] = ("transformers", type(tokenizer).__name__)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0) if flow else build_scheduler()
    scheduler.save_pretrained(folder / "scheduler")
    parts["scheduler"] = ("diffusers", type(scheduler).__name__)
    for part, settings in configs.items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(settings))
    (folder / "model_index.json").write_text(json.dumps(parts))
    return folder


def _clip(folder: Path) -> Any:
    tokenizer = build_tokenizer(folder)
    tokenizer.model_max_length = 77
    return tokenizer
