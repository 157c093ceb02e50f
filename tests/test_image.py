"""Tensors to pictures and back."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import is_one_sentence, noise

from sagviz import measure
from sagviz.errors import ArgumentError
from sagviz.html import data_uri
from sagviz.image import (
    as_image,
    as_mask,
    as_stencil,
    enlarge,
    fit_latent_rgb,
    from_images,
    from_png,
    heat_map,
    preview,
    to_images,
    to_png,
)


def random_pictures(count: int = 2, height: int = 6, width: int = 10) -> list[Image.Image]:
    array = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)
    return [Image.fromarray(part) for part in array]


def test_pictures_survive_the_way_to_tensors_and_back() -> None:
    pictures = random_pictures()
    pixels = from_images(pictures)
    assert pixels.shape == (2, 3, 6, 10)
    assert (float(pixels.min()), float(pixels.max())) >= (-1, 1)
    for before, after in zip(pictures, to_images(pixels), strict=True):
        assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_a_picture_may_be_an_array(dtype: Any) -> None:
    """(H, W, 3) of NumPy, (3, H, W) of torch, 0..255 or 0..1: the same as the picture of PIL."""
    pictures = random_pictures()
    expected = from_images(pictures)
    arrays = np.stack([np.asarray(picture) for picture in pictures]).astype(dtype)
    arrays = arrays / 255 if arrays.dtype.kind == "f" else arrays
    tensors = torch.from_numpy(arrays).permute(0, 3, 1, 2)
    for given in (arrays, tensors, list(arrays), list(tensors), arrays[:, ::-1][:, ::-1]):
        torch.testing.assert_close(from_images(given), expected)
    for one in (arrays[0], tensors[0]):
        torch.testing.assert_close(from_images(one), expected[:1])
        assert as_image(one).tobytes() == pictures[0].tobytes()
        assert measure.of_picture(one) == measure.of_picture(pictures[0])


def test_grey_arrays_and_an_alpha_channel_are_as_in_pil() -> None:
    grey = np.arange(60, dtype=np.uint8).reshape(6, 10)
    assert torch.equal(from_images(grey), from_images(Image.fromarray(grey)))
    clear = np.dstack([np.asarray(random_pictures()[0]), grey])
    assert torch.equal(from_images(clear), from_images(random_pictures()[0]))


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((6, 10, 5)),
        np.full((6, 10, 3), 2.0),
        np.full((6, 10, 3), -1),
        np.full((6, 10, 3), 256, np.uint16),
        np.zeros(3),
        Image.fromarray(np.full((6, 10), 300, np.int32)),
    ],
    ids=["channels", "floats beyond 1", "below 0", "16 bits", "one dimension", "PIL's 32 bits"],
)
def test_an_array_that_is_no_picture_is_refused(picture: Any) -> None:
    with pytest.raises(ArgumentError, match="give one of PIL") as error:
        from_images(picture)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    "picture", ["fox.png", Path("fox.png"), None, 3, [Path("fox.png")]], ids=str
)
def test_what_is_no_picture_is_refused(picture: Any) -> None:
    with pytest.raises(ArgumentError, match="give") as error:
        from_images(picture)
    assert is_one_sentence(error.value)


def test_a_picture_of_16_bits_is_as_bright_as_it_is() -> None:
    """PIL's own way to 8 bits makes all above 255 white."""
    levels = np.array([[0, 257 * 40, 257 * 128, 65535]])
    deep = Image.fromarray(levels.astype(np.uint16))
    plain = Image.fromarray((levels // 257).astype(np.uint8))
    assert deep.mode == "I;16"
    assert torch.allclose(from_images(deep), from_images(plain), atol=1e-6)
    bright = Image.fromarray(levels.astype(np.float32) / 65535)
    assert torch.allclose(from_images(bright), from_images(plain), atol=1e-6)
    assert as_mask(Image.fromarray(np.array([[0, 65535]], np.uint16))).tolist() == [[0, 1]]
    assert as_stencil(deep).flatten().tolist() == [0, 0, 1, 1]
    assert measure.contrast(deep) == measure.contrast(plain) > 0


def test_pixels_beyond_the_range_are_clipped() -> None:
    (picture,) = to_images(torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(1, 3, 1, 5))
    assert list(np.asarray(picture)[0, :, 0]) == [0, 0, 128, 255, 255]


def test_png_keeps_every_pixel_and_the_notes() -> None:
    picture, _ = random_pictures()
    opened = from_png(to_png(picture, {"prompt": "a fox, Fuchs, 狐"}))
    assert opened.tobytes() == picture.tobytes()
    assert opened.info["prompt"] == "a fox, Fuchs, 狐"


def test_a_data_uri_holds_the_bytes() -> None:
    png = to_png(random_pictures()[0])
    head, _, content = data_uri(png).partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content) == png


def test_the_fit_finds_a_linear_map() -> None:
    """Pictures made by a map give that map back, but for 8-bit rounding and the ridge."""
    truth = torch.tensor(
        [[0.2, 0.0, 0.1], [0.0, -0.2, 0.1], [0.1, 0.1, 0.0], [0.0, 0.1, -0.2], [0.1, -0.1, 0.0]]
    )
    latents = noise(2, (24, 40)).clamp(-2, 2)
    found = fit_latent_rgb(latents, preview(latents, truth))
    torch.testing.assert_close(found, truth, rtol=0, atol=0.01)


def test_a_flat_picture_gives_a_finite_map() -> None:
    flat = Image.new("RGB", (16, 16), (255, 0, 0))
    found = fit_latent_rgb(torch.zeros(1, 4, 8, 8), [flat])
    assert found.isfinite().all()
    (shown,) = preview(torch.zeros(1, 4, 8, 8), found)
    assert np.asarray(shown)[3, 3, 0] > 250


def test_a_preview_has_a_pixel_for_each_cell() -> None:
    shown = preview(noise(2, (16, 24)), torch.zeros(5, 3))
    assert [picture.size for picture in shown] == [(24, 16)] * 2


@pytest.mark.parametrize(
    ("side", "size"), [(1, (10, 6)), (6, (10, 6)), (7, (20, 12)), (32, (60, 36))]
)
def test_a_picture_grows_by_whole_factors(side: int, size: tuple[int, int]) -> None:
    """Each pixel becomes a square of one colour."""
    picture, _ = random_pictures()
    large = enlarge(picture, side)
    assert large.size == size
    factor = size[0] // 10
    assert np.array_equal(np.asarray(large)[::factor, ::factor], np.asarray(picture))
    assert np.array_equal(
        np.asarray(large)[factor - 1 :: factor, factor - 1 :: factor], np.asarray(picture)
    )


def test_a_heat_map_keeps_its_shape_and_its_scale() -> None:
    """Equal values have equal colours on any map of the same scale; the brightness grows with the
    value.
    """
    values = torch.linspace(0, 2, 8).reshape(2, 4)
    shown = heat_map(values, 0, 2)
    assert (shown.shape, shown.dtype) == ((2, 4, 3), np.uint8)
    brightness = (shown.reshape(-1, 3) @ np.array([0.2126, 0.7152, 0.0722])).tolist()
    assert brightness == sorted(brightness)
    assert len(set(brightness)) == 8
    assert np.array_equal(heat_map(values[1:], 0, 2), shown[1:])
    assert np.array_equal(heat_map(values * 10 - 5, 0, 2)[0, 0], shown[0, 0])


def test_a_scale_of_no_width_is_drawn_all_the_same() -> None:
    assert np.ptp(heat_map(torch.ones(3, 3), 1, 1)) >= 0
