"""What a training ends with: the model in diffusers' folder format, its judges beside it."""

from __future__ import annotations

import shutil
from copy import deepcopy
from pathlib import Path

from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn

from sagviz.mini import noisy
from sagviz.mini.training import curves, diffusion, judge
from sagviz.mini.training.stages import Stages
from sagviz.mini.world import vocabulary


def export(stages: Stages, folder: Path) -> None:
    """Write the model in diffusers' folder format, float16 safetensors, its judges and the picture
    of the training beside it.
    """
    parts = {
        "vae": stages.decoder,
        "text_encoder": stages.unet.text_encoder,
        "unet": stages.unet.unet,
    }
    halves = {name: deepcopy(part).half() for name, part in parts.items()}
    # goes into tokenizer_config.json, where `sagviz.vocabulary` finds it
    stages.tokenizer.init_kwargs["words"] = vocabulary()
    pipeline = StableDiffusionPipeline(
        **halves,
        tokenizer=stages.tokenizer,
        scheduler=diffusion.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    # transformers 5 writes tokenizer.json only, 4 reads these
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(stages.work / "tokenizer" / name, folder / "tokenizer" / name)
    save_halves(stages.judge, folder / judge.FILE)
    save_halves(stages.noisy, folder / noisy.FILE)
    curves.draw(stages.work, folder / "training.png")


def save_halves(network: nn.Module, path: Path) -> None:
    """All floating-point numbers of a network as float16 safetensors."""
    save_file(
        {
            k: v.half().contiguous()
            for k, v in network.state_dict().items()
            if v.is_floating_point()
        },
        path,
    )
