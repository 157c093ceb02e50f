"""Exercises of notebook 08, further."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.guidance import CFG, PAG, SAG
from sagviz.mini.course.check import close, exercise


@exercise("8.1", "A CFG step has two rows, and each term that predicts once more adds one.")
def rows(answer: float) -> str | None:
    right = 1 + sum(term.cost[0] for term in (CFG(3.0), SAG(1.0), PAG(1.0)))
    if float(answer) == right:
        return None
    if float(answer) == right - 1:
        return "CFG itself predicts twice: with the prompt and without."
    return (
        "Count the predictions: without the prompt, with it, from the degraded latent, and PAG's."
    )


@exercise("8.2", "What is left cannot make the guess louder or paler: it stands upright on it.")
def project(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    difference, along = normal((2, 4, 4), generator(3))
    share = (difference * along).sum() / along.square().sum()
    given = answer(difference, along)
    if close(given, difference - share * along):
        return None
    if close(given, share * along):
        return "That is the part along it; give what is left without it."
    if close(given, difference - (difference * along).sum() * along):
        return "Divide by the squared length of `along`, or the part taken out is too long."
    if close(given, difference - along):
        return "Take out only as much of `along` as there is in the difference."
    return "difference - (difference . along) / (along . along) * along, with sums for the dots."


@exercise("8.3", "x_0 = (x_t - sigma eps) / alpha: where the noise rises, the picture sinks.")
def as_noise(answer: Callable[[Tensor, float, float], Tensor]) -> str | None:
    move, alpha, sigma = normal((3, 4), generator(3)), 0.6, 0.8
    given = answer(move, alpha, sigma)
    if close(given, -alpha / sigma * move):
        return None
    if close(given, alpha / sigma * move):
        return "The sign: more noise is less picture."
    if close(given, -sigma / alpha * move):
        return "Upside down: that is what a change of the noise does to the picture."
    return "Put eps + d into x_0 = (x_t - sigma eps) / alpha; for which d does x_0 rise by `move`?"
