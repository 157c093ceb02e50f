"""SAG and PAG on transformers, written a second time in float64: Algorithm 1 of arXiv 2210.00939v6
with the signal and noise of the scheduler at hand, and arXiv 2403.17377.

Nothing here knows the engine: every softmax of the network is a dense one of our own, whose
probabilities are kept in one layer and, for PAG, masked as the paper does. Each step is compared by
itself, from the x_t of the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Family
from dense import Act, Bias, Dense, plain, scores_of
from pairs import pairs
from scipy import ndimage
from tiny import MARGIN, difference, margin
from tiny_transformers import TRANSFORMERS, prompt_of
from torch import Tensor

import sagviz as sv
from sagviz import CFG, PAG, SAG
from sagviz.attention.layers import path_of

pytestmark = pytest.mark.filterwarnings("ignore:.*distilled to its guidance")
BOUND = 2e-4  # float32 against float64; a wrong formula is off by more than 1e-2
S_CFG, S_SAG, S_PAG = 3.0, 0.8, 1.5


def clean_and_noise(step: sv.Step, x: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """x_0 and epsilon of the network's output."""
    if step.level.prediction == "epsilon":
        return (x - step.sigma * out) / step.alpha, out
    return x - step.sigma * out, x + (1 - step.sigma) * out


@torch.no_grad()
def by_the_papers(model: sv.Model, dense: Dense, step: sv.Step, prompt: str) -> Any:
    """The quantities of a step from its x_t, double."""

    layer, read = [path_of(model.network, "mid")], list[Tensor]()

    def look(q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        own = dense.picture(k.shape[2])
        # the joint ones, renormalised over the picture
        read[:] = [scores_of(q, k, bias)[:, :, own, own].softmax(-1)]
        return plain(q, k, v, bias)

    def identity(q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
        scores, own = scores_of(q, k, bias), dense.picture(k.shape[2])
        others = ~torch.eye(dense.cells, dtype=torch.bool)
        scores[:, :, own, own] = scores[:, :, own, own].masked_fill(others, -math.inf)
        return scores.softmax(-1) @ v

    def predict(x: Tensor, text: str | None, act: Act = look) -> Tensor:
        return dense.predict(step, x, dense.given(text).expand(len(x)), layer, act)

    x = step.x_t.double()
    cond, perturbed = predict(x, prompt), predict(x, prompt, identity)
    base = predict(x, None)
    received = read[0].mean(1).sum(1)
    rows, columns = x.shape[2] // 2, x.shape[3] // 2  # patches of 2 x 2
    attention = received.reshape(len(x), rows, columns)
    mask = (attention > 1).double()[:, None].repeat_interleave(2, 2).repeat_interleave(2, 3)
    x0, eps = clean_and_noise(step, x, base)
    blurred = ndimage.gaussian_filter(x0.numpy(), (0, 0, 1, 1), mode="mirror")
    blurred = torch.from_numpy(blurred)
    degraded = (1 - mask) * x + mask * (step.alpha * blurred + step.sigma * eps)
    x0_degraded, _ = clean_and_noise(step, degraded, predict(degraded, None))
    partly = (1 - mask) * x0 + mask * blurred
    # all in x_0, where the rule is the same and holds at alpha = 0, too
    x0_cond, x0_perturbed = (clean_and_noise(step, x, out)[0] for out in (cond, perturbed))
    guided = x0 + S_CFG * (x0_cond - x0) - S_SAG * (x0_degraded - partly)
    guided = guided + S_PAG * (x0_cond - x0_perturbed)
    return {
        "attention": attention,
        "mask": mask,
        "x_degraded": degraded,
        "x0_hat": x0,
        "x0_guided": guided,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), pairs(TRANSFORMERS, [(32, 32), (32, 48)]), ids=str)
def test_a_step_is_the_papers(
    families: Callable[[str], Family], name: str, size: tuple[int, int]
) -> None:
    model, prompt = families(name).model, prompt_of(name)
    size = (32, 32) if name == "dit" else size  # which knows squares alone
    trace = sv.trace(
        model,
        prompt,
        guidance=CFG(S_CFG) + SAG(S_SAG) + PAG(S_PAG, layers=path_of(model.network, "mid")),
        steps=3,
        images=2,
        seed=1,
        size=size,
        progress=False,
    )
    assert margin(trace) > MARGIN, "rounding decides no cell"
    dense = Dense(name, model, size)
    for step in trace:
        assert abs(step.alpha**2 + step.sigma**2 - 1) < 1e-6 or step.alpha == 1 - step.sigma
        for field, wanted in by_the_papers(model, dense, step, prompt).items():
            assert difference(getattr(step, field).double(), wanted) < BOUND, field
        assert (step.forwards, step.samples) == (2, 2 * 4)
        assert float(step.attention.std()) > 1e-3
