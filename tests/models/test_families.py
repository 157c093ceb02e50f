"""Each family of models: told apart and refused, used as it is, and at home in every part of the
package.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Family
from diffusers import (
    DDPMScheduler,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    SanaTransformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from PIL import Image
from tiny import (
    FAMILIES,
    build_pixels,
    build_sdxl,
    build_unet,
    difference,
    is_one_sentence,
    noise,
    residue,
    same,
)
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG, cli, measure
from sagviz.attention.layers import find_layer, layers
from sagviz.codegen import code
from sagviz.errors import ArgumentError, ModelError
from sagviz.guidance import Guidance
from sagviz.image import preview
from sagviz.models import SDXL, Model, Pixels, StableDiffusion, make_scheduler
from sagviz.models.fingerprint import fingerprint
from sagviz.models.sdxl import SDXLConditioning
from sagviz.widgets.playground.form import WITHOUT_PROMPT

Open = Callable[[str], Family]
CLASSES = {"sd1": StableDiffusion, "sd2": StableDiffusion, "sdxl": SDXL, "pixels": Pixels}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, families: Open) -> Family:
    return families(request.param)


@pytest.fixture
def sdxl(families: Open) -> Model:
    return families("sdxl").model


@pytest.fixture
def pixels(families: Open) -> Model:
    return families("pixels").model


def refused(source: object, words: str) -> None:
    with pytest.raises(ModelError, match=words) as error:
        sv.load(source)
    assert is_one_sentence(error.value)
    assert "Stable Diffusion 1.x and 2.x, " in str(error.value), "what works is said, too"


def picture(height: int = 16, width: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


# Told apart, and refused.


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_known_in_a_folder_and_in_memory(families: Open, name: str) -> None:
    opened = families(name)
    for model in (opened.model, sv.load(opened.pipe)):
        assert type(model) is CLASSES[name]
        assert model.networks.keys() == {
            part for part in model.PARTS if "tokenizer" not in part and part != "scheduler"
        }
        assert all(not network.training for network in model.networks.values())
    assert all(
        not p.requires_grad
        for network in opened.model.networks.values()
        for p in network.parameters()
    )


@pytest.mark.slow
def test_a_family_of_a_users_own_is_one_class(families: Open) -> None:
    """Known to `load` as soon as it is defined, by the part that it alone has; run as any other."""

    class Tagged(StableDiffusion):
        title = "tagged ones"
        PARTS = (*StableDiffusion.PARTS, "tag")
        KNOWN_BY = "tag"
        tag: str

    try:
        pipe = changed(families("sd1").pipe, tag="a tag")
        model: Any = sv.load(pipe)
        assert type(model) is Tagged
        assert model.tag == "a tag"
        refused(pipeline(vae=None), "and tagged ones")
        own = sv.trace(model, "a fox", steps=2, guidance=SAG(1.0), progress=False)
        usual = untouched(families("sd1").model)
        assert torch.equal(own.latents, usual.latents)
        need = model.network_bytes(2, (4, 16, 16))
        assert need == families("sd1").model.network_bytes(2, (4, 16, 16))
    finally:
        Model.families.remove(Tagged)


@pytest.mark.parametrize(
    ("name", "part"),
    [(name, part) for name, kind in CLASSES.items() for part in kind.PARTS if part != "unet"],
    ids=str,
)
def test_a_missing_part_is_named(families: Open, tmp_path: Path, name: str, part: str) -> None:
    """An SDXL without its second encoder is known by its U-Net."""
    folder = shutil.copytree(families(name).folder, tmp_path / name)
    index = json.loads((folder / "model_index.json").read_text())
    del index[part]
    (folder / "model_index.json").write_text(json.dumps(index))
    refused(
        folder,
        (
            "second text encoder"
            if part == "text_encoder_2"
            else rf"is a {index['_class_name']} without {part}"
        ),
    )


def pipeline(**parts: Any) -> Any:
    """What stands for a pipeline of another family: its components and settings."""
    return SimpleNamespace(components=parts, config={})


def changed(pipe: Any, **parts: Any) -> Any:
    return pipeline(**{**pipe.components, **parts})


@pytest.mark.parametrize(
    ("part", "network", "words"),
    [
        ("prior", torch.nn.Linear, "has no unet or transformer, but a prior; SAG reads its self-"),
        ("transformer", torch.nn.Linear, "transformer of the class Linear, which sagviz does not"),
        (
            "transformer",
            SanaTransformer2DModel,
            "SanaTransformer2DModel, whose attention is linear: without a softmax there is no map",
        ),
    ],
    ids=["prior", "class", "linear"],
)
def test_other_networks_are_refused_with_the_reason(part: str, network: Any, words: str) -> None:
    with torch.device("meta"):
        made = network(1, 1) if network is torch.nn.Linear else network(num_layers=1)
    refused(pipeline(**{part: made}, vae=torch.nn.Linear(1, 1), scheduler=object()), words)


def test_a_controlnet_is_refused(families: Open) -> None:
    """It would be left out without a word."""
    refused(
        changed(families("sd1").pipe, controlnet=torch.nn.Linear(1, 1)),
        "has a controlnet, whose condition.*from_pipe",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_channels": 9}, "takes 9 channels and its autoencoder has 4.*inpainting"),
        ({"num_class_embeds": 7}, "class labels"),
        ({"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 8}, "IP-Adapter"),
        (
            {"addition_embed_type": "text", "addition_embed_type_num_heads": 4},
            "it wants 'text' added",
        ),
        (
            {
                "down_block_types": ("DownBlock2D",) * 2,
                "up_block_types": ("UpBlock2D",) * 2,
                "mid_block_type": None,
            },
            "no self-att",
        ),
    ],
    ids=["inpainting", "labels", "adapter", "addition", "attention"],
)
def test_a_unet_that_wants_more_is_refused_with_what_it_wants(
    families: Open, changes: dict[str, Any], words: str
) -> None:
    refused(changed(families("sd1").pipe, unet=build_unet(**changes)), words)


def test_an_ip_adapter_that_is_loaded_is_refused(families: Open) -> None:
    """It sets the same flag in a U-Net's settings."""
    unet = build_unet()
    unet.config.encoder_hid_dim_type = "ip_image_proj"
    refused(changed(families("sd1").pipe, unet=unet), "unload_ip_adapter")


def test_the_sdxl_refiner_is_refused(sdxl: Model) -> None:
    """It is told five numbers: an aesthetic score in place of the target size."""
    pipe = build_sdxl(Path(sdxl.name) / "words")
    pipe.unet.register_to_config(projection_class_embeddings_input_dim=24 + 5 * 8)
    refused(pipe, "as SDXL's refiner does")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (
            lambda: build_pixels(in_channels=4, out_channels=4).components,
            "maps 4 to 4 channels: no pictures",
        ),
        (lambda: build_pixels(class_embed_type="timestep").components, "class labels"),
        (lambda: build_pixels(sample_size=None).components, "size of its pictures"),
        (
            lambda: {**build_pixels().components, "vqvae": VQModel(norm_num_groups=1)},
            "has vqvae beside a U-Net of pixels",
        ),
        (
            lambda: {**build_pixels().components, "scheduler": FlowMatchEulerDiscreteScheduler()},
            "was not trained by flow matching, for which this FlowMatchEuler",
        ),
        (
            lambda: {**build_pixels().components, "unet": torch.nn.Linear(1, 1)},
            "of the class Linear, which sagviz does not know",
        ),
    ],
    ids=["channels", "labels", "size", "latent", "flow", "class"],
)
def test_other_models_of_pixels_are_refused(
    parts: Callable[[], dict[str, Any]], words: str
) -> None:
    refused(pipeline(**parts()), words)


# A pipeline in memory is used as it is, and left so.


def by_diffusers(pipe: Any, model: Model) -> Tensor:
    """The pipeline's own picture from a fixed noise, as numbers."""
    again = torch.Generator().manual_seed(4)
    if isinstance(model, Pixels):
        return torch.from_numpy(
            pipe(num_inference_steps=3, generator=again, output_type="np").images
        )
    return torch.from_numpy(
        pipe(
            "a fox", num_inference_steps=3, generator=again, guidance_scale=4.0, output_type="np"
        ).images
    )


def load_lora(pipe: Any, folder: Path) -> None:
    """Load a LoRA as its users do, from a file, unmerged."""
    torch.manual_seed(8)
    unet = copy.deepcopy(pipe.unet)
    unet.add_adapter(
        LoraConfig(r=4, lora_alpha=16, target_modules=["to_q", "to_v"], init_lora_weights=False)
    )
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    type(pipe).save_lora_weights(folder, unet_lora_layers=weights)
    pipe.load_lora_weights(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "lora"),
    [
        *((name, False) for name in FAMILIES),
        *((name, True) for name in FAMILIES if name != "pixels"),
    ],
)
def test_a_pipeline_gives_what_it_gave_before(
    families: Open, name: str, lora: bool, tmp_path: Path
) -> None:
    """Bit for bit, after a run that read its attention; and its scheduler stands where it stood."""
    pipe = DiffusionPipeline.from_pretrained(families(name).folder)
    pipe.set_progress_bar_config(disable=True)
    plain = by_diffusers(pipe, families(name).model)
    if lora:
        load_lora(pipe, tmp_path)
    model = sv.load(pipe)
    before, hooks, config = (
        by_diffusers(pipe, model),
        residue(pipe.unet),
        dict(pipe.scheduler.config),
    )
    assert not lora or difference(before, plain) > 1e-3, "the adapter must do something"
    trace = sv.trace(
        model,
        "a fox" if model.reads_text else "",
        steps=2,
        guidance=SAG(1.0),
        capture=sv.Capture("all"),
        progress=False,
    )
    assert lora == (difference(trace.latents, untouched(families(name).model).latents) > 1e-3), (
        "our run has the adapter, too"
    )
    assert residue(pipe.unet) == hooks
    assert dict(pipe.scheduler.config) == config
    assert torch.equal(by_diffusers(pipe, model), before)
    assert (fingerprint(model) == fingerprint(families(name).model)) == (not lora), (
        "a sweep knows them apart"
    )


def untouched(model: Model) -> sv.Trace:
    return sv.trace(
        model, "a fox" if model.reads_text else "", steps=2, guidance=SAG(1.0), progress=False
    )


# SAG as it suits a family.


def test_sag_is_plain_for_stable_diffusion(families: Open) -> None:
    for name in ("sd1", "sd2"):
        assert families(name).model.sag(0.5) == SAG(0.5)
        assert families(name).model.sag(0.5, threshold=1.3, blur_sigma=2.0) == SAG(
            0.5, threshold=1.3, blur_sigma=2.0
        )


def test_sdxl_is_blurred_less(sdxl: Model) -> None:
    assert sdxl.sag() == SAG(1.0, blur_sigma=0.5)
    assert sdxl.sag(blur_sigma=1.0) == SAG(1.0)


@pytest.mark.parametrize(
    ("side", "sag"), [(32, SAG(1.0)), (64, SAG(1.0)), (128, (3.0, 31)), (256, (9.0, 31))]
)
def test_pixels_are_blurred_as_in_the_paper(side: int, sag: Any) -> None:
    model = sv.load(build_pixels(sample_size=side))
    assert model.sag() == (
        sag if isinstance(sag, SAG) else SAG(1.0, blur_sigma=sag[0], blur_kernel=sag[1])
    )


def test_a_middle_without_attention_gives_way_to_the_layer_after_it(families: Open) -> None:
    """As in distilled U-Nets without a middle block."""
    model = sv.load(changed(families("sd1").pipe, unet=build_unet(mid_block_type=None)))
    first = "up_blocks.1.attentions.0.transformer_blocks.0.attn1"
    assert model.sag().layer == first
    with pytest.raises(ArgumentError, match=r"this network has down_blocks\.0"):
        find_layer(model.unet, "mid")
    cfg, with_sag = sv.compare(model, "a fox", steps=2, progress=False)
    assert with_sag[0].attention.shape == (1, 16, 16)
    assert difference(cfg.latents, with_sag.latents) > 1e-4


SHAPES: dict[str, tuple[type, dict[str, Any], tuple[int, int], dict[tuple[int, int], int]]] = {
    # the real networks' settings, the latent of their own size, and how many layers of attention
    # work on which grid
    "SD 2 at 768": (
        UNet2DConditionModel,
        {
            "cross_attention_dim": 1024,
            "attention_head_dim": (5, 10, 20, 20),
            "use_linear_projection": True,
        },
        (96, 96),
        {(96, 96): 5, (48, 48): 5, (24, 24): 5, (12, 12): 1},
    ),
    "SDXL": (
        UNet2DConditionModel,
        {
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "cross_attention_dim": 2048,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": (5, 10, 20),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "use_linear_projection": True,
            "projection_class_embeddings_input_dim": 2816,
        },
        (128, 128),
        {(64, 64): 10, (32, 32): 60},
    ),
    "DDPM at 256": (
        UNet2DModel,
        {
            "block_out_channels": (128, 128, 256, 256, 512, 512),
            "attention_head_dim": None,
            "downsample_padding": 0,
            "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
        },
        (256, 256),
        {(16, 16): 5, (8, 8): 1},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
def test_the_grids_of_the_real_networks(name: str) -> None:
    """Their shapes without weights: what `layers` lists, and what a pass through them shows."""
    kind, settings, size, expected = SHAPES[name]
    with torch.device("meta"):
        unet = kind(**settings).requires_grad_(False)
        seen: dict[str, int] = {}
        listed = layers(unet, size)
        for layer in listed:
            unet.get_submodule(layer).register_forward_pre_hook(
                lambda _, args, layer=layer: seen.update(
                    {layer: (args[0].flatten(2).mT if args[0].ndim == 4 else args[0]).shape[1]}
                )
            )
        x, t = (
            torch.empty(1, settings.get("in_channels", 3 if kind is UNet2DModel else 4), *size),
            torch.tensor(500),
        )
        added = (
            {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
            if name == "SDXL"
            else None
        )
        told = {"added_cond_kwargs": added} if added else {}
        unet(
            x,
            t,
            *([] if kind is UNet2DModel else [torch.empty(1, 77, settings["cross_attention_dim"])]),
            **told,
        )
    grids = [layer.grid for layer in listed.values()]
    assert {grid: grids.count(grid) for grid in grids} == expected
    assert seen == {layer: found.tokens for layer, found in listed.items()}
    assert find_layer(unet, "mid") is unet.get_submodule(
        next(layer for layer in listed if layer.startswith("mid"))
    )


def channels(hidden: Tensor) -> int:
    """Of an attention's input, (1, C, h, w) or (1, N, C)."""
    return hidden.shape[1] if hidden.ndim == 4 else hidden.shape[2]


# What a U-Net is told.


@pytest.mark.parametrize("prompt", ["a fox on a blue background", ""])
@pytest.mark.parametrize("size", [None, (48, 32)])
def test_sdxl_is_told_what_its_pipeline_tells_it(
    families: Open, prompt: str, size: tuple[int, int] | None
) -> None:
    pipe, model = families("sdxl").pipe, families("sdxl").model
    text, none, pooled, no_pooled = pipe.encode_prompt(prompt)
    height, width = size or (32, 32)
    ids = pipe._get_add_time_ids((height, width), (0, 0), (height, width), torch.float32, 24)
    for told, vector, given in ((text, pooled, prompt), (none, no_pooled, None)):
        found = model.embed(given, size=size)
        assert isinstance(found, SDXLConditioning)
        assert torch.equal(found.text, told)
        assert torch.equal(found.pooled, vector)
        assert torch.equal(found.time_ids, ids)
    assert not none.any(), "no text is zeros for this model, and the empty text is not"


def test_sdxl_encodes_the_empty_text_where_the_pipeline_does(families: Open) -> None:
    pipe = build_sdxl(families("sdxl").folder / "words", force_zeros_for_empty_prompt=False)
    model = sv.load(pipe)
    found = model.embed(None)
    assert isinstance(found, SDXLConditioning)
    assert torch.equal(found.text, model.embed("").text)
    assert torch.equal(found.pooled, pipe.encode_prompt("")[3])


def test_each_row_is_told_its_own(sdxl: Model) -> None:
    """Two runs in lockstep, with other prompts: their rows in one U-Net call are those of the runs
    alone.
    """
    alone = [
        sv.trace(sdxl, prompt, steps=2, guidance=CFG(4.0), progress=False)
        for prompt in ("a fox", "a cat")
    ]
    sweep = sv.sweep(sdxl, ["a fox", "a cat"], steps=2, guidance=CFG(4.0), progress=False)
    for trace, prompt in zip(alone, ("a fox", "a cat"), strict=True):
        assert difference(sweep.trace(prompt=prompt).latents, trace.latents) < 1e-5
    assert difference(alone[0].latents, alone[1].latents) > 1e-4


@pytest.mark.parametrize(("deviations", "means"), [([0.5, 2.0, 1.0, 4.0], [0.1, -0.2, 0.0, 1.0])])
def test_an_autoencoder_with_a_mean_for_each_channel(
    families: Open, deviations: list[float], means: list[float]
) -> None:
    """As some fine-tunes of SDXL have it: the picture is the pipeline's, and encoding is the
    inverse of the same numbers.
    """
    pipe = DiffusionPipeline.from_pretrained(families("sdxl").folder)
    pipe.set_progress_bar_config(disable=True)
    pipe.vae.register_to_config(latents_mean=means, latents_std=deviations)
    latents, plain = noise(1), sv.load(families("sdxl").pipe)
    ours = sv.load(pipe)
    expected = pipe("a fox", num_inference_steps=1, latents=latents, guidance_scale=1.0).images[0]
    found = sv.trace(ours, "a fox", steps=1, noise=latents, progress=False).image
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1
    spread, offset = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (deviations, means))
    scale = ours.vae.config.scaling_factor
    torch.testing.assert_close(
        ours.encode(picture()), (plain.encode(picture()) / scale - offset) * scale / spread
    )


# Models of pixels.


def test_a_picture_of_pixels_is_its_own_latent(pixels: Model) -> None:
    assert (pixels.pixels_per_cell, pixels.size_unit, pixels.default_size) == (1, 2, (16, 16))
    assert pixels.latent_shape((16, 32)) == (3, 16, 32)
    latents = pixels.encode([picture(), picture().rotate(180)])
    assert (latents.shape, latents.min(), latents.max()) == ((2, 3, 16, 32), -1, 1)
    assert np.array_equal(np.asarray(pixels.decode(latents)[0]), np.asarray(picture()))
    trace = sv.trace(pixels, steps=2, progress=False)
    assert torch.equal(trace.latent_rgb, pixels.latent_rgb)
    assert np.array_equal(
        np.asarray(preview(trace.latents, trace.latent_rgb)[0]), np.asarray(trace.image)
    )


def test_grey_pixels() -> None:
    model = sv.load(build_pixels(in_channels=1, out_channels=1))
    grey = picture().convert("L")
    latents = model.encode(grey)
    assert latents.shape == (1, 1, 16, 32)
    assert (
        np.abs(np.asarray(model.decode(latents)[0].convert("L"), int) - np.asarray(grey, int)).max()
        <= 1
    )
    trace = sv.trace(model, steps=2, guidance=SAG(1.0), progress=False)
    assert trace.image.mode == "RGB"
    assert np.array_equal(
        np.asarray(preview(trace.latents, trace.latent_rgb)[0]), np.asarray(trace.image)
    )


def test_a_size_that_the_blocks_cannot_halve_is_refused() -> None:
    model = sv.load(
        build_pixels(
            block_out_channels=(16, 16, 32),
            down_block_types=("DownBlock2D",) * 2 + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * 2,
        )
    )
    with pytest.raises(ArgumentError, match="multiples of 4"):
        model.latent_shape((16, 18))
    assert sv.trace(model, steps=1, size=(12, 20), guidance=SAG(1.0), progress=False)[
        0
    ].attention.shape == (1, 3, 5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"prompt": "a fox"}, "reads none: it was trained without"),
        ({"negative_prompt": "a tree"}, "reads none"),
        ({"guidance": CFG(3.0) + SAG(0.5)}, r"leave CFG out: guidance=SAG\(0\.5\)"),
        ({"guidance": CFG(3.0)}, "leave CFG out: guidance=None"),
        ({"capture": sv.Capture("mid", "words")}, "no words"),
        ({"capture": sv.Capture("all", ("mass", "words"))}, "no words"),
        ({"size": (16, 17)}, "multiples of 2"),
    ],
    ids=str,
)
def test_what_a_model_of_pixels_cannot_be_told_is_refused_before_anything_runs(
    pixels: Model, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        sv.steps(pixels, **given)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    "given",
    [{"prompts": ["", "a fox"]}, {"guidance": [None, CFG(2.0)]}, {"negative_prompt": "a tree"}],
    ids=str,
)
def test_a_sweep_over_pixels_refuses_words_in_front(pixels: Model, given: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="reads none"):
        sv.sweep(pixels, **given)


def test_a_learned_variance_is_left_out() -> None:
    """Of six channels the first three are the noise; a scheduler that wants the others is refused,
    one by name fixes them.
    """
    learned = {"variance_type": "learned_range"}
    pipe = build_pixels(out_channels=6)
    fixed = sv.load(pipe)
    x = noise(2, channels=3)
    expected = pipe.unet(x, torch.tensor(500)).sample[:, :3]
    assert torch.equal(fixed.predict(x, torch.tensor(500), fixed.embed()), expected)
    pipe.register_modules(scheduler=DDPMScheduler(**learned))
    model = sv.load(pipe)
    with pytest.raises(ArgumentError, match=r"learned_range.*give scheduler='ddpm'") as error:
        sv.trace(model, steps=2, progress=False)
    assert is_one_sentence(error.value)
    runs = [
        sv.trace(each, steps=2, scheduler="ddpm", guidance=SAG(1.0), progress=False)
        for each in (model, fixed)
    ]
    assert torch.equal(runs[0].latents, runs[1].latents)


def test_what_the_scheduler_clips_the_records_do_not(pixels: Model) -> None:
    """Its own step clips the clean picture; x0_hat is what the network said."""
    step = sv.trace(pixels, steps=2, scheduler="ddim", progress=False)[0]
    assert step.x0_hat.abs().max() > 1.5
    clipped = step.x0_hat.clamp(-1, 1)
    after = pixels.scheduler.alphas_cumprod[int(step.t) - 500]
    torch.testing.assert_close(step.x_next, after.sqrt() * clipped + (1 - after).sqrt() * step.eps)


# Schedules.


def test_a_schedule_that_a_scheduler_lacks_is_warned_of(families: Open) -> None:
    model = families("sd2").model
    with pytest.warns(
        sv.SagvizWarning, match=r"SNR, which PNDMScheduler does not have.*ddim, ddpm, .*have it"
    ) as caught:
        sv.trace(model, steps=1, scheduler="pndm", progress=False)
    assert is_one_sentence(str(caught[0].message))
    with warnings.catch_warnings():
        warnings.simplefilter("error", sv.SagvizWarning)
        for scheduler in (None, "euler", "dpm++ 2m"):
            sv.trace(model, steps=1, scheduler=scheduler, progress=False)
        sv.trace(
            families("sd1").model,
            steps=1,
            scheduler=PNDMScheduler(skip_prk_steps=True),
            progress=False,
        )


def test_noise_without_a_picture_in_it_is_refused(families: Open) -> None:
    """An epsilon-model at alpha = 0 would divide by it."""
    sd2 = families("sd2").model
    planner = type(sd2.scheduler).from_config(sd2.scheduler.config, prediction_type="epsilon")
    with pytest.raises(ArgumentError, match="zero terminal SNR") as error:
        sv.trace(sd2, scheduler=planner, progress=False)
    assert is_one_sentence(error.value)


def test_a_latent_is_not_clipped_where_nothing_is_said(families: Open) -> None:
    """Euler has no word for it, and DDIM clips by default, as it should for pixels only."""
    pipe = DiffusionPipeline.from_pretrained(families("sdxl").folder)
    pipe.scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear")
    assert not make_scheduler(sv.load(pipe), "ddim").config.clip_sample
    assert not make_scheduler(families("sdxl").model, "ddpm").config.clip_sample
    assert make_scheduler(families("pixels").model, "ddim").config.clip_sample


def test_families_keep_their_own_scheduler(families: Open) -> None:
    kinds = {
        name: sv.trace(families(name).model, steps=1, progress=False).settings.scheduler["class"]
        for name in FAMILIES
    }
    assert kinds == {
        "sd1": "DDIMScheduler",
        "sd2": "DDIMScheduler",
        "sdxl": "EulerDiscreteScheduler",
        "pixels": "DDPMScheduler",
    }
    assert isinstance(families("sdxl").pipe.scheduler, EulerDiscreteScheduler)


# At home everywhere.


@pytest.fixture
def made(family: Family) -> sv.Trace:
    """Two pictures with SAG, all layers read."""
    model = family.model
    capture = sv.Capture("all", ("mass", "words") if model.reads_text else "mass")
    return sv.trace(
        model,
        prompt(model),
        steps=4,
        seed=3,
        images=2,
        guidance=guidance(model),
        capture=capture,
        progress=False,
    )


def prompt(model: Model) -> str:
    return "a fox" if model.reads_text else ""


def guidance(model: Model) -> Guidance:
    return Guidance((CFG(3.0),) if model.reads_text else ()) + model.sag(0.7)


@pytest.mark.slow
def test_a_run_is_followed_kept_and_looked_into(
    family: Family, made: sv.Trace, tmp_path: Path
) -> None:
    model = family.model
    step, *_ = sv.steps(model, prompt(model), steps=4, seed=3, images=2, guidance=guidance(model))
    assert same(step, replace(made[0], captured={}))
    assert len(made[1].captured) == len(layers(model.unet, (16, 16)))
    assert all(abs(float(found.mass.mean()) - 1) < 1e-4 for found in made[1].captured.values())
    made.save(tmp_path / "run.sagtrace")
    loaded = sv.Trace.load(tmp_path / "run.sagtrace")
    assert all(same(one, other) for one, other in zip(loaded, made, strict=True))
    assert torch.equal(loaded.latent_rgb, made.latent_rgb)
    assert loaded.settings == made.settings
    found = sv.attend(model, made, 1, (3, 2))
    torch.testing.assert_close(found.mass, made[1].captured[mid(made)].mass, rtol=1e-4, atol=1e-5)
    assert (found.words is None) == (not model.reads_text)
    frame = measure.of_trace(made)
    assert np.isfinite(frame["sag"]).all()
    assert ("cfg" in frame) == model.reads_text
    assert "<img" in made.to_html(tmp_path / "run.html").read_text()


def mid(trace: sv.Trace) -> str:
    return next(layer for layer in trace[0].captured if layer.startswith("mid"))


@pytest.mark.slow
def test_a_step_is_changed_and_left(family: Family, made: sv.Trace) -> None:
    model = family.model
    louder = sv.what_if(model, made, 1, guidance=replace_sag(guidance(model), scale=1.4))
    assert louder.forwards == 0
    torch.testing.assert_close(louder.terms["sag"], made[1].terms["sag"])
    wider = sv.what_if(
        model, made, 1, guidance=replace_sag(guidance(model), threshold=1.05, blur_sigma=2.0)
    )
    assert wider.forwards == 1
    branch = sv.branch(model, made, 2, guidance=model.sag(1.0), progress=False)
    again = sv.trace(
        model, prompt(model), steps=4, seed=3, images=2, guidance=guidance(model), progress=False
    )
    assert torch.equal(branch[1].x_next, again[1].x_next)
    assert not torch.equal(branch.latents, again.latents)
    names: dict[str, Any] = {}
    exec(code(model, again, again[2]), names)
    assert torch.equal(names["step"].x0_guided, again[2].x0_guided)


def replace_sag(total: Guidance, **changes: Any) -> Guidance:
    return Guidance(
        tuple(replace(term, **changes) if isinstance(term, SAG) else term for term in total.terms)
    )


@pytest.mark.slow
def test_guidances_are_compared_and_drawn(family: Family) -> None:
    """Without text there is no CFG: plain, and SAG with what suits the family."""
    model = family.model
    runs = sv.compare(model, prompt(model), steps=3, seed=3, unguided=True, progress=False)
    expected = (
        [Guidance((CFG(3.0),)), CFG(3.0) + model.sag()]
        if model.reads_text
        else [Guidance((model.sag(),))]
    )
    assert [run.settings.guidance for run in runs] == [Guidance(), *expected]
    alone = sv.trace(
        model, prompt(model), steps=3, seed=3, guidance=runs[-1].settings.guidance, progress=False
    )
    assert difference(runs[-1].latents, alone.latents) < 1e-4
    with_sag = runs[-1]
    figures: list[Any] = [
        sv.plot.step_panel(with_sag, 1, model),
        sv.plot.step_panel(with_sag, 1),
        sv.plot.film_strip(with_sag, model, count=2),
        sv.plot.schematic(with_sag, 1, model),
        sv.plot.guidance_curves(with_sag),
        sv.plot.triptych(runs),
    ]
    assert all("<img" in figure._repr_html_() for figure in figures)


@pytest.mark.slow
def test_a_sweep_is_made_kept_and_known(family: Family, families: Open, tmp_path: Path) -> None:
    model = family.model
    axes: dict[str, Any] = {
        "prompts": prompt(model),
        "seeds": [1, 2],
        "steps": 2,
        "store": tmp_path,
        "progress": False,
    }
    terms = [guidance(model), replace_sag(guidance(model), scale=0.0)]
    sweep = sv.sweep(model, guidance=terms, **axes)
    table = sweep.table()
    assert len(table) == 4
    assert not sweep.failed
    alone = sv.trace(model, prompt(model), seed=2, steps=2, guidance=terms[0], progress=False)
    assert difference(sweep.trace(seed=2, sag_scale=0.7).latents, alone.latents) < 1e-4
    prints = {fingerprint(families(name).model) for name in FAMILIES}
    assert len(prints) == len(FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["unet", "text_encoder", "text_encoder_2", "vae"])
def test_every_network_is_part_of_the_fingerprint(families: Open, part: str) -> None:
    model = sv.load(families("sdxl").folder)
    before = fingerprint(model)
    list(getattr(model, part).parameters())[-1].add_(1e-3)
    assert fingerprint(model) != before


@pytest.mark.slow
def test_the_playground_and_the_microscope(family: Family) -> None:
    model = family.model
    playground = sv.Playground(model, prompt=prompt(model), steps=2, seed=3)
    without, with_sag = playground.run()
    assert (
        with_sag.settings.guidance
        == Guidance((CFG(3.0),) if model.reads_text else ()) + model.sag()
    )
    assert without.settings.guidance == Guidance((CFG(3.0),) if model.reads_text else ())
    words = " ".join(
        widget.value
        for widget in everything(playground)
        if isinstance(getattr(widget, "value", None), str)
    )
    assert (WITHOUT_PROMPT in words) == (not model.reads_text)
    assert ("CFG + SAG" in words) == model.reads_text
    labels = {getattr(widget, "description", "") for widget in everything(playground)}
    assert ({"Prompt", "CFG scale", "Negative prompt"} <= labels) == model.reads_text
    assert model.reads_text or not {"Prompt", "CFG scale", "Negative prompt"} & labels
    assert playground.settings.restore(with_sag.settings) == []
    playground.explain()
    (scope,) = (child for child in playground.more.children if isinstance(child, sv.Microscope))
    assert not scope.notice.value
    scope.threshold = 1.2
    scope.layer = next(iter(layers(model.unet, (16, 16))))
    scope.place = (2, 3)
    assert not scope.notice.value
    assert (
        "CFG acts" in {getattr(widget, "description", "") for widget in everything(scope)}
    ) == model.reads_text
    playground.close()


def everything(widget: Any) -> list[Any]:
    return [
        widget,
        *(inner for child in getattr(widget, "children", ()) for inner in everything(child)),
    ]


def test_an_unknown_word_is_nobodys_where_there_are_none(pixels: Model) -> None:
    assert sv.vocabulary(pixels) is None


@pytest.mark.slow
def test_the_shell_makes_a_picture(family: Family, tmp_path: Path) -> None:
    """With what suits the family where nothing is said."""
    model, out = family.model, tmp_path / "a.png"
    assert (
        cli.main(
            [
                "generate",
                *filter(None, [prompt(model)]),
                "--model",
                str(family.folder),
                "--steps",
                "2",
                "-o",
                str(out),
            ]
        )
        == 0
    )
    total = Guidance((CFG(3.0),) if model.reads_text else ()) + model.sag()
    expected = sv.trace(model, prompt(model), seed=7, steps=2, guidance=total, progress=False)
    with Image.open(out) as picture:
        assert picture.tobytes() == expected.image.tobytes()


@pytest.mark.slow
def test_the_shell_sweeps(families: Open, tmp_path: Path) -> None:
    for name, blur in (("sdxl", 0.5), ("pixels", 1.0)):
        store = tmp_path / name
        assert (
            cli.main(
                [
                    "sweep",
                    "--model",
                    str(families(name).folder),
                    "--steps",
                    "1",
                    "--sag-scale",
                    "0",
                    "1",
                    "--store",
                    str(store),
                ]
            )
            == 0
        )
        sweep = sv.Sweep.open(store)
        table = sweep.table()
        assert {total.get(SAG).blur_sigma for total in sweep.plan.guidance} == {blur}
        assert ("cfg_scale" in table) == (name == "sdxl")


def test_the_shell_refuses_words_for_pixels(
    families: Open, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "--model", str(families("pixels").folder), "-o", str(tmp_path / "a.png")]
    assert cli.main([*command, "--cfg-scale", "5"]) == 2
    assert cli.main([*command, "--negative-prompt", "a tree"]) == 2
    assert len(re.findall("reads none", capsys.readouterr().err)) == 2


@pytest.mark.slow
def test_a_report_on_pixels(families: Open, tmp_path: Path) -> None:
    page = sv.report(tmp_path / "a.html", model=str(families("pixels").folder), steps=2).read_text()
    assert page.count("<img") > 10
