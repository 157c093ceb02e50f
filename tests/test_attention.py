"""The attention that each cell receives, read without a trace."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny import DOWN_LAYER, build_unet, noise, residue
from torch import Tensor

from sagviz.attention import LAYERS, QUERY_BLOCK, capture, column_mass, find_layer, grid_of
from sagviz.errors import ArgumentError

UP_LAYER = "up_blocks.1.attentions.1.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    torch.manual_seed(3)
    return build_unet()


def forward(unet: UNet2DConditionModel, x: Tensor) -> Tensor:
    text = torch.randn(len(x), 16, 32, generator=torch.Generator().manual_seed(5))
    return unet(x, torch.tensor(500), encoder_hidden_states=text).sample


@torch.no_grad()
def read(
    unet: UNet2DConditionModel, x: Tensor, layer: str, rows: int | None = None, heads: tuple[int, ...] | None = None
) -> Tensor:
    height, width = x.shape[2:]
    with capture(unet, layer, len(x) if rows is None else rows, (height, width), heads) as maps:
        forward(unet, x)
    (found,) = maps
    return found


@pytest.mark.parametrize("cells", [(16, 16), (16, 24), (15, 17), (9, 5)], ids=str)
@pytest.mark.parametrize("heads", [None, (0,), (1, 3)], ids=str)
@pytest.mark.parametrize("layer", ["mid", DOWN_LAYER, UP_LAYER])
def test_a_map_averages_one(
    unet: UNet2DConditionModel, layer: str, heads: tuple[int, ...] | None, cells: tuple[int, int]
) -> None:
    """At any layer, for any heads and size: each query hands out exactly 1. And no map is flat."""
    halved = (math.ceil(cells[0] / 2), math.ceil(cells[1] / 2))
    attention = read(unet, noise(2, cells), layer, heads=heads)
    assert attention.shape == (2, *(halved if layer == "mid" else cells))
    torch.testing.assert_close(attention.mean(dim=(1, 2)), torch.ones(2), rtol=0, atol=1e-5)
    assert attention.std() > 0.05


@pytest.mark.parametrize("tokens", [5, QUERY_BLOCK, QUERY_BLOCK + 1, 3 * QUERY_BLOCK - 1])
def test_blocks_of_queries_add_up_to_the_dense_map(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (2 * torch.randn(2, 3, tokens, 8, generator=generator) for _ in range(2))
    dense = torch.softmax(q.double() @ k.double().mT / math.sqrt(8), dim=-1)
    expected = dense.mean(dim=1).sum(dim=1)
    torch.testing.assert_close(column_mass(q, k, 1 / math.sqrt(8)).double(), expected, rtol=1e-5, atol=1e-5)


def test_the_map_counts_attention_received_not_given() -> None:
    """All queries look at key 3: it receives everything. The other axis would be 1 everywhere."""
    q, k = torch.ones(1, 1, 6, 4), torch.zeros(1, 1, 6, 4)
    k[0, 0, 3] = 100
    torch.testing.assert_close(column_mass(q, k, 1.0), torch.tensor([[0.0, 0, 0, 6, 0, 0]]))


def test_half_precision_queries_are_summed_in_float32() -> None:
    q, k = (torch.randn(1, 2, 200, 8, generator=torch.Generator().manual_seed(i)).bfloat16() for i in range(2))
    mass = column_mass(q, k, 0.3)
    assert mass.dtype == torch.float32
    torch.testing.assert_close(mass.mean(), torch.tensor(1.0), rtol=0, atol=1e-5)


def test_the_average_over_heads_is_that_of_the_single_heads(unet: UNet2DConditionModel) -> None:
    single = torch.stack([read(unet, noise(), "mid", heads=(head,)) for head in range(4)])
    torch.testing.assert_close(read(unet, noise(), "mid"), single.mean(dim=0), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(single[0], single[1], atol=0.1)


def test_only_the_leading_rows_are_read(unet: UNet2DConditionModel) -> None:
    x = noise(3)
    some = read(unet, x, "mid", rows=2)
    assert len(some) == 2
    torch.testing.assert_close(some, read(unet, x, "mid")[:2], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_each_pass_adds_a_map(unet: UNet2DConditionModel) -> None:
    with capture(unet, "mid", 1, (16, 16)) as maps:
        forward(unet, noise())
        forward(unet, noise(seed=1))
    assert len(maps) == 2
    assert not torch.equal(maps[0], maps[1])


@torch.no_grad()
@pytest.mark.parametrize("layer", ["mid", DOWN_LAYER])
def test_reading_does_not_change_the_output(unet: UNet2DConditionModel, layer: str) -> None:
    before = forward(unet, noise(2))
    with capture(unet, layer, 2, (16, 16)):
        assert torch.equal(forward(unet, noise(2)), before)


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_behind_an_exception(unet: UNet2DConditionModel, stop: type[BaseException]) -> None:
    before = residue(unet)

    def break_off() -> None:
        with capture(unet, "mid", 1, (16, 16)):
            assert residue(unet) != before
            raise stop

    with pytest.raises(stop):
        break_off()
    assert residue(unet) == before


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [(4096, (64, 64), (64, 64)), (64, (64, 64), (8, 8)), (144, (64, 144), (8, 18)), (20, (15, 17), (4, 5)), (6, (3, 2), (3, 2))],
)
def test_the_grid_comes_from_the_latents_shape(tokens: int, size: tuple[int, int], grid: tuple[int, int]) -> None:
    """144 tokens of a 64 x 144 latent are 8 x 18, and not 12 x 12."""
    assert grid_of(tokens, size) == grid


def test_tokens_that_no_halving_gives_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"144 tokens.*64 x 64"):
        grid_of(144, (64, 64))


def test_a_layer_is_found_by_its_short_name_or_its_path(unet: UNet2DConditionModel) -> None:
    assert find_layer(unet, "mid") is unet.mid_block.attentions[0].transformer_blocks[0].attn1
    assert find_layer(unet, LAYERS["mid"]) is find_layer(unet, "mid")
    assert find_layer(unet, UP_LAYER) is unet.up_blocks[1].attentions[1].transformer_blocks[0].attn1


@pytest.mark.parametrize("layer", ["", "bottom", "mid_block", "mid_block.attentions.0.transformer_blocks.0.attn2"])
def test_an_unknown_layer_is_refused_with_the_known_ones(unet: UNet2DConditionModel, layer: str) -> None:
    with pytest.raises(ArgumentError, match=r"'mid' and .*down_blocks\.0"):
        find_layer(unet, layer)


@pytest.mark.parametrize("heads", [(4,), (-1,), (0, 7)])
def test_heads_that_the_layer_has_not_are_refused(unet: UNet2DConditionModel, heads: tuple[int, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"0\.\.3"), capture(unet, "mid", 1, (16, 16), heads):
        pass
