"""`estimate`: what memory a run would take, without running it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sagviz.attention.capture import Capture
from sagviz.checks import format_bytes, format_dtype, names_arguments
from sagviz.guidance import Guidance, Term
from sagviz.html import table
from sagviz.image import MaskLike
from sagviz.models import Model
from sagviz.models.memory import weight_bytes
from sagviz.models.offload import is_offloaded
from sagviz.models.unfit import network_word
from sagviz.sampling.given import Pictures
from sagviz.sampling.keep import kept_steps, record_bytes
from sagviz.sampling.prepare import Run, prepare


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The memory that runs need, in bytes.

    Attributes:
        model: what it is about; `dtype`: its number format; `size`: (height, width) in pixels.
        images: pictures, of all runs together.
        rows: rows of the largest network call.
        weights: of each network; `network`: which of them predicts.
        unet: activations at the peak of that call.
        captured: what a `Capture` reads in one step.
        decoding: activations at the peak of decoding one picture, with the VAE's weights once more
            where they are put in float32; `tiled` the same in tiles.
        records: what the kept steps hold on the CPU.
        offloaded: whether the networks visit the device in turn.
        room: what of the device is free or held by these networks; `None` where the device does not
            say.
    """

    model: str
    dtype: str
    size: tuple[int, int]
    images: int
    rows: int
    weights: Mapping[str, int]
    unet: int
    captured: int
    decoding: int
    tiled: int
    records: int
    offloaded: bool
    room: int | None = None
    network: str = "unet"

    @property
    def peak(self) -> int:
        """The most that the device holds at once, if pictures are decoded whole."""
        return self._peak(self.decoding)

    @property
    def least(self) -> int:
        """The same where they are decoded in tiles, for want of memory."""
        return self._peak(self.tiled)

    def _peak(self, decoding: int) -> int:
        together = sum(self.weights.values())
        at = {name: held if self.offloaded else together for name, held in self.weights.items()}
        return max(
            at[self.network] + self.unet + self.captured, at.get("vae", 0) + decoding, *at.values()
        )

    def _lines(self) -> list[tuple[str, int]]:
        lines = [(f"weights: {name}", held) for name, held in self.weights.items()]
        lines += [(f"a {network_word(self.network)} call of {self.rows} rows", self.unet)]
        lines += [("captured in a step", self.captured)] * bool(self.captured)
        lines += [
            ("decoding a picture", self.decoding),
            ("decoding a picture in tiles", self.tiled),
        ]
        lines += [("on the device at once", self.peak)] + [("with tiles", self.least)] * (
            self.least < self.peak
        )
        lines += [] if self.room is None else [("free there", self.room)]
        return [*lines, ("records on the CPU", self.records)]

    def _title(self) -> str:
        (height, width), way = self.size, ", one network at a time" * self.offloaded
        return f"{self.model}: {self.images} of {height} x {width} pixels in {self.dtype}{way}"

    def __str__(self) -> str:
        return "\n".join(
            [
                self._title(),
                *(f"  {name:30}{format_bytes(amount):>12}" for name, amount in self._lines()),
            ]
        )

    def _repr_html_(self) -> str:
        return table([(n, format_bytes(amount)) for n, amount in self._lines()], self._title())


def estimated(runs: Sequence[Run], records: int = 0, *, tiled: bool = True) -> Estimate:
    """What runs in lockstep need, if they share no rows. Without `tiled` that is not looked into,
    which takes its time.
    """
    model, settings = runs[0].model, runs[0].settings
    latent, rows = model.latent_shape(settings.size), sum(map(_rows, runs))
    held = {name: weight_bytes(network) for name, network in model.networks.items()}
    whole, in_tiles = (model.decoding_bytes(latent, way) for way in (False, tiled))
    return Estimate(
        model=model.name,
        dtype=format_dtype(model.dtype),
        size=settings.size,
        images=sum(run.settings.images for run in runs),
        rows=rows,
        weights=held,
        unet=model.network_bytes(rows, latent),
        captured=sum(map(_captured, runs)),
        decoding=whole,
        tiled=in_tiles,
        records=records,
        offloaded=is_offloaded(model.network),
        room=free_bytes(model),
        network=model.NETWORK,
    )


def _rows(run: Run) -> int:
    """Rows of a run's largest call: the branches and what terms request beside them, or what they
    request in the second pass.
    """
    guidance = run.settings.guidance
    asking = [term for term in guidance.terms if type(term).request is not Term.request]
    first, second = (
        sum(1 + term.reads_negative_prompt for term in asking if term.second_pass == later)
        for later in (False, True)
    )
    return run.settings.images * max(1 + guidance.needs_both_branches + first, second)


def _captured(run: Run) -> int:
    if run.capture is None:
        return 0
    return run.capture.bytes(
        run.model, run.settings.prompt, size=run.settings.size, images=run.settings.images
    )


def free_bytes(model: Model) -> int | None:
    """Bytes of a GPU that are free, that torch keeps for itself, or that this model's networks
    hold; no more than `torch.cuda.set_per_process_memory_fraction` allows this process.
    """
    device = model.device
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    if hasattr(torch.cuda, "get_per_process_memory_fraction"):  # older ones do not tell
        index = torch.cuda.current_device() if device.index is None else device.index
        allowed = int(torch.cuda.get_per_process_memory_fraction(index) * total)
        free = min(free, max(0, allowed - reserved))
    spare = reserved - torch.cuda.memory_allocated(device)
    held = [
        part
        for network in model.networks.values()
        for part in network.parameters()
        if part.device.type == "cuda"
    ]
    return free + spare + sum(part.numel() * part.element_size() for part in held)


@names_arguments()
def estimate(
    model: Model,
    prompt: str = "",
    *,
    negative_prompt: str = "",
    guidance: Guidance | Term | None = None,
    steps: int = 50,
    seed: int | None = 0,
    images: int = 1,
    size: tuple[int, int] | None = None,
    scheduler: object = None,
    eta: float = 0.0,
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    noise: Tensor | None = None,
    prompt_embeds: Tensor | None = None,
    negative_prompt_embeds: Tensor | None = None,
    pooled_prompt_embeds: Tensor | None = None,
    negative_pooled_prompt_embeds: Tensor | None = None,
    image: Pictures | None = None,
    strength: float | None = None,
    paint: MaskLike | None = None,
    capture: Capture | None = None,
    keep: int | Collection[int] | None = None,
) -> Estimate:
    """The memory of a run, before it: on the device and, for its records, on the CPU.

    The networks' own code runs without numbers, on torch's meta device, and the bytes that live at
    once are counted: some seconds for SDXL, no memory, no GPU. A model that was loaded with
    `device="meta"` has read its configuration alone.

    Attention counts as PyTorch's fused kernels take it, without its N x N map. For a GPU, decoding
    counts with the workspaces of cuDNN, as measured in docs/gpu.md. CUDA's own context (some 0.4
    GiB) and gaps between allocations come on top.

    Args:
        model: from `load`.
        prompt: counts where a `Capture` keeps attention to its words.
        negative_prompt, guidance, steps, seed, images, size, scheduler, eta, clip_skip, timesteps,
            noise, prompt_embeds, negative_prompt_embeds, pooled_prompt_embeds,
            negative_pooled_prompt_embeds, image, strength, paint, capture, keep: as for `trace`.

    Raises:
        ArgumentError: what `trace` would refuse as well, but for runs that are too large.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> need = sv.estimate(sv.load(device="meta"), guidance=CFG(3.0) + SAG(1.0), images=4)
        >>> need.rows, need.peak > sum(need.weights.values())
        (8, True)
    """
    run = prepare(
        model,
        prompt,
        negative_prompt=negative_prompt,
        guidance=guidance,
        steps=steps,
        seed=seed,
        images=images,
        size=size,
        scheduler=scheduler,
        eta=eta,
        clip_skip=clip_skip,
        timesteps=timesteps,
        noise=noise,
        prompt_embeds=prompt_embeds,
        negative_prompt_embeds=negative_prompt_embeds,
        pooled_prompt_embeds=pooled_prompt_embeds,
        negative_pooled_prompt_embeds=negative_pooled_prompt_embeds,
        image=image,
        strength=strength,
        paint=paint,
        capture=capture,
    )
    return estimated([run], records=len(kept_steps(keep, run.evaluations)) * record_bytes(run))
