"""The file of a trace: safetensors with a checksum. No pickle, nothing runs when it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from safetensors.torch import load
from torch import Tensor

from sagviz.attention.captured import Captured
from sagviz.attention.read import KINDS
from sagviz.checks import shown
from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.errors import ArgumentError, TraceError
from sagviz.files import expanded
from sagviz.guidance import Guidance
from sagviz.records import strict
from sagviz.records.settings import Settings
from sagviz.records.step import LATENTS, Step, below
from sagviz.records.trace_check import check_parts

# what Python raises where something else stands than what was written, or thousandfold nested
UNREADABLE = (TypeError, KeyError, ValueError, AttributeError, IndexError, RecursionError)
FORMAT = "sagviz-trace-4"


@dataclass(frozen=True, eq=False)
class Content:
    """What such a file holds; a `Trace` without what can be asked of it. `inputs` are the tensors
    that the run was given, by name.
    """

    settings: Settings
    steps: tuple[Step, ...]
    evaluations: int
    pictures: tuple[bytes, ...] = ()
    latent_rgb: Tensor | None = None
    inputs: Mapping[str, Tensor] = field(default_factory=dict)


def to_bytes(content: Content) -> bytes:
    """The content as a file."""
    tensors, meta = _pack(content)
    notes = {"format": FORMAT, "meta": meta, "sha256": _checksum(tensors, meta)}
    # as arrays: of tensors, safetensors would leave a type behind for every length that it meets
    return save({name: each.numpy() for name, each in tensors.items()}, notes)


def from_path(path: str | Path) -> Content:
    """What is in a file.

    Raises:
        TraceError: it is damaged or foreign.
    """
    try:
        with safe_open(expanded(path), "pt") as file:
            notes = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, SafetensorError) as error:
        raise TraceError(
            f"{path} cannot be read as a trace ({error}); give a file that Trace.save wrote, or run"
            " the sweep again whose cell it is"
        ) from error
    return _checked(tensors, notes, str(path))


def from_bytes(content: bytes, name: str) -> Content:
    """What is in such bytes; `name` is for the error.

    Raises:
        TraceError: they are damaged or foreign.
    """
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (ValueError, SafetensorError) as error:
        raise TraceError(
            f"{name} cannot be read as a trace ({error}); give what Trace.to_bytes gave, or run the"
            " sweep again whose cell it is"
        ) from error
    return _checked(tensors, header.get("__metadata__") or {}, name)


def _checked(tensors: dict[str, Tensor], notes: Mapping[str, str], name: str) -> Content:
    """The content of a file's tensors and notes, if they are what was written."""
    if notes.get("format") != FORMAT:
        kind = notes.get("format", "safetensors")
        raise TraceError(f"{name} is a {kind} file, not a {FORMAT}; make it with Trace.save")
    if notes.get("sha256") != _checksum(tensors, notes.get("meta", "")):
        raise TraceError(
            f"{name} is damaged: its checksum does not fit; copy it again or run the trace again"
        )
    try:
        return _unpack(tensors, notes["meta"])
    except ArgumentError as error:
        raise TraceError(f"{name} cannot be read: {error}") from error
    except UNREADABLE as error:
        raise TraceError(
            f"{name} is not as this version of sagviz writes it ({type(error).__name__}: {error});"
            " take the version that wrote it, or run the trace again"
        ) from error


def _tensors(content: Content) -> dict[str, Tensor]:
    """All tensors by name. A step's x_next is left out where it is the next step's x_t."""
    tensors: dict[str, Tensor] = {}
    steps = content.steps
    for position, step in enumerate(steps):
        follows = position + 1 < len(steps) and steps[position + 1].index == step.index + 1
        for name, value in step.tensors.items():
            if not (name == "x_next" and follows):
                tensors[f"{position}.{name}"] = value
    for number, picture in enumerate(content.pictures):
        tensors[f"picture.{number}"] = torch.frombuffer(bytearray(picture), dtype=torch.uint8)
    if content.latent_rgb is not None:
        tensors["latent_rgb"] = content.latent_rgb
    return tensors | {f"input.{name}": value for name, value in content.inputs.items()}


def _pack(content: Content) -> tuple[dict[str, Tensor], str]:
    """Tensors by name and the rest as JSON."""
    rows = [
        {
            "index": step.index,
            "level": asdict(step.level),
            "guidance": step.guidance.to_json(),
            "forwards": step.forwards,
            "samples": step.samples,
            "captured": [
                {"layer": read.layer, "names": read.names, "place": read.place}
                for read in step.captured.values()
            ],
        }
        for step in content.steps
    ]
    meta = {
        "settings": content.settings.to_json(),
        "evaluations": content.evaluations,
        "steps": rows,
    }
    tensors = {name: each.contiguous() for name, each in _tensors(content).items()}
    return tensors, strict.dumps(meta, sort_keys=True)


def _unpack(tensors: Mapping[str, Tensor], meta: str) -> Content:
    noted = strict.loads(meta)
    settings = Settings.from_json(noted["settings"])
    steps: list[Step] = []
    for position, row in reversed(list(enumerate(noted["steps"]))):
        own = below(f"{position}.", tensors)
        latents: dict[str, Any] = {"x_next": steps[-1].x_t if steps else None}
        latents |= {name: own[name] for name in LATENTS if name in own}
        row |= {
            "level": NoiseLevel(**row["level"]),
            "guidance": Guidance.from_json(row["guidance"]),
            "captured": _captured(own, row["captured"]),
        }
        steps.append(Step(seed=settings.seed, kept=below("kept.", own), **row, **latents))
    numbered, rgb = below("picture.", tensors), tensors.get("latent_rgb")
    pictures = tuple(numbered[str(i)].numpy().tobytes() for i in range(len(numbered)))
    in_order, evaluations = tuple(reversed(steps)), noted["evaluations"]
    check_parts(settings, in_order, evaluations, pictures, rgb)
    found = Content(settings, in_order, evaluations, pictures, rgb, below("input.", tensors))
    if unknown := sorted(tensors.keys() - _tensors(found).keys()):
        raise ArgumentError(f"it has a tensor {shown(unknown[0])}, which is no run's")
    return found


def _captured(own: Mapping[str, Tensor], rows: Sequence[dict[str, Any]]) -> dict[str, Captured]:
    """What was captured in one step, by layer."""
    found: dict[str, Captured] = {}
    for number, row in enumerate(rows):
        kinds = {kind: own.get(f"captured.{number}.{kind}") for kind in KINDS}
        place = row["place"] and (row["place"][0], row["place"][1])
        names = tuple(row["names"])
        found[row["layer"]] = Captured(layer=row["layer"], names=names, place=place, **kinds)
    return found


def _checksum(tensors: Mapping[str, Tensor], meta: str) -> str:
    """SHA-256 over the JSON and over every tensor's name, number format, shape and bytes."""
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        # as bytes, because NumPy does not have all formats
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
