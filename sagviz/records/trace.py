"""`Trace`: a run that is kept, as a sequence of steps, and as one safe file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from sagviz import image
from sagviz.attention.captured import Captured
from sagviz.attention.read import KINDS
from sagviz.diffusion.noise_level import Level
from sagviz.errors import TraceError
from sagviz.files import write_whole
from sagviz.guidance import Guidance
from sagviz.html import data_uri
from sagviz.records.settings import Settings
from sagviz.records.step import STORED, Step

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Trace(Sequence[Step]):
    """A run: its kept steps in order, its settings, its pictures, and a linear map from latents to
    colours.

    `evaluations` is how many steps the whole run has; an interrupted run or one with `keep` holds
    fewer. `trace[i]` is the i-th kept step; its `index` says which evaluation it was.
    """

    settings: Settings
    steps: tuple[Step, ...]
    evaluations: int
    pictures: tuple[bytes, ...] = ()
    latent_rgb: Tensor | None = None

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | Sequence[Step]:
        return self.steps[index]

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        s = self.settings
        return (
            f"<Trace of {len(self)}/{self.evaluations} steps: {s.prompt!r}, seed {s.seed},"
            f" {s.guidance!r}>"
        )

    @property
    def latents(self) -> Tensor:
        """The latent after the last step, (B, C, H, W)."""
        last = self.steps[-1].x_next if self.steps else None
        if last is None:
            raise TraceError(
                "this trace holds no step, so it has no latents; run at least one step"
            )
        return last

    @property
    def images(self) -> list[Image.Image]:
        """The finished pictures, one for each image of the batch."""
        if not self.pictures:
            raise TraceError(
                "this run did not reach its end, so it has no picture; try"
                " model.decode(trace.latents)"
            )
        return [image.from_png(content) for content in self.pictures]

    @property
    def image(self) -> Image.Image:
        """The first finished picture."""
        return self.images[0]

    @property
    def forwards(self) -> int:
        """U-Net calls of the kept steps."""
        return sum(step.forwards for step in self.steps)

    @property
    def samples(self) -> int:
        """Batch rows in those calls."""
        return sum(step.samples for step in self.steps)

    @property
    def nbytes(self) -> int:
        """Bytes that the steps hold in memory."""
        return sum(
            value.nbytes
            for step in self.steps
            for name in STORED
            if (value := getattr(step, name)) is not None
        )

    def _repr_html_(self) -> str:
        """The player of at most 20 steps and a megabyte (`to_html` has all); without any kept step
        the finished pictures.
        """
        from sagviz.player import fragment

        if self.steps:
            return fragment(self)
        words = escape(repr(self).strip("<>"), quote=True)
        return (
            "".join(
                f'<img src="{data_uri(content)}" alt="{words}">' for content in self.pictures
            )
            or f"<p>{words}</p>"
        )

    def to_html(self, path: str | Path, **options: Any) -> Path:
        """Write the player: one HTML file that shows every step, needs no kernel and no network,
        and opens on a phone.

        Args:
            path: an .html file in a folder that exists.
            options: `max_bytes` bounds the stored tensors (7.4 MB; fewer steps where all are more),
                `image` is one of a batch.
        """
        from sagviz.player import page

        return page(self, path, **options)

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with a checksum: no pickle, nothing runs when it is loaded.
        The file is whole or absent.
        """
        try:
            return write_whole(path, self.to_bytes())
        except OSError as error:
            raise TraceError(
                f"cannot write the trace to {path}: {error.strerror}; give a folder that exists"
            ) from error

    @staticmethod
    def load(path: str | Path) -> Trace:
        """Read a trace that `save` wrote, bit for bit; refuses damaged and foreign files."""
        try:
            with safe_open(path, "pt") as file:
                notes = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}
        except (OSError, SafetensorError) as error:
            raise TraceError(
                f"{path} cannot be read as a trace ({error}); give a file that Trace.save wrote"
            ) from error
        return _checked(tensors, notes, str(path))

    def to_bytes(self) -> bytes:
        """The content of the file that `save` writes."""
        tensors, meta = _pack(self)
        return to_safetensors(
            tensors, {"format": FORMAT, "meta": meta, "sha256": _checksum(tensors, meta)}
        )

    @staticmethod
    def from_bytes(content: bytes, name: str = "this") -> Trace:
        """The trace in the content of such a file; refuses what is damaged or foreign. `name` is
        for the error.
        """
        try:
            tensors = from_safetensors(content)
            notes = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get(
                "__metadata__", {}
            )
        except (ValueError, SafetensorError) as error:
            raise TraceError(
                f"{name} cannot be read as a trace ({error}); give what Trace.to_bytes gave"
            ) from error
        return _checked(tensors, notes, name)


FORMAT = "sagviz-trace-1"


def _checked(tensors: dict[str, Tensor], notes: dict[str, str], name: str) -> Trace:
    """The trace of a file's tensors and notes, if they are what was written."""
    if notes.get("format") != FORMAT:
        raise TraceError(
            f"{name} is a {notes.get('format', 'safetensors')} file, not a {FORMAT}; make it with"
            " Trace.save"
        )
    if notes.get("sha256") != _checksum(tensors, notes.get("meta", "")):
        raise TraceError(
            f"{name} is damaged: its checksum does not fit; copy it again or run the trace again"
        )
    return _unpack(tensors, notes["meta"])


def _pack(trace: Trace) -> tuple[dict[str, Tensor], str]:
    """Tensors by name and the rest as JSON. A step's x_next is left out where it is the next step's
    x_t.
    """
    tensors: dict[str, Tensor] = {}
    for position, step in enumerate(trace.steps):
        follows = position + 1 < len(trace) and trace[position + 1].index == step.index + 1
        for name in STORED:
            value = getattr(step, name)
            if value is not None and not (name == "x_next" and follows):
                # A copy: the fields of a step share memory, which safetensors refuses.
                tensors[f"{position}.{name}"] = value.clone().contiguous()
        for number, found in enumerate(step.captured.values()):
            for kind, value in found.tensors.items():
                tensors[f"{position}.captured.{number}.{kind}"] = value.clone().contiguous()
    for number, content in enumerate(trace.pictures):
        tensors[f"picture.{number}"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    if trace.latent_rgb is not None:
        tensors["latent_rgb"] = trace.latent_rgb
    rows = [
        {
            "index": step.index,
            "level": asdict(step.level),
            "guidance": step.guidance.to_json(),
            "forwards": step.forwards,
            "samples": step.samples,
            "captured": [
                {"layer": c.layer, "names": c.names, "place": c.place}
                for c in step.captured.values()
            ],
        }
        for step in trace.steps
    ]
    meta = {"settings": trace.settings.to_json(), "evaluations": trace.evaluations, "steps": rows}
    return tensors, json.dumps(meta, sort_keys=True)


def _unpack(tensors: dict[str, Tensor], meta: str) -> Trace:
    content = json.loads(meta)
    steps: list[Step] = []
    for position, row in reversed(list(enumerate(content["steps"]))):
        stored: dict[str, Any] = {name: tensors.get(f"{position}.{name}") for name in STORED}
        if stored["x_next"] is None:
            stored["x_next"] = steps[-1].x_t
        level, guidance = Level(**row.pop("level")), Guidance.from_json(row.pop("guidance"))
        # files of earlier versions have none
        captured = _captured(tensors, position, row.pop("captured", []))
        seed = content["settings"]["seed"]
        steps.append(
            Step(level=level, guidance=guidance, captured=captured, seed=seed, **row, **stored)
        )
    count = sum(name.startswith("picture.") for name in tensors)
    pictures = tuple(tensors[f"picture.{number}"].numpy().tobytes() for number in range(count))
    settings = Settings.from_json(content["settings"])
    return Trace(
        settings,
        tuple(reversed(steps)),
        content["evaluations"],
        pictures,
        tensors.get("latent_rgb"),
    )


def _captured(
    tensors: dict[str, Tensor], position: int, rows: list[dict[str, Any]]
) -> dict[str, Captured]:
    """What was captured in one step, by layer."""
    found: dict[str, Captured] = {}
    for number, row in enumerate(rows):
        kinds = {kind: tensors.get(f"{position}.captured.{number}.{kind}") for kind in KINDS}
        place = row["place"] and (row["place"][0], row["place"][1])
        found[row["layer"]] = Captured(
            layer=row["layer"], names=tuple(row["names"]), place=place, **kinds
        )
    return found


def _checksum(tensors: dict[str, Tensor], meta: str) -> str:
    """SHA-256 over the JSON and over every tensor's name, shape and bytes."""
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
