r"""What a run leaves behind: `Step`, one evaluation under the paper's letters, and `Trace`, all of them with the settings.

A step stores only what cannot be recomputed: x_t, the network's own outputs and the attention map. Everything else is the
method itself, written once, as properties; the sampler reads the same properties that the reader sees.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from sagviz import image
from sagviz.degrade import attended, degrade, gaussian_blur
from sagviz.errors import TraceError
from sagviz.guidance import Guidance
from sagviz.schedule import Level


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    r"""One evaluation. Tensors are (B, C, H, W) float32 in latent units unless said otherwise; `None` where not needed.

    Attributes:
        index: number of the evaluation, from 0.
        level: its time and amplitudes; `t`, `alpha` and `sigma` are shortcuts.
        guidance: the terms that act here.
        x_t: noisy latent.
        out_uncond, out_cond, out_degraded: the network's own outputs (epsilon, v or x_0) for x_t, and for \hat x_t.
        attention: A_t, (B, h, w): attention received per cell of the layer's grid; its mean is 1.
        x_next: the latent that the scheduler made of it.
        forwards, samples: U-Net calls that this step cost, and batch rows in them.
    """

    index: int
    level: Level
    guidance: Guidance
    x_t: Tensor
    out_uncond: Tensor | None = None
    out_cond: Tensor | None = None
    attention: Tensor | None = None
    out_degraded: Tensor | None = None
    x_next: Tensor | None = None
    forwards: int = 0
    samples: int = 0

    @property
    def t(self) -> float:
        return self.level.t

    @property
    def alpha(self) -> float:
        return self.level.alpha

    @property
    def sigma(self) -> float:
        return self.level.sigma

    @property
    def _out_base(self) -> Tensor:
        """The output that guidance starts from: the unconditional one, or the only one."""
        base = self.out_cond if self.out_uncond is None else self.out_uncond
        assert base is not None, "a step without any prediction"
        return base

    @property
    def eps_base(self) -> Tensor:
        """The noise that guidance starts from: unconditional under CFG, else the single branch."""
        return self.level.eps(self.x_t, self._out_base)

    @property
    def eps_uncond(self) -> Tensor | None:
        """epsilon(x_t)."""
        return None if self.out_uncond is None else self.level.eps(self.x_t, self.out_uncond)

    @property
    def eps_cond(self) -> Tensor | None:
        """epsilon(x_t, c)."""
        return None if self.out_cond is None else self.level.eps(self.x_t, self.out_cond)

    @property
    def x0_hat(self) -> Tensor:
        r""":math:`\hat x_0 = (x_t - \sigma \epsilon_{base})/\alpha` (eq. 2)."""
        return self.level.x0(self.x_t, self._out_base)

    @property
    def mask(self) -> Tensor | None:
        """M_t = 1(A_t > psi), (B, 1, H, W), 0 or 1."""
        sag = self.guidance.sag
        if sag is None or self.attention is None:
            return None
        height, width = self.x_t.shape[2:]
        return attended(self.attention, sag.threshold, (height, width))

    @property
    def x0_blurred(self) -> Tensor | None:
        r""":math:`\tilde x_0`: all of x̂_0, blurred."""
        sag = self.guidance.sag
        return None if sag is None else gaussian_blur(self.x0_hat, sag.blur_sigma, sag.blur_kernel)

    @property
    def x_degraded(self) -> Tensor | None:
        r""":math:`\hat x_t`: blurred where the mask is 1, with the same noise put back; exactly x_t elsewhere (eq. 15)."""
        blurred, mask = self.x0_blurred, self.mask
        if blurred is None or mask is None:
            return None
        return degrade(self.x_t, self.level.mix(blurred, self.eps_base), mask)

    @property
    def eps_degraded(self) -> Tensor | None:
        r""":math:`\epsilon(\hat x_t)`, on the branch that guidance starts from."""
        x_degraded = self.x_degraded
        if x_degraded is None or self.out_degraded is None:
            return None
        return self.level.eps(x_degraded, self.out_degraded)

    @property
    def terms(self) -> dict[str, Tensor]:
        """Each guidance term unscaled, in noise units: eps = eps_base + sum of scale x term."""
        return {term.name: term.in_noise(self) for term in self.guidance.terms}

    @property
    def eps(self) -> Tensor:
        r""":math:`\tilde\epsilon = \epsilon_{base} + \sum_k s_k term_k` (eq. 16 for SAG)."""
        return self._sum(self.eps_base, self.terms)

    @property
    def x0_guided(self) -> Tensor:
        r""":math:`(x_t - \sigma\tilde\epsilon)/\alpha`: the clean latent that the guided prediction means.

        v- and x_0-models are guided in x_0 space, the same rule, because at alpha = 0 the noise has lost the image.
        """
        if self.level.prediction == "epsilon":
            return self.level.x0(self.x_t, self.eps)
        return self._sum(self.x0_hat, {term.name: term.in_clean(self) for term in self.guidance.terms})

    @property
    def output(self) -> Tensor:
        """The guided prediction in the network's own kind: what the scheduler is given."""
        return self.eps if self.level.prediction == "epsilon" else self.level.output(self.x_t, self.x0_guided)

    def _sum(self, base: Tensor, terms: dict[str, Tensor]) -> Tensor:
        for term in self.guidance.terms:
            base = base + term.scale * terms[term.name]
        return base


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a run depends on, beside the weights: the same settings give the same latents.

    `size` is (height, width) in pixels; `scheduler` a class name with its configuration; image i of a batch uses seed + i.
    """

    model: str
    prompt: str
    negative_prompt: str
    guidance: Guidance
    steps: int
    seed: int
    images: int
    size: tuple[int, int]
    scheduler: dict[str, Any]
    eta: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "guidance": self.guidance.to_json()}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Settings:
        changed = {"guidance": Guidance.from_json(content["guidance"]), "size": tuple(content["size"])}
        return Settings(**{**content, **changed})


@dataclass(frozen=True, eq=False)
class Trace(Sequence[Step]):
    """A run: its kept steps in order, its settings, its pictures, and a linear map from latents to colours.

    `evaluations` is how many steps the whole run has; an interrupted run or one with `keep` holds fewer. `trace[i]` is the
    i-th kept step; its `index` says which evaluation it was.
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
        return f"<Trace of {len(self)}/{self.evaluations} steps: {s.prompt!r}, seed {s.seed}, {s.guidance!r}>"

    @property
    def latents(self) -> Tensor:
        """The latent after the last step, (B, C, H, W)."""
        last = self.steps[-1].x_next if self.steps else None
        if last is None:
            raise TraceError("this trace holds no step, so it has no latents; run at least one step")
        return last

    @property
    def images(self) -> list[Image.Image]:
        """The finished pictures, one for each image of the batch."""
        if not self.pictures:
            raise TraceError("this run did not reach its end, so it has no picture; try model.decode(trace.latents)")
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

    def _repr_png_(self) -> bytes | None:
        return self.pictures[0] if self.pictures else None

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with a checksum: no pickle, nothing runs when it is loaded. The file is whole or absent."""
        tensors, meta = _pack(self)
        notes = {"format": FORMAT, "meta": meta, "sha256": _checksum(tensors, meta)}
        path = Path(path)
        part = path.with_name(path.name + ".part")
        try:
            part.write_bytes(to_safetensors(tensors, notes))
            os.replace(part, path)
        except OSError as error:
            raise TraceError(f"cannot write the trace to {path}: {error.strerror}; give a folder that exists") from error
        return path

    @staticmethod
    def load(path: str | Path) -> Trace:
        """Read a trace that `save` wrote, bit for bit; refuses damaged and foreign files."""
        tensors: dict[str, Tensor] = {}
        try:
            with safe_open(path, "pt") as file:
                notes = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError) as error:
            raise TraceError(f"{path} cannot be read as a trace ({error}); give a file that Trace.save wrote") from error
        if notes.get("format") != FORMAT:
            raise TraceError(f"{path} is a {notes.get('format', 'safetensors')} file, not a {FORMAT}; make it with Trace.save")
        if notes.get("sha256") != _checksum(tensors, notes["meta"]):
            raise TraceError(f"{path} is damaged: its checksum does not fit; copy it again or run the trace again")
        return _unpack(tensors, notes["meta"])


FORMAT = "sagviz-trace-1"
STORED = ("x_t", "out_uncond", "out_cond", "attention", "out_degraded", "x_next")


def _pack(trace: Trace) -> tuple[dict[str, Tensor], str]:
    """Tensors by name and the rest as JSON. A step's x_next is left out where it is the next step's x_t."""
    tensors: dict[str, Tensor] = {}
    for position, step in enumerate(trace.steps):
        follows = position + 1 < len(trace) and trace[position + 1].index == step.index + 1
        for name in STORED:
            value = getattr(step, name)
            if value is not None and not (name == "x_next" and follows):
                tensors[f"{position}.{name}"] = value.clone().contiguous()  # fields of a step share memory, which safetensors refuses
    for number, content in enumerate(trace.pictures):
        tensors[f"picture.{number}"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    if trace.latent_rgb is not None:
        tensors["latent_rgb"] = trace.latent_rgb
    rows = [{"index": s.index, **asdict(s.level), "forwards": s.forwards, "samples": s.samples} for s in trace.steps]
    meta = {"settings": trace.settings.to_json(), "evaluations": trace.evaluations, "steps": rows}
    return tensors, json.dumps(meta, sort_keys=True)


def _unpack(tensors: dict[str, Tensor], meta: str) -> Trace:
    content = json.loads(meta)
    settings, evaluations = Settings.from_json(content["settings"]), content["evaluations"]
    steps: list[Step] = []
    for position, row in reversed(list(enumerate(content["steps"]))):
        fields_ = {name: tensors.get(f"{position}.{name}") for name in STORED}
        if fields_["x_next"] is None:
            fields_["x_next"] = steps[-1].x_t
        index, counts = row.pop("index"), {key: row.pop(key) for key in ("forwards", "samples")}
        guidance = settings.guidance.at(index / evaluations)
        steps.append(Step(index=index, level=Level(**row), guidance=guidance, **fields_, **counts))  # type: ignore[arg-type]
    count = sum(name.startswith("picture.") for name in tensors)
    pictures = tuple(tensors[f"picture.{number}"].numpy().tobytes() for number in range(count))
    return Trace(settings, tuple(reversed(steps)), evaluations, pictures, tensors.get("latent_rgb"))


def _checksum(tensors: dict[str, Tensor], meta: str) -> str:
    """SHA-256 over the JSON and over every tensor's name, shape and bytes."""
    digest = hashlib.sha256(meta.encode())
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
