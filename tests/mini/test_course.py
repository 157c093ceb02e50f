# ruff: noqa: ARG005 -- answers take what the exercise gives, needed or not
"""The exercises: the right answers of the solutions, typical wrong ones, and anything at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest
import torch

import sagviz as sv
from sagviz.mini import course
from sagviz.mini.course import plane
from sagviz.mini.course.check import EXERCISES

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def answers(path: Path) -> dict[str, Any]:
    """What a file of solutions has."""
    loader = SourceFileLoader(path.stem, str(path))
    module = ModuleType(path.stem)
    loader.exec_module(module)
    return dict(module.ANSWERS)


SOLUTIONS: dict[str, Any] = {}
for path in sorted((NOTEBOOKS / "solutions").glob("*.py")):
    SOLUTIONS |= answers(path)
SIGMAS = (1 - sv.load().scheduler.alphas_cumprod).sqrt()


def again(answer: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The same with noise of its own: in each number, one of which might be near 0 by chance."""

    def with_noise(*given: torch.Tensor) -> torch.Tensor:
        made = answer(*given)
        return made + torch.randn_like(made)

    return with_noise


WRONG: list[tuple[str, Any, str]] = [
    ("1.1", 0, "Look later"),
    ("1.1", 900, "Look earlier"),
    ("1.1", int((SIGMAS > 0.5).nonzero()[0]), "its square"),
    ("1.2", lambda x, noise, bar: (1 - bar).sqrt() * x + bar.sqrt() * noise, "changed places"),
    ("1.2", lambda x, noise, bar: x + noise, "bar = 1 and bar = 0"),
    ("1.3", lambda x, eps, bar, after: (x - (1 - bar).sqrt() * eps) / bar.sqrt(), "all the way"),
    ("1.3", lambda x, eps, bar, after: x, "x_t again"),
    ("1.3", again(SOLUTIONS["1.3"]), "no fresh one"),
    ("2.1", 0, "perfect prediction"),
    ("2.1", 5, "variance"),
    ("2.2", lambda predict, x, t, noise: (predict(x, t) - noise).square().mean(), "noisy points"),
    ("2.2", lambda predict, x, t, noise: plane.noisy(x, t, noise).mean(), "Three lines"),
    ("2.3", lambda points: points.median(dim=0).values, "median"),
    ("2.3", lambda points: points, "One guess"),
    ("2.4", "new", "exact predictor"),
    ("3.1", lambda eps, gradient, sigma, s: eps + s * sigma * gradient, "less likely"),
    ("3.1", lambda eps, gradient, sigma, s: eps - s * gradient, "multiplied with sigma"),
    ("3.2", lambda eps, cond, sigma: (cond - eps) / sigma, "The sign"),
    ("3.2", lambda eps, cond, sigma: eps - cond, "sigma is missing"),
    ("3.3", lambda eps, cond, w: cond + w * (cond - eps), "w = 4"),
    ("3.3", lambda eps, cond, w: eps + 3 * (cond - eps), "Try w = 0"),
    ("3.3", lambda eps, cond, w: eps - w * (cond - eps), "away from the prompt"),
    ("3.4", 2, "compare the factors"),
    ("4.1", lambda q, k: (q @ k.T).softmax(dim=1), "root of the number"),
    ("4.1", lambda q, k: (q @ k.T / 4).softmax(dim=0), "along each row"),
    ("4.2", lambda maps: maps.mean(dim=0).sum(dim=1), "gives"),
    ("4.2", lambda maps: maps.sum(dim=0).sum(dim=0), "mean over heads"),
    ("4.2", lambda maps: maps.mean(dim=0).mean(dim=0), "could reach"),
    ("4.3", lambda attention, psi: attention < psi, "high"),
    ("4.3", lambda attention, psi: attention >= psi, "not above"),
    ("4.3", lambda attention, psi: attention > attention.mean(), "psi is given"),
    ("5.1", lambda x, blurred, eps, m, a, s: (1 - m) * x + m * blurred, "no noise left"),
    ("5.1", lambda x, blurred, eps, m, a, s: a * blurred + s * eps, "everywhere"),
    ("5.1", lambda x, blurred, eps, m, a, s: m * x + (1 - m) * (a * blurred + s * eps), "does not"),
    ("5.2", lambda eps, cond, bad, w, s: eps + w * (cond - eps) - s * (eps - bad), "sign"),
    ("5.2", lambda eps, cond, bad, w, s: eps + w * (cond - eps) + s * (cond - bad), "without"),
    ("5.3", 0.75, "differ"),
    ("6.1", 400, "calls"),
    ("6.1", 200, "How many predictions"),
    ("6.2", lambda sag, plain: sag.mean() / plain.mean(), "ratio of the means"),
    ("6.2", lambda sag, plain: (plain / sag).mean(), "other way round"),
    ("6.2", lambda sag, plain: (sag - plain).mean(), "has a unit"),
    ("6.3", lambda counts, values: counts[-1], "how early"),
    ("6.3", lambda counts, values: counts[0], "every value"),
    ("6.3", lambda counts, values: 50, "every value"),
    ("6.3", lambda c, v: c[[abs(x / v[-1] - 1) <= 0.1 for x in v].index(True)], "leave it"),
    ("6.4", lambda tokens, length: tokens[length:], "start and end"),
    ("6.4", lambda tokens, length: tokens[: length - 2], "what is kept"),
    ("7.1", 8, "below 5 %"),
    ("7.1", 12, "fewer"),
    ("7.1", 10.9, "whole"),
    ("7.2", lambda p, n: p * (1 - p) / n, "the variance"),
    ("7.2", lambda p, n: (p * (1 - p)) ** 0.5, "spreads less"),
    ("7.3", lambda a, b: ((a.var() + b.var()) / len(a)) ** 0.5, "strangers"),
    ("7.3", lambda before, after: (after - before).mean(), "the gain itself"),
    ("7.3", lambda before, after: (after - before).std(), "one pair"),
    ("7.4", 100, "without CFG"),
    ("7.4", 50, "CFG alone"),
    ("8.1", 3, "predicts twice"),
    ("8.1", 6, "Count the predictions"),
    ("8.2", lambda d, x: (d * x).sum() / x.square().sum() * x, "what is left"),
    ("8.2", lambda d, x: d - (d * x).sum() * x, "squared length"),
    ("8.2", lambda d, x: d - x, "only as much"),
    ("8.3", lambda move, alpha, sigma: alpha / sigma * move, "The sign"),
    ("8.3", lambda move, alpha, sigma: -sigma / alpha * move, "Upside down"),
]


@pytest.mark.parametrize("number", EXERCISES)
def test_the_solution_is_right(number: str) -> None:
    verdict = course.check(number, SOLUTIONS[number])
    assert verdict.right, verdict
    assert EXERCISES[number].why in repr(verdict)


@pytest.mark.parametrize(
    ("number", "answer"),
    [
        ("2.2", lambda net, x, t, e: (net(plane.noisy(x, t, e), t) - e).square().sum(1).mean()),
        ("2.4", " Copies"),
        ("3.4", 3.0),
        ("7.1", 10.0),
    ],
)
def test_other_words_for_it_are_right_too(number: str, answer: Any) -> None:
    verdict = course.check(number, answer)
    assert verdict.right, verdict


@pytest.mark.parametrize(("number", "answer", "hint"), WRONG)
def test_a_typical_mistake_has_its_hint(number: str, answer: Any, hint: str) -> None:
    verdict = course.check(number, answer)
    assert not verdict.right
    assert hint in verdict.words


def test_each_exercise_has_a_typical_mistake() -> None:
    assert {number for number, *_ in WRONG} == set(EXERCISES) == set(SOLUTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("number", [*EXERCISES, "9.9", ""])
@pytest.mark.parametrize("answer", [None, "x", [1, 2], lambda: None, lambda *a: None, object()])
def test_it_never_raises(number: str, answer: Any) -> None:
    verdict = course.check(number, answer)
    assert not verdict.right
    assert verdict.words.endswith((".", "?"))
    assert "<div" in verdict._repr_html_()


def test_each_stands_once_in_its_notebook_and_is_unanswered() -> None:
    found = dict[str, str]()
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            for number in re.findall(r'course\.check\("([\d.]+)"', cell.source):
                assert cell.source.startswith("answer = None\n")
                assert number not in found
                assert path.name.startswith(f"0{number[0]}_")
                found[number] = path.name
    assert set(found) == set(EXERCISES)


# The plane.


def test_the_exact_predictor_is_that_of_gaussians() -> None:
    """One point: what is left is noise. Many points of N(0, v): the posterior mean is known."""
    x, t = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.full((5,), 300)
    bar = plane.BARS[300]
    point = torch.tensor([[0.5, -1.0]])
    torch.testing.assert_close(
        plane.exact(point)(x, t), (x - bar.sqrt() * point) / (1 - bar).sqrt()
    )
    cloud = 0.8 * torch.randn(40_000, 2, generator=torch.Generator().manual_seed(1))
    shrunk = bar.sqrt() * 0.64 / (bar * 0.64 + 1 - bar) * x
    found = (x - (1 - bar).sqrt() * plane.exact(cloud)(x, t)) / bar.sqrt()
    torch.testing.assert_close(found, shrunk, atol=0.05, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samples_of_a_gaussian_have_its_variance(eta: float) -> None:
    """DDIM and DDPM, with the exact prediction for N(0, v)."""

    def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        bar = plane.BARS[t][:, None]
        return (1 - bar).sqrt() / (bar * 0.25 + 1 - bar) * x

    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    found = plane.sample(predict, noise, steps=200, eta=eta)[-1]
    assert float(found.var()) == pytest.approx(0.25, rel=0.06)


def test_guidance_at_scale_1_is_the_class_alone() -> None:
    network = plane.trained(*plane.star(30), steps=3)
    x, t = torch.randn(4, 2), torch.full((4,), 200)
    torch.testing.assert_close(
        plane.guided(network, 1, 1.0)(x, t), network(x, t, torch.ones(4, dtype=torch.long))
    )
