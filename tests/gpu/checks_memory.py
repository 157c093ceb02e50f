"""Memory: told beforehand, refused beforehand, run out of half-way, spared by offloading."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from gpu.families import NAMES
from gpu.rows import Row, needs_cuda, row
from gpu.stage import MIB, PROMPT, Stage, both, final, heard, run
from torch import Tensor

import sagviz as sv
from sagviz.errors import ArgumentError, OutOfMemoryError
from sagviz.image import to_images
from sagviz.models.memory import in_tiles
from sagviz.models.offload import visit_in_turn
from sagviz.sampling.estimate import free_bytes

GIB = 2**30
SIZES = {"sd15": (512, 512), "sdxl": (1024, 1024)}
AIM = "within 15 %"


def estimates(stage: Stage, family: str) -> Iterator[Row]:
    """What `estimate` tells, beside what torch's allocator held at the peak."""
    name = NAMES[family]
    if not stage.cuda:
        yield needs_cuda(f"{name}: peak memory beside `estimate`", AIM)
        return
    model, size = stage.model(family, torch.float16), stage.choose(SIZES[family], None)
    for images in (1, 4):
        yield from _peaks(stage, model, name, size=size, images=images)
    large = tuple(2 * side for side in SIZES["sd15"])
    yield from _decoding(stage, model, name, stage.choose(large, (64, 64)))
    if family == "sd15":
        visit_in_turn(list(model.networks.values()), stage.device)
        yield from _peaks(stage, model, f"{name}, one network at a time", size=size, images=1)
        stage.free()


def _peaks(stage: Stage, model: sv.Model, name: str, **options: Any) -> Iterator[Row]:
    """All that the device holds at once, and the part of the U-Net's call."""
    told = sv.estimate(model, PROMPT, guidance=both(model), steps=2, **options)

    def whole() -> None:
        sv.trace(model, PROMPT, guidance=both(model), steps=2, progress=False, **options)

    whole()
    stage.clean()
    others, before = stage.allocated() - _on_gpu(model), stage.allocated()
    what = f"{name}: {options['images']} pictures of {told.size[0]} x {told.size[1]}"
    yield _told(f"{what}, all at once", stage.peak(whole) - others, told.peak)
    if not told.offloaded:
        unet = stage.peak(lambda: run(model, steps=2, **options)) - before
        yield _told(f"{what}, U-Net call of {told.rows} rows beside weights", unet, told.unet)


def _on_gpu(model: sv.Model) -> int:
    parts = [p for network in model.networks.values() for p in network.parameters()]
    return sum(part.numel() * part.element_size() for part in parts if part.is_cuda)


def _decoding(stage: Stage, model: sv.Model, name: str, size: tuple[int, int]) -> Iterator[Row]:
    told = sv.estimate(model, steps=1, size=size)
    latents = torch.randn(1, *model.latent_shape(size))
    for tiled, aim in ((False, told.decoding), (True, told.tiled)):
        whole = model.vae
        model.vae = in_tiles(whole) if tiled else whole
        model.decode(latents)
        before = stage.allocated()
        found = stage.peak(lambda: model.decode(latents)) - before
        model.vae = whole
        way = "in tiles" if tiled else "whole"
        yield _told(f"{name}: decoding {size[0]} x {size[1]} {way}, beside weights", found, aim)


def _told(what: str, found: int, told: int) -> Row:
    off = found / told - 1
    return row(
        what,
        f"{off:+.1%}",
        AIM,
        abs(off) <= 0.15,
        f"{found / MIB:,.0f} MiB, told {told / MIB:,.0f} MiB",
        found=found,
        told=told,
    )


@contextmanager
def _fraction(size: int, _: object = None) -> Iterator[None]:
    """Torch may take so much of the card, and no more."""
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@contextmanager
def _ballast(size: int, model: sv.Model) -> Iterator[None]:
    """So much of the card is free or the model's, and something else has the rest."""
    rest = torch.empty((free_bytes(model) or 0) - size, dtype=torch.uint8, device="cuda")
    try:
        yield
    finally:
        del rest
        torch.cuda.empty_cache()


WAYS: dict[str, Callable[[int, sv.Model], AbstractContextManager[None]]] = {
    "a memory fraction": _fraction,
    "the rest of the card taken": _ballast,
}


def refusal(stage: Stage) -> Iterator[Row]:
    """On a card of 8 or 16 GiB: what does not fit is refused before it begins, what fits runs."""
    if not stage.cuda:
        yield needs_cuda("refusal of what does not fit", "refused, runs")
        return
    model = stage.model("sd15", torch.float16)
    told = sv.estimate(model, guidance=both(model), steps=1, images=4)
    weights, image = sum(told.weights.values()), told.unet / 4
    for gib in (8, 16):
        large = int(1.2 * (gib * GIB - weights) / image)
        fitting = int(0.7 * (gib * GIB - weights) / image)
        for way, limited in WAYS.items():
            stage.clean()
            with limited(gib * GIB, model):
                room = free_bytes(model) or 0
                ends = [_attempt(stage, model, images) for images in (large, fitting)]
            yield row(
                f"{NAMES['sd15']}, 512 x 512, {gib} GiB by {way}: {large} and {fitting} pictures",
                " / ".join(ends),
                "refused / runs",
                ends == ["refused", "runs"],
                f"the package counts on {room / GIB:.1f} GiB",
            )


def _attempt(stage: Stage, model: sv.Model, images: int) -> str:
    try:
        run(model, images=images, steps=1)
    except ArgumentError as error:
        return "refused" if "are there" in str(error) else f"refused otherwise: {error}"
    except OutOfMemoryError:
        return "no memory half-way"
    finally:
        stage.clean()
    return "runs"


class Breaks:
    """Before the U-Net's middle: one call holds an activation and asks for all memory there is."""

    def __init__(self, stage: Stage, model: sv.Model, call: int) -> None:
        self.stage, self.call, self.made = stage, call, 0
        self.handle = model.unet.mid_block.register_forward_pre_hook(self.count)

    def count(self, *_: object) -> None:
        self.made += 1
        taken: list[Tensor] = []
        while self.made == self.call:
            size = GIB if self.stage.cuda else 2**50  # a pebibyte, which no CPU has
            taken.append(torch.empty(size, dtype=torch.uint8, device=self.stage.device))


def broken_off(stage: Stage) -> Iterator[Row]:
    """No memory in the middle of a run: a sentence, and afterwards all is as it was."""
    model = stage.model("sd15", stage.short)
    expected = final(run(model))
    stage.clean()
    before, said, there = stage.allocated(), "nothing was raised", -1
    breaks = Breaks(stage, model, 3)
    try:
        with _fraction(8 * GIB) if stage.cuda else nullcontext():
            run(model)
    except OutOfMemoryError as error:
        stage.clean()
        said, there = str(error), stage.allocated()
    finally:
        breaks.handle.remove()
    again = torch.equal(final(run(model)), expected)
    stage.clean()
    left = stage.allocated() - before
    yield row(
        f"{NAMES['sd15']}: no memory in step 2; held while the error is there, afterwards",
        f"{(there - before) / MIB:.0f} MiB more, {left / MIB:.0f} MiB more;"
        f" next run {'the same bits' if again else 'differs'}",
        "under 1 MiB more, the same bits",
        max(abs(there - before), abs(left)) < MIB and again,
        said,
    )


@torch.no_grad()
def overflow(stage: Stage) -> Iterator[Row]:
    """A VAE that overflows in float16 is decoded in float32."""
    model = stage.model("sd15", torch.float16)
    own, size = model.vae, stage.choose((256, 256), (32, 32))
    model.vae = copy.deepcopy(own)
    model.vae.decoder.conv_in.weight.mul_(1e5)
    latents = torch.randn(1, *model.latent_shape(size), generator=torch.Generator().manual_seed(7))
    try:
        with heard() as said:
            ours = model.decode(latents)[0]
        whole = model.vae.float()
        unscaled = (latents / whole.config.scaling_factor).to(stage.device)
        theirs = to_images(whole.decode(unscaled).sample)[0]
    finally:
        model.vae = own
    apart = int(np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max())
    told = any("overflowed in float16" in each for each in said)
    yield row(
        f"{NAMES['sd15']}: a picture that overflows in float16, beside one in float32",
        f"{'told, ' if told else 'not told, '}largest difference {apart} of 255",
        "told, <= 1",
        told and apart <= 1,
        "; ".join(said),
    )


def offload(stage: Stage) -> Iterator[Row]:
    """`load(..., offload=True)`: the same latents, and the networks wait on the CPU."""
    what = "miniature: offload=True, latents beside those without"
    if not stage.cuda:
        yield needs_cuda(what, "equal, at most one network on the GPU")
        return
    model, steps = stage.miniature(offload=True), 5
    same = torch.equal(final(run(model, steps=steps)), final(run(stage.miniature(), steps=steps)))
    there = [n for n, part in model.networks.items() if next(part.parameters()).is_cuda]
    yield row(
        what,
        f"{'equal' if same else 'differ'}; on the GPU: {', '.join(there) or 'none'}",
        "equal, at most one network on the GPU",
        same and len(there) <= 1,
    )
