"""Folders in diffusers' format and names on the Hugging Face hub: their index and their parts, each
by its own class.
"""

from __future__ import annotations

import json
import os
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

from sagviz.errors import ModelError, first_sentence

WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>\w+))?(-\d+-of-\d+)?"
    r"\.(safetensors|bin)"
)
FP16 = ", or give variant='fp16' if it has no other weights"
PICKLED = "; where it has pickled weights alone, give the pipeline of diffusers that opened them"
WITHOUT_WEIGHTS = ("tokenizer", "scheduler")  # begins the names of such parts
# what the libraries raise where a file is missing, damaged or of another version
UNREADABLE = (OSError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError)


def read_parts(
    folder: str,
    index: dict[str, Any],
    names: Sequence[str],
    dtype: torch.dtype,
    weights: bool = True,
    *,
    variant: str | None = None,
    revision: str | None = None,
) -> dict[str, Any]:
    """Each part by its own class, so that nothing else of a pipeline (safety checker, image
    processor) is fetched.

    Without `weights` the networks are built from their configurations on torch's meta device. A
    folder whose weights are of one `variant` alone, such as fp16, needs none.
    """
    import diffusers
    import transformers

    libraries = {"diffusers": diffusers, "transformers": transformers}
    local, options = os.path.isdir(folder) or is_offline(), {"revision": revision}
    parts: dict[str, Any] = {}
    with _quiet(transformers):
        for part in names:
            library, kind = index[part]
            try:
                read = getattr(libraries[library], kind)
                where = {"subfolder": part, "local_files_only": local, **options}
                if not part.startswith(WITHOUT_WEIGHTS) and weights:
                    where["variant"] = _variant(Path(folder), part, variant)
                    where["use_safetensors"] = True  # a pickle may run code
                parts[part] = _read_part(read, folder, part, dtype, where, weights)
            except UNREADABLE as error:
                hint = "" if variant or os.path.isdir(folder) else FP16
                hint += PICKLED if ".safetensors" in str(error) else ""
                raise ModelError(
                    f"the {part} of {folder} cannot be read ({first_sentence(error)}); check or"
                    f" fetch it again{hint}"
                ) from error
    return parts


def _read_part(
    kind: Any, folder: str, part: str, dtype: torch.dtype, where: dict[str, Any], weights: bool
) -> Any:
    if part.startswith(WITHOUT_WEIGHTS):
        return kind.from_pretrained(folder, **where)
    if not weights:
        return nn.Module.to(_without_weights(kind, folder, where), dtype)
    import transformers

    of_five = int(transformers.__version__.split(".")[0]) >= 5 and part.startswith("text_encoder")
    return kind.from_pretrained(folder, **where, **{"dtype" if of_five else "torch_dtype": dtype})


def _variant(folder: Path, part: str, wanted: str | None) -> str | None:
    """Which weights of a part to take: the wanted variant, such as "fp16", unless other parts alone
    have it, or what there is where it is there in one alone.
    """
    there = _variants(folder / part)
    elsewhere = any(wanted in _variants(path) for path in folder.glob("*"))
    if wanted is not None and (wanted in there or not elsewhere):
        return wanted
    return there.pop() if len(there) == 1 else None


def _variants(folder: Path) -> set[str | None]:
    """Of the weights in a folder, `None` for the plain ones."""
    files = (WEIGHTS.fullmatch(path.name) for path in folder.glob("*"))
    return {file["variant"] for file in files if file}


def _without_weights(kind: Any, folder: str, where: dict[str, Any]) -> Any:
    """A network of diffusers or transformers that has shapes only."""
    with torch.device("meta"):
        if hasattr(kind, "load_config"):
            return kind.from_config(kind.load_config(folder, **where))
        return kind(kind.config_class.from_pretrained(folder, **where))


def is_offline() -> bool:
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


def read_index(folder: str, revision: str | None = None) -> dict[str, Any]:
    """`model_index.json` of a folder or of a hub repository."""
    path = Path(folder) / "model_index.json"
    if not os.path.isfile(path) and not os.path.exists(folder) and folder.count("/") == 1:
        from huggingface_hub import hf_hub_download

        try:
            name, local = "model_index.json", is_offline()
            path = Path(hf_hub_download(folder, name, revision=revision, local_files_only=local))
        except Exception as error:  # the hub's client raises many kinds: offline, missing, gated
            raise ModelError(
                f"no folder {folder!r} here, and the hub does not deliver a model of that name"
                f" ({first_sentence(error)}); give a folder in diffusers' format, a hub name, or"
                " nothing for the bundled miniature"
            ) from error
    if not os.path.isfile(path):
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


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bar for weights that load in a blink; the settings are put back: transformers'
    own, and that of the hub's client, which transformers sets with it.
    """
    from huggingface_hub import utils

    logging, of_hub = transformers.utils.logging, not utils.are_progress_bars_disabled()
    if not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        if not of_hub:
            utils.disable_progress_bars()
