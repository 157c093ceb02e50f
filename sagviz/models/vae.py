"""From latents to pixels and back where memory is short and float16 overflows: picture by picture,
in float32, in tiles.

The VAE is left as it was found, for others that use it meanwhile as well: its number format, its
weights to the bit, its own tiling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sagviz.checks import format_dtype
from sagviz.diffusion.precision import exact
from sagviz.diffusion.seeds import normal
from sagviz.errors import NotFiniteError, is_shortage, warn
from sagviz.models.memory import has_tiles, in_tiles, pixels_per_cell
from sagviz.models.offload import execution_device
from sagviz.models.oom import free_memory
from sagviz.models.twin import twin

# pixels of the largest picture that is decoded in one piece, where there is memory: 2048 x 1024
WHOLE = 2**21


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """(B, C, H, W) latents as the VAE knows them to pixels (B, 3, H', W') about [-1, 1], float32 on
    the CPU.

    Raises:
        NotFiniteError: a picture holds NaN or infinity, in float32 too.
    """
    with _in_float32(vae, is_upcast(vae)) as own:
        return torch.cat([_finite(own, row) for row in latents.split(1)])


def encoded(vae: Any, pixels: Tensor, drawn_by: Sequence[torch.Generator] | None = None) -> Tensor:
    """Pixels (B, 3, H, W) in [-1, 1] to the most likely latents, or to those that these generators
    draw, one row each, float32 on the CPU.
    """
    with _in_float32(vae, is_upcast(vae)) as own:
        found = own.encode(pixels.to(execution_device(own), own.dtype))
        if hasattr(found, "latents"):  # tiny ones have no spread
            return found.latents.float().cpu()
        if drawn_by is None:
            return found.latent_dist.mode().float().cpu()
        mean, spread = (
            part.float().cpu() for part in (found.latent_dist.mean, found.latent_dist.std)
        )
    return mean + spread * torch.stack([normal(mean.shape[1:], each) for each in drawn_by])


def is_upcast(vae: Any) -> bool:
    """Whether a VAE works in float32 though its weights may be in float16: it was published with
    the note that it overflows there, as SDXL's was. diffusers' pipeline puts such a one in float32
    and back, and may be at it in another thread.

    diffusers takes a configuration that says nothing, as that of Stable Diffusion 1.x does, for a
    yes; those do not overflow.
    """
    stated = "force_upcast" not in vae.config.get("_use_default_values", ())
    plain = _formats(vae) <= {torch.float16, torch.float32}
    return plain and stated and bool(vae.config.get("force_upcast"))


def _formats(vae: Any) -> set[torch.dtype]:
    """Of its weights; one that stores some in another format than it computes in stays so."""
    return {part.dtype for part in vae.parameters()}


def _finite(vae: Any, row: Tensor) -> Tensor:
    """One picture; one that overflows in float16 is decoded again in float32."""
    if not row.isfinite().all():
        raise NotFiniteError(
            "the latents to be decoded hold NaN or infinity; look for the first step where x_next"
            " does"
        )
    pixels = _pixels(vae, row)
    if pixels.isfinite().all():
        return pixels
    if _formats(vae) == {torch.float16}:
        warn("the VAE overflowed in float16; this picture was decoded again in float32")
        with _in_float32(vae) as own:
            pixels = _pixels(own, row)
    if not pixels.isfinite().all():
        raise NotFiniteError(
            f"the VAE gives NaN or infinity in {format_dtype(vae.dtype)} for latents"
            f" up to {float(row.abs().max()):.3g}; too high a scale makes such latents, and a"
            " damaged VAE has to be fetched again"
        )
    return pixels


def _pixels(vae: Any, row: Tensor) -> Tensor:
    """One picture in one piece where that goes, else in tiles, which differ a little in tone;
    float32 on the CPU.
    """

    def decode(vae: Any) -> Tensor:
        return vae.decode(row.to(execution_device(vae), vae.dtype)).sample.float().cpu()

    if not has_tiles(vae) or vae.use_tiling:
        return decode(vae)
    if row[0, 0].numel() * pixels_per_cell(vae) ** 2 <= WHOLE:
        try:
            return decode(vae)
        except Exception as error:
            if not is_shortage(error):
                raise
            free_memory(error)
        warn("the picture was decoded in tiles, for want of memory")
    return decode(in_tiles(vae))


@contextmanager
def _in_float32(vae: Any, wanted: bool = True) -> Iterator[Any]:
    """The VAE as one that works in float32; the VAE itself where that is not wanted."""
    if not wanted:
        yield vae
        return
    own = twin(vae)
    with exact(execution_device(own)):
        yield own
