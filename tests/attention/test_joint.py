"""A softmax that picture and text share: the picture's tokens disturbed in some rows, all else to
the bit; what is read of it takes memory as the tokens grow, not as their square.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel
from instruments import peak_memory
from tiny_transformers import louder
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.attention.joint import Softmax, others_and_own
from sagviz.attention.perturb import Perturbation, PerturbedMap, blur_queries, perturb
from sagviz.attention.read import Reading, summed_up

SIZE, CELLS, TEXT, WIDTH = (8, 12), 24, 7, 32
LAYER = "transformer_blocks.1.attn"
CHANGES = [None, 1.5, math.inf]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = louder(
        SD3Transformer2DModel(
            sample_size=16,
            in_channels=4,
            out_channels=4,
            num_layers=2,
            attention_head_dim=8,
            num_attention_heads=4,
            joint_attention_dim=WIDTH,
            caption_projection_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            pos_embed_max_size=16,
        )
    )
    return made


def tokens(count: int, seed: int) -> Tensor:
    return torch.randn(2, count, WIDTH, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def mixed(network: nn.Module, wanted: dict[Perturbation, list[int]]) -> tuple[Tensor, Tensor]:
    """What the layer gives out for picture and text."""
    layer: Any = network.get_submodule("transformer_blocks.0.attn")
    with perturb(network, wanted, SIZE):
        found: tuple[Tensor, Tensor] = layer(
            hidden_states=tokens(CELLS, 1), encoder_hidden_states=tokens(TEXT, 2)
        )
    return found


@pytest.mark.parametrize("sigma", CHANGES, ids=str)
def test_the_picture_of_some_rows_alone_is_disturbed(
    network: nn.Module, sigma: float | None
) -> None:
    picture, text = mixed(network, {})
    disturbed, same = mixed(network, {PerturbedMap(("transformer_blocks.0",), sigma): [1]})
    assert torch.equal(same, text)
    assert torch.equal(disturbed[0], picture[0])
    assert float((disturbed[1] - picture[1]).abs().max()) > 1e-3


def softmax(dtype: torch.dtype = torch.float64) -> Softmax:
    """Picture first, then the text, of whose tokens two are masked."""
    count, drawn = CELLS + TEXT, torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, 4, count, 8, generator=drawn, dtype=dtype) for _ in range(3))
    bias = torch.zeros(2, 1, count, dtype=dtype)
    bias[1, 0, -2:] = -math.inf
    return Softmax(q, k, v, bias, 8**-0.5)


def test_the_identity_is_a_mask_among_the_pictures_tokens() -> None:
    """As diffusers' PAG processor has it, with a mask of all tokens by all."""
    call, picture = softmax(), slice(0, CELLS)
    mask = call.bias.unsqueeze(1).repeat(1, 1, CELLS + TEXT, 1)
    others = ~torch.eye(CELLS, dtype=torch.bool)
    mask[..., :CELLS, :CELLS].masked_fill_(others, -math.inf)
    wanted = F.scaled_dot_product_attention(call.query, call.key, call.value, attn_mask=mask)
    found = others_and_own(call, picture)
    torch.testing.assert_close(found, wanted[:, :, picture], rtol=0, atol=1e-5)


def test_a_blur_without_end_makes_all_of_the_picture_alike(network: nn.Module) -> None:
    """And a small one is that of the queries on their grid."""
    picture, _ = mixed(network, {PerturbedMap(("transformer_blocks.0",), math.inf): [0, 1]})
    torch.testing.assert_close(picture, picture[:, :1].expand_as(picture), rtol=0, atol=1e-5)
    q = tokens(CELLS, 4)[:, None]
    assert torch.equal(blur_queries(q, (4, 6), math.inf)[:, :, 0], q.mean(2))


@pytest.mark.parametrize("kind", ["mass", "words", "text"])
def test_memory_grows_as_the_tokens_do(kind: str) -> None:
    """Four times the tokens need no more than some five times the memory, where a map of all by all
    needs sixteen.
    """

    def needed(side: int) -> int:
        q = torch.randn(1, 2, side * side, 8)
        k = torch.randn(1, 2, side * side + TEXT, 8)
        text, grid = slice(side * side, None), (side, side)
        own = k[:, :, : side * side] if kind == "mass" else k
        reading = Reading(LAYER, kind)
        return peak_memory(
            lambda: summed_up(reading, q, own, 1.0, grid, (2 * side, 2 * side), keep=text)
        )

    assert needed(64) < 5 * needed(32)
