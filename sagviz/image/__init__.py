"""Tensors to pictures and back: PIL images, PNG bytes, heat maps, linear previews of latents."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from sagviz.checks import shown
from sagviz.errors import ArgumentError, OutOfMemoryError, SagvizError, is_shortage
from sagviz.image.reading import from_file as from_file
from sagviz.image.reading import from_png as from_png
from sagviz.image.reading import png_start as png_start
from sagviz.image.reading import png_texts as png_texts

# (H, W, 3 or 4) of NumPy, (3 or 4, H, W) of torch, or grey: 0..1 as floats, 0..255 as whole numbers
PictureLike = Image.Image | NDArray[Any] | Tensor
# of true and false or 0 and 1; a picture is black and white
MaskLike = Tensor | NDArray[Any] | Image.Image | Sequence[Any]

MAP_COLOURS = "viridis"  # perceptually uniform and safe for the colour-blind
MASK_COLOUR = (204, 0, 153)  # of masked cells: magenta, which few pictures have
MASK_TINT = 0.5  # its share there
DEEP = "IF"  # first letters of PIL's modes of more than 8 bits, which its `convert` would clip
# of NumPy, torch and PIL
UNREADABLE = TypeError, ValueError, RuntimeError, OSError, MemoryError


def to_images(pixels: Tensor) -> list[Image.Image]:
    """(B, 3, H, W) in [-1, 1] to PIL images."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [Image.fromarray(array) for array in scaled.cpu().numpy()]


def from_images(images: PictureLike | Sequence[PictureLike]) -> Tensor:
    """One picture or several of equal size to (B, 3, H, W) in [-1, 1]; refuses none, and several
    sizes. An array of four dimensions is several.
    """
    one = isinstance(images, Image.Image) or getattr(images, "ndim", 4) < 4
    try:
        pixels = [_pixels(image) for image in ([images] if one else list(images))]  # type: ignore[arg-type]
        if len(sizes := {each.shape for each in pixels}) == 1:
            return torch.stack(pixels)
    except ArgumentError:
        raise
    except UNREADABLE as error:
        advice = "give a picture of PIL, NumPy or torch, such as PIL.Image.open(path)"
        raise _unreadable(error, "the image", images, advice) from error
    raise ArgumentError(
        f"there are {len(pixels)} pictures of {len(sizes)} sizes; give one or more of one size"
    )


def _unreadable(error: BaseException, kind: str, given: object, advice: str) -> SagvizError:
    """The error to raise for what cannot be read: for want of memory, or because it is none."""
    if is_shortage(error):
        return OutOfMemoryError(
            f"no memory left for {kind} {shown(given)}; give a smaller one, or fewer"
        )
    return ArgumentError(f"{kind} is {shown(given)}; {advice}")


def as_image(picture: PictureLike) -> Image.Image:
    """As one of PIL; one of PIL of 8 bits is left as it is. Several are refused."""
    if isinstance(picture, Image.Image) and picture.mode[0] not in DEEP:
        return picture
    found = to_images(from_images(picture))
    if len(found) > 1:
        raise ArgumentError(f"a picture is {len(found)} of them; give one after the other")
    return found[0]


def as_mask(mask: MaskLike) -> Tensor:
    """The mask as 0 and 1 in float32, on the CPU, of the same shape.

    Raises:
        ArgumentError: it is no mask, or has other values.
    """
    try:
        cells = _tensor(_in_8_bits(mask, "L"))
        cells = cells.float() / _top(cells)
    except UNREADABLE as error:
        raise _unreadable(error, "the mask", mask, "give 0 and 1 in latent cells") from error
    if not ((cells == 0) | (cells == 1)).all():
        raise ArgumentError(
            f"the mask, {tuple(cells.shape)}, has other values than 0 and 1; give true and"
            " false, as attention > 1.2 has, or black and white"
        )
    return cells


def as_stencil(mask: MaskLike) -> Tensor:
    """Which pixels are meant, (B, 1, H, W) of 0 and 1 on the CPU, of masks (H, W), (B, H, W) or
    (B, 1, H, W), or of NumPy in colours (H, W, 3 or 4); grey counts as 1 from half on, as in
    diffusers.

    Raises:
        ArgumentError: it is no mask.
    """
    advice = (
        "give (height, width) of 0 and 1, of true and false, of floats from 0 to 1, or a black and"
        " white picture"
    )
    try:
        cells = _tensor(_in_8_bits(mask, "L"))
        top = _top(cells)
        if isinstance(mask, np.ndarray) and cells.dim() == 3 and cells.shape[2] in (3, 4):
            cells = cells[..., :3].float().mean(dim=2)
        flat = cells[:, 0] if cells.dim() == 4 and cells.shape[1] == 1 else cells
        if flat.dim() in (2, 3) and cells.numel() and _within(cells, top):
            return (flat.reshape(-1, 1, *flat.shape[-2:]) >= top / 2).float()
    except UNREADABLE as error:
        raise _unreadable(error, "the mask", mask, advice) from error
    raise ArgumentError(f"the mask is {shown(mask)}; {advice}")


def _top(mask: Tensor) -> int:
    """What stands for 1 in a mask: 255 where whole numbers go beyond 1."""
    whole = mask.dtype != torch.bool and not mask.is_floating_point()
    return 255 if whole and mask.numel() and mask.max() > 1 else 1


def _pixels(picture: PictureLike) -> Tensor:
    """(3, H, W) in [-1, 1]."""
    colours = _tensor(_in_8_bits(picture, "RGB"))
    if colours.dim() == 2:
        colours = colours[None]
    elif not isinstance(picture, Tensor):
        colours = colours.movedim(-1, 0)
    top = 1 if colours.is_floating_point() or colours.dtype == torch.bool else 255
    empty = colours.dim() != 3 or not colours.numel()
    if empty or len(colours) not in (1, 3, 4) or not _within(colours.float(), top):
        raise ArgumentError(
            f"a picture is an array of the shape {tuple(_tensor(picture).shape)}; give one of PIL,"
            " (H, W, 3) of NumPy or (3, H, W) of torch, floats to 1 or whole numbers to 255"
        )
    return colours[:3].expand(3, -1, -1).float() / (top / 2) - 1


def _in_8_bits(picture: Any, mode: str) -> Any:
    """A picture of PIL in this mode; one of more bits as an array, of 16 from 0 to 1."""
    if not isinstance(picture, Image.Image):
        return picture
    if picture.mode[0] not in DEEP:
        return picture.convert(mode)
    levels = np.asarray(picture)
    return levels / 65535 if picture.mode.startswith("I;16") else levels


def as_latents(latents: Any) -> Tensor:
    """Latents of torch or NumPy as a tensor, where they are; what is none is refused."""
    found = as_tensor(latents)
    if not isinstance(found, Tensor) or found.dim() != 4:
        kind = tuple(found.shape) if isinstance(found, Tensor) else shown(latents)
        raise ArgumentError(
            f"latents are {kind}; give a tensor or an array (images, channels, height, width)"
        )
    return found


def as_tensor(value: Any) -> Any:
    """An array of NumPy as a tensor, also one that may only be read or runs backwards; anything
    else, and an array of words, as it is.
    """
    with suppress(TypeError):
        return _tensor(value) if isinstance(value, np.ndarray) else value
    return value


def _within(values: Tensor, top: int) -> bool:
    return bool(((values >= 0) & (values <= top)).all())


def _tensor(value: Any) -> Tensor:
    """Of what torch, NumPy or PIL have, on the CPU; NumPy's may be read-only or run backwards."""
    return value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.array(value))


def to_png(
    image: Image.Image, notes: dict[str, str] | None = None, *, quick: bool = False
) -> bytes:
    """PNG bytes; `notes` go into the file's text chunks. `quick` takes half the time or less, for a
    tenth more bytes.
    """
    info = PngInfo()
    for key, value in (notes or {}).items():
        info.add_itxt(key, value)
    return _encoded(image, "PNG", pnginfo=info, compress_level=1 if quick else 6)


def to_jpeg(image: Image.Image) -> bytes:
    """JPEG bytes, for pictures that are shown once: encoded in a tenth of PNG's time."""
    return _encoded(image, "JPEG", quality=90)


def to_webp(image: Image.Image, longest: int | None = None) -> bytes:
    """WebP bytes, for pictures that are stored in pages: a tenth of PNG's size, without a visible
    difference.

    `longest` bounds the longer side, in pixels.
    """
    if longest is not None:
        image = image.copy()
        image.thumbnail((longest, longest))
    return _encoded(image, "WEBP", quality=90)


def fit_latent_rgb(latents: Tensor, images: list[Image.Image]) -> Tensor:
    """Least-squares map from a latent's channels to colour, (C + 1, 3), fitted on pictures and
    their latents (B, C, H, W).
    """
    height, width = latents.shape[2:]
    small = [image.convert("RGB").resize((width, height), Image.Resampling.BOX) for image in images]
    colours = from_images(small).permute(0, 2, 3, 1).reshape(-1, 3)
    numbers = latents.float().permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    design = torch.cat([numbers, numbers.new_ones(len(numbers), 1)], dim=1)
    # a flat picture must not explode
    ridge = 1e-3 * len(design) * torch.eye(len(design.T), device="cpu", dtype=torch.float32)
    with torch.autocast("cpu", enabled=False):
        return torch.linalg.solve(design.T @ design + ridge, design.T @ colours).contiguous()


def preview(latents: Tensor, latent_rgb: Tensor) -> list[Image.Image]:
    """Latents (B, C, H, W) as small pictures of H x W, without a decoder."""
    flat = latents.float().permute(0, 2, 3, 1)
    with torch.autocast("cpu", enabled=False):
        return to_images((flat @ latent_rgb[:-1] + latent_rgb[-1]).permute(0, 3, 1, 2))


def enlarge(image: Image.Image, side: int) -> Image.Image:
    """The picture with its shorter side at least `side`, by a whole factor, pixels kept square and
    sharp.
    """
    factor = max(1, -(-side // min(image.size)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def heat_map(
    values: Tensor, low: float, high: float, colours: str = MAP_COLOURS
) -> NDArray[np.uint8]:
    """(h, w) to RGB uint8 (h, w, 3); the scale is given, so that maps can be compared."""
    from matplotlib import colormaps  # a second's import, which the first picture need not wait for

    scaled = (values.float().numpy() - low) / (high - low or 1)
    coloured = colormaps[colours](scaled.clip(0, 1))
    return (coloured[..., :3] * 255).round().astype(np.uint8)


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
