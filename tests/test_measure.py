"""The numbers of a step."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import noise

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.measure import cosine, coverage, of_step, rms


def test_unit_noise_has_length_one_whatever_its_size() -> None:
    for cells in ((64, 64), (16, 128)):
        assert rms(noise(2, cells)) == pytest.approx(1, abs=0.02)
    assert rms(torch.full((1, 4, 3, 3), -2.0)) == pytest.approx(2)


def test_the_cosine_is_that_of_the_angle() -> None:
    a, b = noise(cells=(64, 64)), noise(cells=(64, 64), seed=1)
    assert cosine(a, 3 * a) == pytest.approx(1, abs=1e-5)
    assert cosine(a, -a) == pytest.approx(-1, abs=1e-5)
    assert cosine(a, b) == pytest.approx(0, abs=0.03)


def test_the_cosine_of_a_batch_is_the_mean_of_its_images() -> None:
    a = noise(2)
    assert cosine(a, torch.stack([a[0], -100 * a[1]])) == pytest.approx(0, abs=1e-5)


def test_the_measures_of_a_step_are_those_of_its_terms(model: sv.Model) -> None:
    (step,) = sv.trace(model, "a fox", steps=1, guidance=CFG(-4.0) + SAG(0.5), progress=False)
    found, base = of_step(step), step.eps_uncond.double().norm()
    assert set(found) == {"cfg", "sag", "cosine", "coverage"}
    assert found["cfg"] == pytest.approx(float(4 * (step.eps_cond - step.eps_uncond).double().norm() / base), rel=1e-5)
    assert found["sag"] == pytest.approx(float((step.eps_uncond - step.eps_degraded).double().norm() / 2 / base), rel=1e-5)
    assert found["cosine"] == pytest.approx(cosine(step.terms["cfg"], step.terms["sag"]))
    assert found["coverage"] == coverage(step) == pytest.approx(float((step.attention > 1).float().mean()))


def test_what_a_step_has_not_is_not_measured(model: sv.Model) -> None:
    (plain,) = sv.trace(model, "a fox", steps=1, progress=False)
    assert list(of_step(plain)) == ["coverage"]
    assert math.isnan(of_step(plain)["coverage"])
    (cfg,) = sv.trace(model, "a fox", steps=1, guidance=CFG(2.0), progress=False)
    assert set(of_step(cfg)) == {"cfg", "coverage"}


@pytest.mark.parametrize(("threshold", "covered"), [(math.inf, 0.0), (-1.0, 1.0)])
def test_coverage_is_the_fraction_of_the_latent(model: sv.Model, threshold: float, covered: float) -> None:
    (step,) = sv.trace(model, "a fox", steps=1, guidance=SAG(1.0, threshold=threshold), progress=False)
    assert coverage(step) == covered
