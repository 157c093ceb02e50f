"""Attention processors: where one attends in a way of its own, runs are as it says, and its
attention is neither read nor changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import (
    AttnProcessor2_0,
    CustomDiffusionAttnProcessor2_0,
    SlicedAttnProcessor,
)
from tiny import difference, noise
from torch import Tensor
from torch.nn import functional as F

import sagviz as sv
from sagviz import CFG, NAG, PAG, SAG, SEG, Capture
from sagviz.errors import ModelError


class Sharp:
    """Scores four times as large."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        told = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = attn.to_q(hidden_states), attn.to_k(told), attn.to_v(told)
        q, k, v = (part.unflatten(2, (attn.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=4 * attn.scale)
        out: Tensor = attn.to_out[0](mixed.transpose(1, 2).flatten(2))
        return out


def custom(pipe: Any) -> None:
    """As Custom Diffusion trains them: keys and values of the words are the processor's."""
    width = pipe.unet.config.cross_attention_dim
    found = dict[str, Any]()
    for name in pipe.unet.attn_processors:
        layer = pipe.unet.get_submodule(name.removesuffix(".processor"))
        size = {"hidden_size": layer.to_q.out_features, "cross_attention_dim": width}
        own = "attn2" in name
        made = CustomDiffusionAttnProcessor2_0(train_kv=own, train_q_out=False, **size)
        found[name] = made if own else AttnProcessor2_0()
    pipe.unet.set_attn_processor(found)


@pytest.fixture
def sharp(pipe: Any) -> Iterator[Any]:
    """A pipeline with a processor of the user's own."""
    pipe.unet.set_attn_processor(Sharp())
    yield pipe
    pipe.unet.set_attn_processor(AttnProcessor2_0())


def test_a_run_is_what_the_processor_makes_of_it(sharp: Any) -> None:
    settings: Any = {"guidance_scale": 3.0, "num_inference_steps": 4, "height": 32, "width": 32}
    expected = sharp("a fox", latents=noise(), output_type="latent", **settings).images
    asked: Any = {"guidance": CFG(3.0), "steps": 4, "size": (32, 32), "progress": False}
    made = sv.trace(sv.load(sharp), "a fox", noise=noise(), **asked)
    assert difference(made.latents, expected) < 1e-5


@pytest.mark.parametrize(
    "asked",
    [
        {"guidance": SAG(1.0)},
        {"guidance": PAG(1.0, layers="all")},
        {"guidance": SEG(1.0, layers="all")},
        {"guidance": NAG(1.0)},
        {"capture": Capture("mid", "mass")},
        {"capture": Capture("mid", "words")},
    ],
    ids=str,
)
def test_what_it_attends_to_is_neither_read_nor_changed(sharp: Any, asked: Any) -> None:
    with pytest.raises(ModelError, match=r"the processor Sharp.*set_attn_processor"):
        sv.trace(sv.load(sharp), "a fox", steps=1, progress=False, **asked)


def test_one_of_diffusers_with_projections_of_its_own_is_known(pipe: Any) -> None:
    custom(pipe)
    try:
        model = sv.load(pipe)
        sv.trace(model, "a fox", steps=1, guidance=SAG(1.0), progress=False)  # the picture's cells
        for asked in ({"guidance": NAG(1.0)}, {"capture": Capture("mid", "words")}):
            with pytest.raises(ModelError, match="CustomDiffusionAttnProcessor2_0"):
                sv.trace(model, "a fox", steps=1, progress=False, **asked)
    finally:
        pipe.unet.set_attn_processor(AttnProcessor2_0())


def test_the_others_of_diffusers_give_the_same_map(pipe: Any) -> None:
    maps = list[Tensor]()
    for processor in (AttnProcessor2_0(), SlicedAttnProcessor(slice_size=1)):
        pipe.unet.set_attn_processor(processor)
        made = sv.trace(sv.load(pipe), "a fox", steps=1, guidance=SAG(1.0), progress=False)
        maps.append(made[0].attention)
    pipe.unet.set_attn_processor(AttnProcessor2_0())
    torch.testing.assert_close(*maps)
