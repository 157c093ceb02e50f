"""Models as people have them: one file, one variant, a pipeline that changes, another process."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import single_file
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from safetensors.torch import save_file
from tiny import NO_SAFETY, build_vae, difference, is_one_sentence, noise, quiet

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ModelError
from sagviz.models.fingerprint import fingerprint


def refusal(source: object, **options: Any) -> str:
    with pytest.raises(ModelError) as error:
        sv.load(source, **options)
    assert is_one_sentence(error.value)
    return str(error.value)


# A checkpoint of one file.


@pytest.fixture(scope="module")
def checkpoint(pipe: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return single_file.write(pipe, tmp_path_factory.mktemp("file") / "model.safetensors")


def test_a_single_file_is_the_model_that_it_was_made_of(
    checkpoint: Path, folder: Path, model: sv.Model
) -> None:
    opened = sv.load(checkpoint, config=folder)
    assert fingerprint(opened) == fingerprint(model)
    assert opened.name == str(checkpoint)
    assert torch.equal(opened.embed("a fox").text, model.embed("a fox").text)
    again = pickle.loads(pickle.dumps(opened))
    assert fingerprint(again) == fingerprint(model)


def test_without_its_configuration_a_single_file_says_which_it_is(checkpoint: Path) -> None:
    said = refusal(checkpoint)
    assert "that of stable-diffusion-v1-5/stable-diffusion-v1-5, which is not here" in said
    assert "give config= a folder" in said


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"none")
    assert "cannot be read" in refusal(tmp_path / "model.safetensors", config=folder)
    (tmp_path / "model.txt").write_text("none")
    assert "no checkpoint; give one that ends in .safetensors" in refusal(tmp_path / "model.txt")
    save_file({"lora_unet.lora_down.weight": torch.zeros(4, 4)}, tmp_path / "lora.safetensors")
    assert "is no whole model" in refusal(tmp_path / "lora.safetensors", config=folder)


# Variants and the user's folder.


@pytest.fixture
def half(pipe: StableDiffusionPipeline, tmp_path: Path) -> Path:
    """A folder with weights in fp16 alone."""
    pipe.save_pretrained(tmp_path / "half", variant="fp16")
    return tmp_path / "half"


def test_a_folder_of_one_variant_simply_loads(half: Path, model: sv.Model) -> None:
    assert (half / "unet" / "diffusion_pytorch_model.fp16.safetensors").exists()
    assert fingerprint(sv.load(half)) == fingerprint(model)


@pytest.mark.slow
def test_a_variant_is_a_choice(half: Path, folder: Path, model: sv.Model) -> None:
    """The plain weights where both are there, unless the variant is asked for."""
    both = half.with_name("both")
    shutil.copytree(folder, both)
    other = StableDiffusionPipeline.from_pretrained(folder, **NO_SAFETY)
    for weights in other.unet.parameters():
        weights.data.mul_(2)
    other.save_pretrained(both, variant="fp16")
    assert fingerprint(sv.load(both)) == fingerprint(model)
    chosen = sv.load(both, variant="fp16")
    assert fingerprint(chosen) == fingerprint(sv.load(other))
    assert chosen.origin is not None
    assert chosen.origin.variant == "fp16"
    assert "the unet of" in refusal(folder, variant="bf16")


def test_a_variant_that_some_parts_have_is_taken_there(
    half: Path, folder: Path, model: sv.Model
) -> None:
    """As diffusers does."""
    shutil.rmtree(half / "vae")
    shutil.copytree(folder / "vae", half / "vae")
    assert fingerprint(sv.load(half, variant="fp16")) == fingerprint(model)


def test_the_users_folder_is_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In models, traces, pages, votes and stores."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(folder)
    shutil.copytree(folder, tmp_path / "own")
    opened = sv.load("~/own")
    assert opened.name == str(tmp_path / "own")
    trace = sv.trace(opened, steps=1, progress=False)
    trace.save("~/run.sagtrace")
    assert sv.Trace.load("~/run.sagtrace").latents.equal(trace.latents)
    trace.to_html("~/run.html")
    sv.sweep(opened, steps=1, store="~/runs", progress=False)
    assert len(sv.Sweep.open("~/runs")) == 1
    vote = sv.Preference([(trace, trace)], path="~/votes.json")
    vote.vote("tie")
    vote.close()
    assert json.loads((tmp_path / "votes.json").read_text())["given"] == ["tie"]
    assert {"own", "run.sagtrace", "run.html", "runs"} <= {each.name for each in tmp_path.iterdir()}
    assert not (folder / "~").exists()


# A pipeline that changes after it was loaded.


@pytest.fixture
def own(folder: Path) -> Any:
    return quiet(StableDiffusionPipeline.from_pretrained(folder))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_a_scheduler_that_is_set_later_is_honoured(own: Any, kind: Any) -> None:
    model, start = sv.load(own), noise()
    own.scheduler = kind.from_config(own.scheduler.config)
    theirs = own(
        "a fox",
        num_inference_steps=4,
        guidance_scale=3.0,
        latents=start.clone(),
        output_type="latent",
    ).images
    made = sv.trace(model, "a fox", steps=4, guidance=CFG(3.0), noise=start, progress=False)
    assert made.settings.scheduler["class"] == kind.__name__
    assert difference(made.latents, theirs) < 1e-4


def test_other_parts_that_are_set_later_are_honoured(own: Any) -> None:
    model = sv.load(own)
    before, colours = model.decode(noise())[0], model.latent_rgb
    torch.manual_seed(5)
    own.vae = build_vae()
    assert model.vae is own.vae
    assert model.decode(noise())[0].tobytes() == sv.load(own).decode(noise())[0].tobytes()
    assert model.decode(noise())[0].tobytes() != before.tobytes()
    assert not torch.equal(model.latent_rgb, colours)
    assert torch.equal(model.latent_rgb, model.latent_rgb)


# Another process.


def test_a_model_is_pickled_by_its_origin(model: sv.Model) -> None:
    content = pickle.dumps(model)
    assert len(content) < 2000
    again = pickle.loads(content)
    assert (again.name, again.origin) == (model.name, model.origin)
    guidance = CFG(3.0) + SAG(1.0)
    pair = [
        sv.trace(m, "a fox", steps=2, guidance=guidance, progress=False) for m in (model, again)
    ]
    assert torch.equal(pair[0].latents, pair[1].latents)


def test_a_model_from_memory_cannot_be_pickled(own: Any, folder: Path) -> None:
    loaded = [sv.load(own), sv.load(folder, classifier=sv.load().classifier)]
    for model in loaded:
        with pytest.raises(ModelError, match=r"write it with pipe.save_pretrained") as error:
            pickle.dumps(model)
        assert is_one_sentence(error.value)
