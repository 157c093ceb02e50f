"""Folders in diffusers' format and names on the Hugging Face hub: their index and their parts, each
by its own class.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from torch import nn

from sagviz.errors import ModelError

WITHOUT_WEIGHTS = ("tokenizer", "tokenizer_2", "scheduler")


def read_parts(
    folder: str,
    index: dict[str, Any],
    names: Sequence[str],
    dtype: torch.dtype,
    weights: bool = True,
) -> dict[str, Any]:
    """Each part by its own class, so that nothing else of a pipeline (safety checker, image
    processor) is fetched.

    Without `weights` the networks are built from their configurations on torch's meta device.
    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    local = Path(folder).is_dir() or _is_offline()
    parts: dict[str, Any] = {}
    with _quiet(transformers):
        for part in names:
            library, kind = index[part]
            options = {} if part in WITHOUT_WEIGHTS else {"torch_dtype": dtype}
            if part.startswith("text_encoder"):
                options = (
                    {"dtype": dtype}
                    if int(transformers.__version__.split(".")[0]) >= 5
                    else options
                )
            try:
                read = getattr(libraries[library], kind)
                if options and not weights:
                    parts[part] = nn.Module.to(_without_weights(read, folder, part, local), dtype)
                else:
                    parts[part] = read.from_pretrained(
                        folder, subfolder=part, local_files_only=local, **options
                    )
            except (
                OSError,
                ValueError,
                KeyError,
                AttributeError,
                RuntimeError,
                SafetensorError,
            ) as error:
                raise ModelError(
                    f"the {part} of {folder} cannot be read ({first_sentence(error)}); check or"
                    " fetch it again"
                ) from error
    return parts


def _without_weights(kind: Any, folder: str, part: str, local: bool) -> Any:
    """A network of diffusers or transformers that has shapes only."""
    with torch.device("meta"):
        if hasattr(kind, "load_config"):
            return kind.from_config(
                kind.load_config(folder, subfolder=part, local_files_only=local)
            )
        return kind(
            kind.config_class.from_pretrained(folder, subfolder=part, local_files_only=local)
        )


def _is_offline() -> bool:
    """Whether the hub's name cannot be looked up: its client would try for half a minute. A proxy
    does its own look-ups.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    try:
        return not getproxies() and not socket.getaddrinfo(
            urlsplit(constants.ENDPOINT).hostname, 443
        )
    except OSError:
        return True


def read_index(folder: str) -> dict[str, Any]:
    """`model_index.json` of a folder or of a hub repository."""
    path = Path(folder) / "model_index.json"
    if not path.is_file() and not Path(folder).exists() and folder.count("/") == 1:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(folder, "model_index.json", local_files_only=_is_offline()))
        except Exception as error:  # the hub's client raises many kinds: offline, missing, gated
            raise ModelError(
                f"no folder {folder!r} here, and the hub does not deliver a model of that name"
                f" ({first_sentence(error)}); give a folder in diffusers' format, a hub name, or"
                " nothing for the bundled miniature"
            ) from error
    if not path.is_file():
        raise ModelError(
            f"no model at {folder!r}; give a folder with a model_index.json, a hub name, or nothing"
            " for the miniature"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({first_sentence(error)}); check or fetch it again"
        ) from error
    if not isinstance(index, dict):
        raise ModelError(f"{path} does not list the parts of a model; check or fetch it again")
    return index


def first_sentence(error: BaseException) -> str:
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
