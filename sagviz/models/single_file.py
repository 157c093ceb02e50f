"""Checkpoints of one file, as they are traded: opened by diffusers' own reader."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from sagviz.errors import ModelError, first_sentence
from sagviz.models.families import unsupported
from sagviz.models.hub import UNREADABLE, is_offline, read_index

ENDINGS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


def read_single_file(
    path: Path, config: str | None, dtype: torch.dtype, revision: str | None
) -> Any:
    """The pipeline in a checkpoint of one file.

    Args:
        config: the model whose configuration it has, a folder or a hub name; where `None`, the one
            that diffusers knows for such weights.
        revision: of that model on the hub.

    Raises:
        ModelError: it cannot be read, or its configuration is not here.
    """
    import diffusers
    from diffusers.loaders import single_file_utils

    if path.suffix.lower() not in ENDINGS:
        raise ModelError(
            f"{path} is a file, and no checkpoint; give one that ends in {', '.join(ENDINGS)}, or a"
            " folder in diffusers' format"
        )
    try:
        checkpoint = single_file_utils.load_single_file_checkpoint(str(path))
        usual = single_file_utils.fetch_diffusers_config(checkpoint)
        name = config or usual["pretrained_model_name_or_path"]
        index = _index(path, name, revision)
        kind: Any = getattr(diffusers, str(index.get("_class_name")), None)
        if not hasattr(kind, "from_single_file"):
            raise unsupported(f"{path} would be a {index.get('_class_name')} by {name}")
        return kind.from_single_file(
            str(path),
            config=name,
            torch_dtype=dtype,
            revision=revision,
            local_files_only=os.path.isdir(name) or is_offline(),
        )
    except single_file_utils.SingleFileComponentError as error:
        raise ModelError(
            f"the checkpoint {path} is no whole model ({first_sentence(error)}); give one that is,"
            " and load a LoRA, an embedding or an autoencoder into a pipeline for sv.load(pipe)"
        ) from error
    except UNREADABLE as error:
        raise ModelError(
            f"the checkpoint {path} cannot be read ({first_sentence(error)}); check or fetch it"
            " again, or say by config= which model it was made of"
        ) from error


def _index(path: Path, name: str, revision: str | None) -> dict[str, Any]:
    """What the model of that name is made of."""
    try:
        return read_index(name, revision)
    except ModelError as error:
        raise ModelError(
            f"the checkpoint {path} lacks its configuration, that of {name}, which is not here;"
            " give config= a folder in diffusers' format of such a model, or connect once"
        ) from error
