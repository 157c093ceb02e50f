"""A tiny pipeline written as a checkpoint of one file, with the names of the original code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write(pipe: Any, path: Path) -> Path:
    """Stable Diffusion 1.x with one layer in each block of its U-Net and two blocks in its VAE."""
    parts: dict[str, Tensor] = {}
    for name, value in pipe.unet.state_dict().items():
        parts[f"model.diffusion_model.{of_unet(name)}"] = value
    for name, value in pipe.vae.state_dict().items():
        dense = re.search(r"attentions.*(to_|proj).*weight", name) is not None
        parts[f"first_stage_model.{of_vae(name)}"] = value[:, :, None, None] if dense else value
    for name, value in pipe.text_encoder.state_dict().items():
        inner = name.removeprefix("text_model.")
        parts[f"cond_stage_model.transformer.text_model.{inner}"] = value
    save_file({name: value.contiguous() for name, value in parts.items()}, path)
    return path


def of_unet(name: str) -> str:
    for theirs, ours in ENDS.items():
        if name.startswith(f"{theirs}."):
            return name.replace(theirs, ours, 1)
    where, _, rest = re.split(r"\.(resnets|attentions|downsamplers|upsamplers)", name, maxsplit=1)
    kind, number = name[len(where) + 1 :].split(".")[:2]
    rest = rest[len(f".{number}.") :]
    if kind == "resnets":
        head, _, tail = rest.partition(".")
        rest = f"{RESNET[head]}.{tail}"
    elif kind == "downsamplers":
        rest = rest.replace("conv.", "op.")
    return f"{place(where, kind, int(number))}.{rest}"


def place(where: str, kind: str, number: int) -> str:
    """Where the original code has it: blocks of one layer, with attention in the outer ones."""
    if where == "mid_block":
        return f"middle_block.{1 if kind == 'attentions' else 2 * number}"
    side, block = where.split(".")
    if side == "down_blocks":
        at = 2 * int(block) + 1 + (kind == "downsamplers")
        return f"input_blocks.{at}." + {"resnets": "0", "attentions": "1"}.get(kind, "0")
    if kind == "upsamplers":
        return f"output_blocks.{2 * int(block) + 1}.1"
    return f"output_blocks.{2 * int(block) + number}.{'1' if kind == 'attentions' else '0'}"


def of_vae(name: str) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions" in name:
        for theirs, ours in ATTENTION.items():
            name = name.replace(f".{theirs}.", f".{ours}.")
        name = name.replace("mid_block.attentions.0", "mid.attn_1")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{1 - int(m[1])}.block.", name)
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{1 - int(m[1])}.upsample", name)
