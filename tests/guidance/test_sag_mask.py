"""The blur, the mask and the degraded latent."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage
from tiny import noise
from torch import Tensor

from sagviz.diffusion.blur import gaussian_blur, kernel_size
from sagviz.guidance.sag_mask import attended, degrade, detail, highest, random_scores

SHAPES = [(16, 16), (9, 24), (11, 13)]


def latent(cells: tuple[int, int]) -> Tensor:
    return noise(2, cells).double()


@pytest.mark.parametrize("cells", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("sigma", "kernel"), [(1.0, None), (0.5, None), (2.0, None), (0.3, 9), (1.0, 3), (5.0, 9)]
)
def test_the_blur_is_scipys(cells: tuple[int, int], sigma: float, kernel: int | None) -> None:
    """Torch's "reflect" is scipy's "mirror": the border cell itself is not repeated."""
    x, radius = latent(cells), kernel_size(sigma, kernel) // 2
    expected = ndimage.gaussian_filter(
        x.numpy(), (0, 0, sigma, sigma), mode="mirror", radius=(0, 0, radius, radius)
    )
    torch.testing.assert_close(
        gaussian_blur(x, sigma, kernel), torch.from_numpy(expected), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("sigma", "taps"), [(1.0, 9), (0.5, 5), (0.1, 3), (2.0, 17), (0.0, 1)])
def test_the_kernel_grows_with_sigma(sigma: float, taps: int) -> None:
    """2 ceil(4 sigma) + 1: the paper's 9 at sigma = 1; what is asked for wins."""
    assert kernel_size(sigma) == taps
    assert kernel_size(sigma, 31) == 31


@pytest.mark.parametrize(("sigma", "kernel"), [(0.0, None), (0.0, 9), (3.0, 1)])
def test_no_width_or_a_single_tap_blurs_nothing(sigma: float, kernel: int | None) -> None:
    """And does not divide 0 by 0."""
    assert torch.equal(gaussian_blur(latent((9, 9)), sigma, kernel), latent((9, 9)))


def test_the_blur_keeps_what_is_flat() -> None:
    flat = torch.full((1, 4, 9, 9), 0.7, dtype=torch.float64)
    torch.testing.assert_close(gaussian_blur(flat, 1.0), flat)


def test_channels_and_rows_of_the_batch_do_not_mix() -> None:
    x = latent((9, 9))
    blurred = gaussian_blur(x, 1.0)
    for row in range(2):
        for channel in range(4):
            alone = gaussian_blur(x[row : row + 1, channel : channel + 1], 1.0)
            torch.testing.assert_close(blurred[row : row + 1, channel : channel + 1], alone)


@pytest.mark.parametrize(("threshold", "value"), [(math.inf, 0.0), (-1e-9, 1.0), (-math.inf, 1.0)])
def test_the_extreme_thresholds_mask_nothing_or_everything(threshold: float, value: float) -> None:
    attention = torch.tensor([[[0.0, 1.0], [2.0, 1.0]]])
    assert torch.equal(attended(attention, threshold, (4, 6)), torch.full((1, 1, 4, 6), value))


def test_the_mask_is_where_the_attention_exceeds_the_threshold() -> None:
    """Strictly: a cell of exactly psi is not masked. Rows stay rows."""
    attention = torch.tensor([[[0.5, 1.0, 1.5], [2.0, 0.2, 0.8]]])
    expected = torch.tensor(
        [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    )
    assert torch.equal(attended(attention, 1.0, (4, 6))[0, 0], expected.float())


@pytest.mark.parametrize(
    ("grid", "cells"), [((8, 5), (15, 9)), ((4, 4), (13, 15)), ((3, 2), (3, 2))], ids=str
)
def test_each_cell_of_the_mask_belongs_to_its_nearest_cell_of_the_map(
    grid: tuple[int, int], cells: tuple[int, int]
) -> None:
    attention = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0))
    mask = attended(attention, 0.5, cells)
    for row in range(cells[0]):
        for column in range(cells[1]):
            above = attention[:, row * grid[0] // cells[0], column * grid[1] // cells[1]] > 0.5
            assert torch.equal(mask[:, 0, row, column], above.float())


def test_the_degraded_latent_is_exact_outside_the_mask() -> None:
    """To the bit, even where the blurred one is not a number."""
    x_t, blurred, mask = noise(2), noise(2, seed=1), (noise(2, seed=2)[:, :1] > 0).float()
    inside = mask.expand_as(x_t) > 0
    degraded = degrade(x_t, torch.where(inside, blurred, torch.nan), mask)
    assert torch.equal(degraded[~inside], x_t[~inside])
    assert torch.equal(degraded[inside], blurred[inside])


def test_the_highest_cells_are_as_many_as_in_the_other_mask() -> None:
    """In each image exactly; none and all too; equal scores by their order."""
    generator = torch.Generator().manual_seed(0)
    scores, like = (
        torch.rand(5, 7, 9, generator=generator),
        torch.rand(5, 7, 9, generator=generator) > 0.6,
    )
    like[1], like[2], scores[3] = False, True, 0.5
    taken = highest(scores, like)
    assert torch.equal(taken.sum((1, 2)), like.sum((1, 2)))
    for row in (0, 4):
        assert scores[row][taken[row]].min() > scores[row][~taken[row]].max()
    count = int(like[3].sum())
    assert taken[3].flatten()[:count].all()


def test_random_scores_belong_to_the_image_and_the_step() -> None:
    like = torch.zeros(3, 6, 8)
    drawn = random_scores(like, 7, 2)
    assert torch.equal(drawn[1:], random_scores(like[:2], 8, 2))
    assert not torch.equal(drawn, random_scores(like, 7, 3))
    assert not torch.equal(drawn[0], drawn[1])


def test_detail_is_what_the_blur_takes() -> None:
    """An edge in an otherwise flat picture: its cells, and no others."""
    x0 = torch.zeros(1, 4, 16, 16)
    x0[..., 8:] = 1
    found = detail(x0, gaussian_blur(x0, 0.5), (8, 8))
    torch.testing.assert_close(found[..., [0, 1, 6, 7]], torch.zeros(1, 8, 4))
    assert found[..., [3, 4]].min() > 0.01
