"""The estimate of a run, and the refusal of one that a GPU has no room for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AsymmetricAutoencoderKL, AutoencoderTiny
from instruments import held, peak_memory
from known import PARAMETERS, write_sd15
from tiny import build_pipe, counted, is_one_sentence, noise

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError, ModelError
from sagviz.models import vae
from sagviz.models.offload import visit_in_turn
from sagviz.sampling import memory_check
from sagviz.sampling.estimate import free_bytes

BOTH = CFG(3.0) + SAG(1.0)
GIB = 2**30


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> sv.Model:
    """Stable Diffusion 1.5 without weights, in float16."""
    return sv.load(write_sd15(tmp_path_factory.mktemp("sd15")), device="meta", dtype="float16")


@pytest.mark.slow
def test_stable_diffusion_is_told_from_its_configuration_alone(sd15: sv.Model) -> None:
    """Weights by the published counts; with everything there at once it fits a T4 four times."""
    need = sv.estimate(sd15, "a fox", guidance=BOTH)
    names = {"unet": "sd15", "vae": "vae", "text_encoder": "text_encoder"}
    for name, known in names.items():
        # and a few position numbers
        assert need.weights[name] == pytest.approx(2 * PARAMETERS[known], rel=1e-4)
    assert (need.rows, need.images, need.size, need.dtype) == (2, 1, (512, 512), "float16")
    assert 2 * GIB < need.peak < 4 * GIB
    assert need.tiled <= need.decoding
    assert (
        sv.estimate(sd15, size=(1024, 1024)).tiled
        < sv.estimate(sd15, size=(1024, 1024)).decoding / 2
    )


@pytest.mark.slow
def test_a_step_takes_what_was_told(model: sv.Model) -> None:
    """Within 15 % of what torch held at once in a whole step: passes, attention, guidance and the
    scheduler's step.
    """
    settings: dict[str, Any] = {"guidance": BOTH, "size": (96, 96), "images": 2}
    walk = sv.steps(model, "a fox", **settings)
    next(walk)
    need = sv.estimate(model, "a fox", **settings)
    assert need.unet == pytest.approx(peak_memory(lambda: next(walk)), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "rows"), [(None, 1), (CFG(2.0), 2), (SAG(1.0), 1), (BOTH, 2)], ids=repr
)
def test_the_rows_are_those_of_the_largest_call(model: sv.Model, guidance: Any, rows: int) -> None:
    with counted(model.unet) as calls:
        sv.trace(model, "a fox", steps=1, guidance=guidance, images=3, progress=False)
    assert sv.estimate(model, "a fox", guidance=guidance, images=3).rows == max(calls) == 3 * rows


@pytest.mark.slow
@pytest.mark.parametrize("keep", [None, 2, [0]])
def test_the_records_are_those_of_the_steps_that_are_kept(model: sv.Model, keep: Any) -> None:
    settings: dict[str, Any] = {"guidance": BOTH, "steps": 6, "keep": keep}
    told = sv.estimate(model, "a fox", **settings).records
    assert (
        held(sv.trace(model, "a fox", **settings, progress=False))
        <= told
        <= 2 * held(sv.trace(model, "a fox", **settings))
    )


def test_what_is_captured_counts(model: sv.Model) -> None:
    capture = sv.Capture("all", "maps")
    plain, more = (sv.estimate(model, "a fox", capture=given) for given in (None, capture))
    assert more.captured == capture.bytes(model, "a fox")
    assert more.peak == plain.peak + more.captured


@pytest.mark.slow
def test_networks_that_visit_in_turn_are_never_there_together(folder: Path) -> None:
    together, alone = sv.load(folder), sv.load(folder)
    visit_in_turn([alone.unet, alone.vae, alone.text_encoder], torch.device("cpu"))
    a, b = sv.estimate(together, guidance=BOTH), sv.estimate(alone, guidance=BOTH)
    assert a.weights == b.weights
    assert a.peak == sum(a.weights.values()) + max(a.unet, a.decoding)
    assert b.peak == max(
        b.weights["unet"] + b.unet, b.weights["vae"] + b.decoding, b.weights["text_encoder"]
    )
    assert "one network at a time" in str(b)


@pytest.mark.slow
def test_a_vae_in_float32_takes_twice_and_such_weights_beside(folder: Path) -> None:
    half, whole = (sv.estimate(sv.load(folder, dtype=dtype)) for dtype in ("float16", "float32"))
    assert half.decoding == whole.decoding + whole.weights["vae"]
    assert 2 * half.weights["vae"] == whole.weights["vae"]


@pytest.mark.slow
def test_the_estimate_can_be_read(sd15: sv.Model) -> None:
    need = sv.estimate(sd15, guidance=BOTH, images=2)
    assert str(need).startswith(f"{sd15.name}: 2 of 512 x 512 pixels in float16\n")
    for name in (
        "weights: unet",
        "a U-Net call of 4 rows",
        "decoding a picture",
        "on the device at once",
        "records on the CPU",
    ):
        assert name in str(need)
        assert name in need._repr_html_()
    assert "1.60 GiB" in str(need), "859,520,964 x 2 bytes"


def test_a_model_without_weights_does_not_run(sd15: sv.Model) -> None:
    for call in (sv.steps, sv.trace):
        with pytest.raises(ModelError, match="without weights") as error:
            call(sd15, "a fox")
        assert is_one_sentence(error.value)


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_anything_runs(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte too few, and not one more."""
    need = sv.estimate(model, "a fox", guidance=BOTH, images=2, size=(48, 48))
    settings: dict[str, Any] = {"guidance": BOTH, "images": 2, "size": (48, 48), "steps": 1}
    monkeypatch.setattr(memory_check, "free_bytes", lambda _: need.least - 1)
    for call in (
        lambda: sv.trace(model, "a fox", progress=False, **settings),
        lambda: sv.steps(model, "a fox", **settings),
    ):
        with (
            counted(model.unet) as rows,
            pytest.raises(
                ArgumentError, match=r"U-Net call of 4 rows.* are there; lower images="
            ) as e,
        ):
            call()
        assert rows == []
        assert is_one_sentence(e.value)
    monkeypatch.setattr(memory_check, "free_bytes", lambda _: need.least)
    sv.trace(model, "a fox", progress=False, **settings)


def test_runs_in_lockstep_are_counted_together(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_check, "free_bytes", lambda _: 1)
    with pytest.raises(ArgumentError, match=r"2 of 32 x 32 pixels .* call of 4 rows"):
        sv.compare(model, "a fox", progress=False)


def test_the_cpu_does_not_say_what_is_free(model: sv.Model) -> None:
    assert sv.estimate(model).room is None
    assert "free there" not in str(sv.estimate(model))


@pytest.mark.parametrize(
    ("fraction", "free"), [(1.0, 60), (0.5, 30), (0.1, 0), (None, 60)], ids=str
)
def test_the_room_is_no_more_than_the_process_may_take(
    monkeypatch: pytest.MonkeyPatch, fraction: float | None, free: int
) -> None:
    """Of a card of 100, 60 are free, and torch has 20, of which 15 are in use."""
    card = {"mem_get_info": (60, 100), "memory_reserved": 20, "memory_allocated": 15}
    for name, value in card.items():
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    if fraction is None:
        monkeypatch.delattr(torch.cuda, "get_per_process_memory_fraction", raising=False)
    else:
        monkeypatch.setattr(
            torch.cuda, "get_per_process_memory_fraction", {0: fraction}.__getitem__, raising=False
        )  # it takes no device without a number
    on_gpu: Any = SimpleNamespace(device=torch.device("cuda"), networks={})
    assert free_bytes(on_gpu) == free + 5


def tiny_vae(blocks: int) -> AutoencoderTiny:
    shape: dict[str, Any] = {
        f"{side}_block_out_channels": (16,) * blocks for side in ("encoder", "decoder")
    }
    repeats: dict[str, Any] = {
        f"num_{side}_blocks": (1,) * blocks for side in ("encoder", "decoder")
    }
    return AutoencoderTiny(**shape, **repeats).eval()


def asymmetric_vae() -> AsymmetricAutoencoderKL:
    return AsymmetricAutoencoderKL(
        down_block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_out_channels=(8, 16),
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    ).eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "tiles"),
    [(lambda: tiny_vae(4), True), (lambda: tiny_vae(2), False), (asymmetric_vae, False)],
    ids=["tiny", "tiny of two blocks", "asymmetric"],
)
def test_other_autoencoders_have_an_estimate(
    tmp_path: Path, build: Callable[[], Any], tiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that cannot decode in tiles, or only pictures of eight pixels a cell, take the same."""
    pipe = build_pipe(tmp_path)
    pipe.vae = build()
    model, z = sv.load(pipe), noise(1, (72, 72))
    side = 72 * model.pixels_per_cell
    need = sv.estimate(model, "a fox", guidance=BOTH, size=(side, side))
    with torch.no_grad():
        taken = peak_memory(lambda: pipe.vae.decode(z).sample)
    # a CPU's convolutions hold their input once more, in an order of their own
    assert 0.9 * need.decoding < taken < 1.4 * need.decoding
    assert need.tiled == need.decoding or tiles
    whole = model.decode(z)[0]
    monkeypatch.setattr(vae, "WHOLE", 0)
    assert model.decode(z)[0].size == whole.size == (side, side)
    assert (model.decode(z)[0] != whole) == tiles
