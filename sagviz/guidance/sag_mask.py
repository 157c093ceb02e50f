"""What SAG takes away from a prediction: a Gaussian blur where the attention is high (eqs. 15 and
before, arXiv 2210.00939v6).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance.views import StepView
from sagviz.image import MaskLike, as_mask

ATTENTION = "attention"  # under which a step keeps the map
MASK_STREAM = 1  # apart from a stochastic scheduler's noise, which comes from (seed, index) alone


def attended(attention: Tensor, threshold: float, size: tuple[int, int]) -> Tensor:
    """Mask M_t = 1(A_t > psi): attention (B, h, w) to 0 and 1, (B, 1, H, W), nearest-upsampled to
    `size`.
    """
    return upsampled(attention > threshold, size)


def upsampled(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells of the map's grid (B, h, w), taken or not, as a mask of 0 and 1, (B, 1, H, W): each
    spread to its nearest.
    """
    return F.interpolate(cells.float()[:, None], size)


def hand_made(mask: MaskLike, step: StepView) -> Tensor:
    """A mask made by hand, (H, W), (1, H, W) or (B, 1, H, W) in cells of the latent or of the map,
    as 0 and 1 for each image of a step, (B, 1, H, W).

    Raises:
        ArgumentError: it has another shape or other values.
    """
    given, (images, _, height, width) = as_mask(mask), step.x_t.shape
    known = [part.shape[-2:] for part in (step.x_t, step.kept.get(ATTENTION)) if part is not None]
    cells = given.reshape(-1, *given.shape[-2:]) if given.dim() in (2, 3, 4) else given
    if cells.shape[-2:] not in known or len(cells) not in (1, images):
        raise ArgumentError(
            f"the mask has the shape {tuple(given.shape)}; give 0 and 1 in latent cells, (H, W) ="
            f" ({height}, {width})"
        )
    return upsampled(cells, (height, width)).expand(images, -1, -1, -1)


def highest(scores: Tensor, like: Tensor) -> Tensor:
    """The cells of the highest scores, (B, h, w), in each image exactly as many as are taken in
    `like`; ties by their order.
    """
    order = scores.flatten(1).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(dim=1)
    return (ranks < like.flatten(1).sum(dim=1, keepdim=True)).view_as(like)


def detail(x0: Tensor, blurred: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much the blur takes from x_0 in each cell of the map's grid, (B, h, w): its high
    frequencies.
    """
    return F.adaptive_avg_pool2d((x0 - blurred).abs().mean(dim=1), grid)


def random_scores(like: Tensor, seed: int, index: int) -> Tensor:
    """Uniform numbers (B, h, w) for a random mask: image i's come from seed + i and the step's
    index.
    """
    drawn = [
        torch.rand(
            like.shape[1:],
            generator=generator(seed + row, index, MASK_STREAM),
            device="cpu",
            dtype=torch.float32,
        )
        for row in range(len(like))
    ]
    return torch.stack(drawn).to(like.device)


def degrade(x_t: Tensor, noisy_blur: Tensor, mask: Tensor) -> Tensor:
    """x^_t = (1 - M) x_t + M x~_t (eq. 15). `where`, not a sum, so that it is x_t to the bit
    outside the mask.
    """
    return torch.where(mask > 0, noisy_blur, x_t)
