"""Diffusion of points in the plane, where all is seen, and where what is right is known exactly.

The data are points (N, 2) of variance about 1, the network a small one of its own; the schedule is
Stable Diffusion's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

TIMES = 1000
# Stable Diffusion's: the roots of the betas rise evenly
BARS = (1 - torch.linspace(0.00085**0.5, 0.012**0.5, TIMES, dtype=torch.float64) ** 2).cumprod(0)
BARS = BARS.float()
KINDS = 3  # the arms of the star are its classes
NOTHING = KINDS  # the class that stands for no class
Predictor = Callable[[Tensor, Tensor], Tensor]


def star(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points on three curved arms, (count, 2), and the arm of each, (count,).

    Example:
        >>> from sagviz.mini.course import plane
        >>> points, arms = plane.star(6)
        >>> points.shape, sorted(arms.tolist())
        (torch.Size([6, 2]), [0, 0, 1, 1, 2, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    arms = torch.arange(count) % KINDS
    along = torch.rand(count, generator=generator) ** 0.7
    angle = 2 * math.pi * arms / KINDS + 1.4 * along
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * (0.35 + 1.75 * along[:, None])
    return points + 0.06 * torch.randn(count, 2, generator=generator), arms


def noisy(x_0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    r"""Forward process at once: :math:`x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t}
    \epsilon`, for points (N, 2) at times (N,).

    Example:
        >>> import torch
        >>> from sagviz.mini.course import plane
        >>> plane.noisy(torch.ones(1, 2), torch.tensor([0]), torch.zeros(1, 2)).round(decimals=3)
        tensor([[1., 1.]])
    """
    bars = BARS[t][:, None]
    return bars.sqrt() * x_0 + (1 - bars).sqrt() * noise


class Network(nn.Module):
    """Predicts the noise in points (N, 2) at times (N,), for a class each (N,) or for none: three
    layers of 128.

    Example:
        >>> import torch
        >>> from sagviz.mini.course import plane
        >>> plane.Network()(torch.zeros(5, 2), torch.full((5,), 100)).shape
        torch.Size([5, 2])
    """

    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Embedding(KINDS + 1, 16)
        self.layers = nn.Sequential(
            nn.Linear(2 + 8 + 16, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, 128),
            nn.SiLU(),
            nn.Linear(128, 2),
        )

    def forward(self, x: Tensor, t: Tensor, kind: Tensor | None = None) -> Tensor:
        waves = 2.0 ** torch.arange(4) * math.pi * (t[:, None] / TIMES)
        told = torch.full_like(t, NOTHING) if kind is None else kind
        given = [x, waves.sin(), waves.cos(), self.classes(told)]
        return cast(Tensor, self.layers(torch.cat(given, dim=1)))


def exact(points: Tensor) -> Predictor:
    r"""The best possible prediction for a training set, in closed form: the noise in x_t is what
    the mean of all `points`, weighted by how well each explains x_t, leaves over.

    .. math:: \hat x_0 = \sum_i w_i x^i, \quad w \propto \exp\left(-\frac{\lVert x_t -
        \sqrt{\bar\alpha_t} x^i \rVert^2}{2 (1 - \bar\alpha_t)}\right)

    Args:
        points: the training set, (M, 2).

    Returns:
        The noise in x (N, 2) at times (N,).

    Example:
        >>> import torch
        >>> from sagviz.mini.course import plane
        >>> predict = plane.exact(torch.zeros(1, 2))  # all that is seen is noise
        >>> predict(torch.ones(1, 2), torch.tensor([999])).round(decimals=2)
        tensor([[1., 1.]])
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        bars = BARS[t][:, None]
        apart = torch.cdist(x, bars[:1].sqrt() * points).square()  # all at one time
        mean = (-apart / (2 * (1 - bars))).softmax(dim=1) @ points
        return (x - bars.sqrt() * mean) / (1 - bars).sqrt()

    return predict


@torch.no_grad()
def sample(predict: Predictor, noise: Tensor, steps: int = 50, eta: float = 0.0) -> list[Tensor]:
    """All points of the way from `noise` (N, 2) to samples: DDIM, with `eta` 1 DDPM.

    Args:
        predict: the noise in points (N, 2) at times (N,).
        steps: how many.
        eta: how much of each step's noise is fresh; 0 is none.

    Returns:
        steps + 1 times (N, 2), the noise first.

    Example:
        >>> import torch
        >>> from sagviz.mini.course import plane
        >>> way = plane.sample(plane.exact(torch.ones(1, 2)), torch.zeros(3, 2), steps=20)
        >>> len(way), way[-1].round(decimals=1).tolist()
        (21, [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    """
    generator = torch.Generator().manual_seed(0)
    times = torch.linspace(TIMES - 1, 0, steps).round().long()
    ends = torch.cat([BARS[times[1:]], torch.ones(1)])  # the last step leads to x_0
    way = [noise]
    for t, next_bar in zip(times, ends, strict=True):
        x, bar = way[-1], BARS[t]
        eps = predict(x, t.expand(len(x)))
        x0_hat = (x - (1 - bar).sqrt() * eps) / bar.sqrt()
        fresh = eta * ((1 - next_bar) / (1 - bar) * (1 - bar / next_bar)).sqrt()
        kept = (1 - next_bar - fresh**2).sqrt()
        noise = torch.randn(x.shape, generator=generator)
        way.append(next_bar.sqrt() * x0_hat + kept * eps + fresh * noise)
    return way


def trained(points: Tensor, arms: Tensor, steps: int = 3000) -> Network:
    """A network trained on these points as notebook 02 trains one; one time in five it is not told
    the arm.

    Args:
        points: (N, 2).
        arms: the class of each, (N,).
        steps: of training.

    Example:
        >>> from sagviz.mini.course import plane
        >>> network = plane.trained(*plane.star(30), steps=2)
    """
    with torch.random.fork_rng(devices=[]):  # the caller's own numbers go on as they were
        torch.manual_seed(0)
        network = Network()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for _ in range(steps):
            t, noise = torch.randint(TIMES, arms.shape), torch.randn_like(points)
            kind = torch.where(torch.rand(arms.shape) < 0.2, NOTHING, arms)
            loss = (network(noisy(points, t, noise), t, kind) - noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network


def guided(network: Network, kind: int, w: float) -> Predictor:
    """The network's prediction under CFG towards a class, at scale `w`.

    Example:
        >>> import torch
        >>> from sagviz.mini.course import plane
        >>> network, x, t = plane.Network(), torch.zeros(1, 2), torch.tensor([9])
        >>> bool((plane.guided(network, 0, 0.0)(x, t) == network(x, t)).all())
        True
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        eps = network(x, t)
        return cast(Tensor, eps + w * (network(x, t, torch.full_like(t, kind)) - eps))

    return predict
