"""Runs that start from a picture, and those that paint a part of it anew, against diffusers'
img2img and inpainting pipelines: the same seed, the same latents.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Family
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    HeunDiscreteScheduler,
    PNDMScheduler,
    QwenImageImg2ImgPipeline,
    QwenImageInpaintPipeline,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    ZImageImg2ImgPipeline,
    ZImageInpaintPipeline,
)
from pairs import pairs
from PIL import Image
from tiny import NO_SAFETY, difference, is_one_sentence, noise, quiet, same
from tiny_transformers import build_sd3

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.codegen import code
from sagviz.errors import ArgumentError
from sagviz.models.transformer import unpacked
from sagviz.records.settings import Settings
from sagviz.sampling.prepare import prepare

BOUND = 1e-5
STEPS = 5
PIPELINES: dict[str, tuple[Any, Any]] = {  # from a picture, and painting
    "sd1": (StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline),
    "sd2": (StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline),
    "sdxl": (StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline),
    "sd3": (StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline),
    "flux": (FluxImg2ImgPipeline, FluxInpaintPipeline),
    "z_image": (ZImageImg2ImgPipeline, ZImageInpaintPipeline),
    "qwen": (QwenImageImg2ImgPipeline, QwenImageInpaintPipeline),
}
TRANSFORMERS = ("sd3", "flux", "z_image", "qwen")  # diffusers has no such pipelines of the others
PACKED = ("flux", "qwen")  # whose pipelines hold a latent as tokens
UNGUIDED = {"sd3": {"guidance_scale": 1.0}, "z_image": {"guidance_scale": 0.0}}
UNGUIDED |= {"flux": {"guidance_scale": 3.5}, "qwen": {"true_cfg_scale": 1.0}}
SCHEDULERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "dpm++ 2m": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++"}),
    "heun": (HeunDiscreteScheduler, {}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
}
Open = Callable[[str], Family]
LATE = "ignore:PNDM that begins after"  # what the oracle does as well
GREY = "ignore:.*zero terminal SNR"


def picture(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """Smooth colours, of (height, width) pixels."""
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def mask(size: tuple[int, int] = (32, 32)) -> Image.Image:
    """White on the left, with a grey seam on which half decides."""
    height, width = size
    columns = np.linspace(255, 0, width).round().astype(np.uint8)
    return Image.fromarray(np.tile(columns, (height, 1)))


def traced(model: sv.Model, prompt: str = "a fox", **settings: Any) -> sv.Trace:
    usual = {"guidance": CFG(4.0), "steps": STEPS, "image": picture(), "progress": False}
    return sv.trace(model, prompt, **{**usual, **settings})


@pytest.fixture
def oracle(families: Open) -> Callable[..., torch.Tensor]:
    """The last latents of diffusers' pipeline for a family's networks."""

    def by_diffusers(
        family: str, scheduler: str, *, paints: bool, seed: int, images: int, **settings: Any
    ) -> torch.Tensor:
        found: Any = families(family).pipe
        parts = {name: part for name, part in found.components.items() if "image" not in name}
        kind, options = SCHEDULERS[scheduler]
        parts["scheduler"] = kind.from_config(found.scheduler.config, **options)
        others = {"add_watermarker": False} if family == "sdxl" else NO_SAFETY
        pipe = quiet(PIPELINES[family][paints](**{**parts, **others}))
        drawn_by = [torch.Generator().manual_seed(seed + i) for i in range(images)]
        latents: torch.Tensor = pipe(
            "a fox",
            num_inference_steps=STEPS,
            num_images_per_prompt=images,
            guidance_scale=4.0,
            generator=drawn_by,
            output_type="latent",
            **{name: [value] * images for name, value in settings.pop("pictures").items()},
            **settings,
        ).images
        return latents

    return by_diffusers


@pytest.mark.slow
@pytest.mark.filterwarnings(LATE, GREY)
@pytest.mark.parametrize(
    ("scheduler", "strength", "family", "paints", "images"),
    pairs(SCHEDULERS, [0.3, 0.6, 1.0], ["sd1", "sd2", "sdxl"], [False, True], [1, 2]),
)
def test_a_run_is_that_of_diffusers(
    families: Open,
    oracle: Callable[..., torch.Tensor],
    scheduler: str,
    strength: float,
    family: str,
    paints: bool,
    images: int,
) -> None:
    size = (32, 48)
    pictures = {"image": picture(size)} | ({"mask_image": mask(size)} if paints else {})
    shape = {"height": 32, "width": 48} if paints else {}
    given: dict[str, Any] = {"strength": strength, "seed": 3, "images": images}
    expected = oracle(family, scheduler, paints=paints, pictures=pictures, **given, **shape)
    made = traced(
        families(family).model,
        scheduler=scheduler,
        image=picture(size),
        paint=mask(size) if paints else None,
        **given,
    )
    assert difference(made.latents, expected) < BOUND
    assert made.settings.size == size


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """With as many channels as the published one, by which its inpainting pipeline knows it."""
    return build_sd3(tmp_path_factory.mktemp("sd3"), with_t5=False, channels=16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "strength", "paints", "images"),
    pairs(TRANSFORMERS, [0.3, 0.6, 1.0], [False, True], [1, 2]),
)
def test_a_run_of_a_transformer_is_that_of_diffusers(
    families: Open, sd3: Any, family: str, strength: float, paints: bool, images: int
) -> None:
    size, prompt = (32, 48), "a fox"
    found = sd3 if family == "sd3" else families(family).pipe
    kind = PIPELINES[family][paints]
    known = inspect.signature(kind).parameters
    pipe = quiet(kind(**{name: part for name, part in found.components.items() if name in known}))
    painted = {"mask_image": [mask(size)] * images} if paints else {}
    theirs = pipe(
        prompt,
        image=[picture(size)] * images,
        height=size[0],
        width=size[1],
        strength=strength,
        num_inference_steps=STEPS,
        num_images_per_prompt=images,
        generator=[torch.Generator().manual_seed(3 + i) for i in range(images)],
        output_type="latent",
        **UNGUIDED[family],
        **painted,
    ).images
    made = traced(
        sv.load(found) if family == "sd3" else families(family).model,
        guidance=None,
        strength=strength,
        seed=3,
        images=images,
        image=picture(size),
        paint=mask(size) if paints else None,
    )
    theirs = unpacked(theirs, (8, 12)) if family in PACKED else theirs
    assert difference(made.latents, theirs) < BOUND
    assert len(made) == {0.3: 2, 0.6: 3, 1.0: 5}[strength]  # rounded up, where SD rounds down


@pytest.mark.parametrize("family", ["dit", "pixart"])
def test_families_without_such_a_pipeline_start_from_a_picture_as_well(
    families: Open, family: str
) -> None:
    """As noisy as diffusers' scheduler makes it, and outside the mask the picture in the end."""
    found = families(family)
    trace = traced(found.model, "fox", strength=0.6, paint=mask())
    image, start, paint = (trace.inputs[name] for name in ("image", "noise", "paint"))
    time = torch.tensor([int(trace[0].t)])
    noisy = found.pipe.scheduler.add_noise(image, start, time)
    assert difference(trace[0].x_t, noisy) < BOUND
    assert torch.equal(torch.where(paint == 1, image, trace.latents), image)
    assert len(trace) == 3


# The records.


@pytest.mark.parametrize("scheduler", ["ddim", "heun"])
def test_outside_the_mask_every_step_puts_the_picture_back(model: sv.Model, scheduler: str) -> None:
    trace = traced(model, paint=mask(), strength=0.6, scheduler=scheduler)
    image, start, paint = (trace.inputs[name] for name in ("image", "noise", "paint"))
    assert 0 < paint.mean() < 1
    assert torch.equal(torch.where(paint == 1, image, trace.latents), image)
    for step, following in pairwise(trace):
        noisy = following.level.mix(image, start)
        assert torch.equal(torch.where(paint == 1, noisy, step.x_next), noisy)
    first = trace[0]
    assert torch.equal(first.x_t, first.level.mix(image, start))


@pytest.mark.slow
def test_where_the_whole_picture_is_painted_the_run_is_one_from_noise(model: sv.Model) -> None:
    everywhere = traced(model, paint=np.ones((32, 32)), strength=1.0)
    assert torch.equal(
        everywhere.latents, traced(model, image=None, noise=everywhere.inputs["noise"]).latents
    )
    nowhere = traced(model, paint=np.zeros((32, 32)))
    assert torch.equal(nowhere.latents, nowhere.inputs["image"])


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++ 2m", "unipc"])
def test_it_goes_on_from_a_file(model: sv.Model, tmp_path: Path, scheduler: str) -> None:
    """What-if and branch, at the very step and bit for bit."""
    trace = traced(
        model, guidance=CFG(3.0) + SAG(1.0), strength=0.8, paint=mask(), scheduler=scheduler
    )
    back = sv.Trace.from_bytes(trace.to_bytes())
    assert back.settings == trace.settings == Settings.from_json(trace.settings.to_json())
    assert len(back) == 4
    assert back.settings.strength == 0.8
    again = sv.branch(model, back, 2, progress=False)
    assert torch.equal(again.latents, trace.latents)
    for index in range(4):
        other = sv.what_if(model, back, index)
        assert other.forwards == 0
        assert other.x_next is not None
        assert torch.equal(other.x_next, trace[index].x_next)
    assert "# was given image, paint:" in code(model, back, back[1])
    assert "image, paint, strength 0.8" in back.to_html(tmp_path / "fox.html").read_text()


@pytest.mark.slow
def test_a_batch_is_its_images_alone(model: sv.Model) -> None:
    other = picture().rotate(180)
    both = traced(model, image=[picture(), other], images=2, seed=4, paint=mask())
    for number, own in enumerate((picture(), other)):
        alone = traced(model, image=own, seed=4 + number, paint=mask())
        assert difference(both.latents[number : number + 1], alone.latents) < 1e-4
        assert both.of_image(number).settings == alone.settings
        image = both.of_image(number).inputs["image"]
        torch.testing.assert_close(image, alone.inputs["image"])


@pytest.mark.slow
def test_compare_encodes_once(model: sv.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    encode = type(model).encode_pixels

    def noted(self: sv.Model, *args: Any) -> torch.Tensor:
        calls.append(args)
        return encode(self, *args)

    monkeypatch.setattr(type(model), "encode_pixels", noted)
    given: dict[str, Any] = {"image": picture(), "paint": mask(), "strength": 0.6, "seed": 3}
    plain, cfg, sag = sv.compare(
        model, "a fox", steps=STEPS, unguided=True, progress=False, **given
    )
    assert len(calls) == 1
    for made, guidance in ((plain, None), (cfg, CFG(3.0)), (sag, CFG(3.0) + SAG(1.0))):
        alone = traced(model, guidance=guidance, **given)
        assert made.settings == alone.settings
        assert difference(made.latents, alone.latents) < 1e-4


def test_a_picture_that_cannot_be_encoded_leaves_a_run_without_steps(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> torch.Tensor:
        raise ValueError("broken")

    monkeypatch.setattr(type(model), "encode_pixels", fails)
    with pytest.raises(sv.SagvizError) as error:
        traced(model)
    assert isinstance(error.value.__cause__, ValueError)


def test_steps_are_those_of_the_trace(model: sv.Model) -> None:
    given: dict[str, Any] = {"image": picture(), "strength": 0.6, "steps": STEPS}
    made = list(sv.steps(model, "a fox", guidance=CFG(4.0), **given))
    assert all(map(same, made, traced(model, strength=0.6)))
    assert len(made) == 3


def test_pixels_start_from_a_picture_as_well(families: Open) -> None:
    model = families("pixels").model
    trace = sv.trace(model, image=picture((16, 16)), paint=mask((16, 16)), steps=4, progress=False)
    wanted = model.encode(picture((16, 16)))
    paint = trace.inputs["paint"]
    assert torch.equal(torch.where(paint == 1, wanted, trace.latents), wanted)
    assert len(trace) == 3


# What people have at hand.


@pytest.mark.slow
def test_pictures_and_masks_of_all_kinds_are_taken(model: sv.Model) -> None:
    array = np.asarray(picture())
    kinds = [picture(), array, array / 255.0, torch.from_numpy(array.copy()).movedim(2, 0)]
    white = np.asarray(mask()) >= 128
    colours = np.asarray(mask().convert("RGB"))
    masks = [white, white.astype(np.uint8), torch.from_numpy(white).float(), white[None], colours]
    wanted = traced(model, paint=mask(), steps=2).settings.inputs
    for given, paint in [(kind, mask()) for kind in kinds[1:]] + [(picture(), m) for m in masks]:
        run = traced(model, image=given, paint=paint, steps=2, keep=[])
        assert run.settings.inputs["paint"] == wanted["paint"]
        assert run.settings.inputs["image"] == wanted["image"] or given is kinds[2]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image": picture((31, 48))}, r"31 x 48 pixels.*multiples of 2; .*resize\(\(48, 32\)\)"),
        ({"size": (48, 32)}, r"32 x 32 pixels.*size=\(48, 32\); .*resize\(\(32, 48\)\)"),
        ({"image": "fox.png"}, "PIL.Image.open"),
        ({"image": [picture()] * 3}, "is 3 pictures, and the run makes 1 images"),
        ({"strength": 1.2}, "strength is 1.2"),
        ({"strength": 0.1}, "leaves none.* 0.2 or more"),
        ({"image": None, "strength": 0.5}, "no picture to start from"),
        ({"image": None, "paint": mask()}, "without image="),
        ({"paint": mask((16, 16))}, "paint has 16 x 16 pixels"),
        ({"paint": "left"}, "the mask is 'left'"),
        ({"paint": np.full((32, 32), 2.5)}, "floats from 0 to 1"),
    ],
    ids=lambda given: ", ".join(given) if isinstance(given, dict) else None,
)
def test_what_does_not_fit_is_refused(
    model: sv.Model, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        traced(model, **settings)
    assert is_one_sentence(error.value)


def test_a_schedule_that_begins_late_is_warned_of(model: sv.Model) -> None:
    with pytest.warns(sv.SagvizWarning, match="one level less noise"):
        traced(model, scheduler="pndm", strength=0.6)


@pytest.mark.slow
def test_an_estimate_takes_a_picture_without_weights(folder: Path) -> None:
    model = sv.load(folder, device="meta")
    given: dict[str, Any] = {"image": picture((32, 48)), "paint": mask((32, 48)), "strength": 0.6}
    need = sv.estimate(model, "a fox", steps=STEPS, **given)
    assert need.size == (32, 48)
    whole = sv.estimate(model, "a fox", steps=STEPS, size=(32, 48), noise=noise(1, (16, 24)))
    assert need.records * STEPS == whole.records * 3


def test_the_least_strength_that_is_advised_is_enough(model: sv.Model) -> None:
    for steps in range(2, 1000, 7):
        with pytest.raises(ArgumentError, match=r"give .* or more, or more steps") as error:
            prepare(model, image=picture(), strength=0.0005, steps=steps)
        least = float(re.findall(r"give ([\d.]+) or more", str(error.value))[0])
        prepare(model, image=picture(), strength=least, steps=steps, warns=False)
