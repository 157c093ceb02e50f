"""`load`: a folder, a name on the hub or a pipeline in memory, opened as a `Model`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sagviz.attention.compiled import plain
from sagviz.checks import format_dtype, names_arguments, shown
from sagviz.errors import ArgumentError, first_sentence, warn
from sagviz.files import from_home
from sagviz.guidance import Classifier
from sagviz.mini import NAME, THREADS, WEIGHTS
from sagviz.mini.noisy import FILE, NoisyClassifier, load_noisy_classifier
from sagviz.models.at_work import usual_defaults
from sagviz.models.base import Model
from sagviz.models.families import checked, family_of
from sagviz.models.hub import read_index, read_parts
from sagviz.models.offload import visit_in_turn
from sagviz.models.origin import Origin
from sagviz.models.single_file import read_single_file


@names_arguments()
def load(
    source: object = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    classifier: Classifier | None = None,
    offload: bool = False,
    config: str | Path | None = None,
    variant: str | None = None,
    revision: str | None = None,
) -> Model:
    """Open a model: Stable Diffusion 1.x, 2.x, SDXL, 3 and 3.5, PixArt, Flux.1, Qwen-Image,
    Z-Image, DiT (a class is the prompt), or an unconditional one of pixels (DDPM).

    Args:
        source: `None` or "miniature" for the bundled miniature (offline, no download), a folder in
            diffusers' format, a name on the Hugging Face hub such as
            "stable-diffusion-v1-5/stable-diffusion-v1-5", or a diffusers pipeline in memory, which
            is used as it is, with its LoRAs, and stays as it is; what is set on it later holds. A
            file such as "model.safetensors" is read as diffusers reads single-file checkpoints.
        device: "cpu", "cuda" ...; by default a GPU where there is one, and the CPU for the
            miniature. "meta" reads no weights: such a model cannot run, but `estimate` says what
            memory it would need.
        dtype: "float32", "float16", "bfloat16"; by default float16 on CUDA and float32 elsewhere.
            The large transformers (SD3, Flux.1, Qwen-Image, Z-Image) were published for bfloat16.
        classifier: of noisy latents, for classifier guidance, as `guidance.Classifier` says, on the
            network's device; the miniature has its own.
        offload: for a small GPU: the networks wait on the CPU, and one at a time visits the GPU
            while it works.
        config: of a single-file checkpoint: the model that it was made of, a folder in diffusers'
            format or a hub name; by default the one that diffusers finds by its weights, from the
            hub.
        variant: which of several weights, such as "fp16"; a folder that has one alone needs none.
        revision: branch, tag or commit on the hub.

    Raises:
        ModelError: there is no such model, or it is of a kind without self-attention to read.

    Example:
        >>> import sagviz as sv
        >>> sv.load("miniature")
        <Model miniature on cpu, float32>
    """
    of_weights = {"config": config, "variant": variant, "revision": revision}
    if isinstance(source, Model):
        others = {"device": device, "dtype": dtype, "classifier": classifier, "offload": offload}
        _refuse("a model that is loaded", {**others, **of_weights})
        return source
    if source is not None and not isinstance(source, str | Path):
        _refuse("a pipeline", of_weights)
        return _from_pipeline(source, device, dtype, classifier, offload)
    source = None if source == NAME else source
    origin = Origin.of(source, device, dtype, offload, config, variant, revision)
    source, config = (
        None if place is None else from_home(str(place)) for place in (source, config)
    )
    place = _device(device or ("cpu" if source is None else _best_device()))
    kind = _dtype(dtype) if dtype else torch.float16 if place.type == "cuda" else torch.float32
    if offload and place.type in ("cpu", "mps", "meta"):  # MPS shares the computer's memory
        warn(f"offload=True does nothing on {place.type}; it saves the memory of a GPU")
        offload = False
    file = Path(source) if source is not None and os.path.isfile(source) else None
    if config is not None and file is None:
        raise ArgumentError(
            f"config is {config!r}, which is for a checkpoint of one file; leave it out"
        )
    given = classifier is not None
    with usual_defaults():
        if source is None and classifier is None:
            classifier = load_classifier(WEIGHTS, place)
        if file is not None:
            model = _from_file(file, kind, config, revision, classifier)
        else:
            model = _from_folder(source, kind, place, classifier, variant, revision)
    if not given:
        model.origin, model.reopen = origin, partial(_reopened, origin)
    model.threads = THREADS if source is None else None
    for network in model.networks.values():
        network.to("cpu" if offload else place).eval().requires_grad_(False)
    if offload:
        visit_in_turn(list(model.networks.values()), place)
    return model


def as_model(value: object) -> Model:
    """A model, or a diffusers pipeline opened as one, where a function takes its `model`.

    Raises:
        ArgumentError: it is neither.
        ModelError: it is a pipeline that `load` refuses.
    """
    if isinstance(value, Model):
        return value
    if not hasattr(value, "components"):
        raise ArgumentError(
            f"model is {shown(value)}; give what sv.load() returned, or a diffusers pipeline, as"
            " the first argument"
        )
    return load(value)


def load_classifier(
    folder: Path = WEIGHTS, device: str | torch.device = "cpu"
) -> NoisyClassifier | None:
    """The miniature's own classifier of noisy latents, for CG; `None` where the folder has none."""
    if not (folder / FILE).exists():
        return None
    return load_noisy_classifier(folder).to(device).requires_grad_(False)


def _from_folder(
    source: str | Path | None,
    dtype: torch.dtype,
    device: torch.device,
    classifier: Classifier | None,
    variant: str | None,
    revision: str | None,
) -> Model:
    """From a folder or the hub; where `device` is "meta", without weights."""
    folder = str(WEIGHTS if source is None else source)
    index = read_index(folder, revision)
    present = {
        part: entry[1:]
        for part, entry in index.items()
        if isinstance(entry, list) and entry and entry[0] is not None
    }
    lacks = f"{folder} is a {index.get('_class_name', 'model')} without"
    family = family_of(folder, lacks, present)
    options: dict[str, Any] = {"variant": variant, "revision": revision}
    options["weights"] = device.type != "meta"
    own = [part for part in family.PARTS if part in present]
    parts = read_parts(folder, index, own, dtype, **options)
    name = NAME if source is None else folder
    return checked(family(name, config=index, classifier=classifier, **parts))


def _from_file(
    path: Path,
    dtype: torch.dtype,
    config: str | Path | None,
    revision: str | None,
    classifier: Classifier | None,
) -> Model:
    """From a checkpoint of one file."""
    pipe = read_single_file(path, None if config is None else str(config), dtype, revision)
    name, parts = str(path), dict(pipe.components)
    family = _family(name, parts)
    own = {part: parts.get(part) for part in family.PARTS}
    return checked(family(name, config=dict(pipe.config), classifier=classifier, **own))


def _family(name: str, parts: Mapping[str, Any]) -> type[Model]:
    """The family of a pipeline with these components."""
    present = {part: found for part, found in parts.items() if found is not None}
    kinds = {k: [each.__name__ for each in type(plain(v)).__mro__] for k, v in present.items()}
    return family_of(name, f"{name} has no", kinds)


def _from_pipeline(
    pipe: Any, device: object, dtype: object, classifier: Classifier | None, offload: bool
) -> Model:
    if isinstance(pipe, type):
        raise ArgumentError(
            f"source is the class {pipe.__name__}; give a pipeline of it, such as"
            f" {pipe.__name__}.from_pretrained(name), or the name alone"
        )
    name = type(pipe).__name__
    family = _family(name, getattr(pipe, "components", {}))
    if device is not None or dtype is not None:
        raise ArgumentError(
            "a pipeline is used as it is; move it with pipe.to(device, dtype) instead of device="
            " and dtype="
        )
    if offload:
        raise ArgumentError(
            "a pipeline is used as it is; call pipe.enable_model_cpu_offload() instead of"
            " offload=True"
        )
    return checked(family(name, config=dict(pipe.config), classifier=classifier, pipe=pipe))


def _refuse(what: str, options: Mapping[str, object]) -> None:
    """Refuse options that say how weights are read, where they have been."""
    given = [name for name, value in options.items() if value not in (None, False)]
    if given:
        raise ArgumentError(
            f"{what} is used as it is, and {', '.join(f'{name}=' for name in given)} cannot change"
            " it; give its name or folder to load it otherwise"
        )


def _reopened(origin: Origin) -> Model:
    """A model loaded again, for pickle."""
    return load(**asdict(origin))


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _device(device: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=device).device
    # no such kind, none of that number, torch built without it
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = first_sentence(error)
        raise ArgumentError(
            f"device is {device!r}, which torch cannot use here ({reason}); give 'cpu' or leave"
            " it out"
        ) from error


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = getattr(torch, format_dtype(dtype), None)
    if found not in (torch.float32, torch.float16, torch.bfloat16):
        raise ArgumentError(f"dtype is {dtype!r}; give 'float32', 'float16' or 'bfloat16'")
    return found
