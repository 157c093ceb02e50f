"""Capture of all self-attention maps of one step, beside attention-map-diffusers, on one random
U-Net of Stable Diffusion 1.5's size and for its pictures, 64 x 64 latent cells.

Both run the same step of one picture, without guidance, and end with every map on the CPU in
float32, averaged over its heads. The peer does so in either of its modes: "fast", its own choice,
keeps queries and keys and computes the maps afterwards; "exact" computes them on the way. It is
installed beside the environment and not in it, as it asks for another torchvision and more than
it needs for this: `make build/peer`.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmarks.bounds import bounded
from benchmarks.engine import repeats, timed
from benchmarks.large import large_pipe
from diffusers.utils import logging
from evidence import Line, record
from instruments import peak_memory
from torch import Tensor

import sagviz as sv

PEER = Path(__file__).parents[2] / "build" / "peer"
PROMPT, CELLS = "a fox on a blue background", 64
WORDS = f"all self-attention maps of a step, SD 1.5 size at {CELLS} x {CELLS} cells"
Maps = dict[str, Tensor]  # by layer, (1, queries, keys)


def ours(model: sv.Model, pixels: int, noise: Tensor) -> Maps:
    read = sv.Capture("all", "maps")
    size = (pixels, pixels)
    (step,) = sv.steps(model, PROMPT, steps=1, size=size, noise=noise, capture=read)
    return {layer: found.maps for layer, found in step.captured.items()}


def theirs(pipe: Any, pixels: int, noise: Tensor, mode: str) -> Maps:
    from attention_map_diffusers import AttentionCapture

    with AttentionCapture(pipe, relations=["image->image"], mode=mode) as capture:
        pipe(
            PROMPT,
            num_inference_steps=1,
            guidance_scale=1.0,
            latents=noise,
            height=pixels,
            width=pixels,
            output_type="latent",
        )
    maps = capture.compute()
    return {each.layer_id.removeprefix("unet."): each.data[:, 0] for each in maps.records}


def peak(action: Callable[[], Any]) -> float:
    """MiB at once, in torch's allocator."""
    gc.collect()
    return peak_memory(action) / 2**20


def beside(mode: str, own: Callable[[], Maps], other: Callable[[], Maps]) -> list[Line]:
    (mine, maps), (peer, found) = timed(max(2, repeats() // 2), own, other, warm=True)
    assert maps.keys() == found.keys()
    apart = max(float((maps[layer] - found[layer]).abs().max()) for layer in maps)
    largest = max(float(each.max()) for each in maps.values())
    del maps, found
    held, held_by_peer = peak(own), peak(other)
    name = f'attention-map-diffusers, mode "{mode}"'
    return [
        bounded(
            f"{WORDS}, time over that of {name}",
            mine / peer,
            "<= 1",
            f"{mine / peer:.2f} ({mine:.2f} s beside {peer:.2f} s)",
        ),
        bounded(
            f"the same, peak memory over that of {name}",
            held / held_by_peer,
            "<= 0.5",
            f"{held / held_by_peer:.2f} ({held:,.0f} MiB beside {held_by_peer:,.0f} MiB)",
        ),
        bounded(
            "the same, largest difference of a probability, over the largest probability",
            apart / largest,
            "<= 1e-4",
            f"{apart / largest:.1e}",
        ),
    ]


def main() -> None:
    logging.set_verbosity_error()
    if not PEER.is_dir():
        sys.exit(f"attention-map-diffusers is not in {PEER}; make build/peer puts it there")
    sys.path.append(str(PEER))
    with tempfile.TemporaryDirectory() as folder:
        pipe = large_pipe(Path(folder) / "words")
    model, noise = sv.load(pipe), torch.randn(1, 4, CELLS, CELLS)
    pixels = CELLS * model.pixels_per_cell

    lines = []
    for mode in ("fast", "exact"):
        lines += beside(
            mode,
            lambda: ours(model, pixels, noise),
            lambda mode=mode: theirs(pipe, pixels, noise, mode),  # type: ignore[misc]
        )
    record("Capture beside a peer", "make bench TABLES=peer", lines)


if __name__ == "__main__":
    main()
