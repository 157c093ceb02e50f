"""Opening models, and what the rest of the package sees of them."""

from __future__ import annotations

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import transformers
from diffusers import (
    ConsistencyDecoderVAE,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from tiny import is_one_sentence, noise, residue

import sagviz as sv
from sagviz.attention.words import words_of
from sagviz.errors import ArgumentError, ModelError, SagvizError
from sagviz.mini import NAME
from sagviz.models import SCHEDULERS, make_scheduler
from sagviz.models.fingerprint import fingerprint


def refuses(kind: type[SagvizError], words: str, source: object, **options: Any) -> None:
    with pytest.raises(kind, match=words) as error:
        sv.load(source, **options)
    assert is_one_sentence(error.value)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of the model's folder to damage."""
    return shutil.copytree(folder, tmp_path / "copied")


# Opening.


def test_the_miniature_has_a_name() -> None:
    named, usual = sv.load("miniature"), sv.load()
    assert (named.name, named.origin) == (usual.name, usual.origin) == (NAME, usual.origin)
    assert named.classifier is not None


def test_options_that_could_do_nothing_are_refused(
    model: sv.Model, pipe: StableDiffusionPipeline, folder: Path
) -> None:
    assert sv.load(model) is model
    refuses(ArgumentError, "dtype=, offload= cannot", model, dtype="float16", offload=True)
    refuses(ArgumentError, "revision= cannot", pipe, revision="main")
    for source in (None, folder):
        refuses(ArgumentError, "checkpoint of one file", source, config="elsewhere")


def test_a_folder_gives_diffusers_own_classes_ready_to_run(
    model: sv.Model, pipe: StableDiffusionPipeline
) -> None:
    for part in ("unet", "vae", "text_encoder"):
        loaded, theirs = getattr(model, part), getattr(pipe, part)
        assert type(loaded) is type(theirs)
        assert not loaded.training
        for (name, mine), other in zip(loaded.named_parameters(), theirs.parameters(), strict=True):
            assert torch.equal(mine, other), name
            assert not mine.requires_grad
    assert model.tokenizer.get_vocab() == pipe.tokenizer.get_vocab()
    assert repr(model).endswith("on cpu, float32>")


def test_a_folder_is_read_as_text_or_as_path(folder: Path) -> None:
    assert sv.load(str(folder)).name == sv.load(folder).name == str(folder)


def test_a_pipeline_is_used_as_it_is(pipe: StableDiffusionPipeline) -> None:
    before = residue(pipe.unet)
    model = sv.load(pipe)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        assert getattr(model, part) is getattr(pipe, part)
    assert residue(pipe.unet) == before


def test_a_pipeline_runs_like_its_folder(model: sv.Model, pipe: StableDiffusionPipeline) -> None:
    runs = [
        sv.trace(opened, "a fox", steps=2, guidance=sv.CFG(3.0) + sv.SAG(1.0), progress=False)
        for opened in (model, sv.load(pipe))
    ]
    assert torch.equal(runs[0].latents, runs[1].latents)


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_the_number_format_is_a_choice(folder: Path, dtype: Any) -> None:
    model = sv.load(folder, dtype=dtype)
    assert {
        p.dtype for part in (model.unet, model.vae, model.text_encoder) for p in part.parameters()
    } == {torch.bfloat16}


def test_loading_leaves_transformers_progress_bars_as_they_were(folder: Path) -> None:
    logging = transformers.utils.logging
    assert logging.is_progress_bar_enabled()
    sv.load(folder)
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize(
    "source", ["no/such-folder", "no-such-folder", "/no/such/folder", Path("no/such/folder"), ""]
)
def test_a_model_that_is_not_there_is_refused(source: str | Path) -> None:
    refuses(ModelError, "give a folder", source)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    refuses(ModelError, "model_index.json", tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "", '"text"', "\xff"])
def test_an_index_that_is_no_index_is_refused(copied: Path, content: str) -> None:
    (copied / "model_index.json").write_bytes(content.encode("latin-1"))
    refuses(ModelError, "copied", copied)


def test_a_model_without_a_unet_is_refused(copied: Path) -> None:
    path = copied / "model_index.json"
    index = json.loads(path.read_text())
    del index["unet"]
    path.write_text(
        json.dumps(
            {**index, "_class_name": "KandinskyPriorPipeline", "prior": ["diffusers", "Prior"]}
        )
    )
    refuses(ModelError, "KandinskyPriorPipeline without unet or transformer, but a prior", copied)


@pytest.mark.parametrize(
    "unet", [["elsewhere", "OtherUNet"], ["diffusers", "OtherUNet"], [None, None], None, 3], ids=str
)
def test_a_part_of_an_unknown_class_is_refused(copied: Path, unet: Any) -> None:
    path = copied / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "unet": unet}))
    refuses(ModelError, "unet", copied)


@pytest.mark.parametrize(
    "name",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "text_encoder/model.safetensors",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_part_is_named(copied: Path, name: str, damage: str) -> None:
    path, part = copied / name, name.partition("/")[0]
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    refuses(ModelError, f"the {part} of", copied)


def test_sdxl_is_refused(copied: Path) -> None:
    path = copied / "unet" / "config.json"
    config = json.loads(path.read_text())
    size_embedding = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 8,
    }
    UNet2DConditionModel.from_config({**config, **size_embedding}).save_pretrained(path.parent)
    refuses(ModelError, "SDXL", copied)


def decoder_that_draws() -> ConsistencyDecoderVAE:
    down, up = ("ResnetDownsampleBlock2D",) * 2, ("ResnetUpsampleBlock2D",) * 2
    return ConsistencyDecoderVAE(
        encoder_block_out_channels=(8, 16),
        encoder_down_block_types=("DownEncoderBlock2D",) * 2,
        encoder_norm_num_groups=4,
        decoder_block_out_channels=(8, 16),
        decoder_down_block_types=down,
        decoder_up_block_types=up,
        decoder_norm_num_groups=4,
    )


def test_what_is_no_model_is_refused(pipe: StableDiffusionPipeline) -> None:
    refuses(ModelError, "int has no unet", 3)
    refuses(ArgumentError, "StableDiffusionPipeline.from_pretrained", type(pipe))
    pipe = StableDiffusionPipeline(**{**pipe.components, "vae": decoder_that_draws()})
    refuses(ModelError, "ConsistencyDecoderVAE, which decodes by a diffusion", pipe)
    refuses(ArgumentError, "as it is", pipe, device="cpu")
    refuses(ArgumentError, "as it is", pipe, dtype="float16")


@pytest.mark.parametrize(
    "options",
    [{"dtype": "int8"}, {"dtype": "half a float"}, {"device": "toaster"}, {"device": "cuda:99"}],
    ids=str,
)
def test_a_device_or_dtype_that_is_not_there_is_refused(
    folder: Path, options: dict[str, str]
) -> None:
    refuses(ArgumentError, next(iter(options.values())), folder, **options)


# Text.


@pytest.mark.parametrize("prompt", ["", "a fox", "A FOX", "two words, and more"])
def test_a_prompt_is_embedded_as_diffusers_does(
    model: sv.Model, pipe: StableDiffusionPipeline, prompt: str
) -> None:
    expected, _ = pipe.encode_prompt(prompt, "cpu", 1, False)
    assert torch.equal(model.embed(prompt).text, expected)


def test_a_prompt_is_not_case_sensitive(model: sv.Model) -> None:
    assert torch.equal(
        model.embed("A Fox on a BLUE background").text,
        model.embed("a fox on a blue background").text,
    )
    assert not torch.equal(model.embed("a fox").text, model.embed("a tree").text)


def test_a_prompt_that_is_too_long_is_cut_with_a_warning_that_names_the_words(
    model: sv.Model,
) -> None:
    room = model.tokenizer.model_max_length - 2
    kept = "fox " * (room - 2) + "tree"
    with pytest.warns(sv.SagvizWarning, match=rf"longer than {room} tokens.*: mushroom guitar$"):
        model.check_prompt(f"{kept} house mushroom guitar")
    assert torch.equal(
        model.embed(f"{kept} house mushroom guitar").text, model.embed(f"{kept} house").text
    )


@pytest.mark.parametrize(
    "words", ["guitarists", "r\u00e9servoir", "\N{FOX FACE}\N{FOX FACE}\N{FOX FACE}"]
)
def test_no_half_word_is_named_among_those_that_were_cut(model: sv.Model, words: str) -> None:
    """The first one that does not fit as a whole, as it was typed, wherever the cut goes."""
    room = model.tokenizer.model_max_length - 2
    size = len(model.tokenizer(words).input_ids) - 2
    assert size > 1
    for free in range(size):
        with pytest.warns(sv.SagvizWarning, match=rf"were cut: {words} Tree$"):
            model.check_prompt("fox " * (room - free) + f"{words}  Tree")


def test_chinese_is_cut_between_its_characters(model: sv.Model) -> None:
    prompt = "\u72d0\u72f8\u5728\u84dd\u8272\u80cc\u666f\u4e0a" * 3
    with pytest.warns(sv.SagvizWarning, match="cut") as caught:
        model.check_prompt(prompt)
    cut = str(caught[0].message).rpartition(": ")[2]
    assert prompt.endswith(cut)
    assert cut != prompt


def test_five_hundred_words_warn_in_one_sentence(model: sv.Model) -> None:
    with pytest.warns(sv.SagvizWarning, match="cut") as caught:
        sv.trace(model, "fox " * 500, steps=1, progress=False)
    (warning,) = caught
    assert is_one_sentence(str(warning.message))
    assert len(str(warning.message)) < 400
    assert str(warning.message).endswith(" fox \u2026")


def test_a_prompt_that_fits_does_not_warn(model: sv.Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.check_prompt("fox " * (model.tokenizer.model_max_length - 2))


# Pictures and latents.


def test_sizes_are_counted_in_cells(model: sv.Model) -> None:
    assert model.pixels_per_cell == 2
    assert model.default_size == (32, 32)
    assert model.latent_shape((32, 48)) == (4, 16, 24)


@pytest.mark.parametrize(
    "size", [(32,), (32, 33), (0, 32), (-32, 32), (32.0, 32), (32, 32, 3), ("32", "32"), ()]
)
def test_a_size_that_does_not_fit_the_cells_is_refused(model: sv.Model, size: Any) -> None:
    with pytest.raises(ArgumentError, match="multiples of 2") as error:
        model.latent_shape(size)
    assert is_one_sentence(error.value)


def picture(height: int = 32, width: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def test_encode_is_the_scaled_mean_of_the_autoencoder(model: sv.Model) -> None:
    latents = model.encode([picture(), picture().rotate(180)])
    assert (latents.shape, latents.dtype, latents.device.type) == (
        (2, 4, 16, 24),
        torch.float32,
        "cpu",
    )
    pixels = torch.from_numpy(np.asarray(picture())).permute(2, 0, 1)[None].float() / 127.5 - 1
    expected = model.vae.encode(pixels).latent_dist.mode() * model.vae.config.scaling_factor
    torch.testing.assert_close(latents[:1], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.encode(picture()), latents[:1], rtol=1e-4, atol=1e-4)


def test_decode_is_that_of_diffusers(model: sv.Model, pipe: StableDiffusionPipeline) -> None:
    latents = noise(2, (16, 24))
    expected = pipe.image_processor.postprocess(
        pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample.detach()
    )
    for mine, theirs in zip(model.decode(latents), expected, strict=True):
        assert mine.size == (48, 32)
        assert np.abs(np.asarray(mine, int) - np.asarray(theirs, int)).max() <= 1


def test_latents_may_be_numpys_and_are_of_four_dimensions(model: sv.Model) -> None:
    latents = noise()
    (own,) = model.decode(latents.numpy())  # type: ignore[arg-type]
    assert own == model.decode(latents)[0]
    backwards = latents.numpy()[..., ::-1].copy()[..., ::-1]
    assert own == model.decode(backwards)[0]  # type: ignore[arg-type]
    for wrong in (latents[0], latents.tolist(), own, np.array([[[["words"]]]])):
        with pytest.raises(ArgumentError, match=r"latents are .*; give a tensor or an array") as e:
            model.decode(wrong)  # type: ignore[arg-type]
        assert is_one_sentence(e.value)


@pytest.mark.parametrize(
    "pictures", [[], [picture(), picture(16, 16)], picture(33, 32)], ids=["none", "unequal", "odd"]
)
def test_pictures_that_cannot_be_encoded_are_refused(model: sv.Model, pictures: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        model.encode(pictures)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("t", [0, 500, 999])
def test_the_forward_process_is_that_of_diffusers(model: sv.Model, t: int) -> None:
    x0, eps = noise(2), noise(2, seed=1)
    torch.testing.assert_close(
        model.add_noise(x0, eps, t), model.scheduler.add_noise(x0, eps, torch.tensor([t]))
    )


@pytest.mark.parametrize("t", [-1, 1000, 0.5, "10", None])
def test_a_time_outside_the_schedule_is_refused(model: sv.Model, t: Any) -> None:
    with pytest.raises(ArgumentError, match="0 to 999") as error:
        model.add_noise(noise(), noise(), t)
    assert is_one_sentence(error.value)


# Schedulers.


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ddim", DDIMScheduler),
        ("DDIM", DDIMScheduler),
        ("pndm", PNDMScheduler),
        ("dpm++ 2m", DPMSolverMultistepScheduler),
        ("DPM++ 2M Karras", DPMSolverMultistepScheduler),
        ("euler", EulerDiscreteScheduler),
        (None, DDIMScheduler),
    ],
)
def test_a_scheduler_by_name_has_the_models_schedule(
    model: sv.Model, name: str | None, kind: type
) -> None:
    made = make_scheduler(model, name)
    assert type(made) is kind
    assert made is not model.scheduler
    assert torch.equal(cast(Any, made).alphas_cumprod, model.scheduler.alphas_cumprod)


def test_a_scheduler_at_hand_is_copied(model: sv.Model) -> None:
    """Its state stays the caller's."""
    own = EulerDiscreteScheduler.from_config(model.scheduler.config)
    own.set_timesteps(3)
    times = own.timesteps.clone()
    sv.trace(model, steps=5, scheduler=own, progress=False)
    assert torch.equal(own.timesteps, times)
    assert own.step_index is None


def test_karras_spacing_is_asked_for_by_name_only(model: sv.Model, folder: Path) -> None:
    karras = sv.load(folder)
    karras.scheduler = make_scheduler(model, "dpm++ 2m karras")
    assert not make_scheduler(karras, "dpm++ 2m").config.use_karras_sigmas
    assert make_scheduler(karras).config.use_karras_sigmas


@pytest.mark.parametrize("name", ["banana", "", "DDIMScheduler", 3])
def test_an_unknown_scheduler_is_refused_with_the_known_ones(model: sv.Model, name: Any) -> None:
    with pytest.raises(ArgumentError, match=", ".join(SCHEDULERS).replace("+", r"\+")) as error:
        sv.trace(model, scheduler=name)
    assert is_one_sentence(error.value)


@pytest.mark.slow
def test_threads_do_not_share_the_tokenizers_state(model: sv.Model) -> None:
    """Prompts embedded at the same time, by several widgets, are those embedded one by one."""
    prompts = ["a fox", "", "a cat above an owl"] * 300
    expected = {prompt: model.embed(prompt) for prompt in set(prompts)}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(model.embed, prompts))
    assert all(
        torch.equal(told.text, expected[prompt].text)
        for told, prompt in zip(found, prompts, strict=True)
    )


@pytest.mark.slow
def test_a_pipeline_may_call_its_tokenizer_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sets there in another thread is nothing to us, and ours is nothing to it."""
    model, other = sv.load(folder), sv.load(folder)
    backend, own = (
        model.tokenizer.backend_tokenizer,
        type(model.tokenizer).set_truncation_and_padding,
    )

    def amid(tokenizer: Any, **options: Any) -> None:
        own(tokenizer, **options)
        backend.enable_truncation(3)
        backend.no_padding()

    monkeypatch.setattr(type(model.tokenizer), "set_truncation_and_padding", amid)
    prompt = "a fox above an owl"
    assert torch.equal(model.embed(prompt).text, other.embed(prompt).text)
    assert words_of(model, prompt) == words_of(other, prompt)
    assert fingerprint(model) == fingerprint(other)
    with pytest.warns(sv.SagvizWarning, match="were cut"):
        model.check_prompt("fox " * 99)
    monkeypatch.undo()
    model.embed(prompt)
    assert backend.truncation["max_length"] == 3
    assert backend.padding is None
    model.tokenizer.add_tokens(["foxes"])
    assert "foxes" in [word.name for word in words_of(model, "two foxes")]


@pytest.mark.parametrize(
    "noted",
    [
        {},
        {"class": "UNet2DModel"},
        {"class": "DDIMScheduler", "beta_schedule": "nope"},
        {"class": "DDIMScheduler", "num_train_timesteps": 10**12},
        {"class": "DDIMScheduler", "num_train_timesteps": 0},
        {"class": "DDIMScheduler", "trained_betas": [0.1]},
    ],
    ids=str,
)
def test_a_recorded_scheduler_that_is_not_tested_is_not_made(
    model: sv.Model, noted: dict[str, Any]
) -> None:
    """A file may name any class."""
    with pytest.raises(ArgumentError, match="give scheduler= one of") as error:
        make_scheduler(model, noted)
    assert is_one_sentence(error.value)
