"""What the engine of a live page is given: the networks, and all that is not a network's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sagviz.attention.layers import layers, path_of
from sagviz.errors import ArgumentError
from sagviz.models import Model
from sagviz.models.stable_diffusion import StableDiffusion
from sagviz.models.vocabulary import vocabulary
from sagviz.player.live.export import exported, known_call
from sagviz.player.live.runtime import NOTICE, PACKAGE, runtime

HERE = Path(__file__).parent
SCRIPTS = ("random", "tokens", "method", "networks", "backend", "engine")
MOST_STEPS = 100
SCHEDULE = {  # the only one that the engine lays out
    "timestep_spacing": "leading",
    "prediction_type": "epsilon",
    "clip_sample": False,
    "thresholding": False,
}
LARGEST = 12_000_000  # weights of all networks: a page of 35 MB has room for no more


def parts(model: Model, package: str | Path = PACKAGE) -> dict[str, Any]:
    """The worker's script, the files that it needs as bytes, and its settings, ready for JSON.

    Args:
        model: a small one in the latent space of an autoencoder, as the miniature is.
        package: that of the runtime, see `runtime`.

    Raises:
        ArgumentError: the model does not fit in a page, or the runtime is not there.
    """
    _check(model)
    ort, layer = runtime(package), model.default_sag.layer
    return {
        "script": "\n".join([ort.script, *map(_script, SCRIPTS)]),
        "files": {**exported(model, layer), **ort.wasm},
        "config": {**config(model), "check": known_call(model, layer)},
        "notice": NOTICE,
    }


def config(model: Model) -> dict[str, Any]:
    """All that the engine must know of a model beside its networks."""
    channels, height, width = model.latent_shape(model.default_size)
    sag, scheduler = model.default_sag, model.scheduler
    grids = layers(model.network, (height, width))
    return {
        "tokenizer": _tokenizer(model.tokenizer),
        "vocabulary": vocabulary(model),
        "scheduler": {
            "bars": scheduler.alphas_cumprod.tolist(),
            "offset": scheduler.config.steps_offset,
            "last": float(scheduler.final_alpha_cumprod),
        },
        "most": MOST_STEPS,
        "latent": [channels, height, width],
        "grid": list(grids[path_of(model.network, sag.layer)].grid),
        "picture": list(model.default_size),
        "scaling": model.vae.config.scaling_factor,
        "latent_rgb": model.latent_rgb.tolist(),
    }


def _tokenizer(tokenizer: Any) -> dict[str, Any]:
    """A byte-level BPE as its own file has it, and what frames a text."""
    own = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return {
        "vocab": own["vocab"],
        "merges": own["merges"],
        "special": tokenizer.added_tokens_encoder,
        "begin": tokenizer.bos_token_id,
        "end": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "length": tokenizer.model_max_length,
    }


def _check(model: Model) -> None:
    """Refuse a model that the page has no room, no schedule or no text for."""
    if type(model) is not StableDiffusion:
        raise ArgumentError(
            f"{model.name} is {model.title}; a live page takes the miniature's kind"
        )
    networks = (model.network, model.vae, model.text_encoder)
    weights = sum(part.numel() for network in networks for part in network.parameters())
    if weights > LARGEST:
        raise ArgumentError(
            f"{model.name} has {weights:,} weights, and a live page has room for {LARGEST:,}; give"
            " the miniature, sv.load(), or one that sagviz.mini.training made"
        )
    found = {name: model.scheduler.config.get(name) for name in SCHEDULE}
    if type(model.scheduler).__name__ != "DDIMScheduler" or found != SCHEDULE:
        raise ArgumentError(
            f"{model.name} has the schedule {type(model.scheduler).__name__} with {found}; a live"
            f" page takes DDIM's with {SCHEDULE}"
        )


def _script(name: str) -> str:
    return (HERE / f"{name}.js").read_text(encoding="utf-8")
