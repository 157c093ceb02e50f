"""The attention that each cell receives, read without a trace."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from diffusers.models.attention_processor import Attention
from instruments import Probabilities, peak_memory
from tiny import DOWN_LAYER, build_unet, noise, residue
from torch import Tensor, nn
from torch.nn import functional as F

from sagviz.attention.layers import cell_of, find_layer, grid_of, layers
from sagviz.attention.read import SCORES, Reading, capture, column_mass, mass_per_head
from sagviz.errors import ArgumentError

MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
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
    unet: UNet2DConditionModel,
    x: Tensor,
    layer: str,
    rows: Sequence[int] | None = None,
    heads: tuple[int, ...] | None = None,
) -> Tensor:
    height, width = x.shape[2:]
    reading = Reading(layer, heads=heads)
    with capture(
        unet, {reading: range(len(x)) if rows is None else rows}, (height, width)
    ) as found:
        forward(unet, x)
    return found[reading]


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


# several heads at once, one head at once, parts of a head
@pytest.mark.parametrize("tokens", [5, 362, 512, 513, 1500])
def test_blocks_of_queries_add_up_to_the_dense_map(tokens: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (2 * torch.randn(2, 3, tokens, 8, generator=generator) for _ in range(2))
    dense = torch.softmax(q.double() @ k.double().mT / math.sqrt(8), dim=-1)
    expected = dense.mean(dim=1).sum(dim=1)
    torch.testing.assert_close(
        column_mass(q, k, 1 / math.sqrt(8)).double(), expected, rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        mass_per_head(q, k, 1 / math.sqrt(8)).double(), dense.sum(dim=2), rtol=1e-5, atol=1e-5
    )


def test_the_map_counts_attention_received_not_given() -> None:
    """All queries look at key 3: it receives everything. The other axis would be 1 everywhere."""
    q, k = torch.ones(1, 1, 6, 4), torch.zeros(1, 1, 6, 4)
    k[0, 0, 3] = 100
    torch.testing.assert_close(column_mass(q, k, 1.0), torch.tensor([[0.0, 0, 0, 6, 0, 0]]))


def test_half_precision_queries_are_summed_in_float32() -> None:
    q, k = (
        torch.randn(1, 2, 200, 8, generator=torch.Generator().manual_seed(i)).bfloat16()
        for i in range(2)
    )
    mass = column_mass(q, k, 0.3)
    assert mass.dtype == torch.float32
    torch.testing.assert_close(mass.mean(), torch.tensor(1.0), rtol=0, atol=1e-5)


def test_the_average_over_heads_is_that_of_the_single_heads(unet: UNet2DConditionModel) -> None:
    single = torch.stack([read(unet, noise(), "mid", heads=(head,)) for head in range(4)])
    torch.testing.assert_close(read(unet, noise(), "mid"), single.mean(dim=0), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(single[0], single[1], atol=0.1)


def test_the_rows_that_are_asked_for_are_read(unet: UNet2DConditionModel) -> None:
    x = noise(3)
    some = read(unet, x, "mid", rows=[2, 0])
    torch.testing.assert_close(some, read(unet, x, "mid")[[2, 0]], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_the_last_pass_counts(unet: UNet2DConditionModel) -> None:
    with capture(unet, {Reading("mid"): [0]}, (16, 16)) as found:
        forward(unet, noise())
        forward(unet, noise(seed=1))
    torch.testing.assert_close(found[Reading("mid")], read(unet, noise(seed=1), "mid"))


@torch.no_grad()
@pytest.mark.parametrize("layer", ["mid", DOWN_LAYER])
def test_reading_does_not_change_the_output(unet: UNet2DConditionModel, layer: str) -> None:
    before = forward(unet, noise(2))
    kinds = [
        Reading(layer),
        Reading(layer, "maps", per_head=True),
        Reading(layer, "words"),
        Reading(layer, "row", place=(3, 2)),
    ]
    with capture(unet, {kind: [1] for kind in kinds}, (16, 16)):
        assert torch.equal(forward(unet, noise(2)), before)


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_nothing_stays_behind_an_exception(
    unet: UNet2DConditionModel, stop: type[BaseException]
) -> None:
    before = residue(unet)

    def break_off() -> None:
        with capture(unet, {Reading("mid"): [0], Reading(DOWN_LAYER, "words"): [0]}, (16, 16)):
            assert residue(unet) != before
            raise stop

    with pytest.raises(stop):
        break_off()
    assert residue(unet) == before


@pytest.mark.parametrize(
    ("tokens", "size", "grid"),
    [
        (4096, (64, 64), (64, 64)),
        (64, (64, 64), (8, 8)),
        (144, (64, 144), (8, 18)),
        (20, (15, 17), (4, 5)),
        (6, (3, 2), (3, 2)),
    ],
)
def test_the_grid_comes_from_the_latents_shape(
    tokens: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    """144 tokens of a 64 x 144 latent are 8 x 18, and not 12 x 12."""
    assert grid_of(tokens, size) == grid


def test_tokens_that_no_halving_gives_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"144 tokens.*64 x 64"):
        grid_of(144, (64, 64))


def test_a_layer_is_found_by_its_short_name_or_its_path(unet: UNet2DConditionModel) -> None:
    assert find_layer(unet, "mid") is unet.mid_block.attentions[0].transformer_blocks[0].attn1
    assert find_layer(unet, MID) is find_layer(unet, "mid")
    assert find_layer(unet, UP_LAYER) is unet.up_blocks[1].attentions[1].transformer_blocks[0].attn1


@pytest.mark.parametrize(
    "layer",
    ["", "bottom", "mid_block", "mid_block.attentions.0.transformer_blocks.0.attn2", "mid_block.."],
)
def test_an_unknown_layer_is_refused_with_the_known_ones(
    unet: UNet2DConditionModel, layer: str
) -> None:
    with pytest.raises(ArgumentError, match=r"'mid' and .*down_blocks\.0"):
        find_layer(unet, layer)


@pytest.mark.parametrize("heads", [(4,), (-1,), (0, 7)])
def test_heads_that_the_layer_has_not_are_refused(
    unet: UNet2DConditionModel, heads: tuple[int, ...]
) -> None:
    with (
        pytest.raises(ArgumentError, match=r"0\.\.3"),
        capture(unet, {Reading("mid", heads=heads): [0]}, (16, 16)),
    ):
        pass


def test_a_capture_that_is_refused_leaves_no_hook(unet: UNet2DConditionModel) -> None:
    before = residue(unet)
    with (
        pytest.raises(ArgumentError),
        capture(unet, {Reading("mid"): [0], Reading("bottom"): [0]}, (16, 16)),
    ):
        pass
    assert residue(unet) == before


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "cells"),
    [("text", (15, 17)), ("text", (20, 32)), ("blocks", (9, 5)), ("pixels", (16, 24))],
    ids=str,
)
def test_the_listed_grids_are_those_of_the_passes(kind: str, cells: tuple[int, int]) -> None:
    """U-Nets with text, on pixels alone, and with several transformer blocks a layer; sides that do
    not halve evenly, too.
    """
    deep = (
        ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    )
    network: Any = {
        "text": build_unet,
        "pixels": pixel_unet,
        "blocks": lambda: build_unet(
            block_out_channels=(16, 16, 32),
            down_block_types=deep[0],
            up_block_types=deep[1],
            transformer_layers_per_block=2,
        ),
    }[kind]()
    seen: dict[str, int] = {}
    listed = layers(network, cells)

    def watch(name: str) -> Callable[..., None]:
        return lambda _module, args: seen.update(
            {name: args[0].shape[2:].numel() if args[0].ndim == 4 else args[0].shape[1]}
        )

    for name in listed:
        network.get_submodule(name).register_forward_pre_hook(watch(name))
    network(
        noise(1, cells), torch.tensor(500), *([] if kind == "pixels" else [torch.zeros(1, 16, 32)])
    )
    assert seen == {name: layer.tokens for name, layer in listed.items()}
    assert len(listed) == {"text": 4, "pixels": 4, "blocks": 2 * 7}[kind]
    assert all((layer.cross is None) == (kind == "pixels") for layer in listed.values())
    assert find_layer(network, "mid") is network.get_submodule(
        next(name for name in listed if name.startswith("mid"))
    )


def pixel_unet() -> UNet2DModel:
    """A denoiser on pixels: group norm and a residual inside its attention, and no text."""
    network = UNet2DModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    return network.eval()


@torch.no_grad()
@pytest.mark.parametrize("place", ["mid_block.attentions.0", "up_blocks.0.attentions.1"])
def test_attention_on_pixels_is_read_through_its_norm(place: str) -> None:
    torch.manual_seed(0)
    network, oracle = pixel_unet(), Probabilities()
    module = network.get_submodule(place)
    module.group_norm.weight.uniform_(0.5, 4)
    x, readings = noise(2, (8, 12)), (Reading(place), Reading(place, "maps", per_head=True))
    with capture(network, {reading: [0, 1] for reading in readings}, (8, 12)) as found:
        network(x, torch.tensor(500))
    module.set_processor(oracle)
    network(x, torch.tensor(500))
    torch.testing.assert_close(found[readings[1]], oracle.found, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        found[readings[0]].flatten(1), oracle.found.mean(1).sum(1), rtol=1e-4, atol=1e-5
    )
    assert oracle.found.std() > 1e-4


@torch.no_grad()
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_norms_of_queries_and_keys_are_kept(norm: str) -> None:
    torch.manual_seed(0)
    attn = Attention(32, heads=4, dim_head=8, qk_norm=norm).eval()
    hidden, oracle = 3 * torch.randn(2, 24, 32), NormedProbabilities()
    q, k = oracle(attn, hidden)
    holder = nn.ModuleDict({"attn1": attn})
    with capture(holder, {Reading("attn1", "maps", per_head=True): [0, 1]}, (4, 6)) as found:
        attn(hidden)
    dense = torch.softmax(q @ k.mT / math.sqrt(8), dim=-1)
    torch.testing.assert_close(next(iter(found.values())), dense, rtol=1e-4, atol=1e-6)


class NormedProbabilities:
    """Queries and keys by the book, (B, heads, N, d), with their norms."""

    def __call__(self, attn: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
        q, k = (
            project(hidden).reshape(2, 24, 4, 8).permute(0, 2, 1, 3)
            for project in (attn.to_q, attn.to_k)
        )
        return attn.norm_q(q), attn.norm_k(k)


def test_a_place_lies_in_the_cell_of_the_grid_that_covers_it() -> None:
    assert [cell_of((y, x), (16, 24), (8, 12)) for y, x in ((0, 0), (15, 23), (7, 8))] == [
        (0, 0),
        (7, 11),
        (3, 4),
    ]
    assert cell_of((14, 16), (15, 17), (8, 9)) == (7, 8)


@pytest.mark.slow
def test_column_mass_of_4096_tokens_is_small_quick_and_right() -> None:
    """At most 5 % of one N x N map in memory (of the eight heads' maps 0.6 %), at most three plain
    attentions in time.
    """
    tokens, heads, width = 4096, 8, 40
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, tokens, 3 * heads * width, generator=generator)
    q, k, v = (part.unflatten(2, (heads, width)).transpose(1, 2) for part in x.chunk(3, dim=2))
    scale, found = 1 / math.sqrt(width), {}

    def mass() -> None:
        found["mass"] = column_mass(q, k, scale)

    used = peak_memory(mass)
    assert 4 * SCORES < used <= 0.05 * 4 * tokens**2
    seconds: dict[str, list[float]] = {"plain": [], "mass": []}
    for _ in range(5):
        for name, function in (
            ("plain", lambda: F.scaled_dot_product_attention(q, k, v)),
            ("mass", mass),
        ):
            began = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - began)
    assert statistics.median(seconds["mass"]) <= 3 * statistics.median(seconds["plain"])
    dense = (
        sum(
            torch.softmax(scale * q[0, head] @ k[0, head].T, dim=-1).sum(dim=0)
            for head in range(heads)
        )
        / heads
    )
    torch.testing.assert_close(found["mass"][0], dense, rtol=0, atol=1e-5)
