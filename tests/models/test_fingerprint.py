"""Which model it is: by all that decides the picture, and not by what it is called."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from peft import LoraConfig
from tiny import open_clip_tokenizer, quiet
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import sagviz as sv
from sagviz.models.fingerprint import fingerprint
from sagviz.sweeps import begin


class Calls(TorchDispatchMode):
    """The names of torch's functions that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def adapted(folder: Path) -> sv.Model:
    """A pipeline of that folder with an adapter in its U-Net."""
    pipe = quiet(StableDiffusionPipeline.from_pretrained(folder))
    torch.manual_seed(8)
    targets = ["to_q", "to_v"]
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False), "fox")
    return sv.load(pipe)


class Shared(AttnProcessor2_0):
    """A share of what the layer says."""

    def __init__(self, share: Any) -> None:
        super().__init__()
        self.share = share

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return super().__call__(attn, hidden_states, *args, **kwargs) * self.share


def meet_at_the_edges(model: sv.Model, mode: Any) -> None:
    for module in model.unet.modules():
        if isinstance(module, nn.Conv2d):
            module.padding_mode = mode


CHANGES: dict[str, tuple[Callable[[Any], object], Callable[[Any], object]]] = {
    "an adapter at strength 0": (
        lambda model: model.unet.set_adapters("fox", 0.0),
        lambda model: model.unet.set_adapters("fox", 1.0),
    ),
    "an adapter at another strength": (
        lambda model: model.unet.set_adapters("fox", 0.5),
        lambda model: model.unet.set_adapters("fox", 1.0),
    ),
    "no adapter": (
        lambda model: model.unet.disable_adapters(),
        lambda model: model.unet.enable_adapters(),
    ),
    "FreeU": (
        lambda model: model.unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
        lambda model: model.unet.disable_freeu(),
    ),
    "another scale of latents": (
        lambda model: model.vae.register_to_config(scaling_factor=0.5),
        lambda model: model.vae.register_to_config(scaling_factor=0.18215),
    ),
    "shorter prompts": (
        lambda model: setattr(model.tokenizer, "model_max_length", 12),
        lambda model: setattr(model.tokenizer, "model_max_length", 24),
    ),
    "an attention processor of one's own": (
        lambda model: model.unet.set_attn_processor(Shared(0.5)),
        lambda model: model.unet.set_attn_processor(AttnProcessor()),  # another of diffusers'
    ),
    "a seamless picture": (
        lambda model: meet_at_the_edges(model, "circular"),
        lambda model: meet_at_the_edges(model, "zeros"),
    ),
    "one number of one tensor": (
        lambda model: model.unet.conv_in.weight.view(-1)[7].mul_(2),
        lambda model: model.unet.conv_in.weight.view(-1)[7].div_(2),
    ),
    "all numbers of one tensor, behind torch's back": (
        lambda model: model.unet.conv_in.weight.data.mul_(2),
        lambda model: model.unet.conv_in.weight.data.div_(2),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_picture_is_part_of_it(adapted: sv.Model, change: str) -> None:
    """And undone it is the same model again."""
    do, undo = CHANGES[change]
    before = fingerprint(adapted)
    do(adapted)
    changed = fingerprint(adapted)
    undo(adapted)
    assert before == fingerprint(adapted) != changed


def test_so_is_what_a_processor_is_set_to(adapted: sv.Model) -> None:
    """A number, or one for each channel."""
    prints = list[str]()
    for share in (0.5, 0.25, torch.tensor([0.5, 0.25]), torch.tensor([0.5, 0.75]), 0.5):
        adapted.unet.set_attn_processor(Shared(share))
        prints.append(fingerprint(adapted))
    adapted.unet.set_attn_processor(AttnProcessor())
    assert prints[0] == prints[-1]
    assert len(set(prints)) == 4


def test_a_fused_adapter_is_another_model(adapted: sv.Model) -> None:
    """PEFT writes into the weights without torch's knowledge."""
    before = fingerprint(adapted)
    adapted.unet.fuse_lora()
    fused = fingerprint(adapted)
    adapted.unet.unfuse_lora()
    assert before != fused


def test_tokens_and_their_vectors_are_part_of_it(folder: Path, tmp_path: Path) -> None:
    """Textual inversion: two concepts under one word, and a tokenizer that fills up otherwise."""
    prints = set()
    for value in (0.1, 0.2, None):
        pipe = StableDiffusionPipeline.from_pretrained(folder)
        model = sv.load(pipe)
        prints.add(fingerprint(model))
        if value is not None:
            vector = torch.full((pipe.text_encoder.config.hidden_size,), value)
            pipe.load_textual_inversion({"<mine>": vector})
        else:
            model.tokenizer = open_clip_tokenizer(tmp_path)
        prints.add(fingerprint(model))
    assert len(prints) == 4, "the folder's own, and three others"


@pytest.mark.slow
def test_the_same_files_are_the_same_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: sv.Model
) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    pipe = StableDiffusionPipeline.from_pretrained(moved)
    found = {fingerprint(sv.load(source)) for source in ("moved", "moved/", moved, pipe)}
    assert found == {fingerprint(model)}
    pipe.unet.to(memory_format=torch.channels_last)
    assert fingerprint(sv.load(pipe)) == fingerprint(model), "their order in memory is not theirs"


def test_another_number_format_is_another_model(folder: Path, model: sv.Model) -> None:
    assert fingerprint(sv.load(folder, dtype="bfloat16")) != fingerprint(model)


def test_weights_are_read_once(folder: Path) -> None:
    model = sv.load(folder)
    with Calls() as first:
        before = fingerprint(model)
    with Calls() as later:
        assert fingerprint(model) == before
    assert any("sum" in name for name in first.names)
    assert not any("sum" in name for name in later.names)


def test_a_sweep_repeated_after_the_adapter_changed_makes_new_cells(
    adapted: sv.Model, tmp_path: Path
) -> None:
    axes: dict[str, Any] = {"prompts": "a fox", "seeds": [0, 1], "steps": 1, "store": tmp_path}
    first = sv.sweep(adapted, **axes, progress=False)
    adapted.unet.set_adapters("fox", 0.0)
    again = begin(adapted, **axes)
    assert len(again.missing()) == 2
    with pytest.raises(sv.SagvizError, match="adapters"):
        next(first.run(adapted))
    plain = sv.sweep(adapted, **axes, progress=False).trace(seed=1)
    adapted.unet.set_adapters("fox", 1.0)
    assert not begin(adapted, **axes).missing()
    assert not plain.latents.equal(first.trace(seed=1).latents)
