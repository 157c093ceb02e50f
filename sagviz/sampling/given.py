"""What a run is given beside texts and numbers, checked: embeddings, noise, a picture, a mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional as F

from sagviz.attention.capture import Capture
from sagviz.checks import check_size, shown
from sagviz.errors import ArgumentError, warn
from sagviz.guidance import Guidance
from sagviz.image import MaskLike, PictureLike, as_stencil, from_images
from sagviz.models import Model
from sagviz.records.settings import EMBEDDINGS, NEGATIVE, OF_PROMPT, Text
from sagviz.sampling.checks import checked_noise
from sagviz.sampling.inputs import Inputs

Pictures = PictureLike | Sequence[PictureLike]


def given_inputs(
    model: Model,
    *,
    size: object,
    seeds: range,
    embeddings: Mapping[str, Tensor],
    noise: object = None,
    image: Pictures | None = None,
    paint: MaskLike | None = None,
) -> Inputs:
    """What a run is given, with embeddings that were checked. It has the size that was asked for,
    else that of the picture, else the model's own.

    Raises:
        ArgumentError: something does not fit; it says what would.
    """
    images, unit = len(seeds), model.size_unit
    wanted = None if size is None else check_size(size, unit, model.default_size)
    pixels = None if image is None else _pixels(image, images, unit, wanted)
    if pixels is not None:
        wanted = pixels.shape[2], pixels.shape[3]
    pictured = model.default_size if wanted is None else wanted
    shape = model.latent_shape(pictured)
    return Inputs(
        model=model,
        size=pictured,
        seeds=seeds,
        embeddings=embeddings,
        noise=None if noise is None else checked_noise(noise, (images, *shape)),
        pixels=pixels,
        paint=None if paint is None else _cells(paint, pixels, images, shape[1:]),
    )


def _pixels(image: Pictures, images: int, unit: int, wanted: tuple[int, int] | None) -> Tensor:
    """One picture for all images or one for each, (1 or images, 3, H, W) in [-1, 1]."""
    pixels = from_images(image)
    height, width = pixels.shape[2:]
    fitting = tuple(max(unit, round(side / unit) * unit) for side in (height, width))
    if (height, width) != (fitting if wanted is None else wanted):
        high, wide = fitting if wanted is None else wanted
        why = f"sides that are multiples of {unit}" if wanted is None else f"size={wanted}"
        raise ArgumentError(
            f"image has {height} x {width} pixels, and the run needs {why}; give it as"
            f" image.resize(({wide}, {high})), in PIL's order"
        )
    return _for_all("image", pixels, images)


def _cells(paint: MaskLike, pixels: Tensor | None, images: int, cells: tuple[int, int]) -> Tensor:
    """The mask in cells of the latent, each as the pixel at its corner, as in diffusers."""
    if pixels is None:
        raise ArgumentError("paint is given without image=, the picture that stays outside of it")
    mask = as_stencil(paint)
    if mask.shape[2:] != pixels.shape[2:]:
        raise ArgumentError(
            f"paint has {mask.shape[2]} x {mask.shape[3]} pixels, and the picture"
            f" {pixels.shape[2]} x {pixels.shape[3]}; give a mask of the picture's size"
        )
    return F.interpolate(_for_all("paint", mask, images), size=cells)


def _for_all(name: str, rows: Tensor, images: int) -> Tensor:
    if len(rows) not in (1, images):
        raise ArgumentError(
            f"{name} is {len(rows)} pictures, and the run makes {images} images; give one for all,"
            " or one for each"
        )
    return rows


def checked_embeddings(
    model: Model,
    guidance: Guidance,
    prompts: Mapping[str, Text],
    images: int,
    given: Mapping[str, object],
    *,
    warns: bool,
) -> dict[str, Tensor]:
    """The embeddings that were given, float32 on the CPU.

    Args:
        prompts: what they take the place of: "" and "negative_" to the text of that branch.
        images: they are of one row, or of so many.
        given: by the names in `EMBEDDINGS`; `None` is not given.
        warns: whether to warn of what does nothing.

    Raises:
        ArgumentError: one does not fit the model, the other ones, or a text beside it.
    """
    there = {name: given[name] for name in EMBEDDINGS if given[name] is not None}
    if not there:
        return {}
    if not model.embedding_widths:
        instead = "is run with texts alone; give prompt=" if model.reads_text else "reads no text"
        raise ArgumentError(f"{min(there)} is given, and {model.name} {instead}; leave it out")
    found = {name: _checked(model, name, value, images) for name, value in there.items()}
    for sign, text in prompts.items():
        _check_branch(model, sign, text, found)
    alone = all(name.startswith(NEGATIVE) for name in found)
    if warns and alone and not guidance.reads_negative_prompt:
        warn("negative_prompt_embeds does nothing without CFG; add CFG(3.0) to the guidance")
    return found


def check_words(capture: Capture, embeddings: Mapping[str, Tensor]) -> None:
    """Refuse to read attention to words where there are none."""
    if "words" in capture.what and OF_PROMPT[0] in embeddings:
        raise ArgumentError(
            "capture asks for the attention to words, and prompt_embeds has none to name; give"
            " prompt=, or capture without 'words'"
        )


def _checked(model: Model, name: str, value: object, images: int) -> Tensor:
    pooled = "pooled" in name
    widths = dict(zip((False, True), model.embedding_widths, strict=False))
    if pooled not in widths:
        raise ArgumentError(f"{name} is given, and {model.name} has no use for it; leave it out")
    wanted = f"(1 or {images}, {'' if pooled else 'tokens, '}{widths[pooled]})"
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{name} is {shown(value)}; give a tensor {wanted}")
    shape = tuple(value.shape)
    fits = len(shape) == 3 - pooled and shape[0] in (1, images) and shape[-1] == widths[pooled]
    if not fits or not value.isfinite().all():
        state = "" if value.isfinite().all() else " and NaN or infinity in it"
        raise ArgumentError(f"{name} has the shape {shape}{state}; {model.name} takes {wanted}")
    return value.detach().float().cpu().clone()


def _check_branch(model: Model, sign: str, text: Text, found: Mapping[str, Tensor]) -> None:
    """Refuse embeddings of a branch that are not all there, or beside a text for the same."""
    names = [sign + name for name in OF_PROMPT[: len(model.embedding_widths)]]
    there = [name for name in names if name in found]
    if there and there != names:
        raise ArgumentError(
            f"{there[0]} is given alone, and {model.name} takes {' and '.join(names)}; give both"
        )
    other = f"{sign}prompt" if text.words else "clip_skip" if text.clip_skip is not None else None
    if there and other:
        raise ArgumentError(f"{other} and {there[0]} are both given; give one of the two")


def check_lengths(model: Model, guidance: Guidance, found: Mapping[str, Tensor]) -> None:
    """Refuse texts of different lengths, where both are read: their rows go in one U-Net call."""
    if not found or not guidance.reads_negative_prompt:
        return
    usual = model.tokenizer.model_max_length
    one, other = (
        found[name].shape[1] if name in found else usual
        for name in (OF_PROMPT[0], NEGATIVE + OF_PROMPT[0])
    )
    if one != other:
        raise ArgumentError(
            f"the prompt has {one} tokens and the negative one {other}, and {guidance!r} reads them"
            " together; give prompt_embeds and negative_prompt_embeds of one length"
        )
