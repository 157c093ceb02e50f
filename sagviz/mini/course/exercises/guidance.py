"""Exercises of notebook 03, guidance."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.mini.course.check import close, exercise


def _pair() -> tuple[Tensor, Tensor]:
    eps, eps_cond = normal((2, 3, 4), generator(3))
    return eps, eps_cond


@exercise("3.3", "0 ignores the prompt, 1 is the plain prediction given it, above 1 goes further.")
def cfg(answer: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    eps, eps_cond = _pair()
    given = answer(eps, eps_cond, 2.7)
    if close(given, eps + 2.7 * (eps_cond - eps)):
        return None
    if close(given, eps_cond + 2.7 * (eps_cond - eps)):
        return "That counts from the prediction given the prompt: your 3 is w = 4."
    if close(given, eps + 2.7 * (eps - eps_cond)):
        return "That leads away from the prompt: turn the difference round."
    return "Try w = 0 and w = 1: the one must be eps, the other eps_cond."


@exercise("3.4", "Two habits of counting for one thing: w = 1 + s.")
def conventions(answer: float) -> str | None:
    eps, eps_cond = _pair()
    if close(eps + float(answer) * (eps_cond - eps), eps_cond + 2.0 * (eps_cond - eps)):
        return None
    return "Write both sums in eps and eps_cond and compare the factors of eps_cond."


@exercise("3.2", "By Bayes: a model with and one without the prompt are a classifier, untrained.")
def imaginary(answer: Callable[[Tensor, Tensor, float], Tensor]) -> str | None:
    eps, eps_cond = _pair()
    given = answer(eps, eps_cond, 0.8)
    if close(given, (eps - eps_cond) / 0.8):
        return None
    if close(given, (eps_cond - eps) / 0.8):
        return "The sign: the gradient of log p(x) is -eps / sigma."
    if close(given, eps - eps_cond):
        return "The gradient of log p(x) is -eps / sigma; sigma is missing."
    return "log p(c | x) = log p(x | c) - log p(x) + a constant; put -eps / sigma for gradients."


@exercise("3.1", "Uphill for the class is downhill for the noise: the minus of the score.")
def cg(answer: Callable[[Tensor, Tensor, float, float], Tensor]) -> str | None:
    eps, gradient = _pair()
    given = answer(eps, gradient, 0.8, 2.0)
    if close(given, eps - 2.0 * 0.8 * gradient):
        return None
    if close(given, eps + 2.0 * 0.8 * gradient):
        return "That makes the class less likely: noise points away from the picture."
    if close(given, eps - 2.0 * gradient):
        return "A gradient becomes noise when it is multiplied with sigma."
    return "Add s times the gradient to the score -eps / sigma, then turn it into noise again."
