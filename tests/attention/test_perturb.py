"""Self-attention disturbed for some rows: those rows as by the book, the others to the bit, nothing
left behind.
"""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from scipy import ndimage
from tiny import DOWN_LAYER, build_unet, is_one_sentence, residue
from torch import Tensor, nn

from sagviz.attention.perturb import (
    Perturbation,
    PerturbedMap,
    blur_queries,
    layers_of,
    perturb,
    smoothing,
)
from sagviz.errors import ArgumentError

MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
UP = "up_blocks.1.attentions.0.transformer_blocks.0.attn1"
IDENTITY = PerturbedMap(("mid",))
CHANGES = [
    IDENTITY,
    PerturbedMap((DOWN_LAYER, "mid")),
    PerturbedMap(("mid",), math.inf),
    PerturbedMap((DOWN_LAYER,), 1.5),
]


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    return build_unet()


@torch.no_grad()
def predict(unet: nn.Module, x: Tensor) -> Tensor:
    text = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(1)).expand(len(x), -1, -1)
    return unet(x, torch.tensor(500), encoder_hidden_states=text).sample


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(4, 4, 16, 24, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_other_rows_are_the_same_to_the_bit(
    unet: nn.Module, x: Tensor, change: Perturbation
) -> None:
    plain = predict(unet, x)
    with perturb(unet, {change: [1, 3]}, (16, 24)):
        changed = predict(unet, x)
    assert torch.equal(changed[[0, 2]], plain[[0, 2]])
    assert all(float((changed[row] - plain[row]).abs().max()) > 1e-4 for row in (1, 3))


def test_two_changes_at_one_layer_meet_their_own_rows(unet: nn.Module, x: Tensor) -> None:
    blur = PerturbedMap(("mid",), math.inf)
    with perturb(unet, {IDENTITY: [1], blur: [2]}, (16, 24)):
        together = predict(unet, x)
    for change, row in ((IDENTITY, 1), (blur, 2)):
        with perturb(unet, {change: [row]}, (16, 24)):
            torch.testing.assert_close(predict(unet, x)[row], together[row], rtol=0, atol=0)


def test_the_layer_gives_out_its_values(unet: nn.Module, x: Tensor) -> None:
    """The identity map: each cell's own value, projected out."""
    seen = []
    attn = unet.get_submodule(MID)
    handle = attn.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    try:
        with perturb(unet, {IDENTITY: [2]}, (16, 24)):
            predict(unet, x)
    finally:
        handle.remove()
    (hidden, out), weights = seen[0], cast(Any, attn)
    torch.testing.assert_close(
        out[2], weights.to_out[0](weights.to_v(hidden[2])), rtol=0, atol=1e-6
    )


def test_no_blur_is_no_change(unet: nn.Module, x: Tensor) -> None:
    plain = predict(unet, x)
    with perturb(unet, {PerturbedMap(("mid",), 0.0): [0, 1, 2, 3]}, (16, 24)):
        assert torch.equal(predict(unet, x), plain)
    with perturb(unet, {PerturbedMap(("mid",), 0.05): [0, 1, 2, 3]}, (16, 24)):
        torch.testing.assert_close(predict(unet, x), plain, rtol=0, atol=1e-5)


def test_more_and_more_blur_tends_to_the_mean_query(unet: nn.Module, x: Tensor) -> None:
    def at(sigma: float) -> Tensor:
        with perturb(unet, {PerturbedMap((DOWN_LAYER,), sigma): [0, 1, 2, 3]}, (16, 24)):
            return predict(unet, x)

    mean = at(math.inf)
    away = [
        float((at(sigma) - mean).square().mean().sqrt()) for sigma in (0.5, 2.0, 8.0, 16.0, 60.0)
    ]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-6 < 1e-3 < away[0]


def test_the_mean_query_is_the_mean() -> None:
    q = torch.randn(2, 3, 24, 5)
    torch.testing.assert_close(
        blur_queries(q, (4, 6), math.inf), q.mean(2, keepdim=True).expand_as(q)
    )


@pytest.mark.parametrize("sigma", [0.25, 1.0, 2.5, 10.0])
def test_the_blur_is_a_gaussian_over_the_grid(sigma: float) -> None:
    """scipy's, in float64; its "reflect" doubles the last cell."""
    q = torch.randn(2, 3, 54, 5)
    grid = q.double().unflatten(2, (6, 9)).numpy()
    wanted = ndimage.gaussian_filter(
        grid, (0, 0, sigma, sigma, 0), mode="reflect", truncate=math.ceil(4 * sigma) / sigma
    )
    torch.testing.assert_close(
        blur_queries(q, (6, 9), sigma).double(),
        torch.from_numpy(wanted).flatten(2, 3),
        rtol=0,
        atol=1e-5,
    )


def test_the_blur_keeps_the_mean() -> None:
    for sigma in (0.3, 1.0, 5.0):
        weights = smoothing(7, sigma)
        torch.testing.assert_close(weights.sum(0), torch.ones(7))
        torch.testing.assert_close(weights.sum(1), torch.ones(7))


def test_a_block_stands_for_its_layers(unet: nn.Module) -> None:
    assert layers_of(unet, "mid") == layers_of(unet, "mid_block") == layers_of(unet, MID) == [MID]
    assert layers_of(unet, "up_blocks.1")[0] == UP
    assert len(layers_of(unet, "up_blocks.1")) == 2
    for wrong in (
        "nowhere",
        "mid_block.resnets.0",
        MID.replace("attn1", "attn2"),
        "up_blocks.1.attentions.0.transformer",
    ):
        with pytest.raises(ArgumentError, match="no self-attention layer") as error:
            layers_of(unet, wrong)
        assert is_one_sentence(error.value)


def test_nothing_is_left_behind(unet: nn.Module, x: Tensor) -> None:
    before, plain = residue(unet), predict(unet, x)
    with perturb(unet, {change: [0] for change in CHANGES}, (16, 24)):
        predict(unet, x)
    with pytest.raises(KeyboardInterrupt), perturb(unet, {IDENTITY: [0]}, (16, 24)):
        raise KeyboardInterrupt
    with (
        pytest.raises(ArgumentError),
        perturb(unet, {IDENTITY: [0], PerturbedMap(("nowhere",)): [1]}, (16, 24)),
    ):
        pass
    assert residue(unet) == before
    assert torch.equal(predict(unet, x), plain)
