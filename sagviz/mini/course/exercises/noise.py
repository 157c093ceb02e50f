"""Exercises of notebook 01, noise and back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.mini.course.check import close, exercise
from sagviz.models.load import load


@exercise("1.1", "From there on more of the variance is noise than picture.")
def half_noise(answer: float) -> str | None:
    bars = load().scheduler.alphas_cumprod
    right = int((1 - bars > 0.5).nonzero()[0])
    by_roots = int(((1 - bars).sqrt() > 0.5).nonzero()[0])
    if answer == right:
        return None
    if answer == by_roots:
        return "That is where the factor of the noise passes one half; the variance is its square."
    side = "later" if answer < right else "earlier"
    return f"Look {side}: the share of noise in the variance of x_t is 1 - bars[t]."


@exercise("1.2", "Signal and noise are each scaled by a root, so that variances add up to 1.")
def forward(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> str | None:
    (x_0, noise), bar = normal((2, 2, 4), generator(3)), torch.tensor(0.3)
    given = answer(x_0, noise, bar)
    if close(given, bar.sqrt() * x_0 + (1 - bar).sqrt() * noise):
        return None
    if close(given, bar * x_0 + (1 - bar) * noise):
        return "The variance must stay 1: both factors are roots."
    if close(given, (1 - bar).sqrt() * x_0 + bar.sqrt() * noise):
        return "The two factors have changed places: at bar = 1 nothing but x_0 is left."
    return "Try it with bar = 1 and bar = 0: the one is x_0, the other the noise."


@exercise("1.3", "The same noise goes back in at the next level: DDIM draws nothing afresh.")
def ddim(answer: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]) -> str | None:
    x_t, eps = normal((2, 2, 4), generator(3))
    bar, after = torch.tensor(0.3), torch.tensor(0.5)
    x0_hat = (x_t - (1 - bar).sqrt() * eps) / bar.sqrt()
    given = answer(x_t, eps, bar, after)
    if close(given, after.sqrt() * x0_hat + (1 - after).sqrt() * eps):
        return None
    if close(given, x0_hat):
        return "That is the guess at x_0, all the way at once; now go back to the next level."
    if close(given, bar.sqrt() * x0_hat + (1 - bar).sqrt() * eps):
        return "That is x_t again: the noise goes back in at the level of `after`."
    if not close(given, answer(x_t, eps, bar, after)):
        return "It gives something else each time: DDIM takes the predicted noise, no fresh one."
    return "First the guess at x_0 from x_t and eps, then x_t's formula with `after`."
