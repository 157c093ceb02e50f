"""Exercises of notebook 02, learning to denoise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.mini.course import plane
from sagviz.mini.course.check import close, exercise

Loss = Callable[[plane.Predictor, Tensor, Tensor, Tensor], Tensor]


@exercise("2.1", "Noise has variance 1, so knowing nothing costs 1: each loss is read beside that.")
def knowing_nothing(answer: float) -> str | None:
    right = float(normal((100_000, 2), generator(3)).square().mean())
    if abs(float(answer) - right) < 0.05:
        return None
    if float(answer) == 0:
        return "0 would be a perfect prediction; this one is always 0 while the noise is not."
    return "The mean of noise squared: what is the variance of each number of the noise?"


@exercise("2.2", "That is all of training: noise a point, ask for the noise, take the mean square.")
def loss(answer: Loss) -> str | None:
    points, _ = plane.star(12)
    t, noise = torch.full((12,), 400), normal((12, 2), generator(3))
    predict = plane.exact(points)
    x_t = plane.noisy(points, t, noise)
    error = predict(x_t, t) - noise
    given = answer(predict, points, t, noise)
    mean = error.square().mean()
    if close(given, mean) or close(given, 2 * mean):  # of each number, or of each point's two
        return None
    if close(given, error.abs().mean()):
        return "That is the mean distance; the simple loss squares it."
    if close(given, (predict(points, t) - noise).square().mean()):
        return "The network must see the noisy points, not the clean ones."
    if close(given, (predict(x_t, t) - points).square().mean()):
        return "The network predicts the noise, not the points."
    return "Three lines: x_t from `plane.noisy`, the prediction, the mean of the squared error."


@exercise("2.3", "With nothing to go by, the mean is the best guess: hence the blur at the start.")
def best_guess(answer: Callable[[Tensor], Tensor]) -> str | None:
    points, _ = plane.star(90)
    given = answer(points)
    right = points.mean(dim=0)
    if close(given, right):
        return None
    if close(given, points.median(dim=0).values):
        return "The median is best for distances; the loss squares them."
    if tuple(given.shape) != (2,):
        return "One guess for all: a point of two numbers."
    return "Which single point is nearest to all others, in mean squared distance?"


@exercise("2.4", "What is only remembered can only be repeated; new things come from its mistakes.")
def new_or_copied(answer: str) -> str | None:
    points, _ = plane.star(12)
    noise = normal((50, 2), generator(3))
    found = plane.sample(plane.exact(points), noise)[-1]
    copies = bool((torch.cdist(found, points).amin(dim=1) < 0.05).all())
    right = "copies" if copies else "new"
    same = isinstance(answer, str) and answer.strip().lower() == right
    return None if same else "Look where the samples of the exact predictor lie."
