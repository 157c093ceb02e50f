"""Decoding where float16 overflows and where memory is short. The VAE is left as it was found."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import is_one_sentence, noise
from torch import Tensor

import sagviz as sv
from sagviz.errors import NotFiniteError, OutOfMemoryError
from sagviz.image import to_images
from sagviz.models import vae

SIZE = (16, 24)


@pytest.fixture
def half(folder: Path) -> Iterator[sv.Model]:
    """In float16. Afterwards its VAE has the bits, the format and the tiling that it had."""
    model = sv.load(folder, dtype="float16")
    yield model
    assert {p.dtype for p in model.vae.parameters()} == {torch.float16}
    assert (
        model.vae.use_tiling,
        model.vae.tile_latent_min_size,
        model.vae.tile_sample_min_size,
    ) == (False, 16, 32)


def say(model: sv.Model, force_upcast: bool | None) -> None:
    """What the file of the VAE's configuration says; `None` is nothing."""
    config = {k: v for k, v in model.vae.config.items() if k != "force_upcast"}
    if force_upcast is not None:
        config["force_upcast"] = force_upcast
    told = type(model.vae).from_config({**config, "_use_default_values": []})
    model.vae._internal_dict = told._internal_dict


def formats(model: sv.Model) -> list[torch.dtype]:
    """The number formats in which the decoder works from now on, call by call."""
    seen: list[torch.dtype] = []
    model.vae.decoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0].dtype))
    return seen


def pixels(pictures: Any) -> np.ndarray[Any, Any]:
    return np.stack([np.asarray(picture, int) for picture in pictures])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "dtype"), [(True, torch.float32), (False, torch.float16), (None, torch.float16)]
)
def test_a_vae_is_put_in_float32_where_its_file_says_so(
    half: sv.Model, said: bool | None, dtype: torch.dtype
) -> None:
    """SDXL's says yes, the repaired one no, and Stable Diffusion 1.x's nothing, which diffusers
    reads as yes.
    """
    say(half, said)
    assert half.vae.config.force_upcast is (said is not False)
    before = copy.deepcopy(half.vae.state_dict())
    own = list(half.vae.parameters())
    seen = formats(half)
    made = half.decode(noise(2, SIZE))
    assert seen == [dtype] * 2
    assert all(torch.equal(value, before[name]) for name, value in half.vae.state_dict().items())
    assert all(a is b for a, b in zip(half.vae.parameters(), own, strict=True))
    whole = copy.deepcopy(half.vae).to(dtype)
    expected = [
        whole.decode(row[None].to(dtype) / whole.config.scaling_factor).sample.float()
        for row in noise(2, SIZE)
    ]
    difference = pixels(made) - pixels(to_images(torch.cat(expected)))
    assert np.abs(difference).max() <= (0 if dtype == torch.float32 else 1)


def test_encoding_overflows_as_little(half: sv.Model) -> None:
    say(half, True)
    seen: list[torch.dtype] = []
    half.vae.encoder.register_forward_pre_hook(lambda _module, args: seen.append(args[0].dtype))
    assert half.encode(half.decode(noise(1, SIZE))).isfinite().all()
    assert seen == [torch.float32]


@pytest.mark.slow
def test_a_model_in_float32_or_bfloat16_is_decoded_as_it_is(folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        model = sv.load(folder, dtype=dtype)
        seen = formats(model)
        model.decode(noise(1, SIZE))
        assert seen == [getattr(torch, dtype)]


def test_a_picture_that_overflows_is_decoded_again_in_float32(half: sv.Model) -> None:
    """A real overflow: the first layer goes beyond 65504."""
    say(half, False)
    half.vae.decoder.conv_in.weight.mul_(1e5)
    assert half.vae.decoder.conv_in.weight.isfinite().all()
    seen = formats(half)
    with pytest.warns(sv.SagvizWarning, match="overflowed in float16"):
        made = half.decode(noise(1, SIZE))
    assert seen == [torch.float16, torch.float32]
    again = copy.deepcopy(half.vae).float()
    expected = again.decode(noise(1, SIZE) / again.config.scaling_factor).sample
    assert np.array_equal(pixels(made), pixels(to_images(expected)))


def test_a_picture_of_nothing_is_refused(half: sv.Model) -> None:
    say(half, False)
    half.vae.decoder.conv_in.weight[0, 0, 0, 0] = torch.nan
    with (
        pytest.warns(sv.SagvizWarning),
        pytest.raises(NotFiniteError, match="the VAE gives NaN") as error,
    ):
        half.decode(noise(1, SIZE))
    assert is_one_sentence(error.value)
    with pytest.raises(NotFiniteError, match="the latents") as error:
        half.decode(noise(1, SIZE).fill_(torch.inf))
    assert is_one_sentence(error.value)


def tiled(model: sv.Model, latents: Tensor) -> np.ndarray[Any, Any]:
    """diffusers' own tiles."""
    vae = copy.deepcopy(model.vae)
    vae.enable_tiling()
    return pixels(to_images(vae.decode(latents / vae.config.scaling_factor).sample))


@pytest.fixture
def own(folder: Path) -> sv.Model:
    return sv.load(folder)


def test_large_pictures_are_decoded_in_tiles(
    own: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel beyond the bound, and not at it."""
    latents = noise(1, (24, 32))
    whole = pixels(own.decode(latents))
    monkeypatch.setattr(vae, "WHOLE", 48 * 64)
    assert np.array_equal(pixels(own.decode(latents)), whole)
    monkeypatch.setattr(vae, "WHOLE", 48 * 64 - 1)
    assert np.array_equal(pixels(own.decode(latents)), tiled(own, latents))
    assert not np.array_equal(tiled(own, latents), whole)
    assert not own.vae.use_tiling


def test_others_never_see_the_tiling(own: sv.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that decodes in another thread meanwhile is given no tiles."""
    monkeypatch.setattr(vae, "WHOLE", 0)
    seen: list[bool] = []
    own.vae.decoder.register_forward_pre_hook(lambda *_: seen.append(own.vae.use_tiling))
    own.decode(noise(1, (24, 32)))
    assert len(seen) > 1
    assert not any(seen)


def test_others_never_see_the_float32_nor_we_theirs(half: sv.Model) -> None:
    """A pipeline puts it in float32 and back, too, and may do so while another thread decodes."""
    say(half, True)
    expected, seen = pixels(half.decode(noise(2, SIZE))), list[torch.dtype]()

    def amid(*_: object) -> None:
        seen.append(half.vae.dtype)
        torch.nn.Module.to(half.vae, torch.float16 if len(seen) % 2 else torch.float32)

    half.vae.decoder.up_blocks[0].register_forward_pre_hook(amid)
    torch.nn.Module.to(half.vae, torch.float32)
    assert np.array_equal(pixels(half.decode(noise(2, SIZE))), expected)
    assert seen == [torch.float32, torch.float16]
    torch.nn.Module.to(half.vae, torch.float16)


def test_tiles_have_64_cells_where_the_vaes_own_are_larger(
    own: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SDXL's own are pictures of 1024 x 1024 pixels, which is what does not fit."""
    own.vae.tile_latent_min_size, own.vae.tile_sample_min_size = 128, 256
    monkeypatch.setattr(vae, "WHOLE", 0)
    sides: list[Any] = []
    own.vae.decoder.register_forward_pre_hook(
        lambda _module, args: sides.append(tuple(args[0].shape[2:]))
    )
    own.decode(noise(1, (64, 80)))
    assert max(sides) == (64, 64)
    assert (own.vae.tile_latent_min_size, own.vae.tile_sample_min_size) == (128, 256)


class Small:
    """A device on which the decoder's input may have so many cells, and no more."""

    def __init__(self, model: sv.Model, cells: int) -> None:
        self.cells, self.calls = cells, 0
        model.vae.decoder.register_forward_pre_hook(self.check)

    def check(self, _module: object, args: tuple[Tensor, ...]) -> None:
        self.calls += 1
        if args[0][0, 0].numel() > self.cells:
            raise torch.cuda.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 14 GiB"
            )


def test_a_picture_that_does_not_fit_whole_is_decoded_in_tiles(own: sv.Model) -> None:
    latents = noise(1, (24, 32))
    expected = tiled(own, latents)
    Small(own, 16 * 16)
    with pytest.warns(sv.SagvizWarning, match="in tiles"):
        assert np.array_equal(pixels(own.decode(latents)), expected)
    assert not own.vae.use_tiling


def test_a_picture_that_does_not_fit_in_tiles_either_keeps_the_run(own: sv.Model) -> None:
    Small(own, 10)
    words = r"in tiles either; lower .*model\.decode"
    with pytest.warns(sv.SagvizWarning), pytest.raises(OutOfMemoryError, match=words) as stopped:
        sv.trace(own, "a fox", steps=3, progress=False)
    assert is_one_sentence(stopped.value)
    assert isinstance(stopped.value, MemoryError)
    assert len(stopped.value.trace) == 3
    assert (own.vae.use_tiling, own.vae.tile_latent_min_size) == (False, 16)


def test_a_users_own_tiling_is_respected(own: sv.Model) -> None:
    latents = noise(1, (24, 32))
    own.vae.enable_tiling()
    assert np.array_equal(pixels(own.decode(latents)), tiled(own, latents))
    assert own.vae.use_tiling


def test_an_error_of_another_kind_is_not_taken_for_a_shortage(own: sv.Model) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("expected 4 channels")

    own.vae.decoder.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="4 channels"):
        own.decode(noise(1, SIZE))
