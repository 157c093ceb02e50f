"""Real transformers in place of a U-Net, tiny and random: one pipeline of diffusers a family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tiny import build_scheduler, build_vae, open_clip_tokenizer, quiet, text_config
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from sagviz.mini.training.diffusion import build_tokenizer

CHAT = (  # how a message is put to Qwen
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LOUDER = {"to_q.weight": 4.0, "attn2.to_v": 5.0}  # else all tokens attend to all alike
CLASSES = {"0": "tench, Tinca tinca", "1": "golden retriever", "2": "fox"}


def louder(network: nn.Module) -> Any:
    """Fresh weights that attend to some places more than to others."""
    for name, parameter in network.eval().requires_grad_(False).named_parameters():
        parameter.mul_(next((factor for part, factor in LOUDER.items() if part in name), 1.0))
    return network


def build_t5(folder: Path, width: int = 32) -> tuple[T5Tokenizer, T5EncoderModel]:
    """T5's encoder of two layers, and a tokenizer of some words and all letters."""
    words = ["▁", "▁a", "▁fox", "▁blue", *"abcdefghijklmnopqrstuvwxyz"]
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [*((word, 0.0) for word in special), *((word, -1 / len(word)) for word in words)]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=512)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return T5Tokenizer.from_pretrained(folder), T5EncoderModel(config).eval()


def build_dit(folder: Path | None = None, seed: int = 4) -> DiTPipeline:
    """As DiT: 16 x 16 latent cells, patches of 2 x 2, 1,000 classes of which three have names."""
    del folder  # it has no tokenizer to write
    torch.manual_seed(seed)
    network = DiTTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        norm_num_groups=4,
        sample_size=16,
    )
    pipe = DiTPipeline(louder(network), build_vae(), build_scheduler(), CLASSES)
    pipe.register_to_config(id2label=CLASSES)  # which is written, as the published one has it
    return quiet(pipe)


def build_pixart(
    folder: Path, seed: int = 5, kind: Any = PixArtSigmaPipeline, **changes: Any
) -> PixArtSigmaPipeline:
    """As PixArt-Σ: self- and cross-attention, T5."""
    torch.manual_seed(seed)
    tokenizer, encoder = build_t5(folder)
    shape: dict[str, Any] = {
        "num_attention_heads": 4,
        "attention_head_dim": 8,
        "in_channels": 4,
        "out_channels": 8,
        "num_layers": 3,
        "norm_num_groups": 4,
        "cross_attention_dim": 32,
        "caption_channels": 32,
        "sample_size": 16,
        "use_additional_conditions": False,
    }
    network = PixArtTransformer2DModel(**{**shape, **changes})
    parts = {"vae": build_vae(), "text_encoder": encoder, "tokenizer": tokenizer}
    return quiet(kind(transformer=louder(network), scheduler=build_scheduler(), **parts))


def build_pixart_alpha(folder: Path) -> PixArtAlphaPipeline:
    """As PixArt-α for 1,024 pixels, which reads the picture's size."""
    shape: dict[str, Any] = {
        "sample_size": 128,  # by which the pipeline knows it
        "use_additional_conditions": None,
        "num_attention_heads": 3,  # a third of the width for each side and for their ratio
        "cross_attention_dim": 24,
    }
    pipe: Any = build_pixart(folder, 6, PixArtAlphaPipeline, **shape)
    return pipe


def build_sd3(
    folder: Path, seed: int = 7, with_t5: bool = True, channels: int = 4, **changes: Any
) -> StableDiffusion3Pipeline:
    """As Stable Diffusion 3.5 medium: normed queries and keys, a second attention in the first
    blocks, text in the softmax.
    """
    torch.manual_seed(seed)
    one, two = build_tokenizer(folder / "one"), open_clip_tokenizer(folder / "two")
    tokenizer, t5 = build_t5(folder / "three", 64)
    shape: dict[str, Any] = {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": channels,
        "num_layers": 4,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 64,
        "caption_projection_dim": 32,
        "pooled_projection_dim": 64,
        "out_channels": channels,
        "pos_embed_max_size": 16,
        "dual_attention_layers": (0, 1, 2),
        "qk_norm": "rms_norm",
    }
    network = SD3Transformer2DModel(**{**shape, **changes})
    own = {"latent_channels": channels, "shift_factor": 0.1, "scaling_factor": 1.5}
    vae = AutoencoderKL(**{**build_vae().config, **own})
    pipe = StableDiffusion3Pipeline(
        transformer=louder(network),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae.eval(),
        text_encoder=CLIPTextModelWithProjection(text_config(one)).eval(),
        tokenizer=one,
        text_encoder_2=CLIPTextModelWithProjection(text_config(two)).eval(),
        tokenizer_2=two,
        text_encoder_3=t5 if with_t5 else None,
        tokenizer_3=tokenizer if with_t5 else None,
    )
    return quiet(pipe)


def build_flux(folder: Path, seed: int = 8, **changes: Any) -> FluxPipeline:
    """As Flux.1 dev: two blocks of two streams, two of one, rotary places, embedded guidance."""
    torch.manual_seed(seed)
    one = build_tokenizer(folder / "one")
    tokenizer, t5 = build_t5(folder / "two")
    shape: dict[str, Any] = {
        "patch_size": 1,
        "in_channels": 16,
        "num_layers": 2,
        "num_single_layers": 3,
        "attention_head_dim": 8,
        "num_attention_heads": 4,
        "joint_attention_dim": 32,
        "pooled_projection_dim": 32,
        "guidance_embeds": True,
        "axes_dims_rope": (2, 2, 4),
    }
    vae = AutoencoderKL(**{**build_vae().config, "shift_factor": 0.1, "scaling_factor": 1.5})
    pipe = FluxPipeline(
        transformer=louder(FluxTransformer2DModel(**{**shape, **changes})),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=CLIPTextModel(text_config(one)).eval(),
        tokenizer=one,
        text_encoder_2=t5,
        tokenizer_2=tokenizer,
    )
    return quiet(pipe)


def build_qwen3(folder: Path) -> tuple[Qwen2Tokenizer, Qwen3Model]:
    """Qwen3 of three layers, and a tokenizer of single bytes with the marks of a chat."""
    letters = sorted(ByteLevel.alphabet())
    tokenizer = Qwen2Tokenizer(
        vocab={letter: number for number, letter in enumerate(letters)},
        merges=[],
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT,
    )
    tokenizer.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Qwen2Tokenizer.from_pretrained(folder), Qwen3Model(config).eval()


def build_z_image(folder: Path, seed: int = 9) -> ZImagePipeline:
    """As Z-Image: one stream, the picture's tokens first."""
    torch.manual_seed(seed)
    tokenizer, encoder = build_qwen3(folder)
    network = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=3,
        n_refiner_layers=1,
        n_heads=4,
        n_kv_heads=4,
        cap_feat_dim=32,
        axes_dims=[2, 2, 4],
        axes_lens=[256, 64, 64],
    )
    torch.nn.init.normal_(network.x_pad_token)
    torch.nn.init.normal_(network.cap_pad_token)
    vae = AutoencoderKL(**{**build_vae().config, "shift_factor": 0.1, "scaling_factor": 1.5})
    pipe = ZImagePipeline(
        transformer=louder(network),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae.eval(),
        text_encoder=encoder,
        tokenizer=tokenizer,
    )
    return quiet(pipe)


def build_qwen_image(folder: Path, seed: int = 10) -> QwenImagePipeline:
    """As Qwen-Image: the text's tokens first, the autoencoder of a video model."""
    torch.manual_seed(seed)
    tokenizer, _ = build_qwen3(folder)
    parts = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {**parts, "num_key_value_heads": 2, "vocab_size": len(tokenizer)}
    rope = {"mrope_section": [2, 2, 4], "rope_type": "default", "type": "default"}
    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config={**text, "rope_scaling": rope}, vision_config={**sight, "out_hidden_size": 32}
    )
    network = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        axes_dims_rope=(2, 2, 4),
    )
    vae = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.1, -0.1, 0.2, 0.0],
        latents_std=[1.5, 1.2, 1.1, 1.3],
    )
    pipe = QwenImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae.eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(config).eval(),
        tokenizer=tokenizer,
        transformer=louder(network),
    )
    return quiet(pipe)


TRANSFORMERS: dict[str, Callable[[Path], Any]] = {
    "dit": build_dit,
    "pixart": build_pixart,
    "pixart_alpha": build_pixart_alpha,
    "sd3": build_sd3,
    "flux": build_flux,
    "z_image": build_z_image,
    "qwen": build_qwen_image,
}


def prompt_of(name: str) -> str:
    """What a family may be asked for: a class, or a text."""
    return "fox" if name == "dit" else "a fox on Blue"
