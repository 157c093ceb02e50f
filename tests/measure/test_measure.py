"""The numbers of steps, of pictures and of sets, against closed forms and other people's
implementations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.stats
import torch
from PIL import Image, ImageFilter
from tiny import is_one_sentence, noise

import sagviz as sv
from sagviz import CFG, SAG, measure
from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.guidance import Guidance
from sagviz.measure import (
    cosine,
    coverage,
    entropy,
    equivalent_cfg,
    margin,
    of_run,
    of_step,
    of_trace,
    rms,
    undecided,
)
from sagviz.records.step import Step

LOOSE: Any = measure  # types are checked when it runs


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
    assert set(found) == {
        "cfg",
        "sag",
        "cosine",
        "coverage",
        "margin",
        "undecided",
        "entropy",
        "cfg_equivalent",
    }
    assert found["cfg"] == pytest.approx(
        float(4 * (step.eps_cond - step.eps_uncond).double().norm() / base), rel=1e-5
    )
    assert found["sag"] == pytest.approx(
        float((step.eps_uncond - step.eps_degraded).double().norm() / 2 / base), rel=1e-5
    )
    assert found["cosine"] == pytest.approx(cosine(step.terms["cfg"], step.terms["sag"]))
    assert (
        found["coverage"]
        == coverage(step)
        == pytest.approx(float((step.attention > 1).float().mean()))
    )


def test_what_a_step_has_not_is_not_measured(model: sv.Model) -> None:
    (plain,) = sv.trace(model, "a fox", steps=1, progress=False)
    assert list(of_step(plain)) == ["coverage"]
    assert math.isnan(of_step(plain)["coverage"])
    (cfg,) = sv.trace(model, "a fox", steps=1, guidance=CFG(2.0), progress=False)
    assert set(of_step(cfg)) == {"cfg", "coverage", "cfg_equivalent"}
    assert math.isnan(margin(cfg))
    assert math.isnan(undecided(cfg))
    assert math.isnan(equivalent_cfg(plain))


@pytest.mark.parametrize(("threshold", "covered"), [(math.inf, 0.0), (-1.0, 1.0)])
def test_coverage_is_the_fraction_of_the_latent(
    model: sv.Model, threshold: float, covered: float
) -> None:
    (step,) = sv.trace(
        model, "a fox", steps=1, guidance=SAG(1.0, threshold=threshold), progress=False
    )
    assert coverage(step) == covered


def test_the_margin_is_the_nearest_cell_to_the_threshold() -> None:
    attention = torch.tensor([[[0.5, 1.004], [1.2, 1.3]]])
    step = Step(
        index=0,
        level=NoiseLevel(1, 0.5, 0.5),
        guidance=SAG(1.0) + CFG(0),
        x_t=noise(),
        kept={"attention": attention},
    )
    assert margin(step) == pytest.approx(0.004, rel=1e-3)
    assert undecided(step) == 0.25
    assert undecided(step, within=0.25) == 0.5
    painted = replace(step, kept={**step.kept, "hand_mask": torch.ones(1, 1, 16, 16)})
    assert math.isnan(margin(painted))
    assert math.isnan(undecided(painted))
    assert math.isnan(margin(replace(step, guidance=CFG(0) + SAG(1.0, mask_source="none"))))
    assert margin(replace(step, guidance=CFG(0) + SAG(1.0, mask_source="random"))) == margin(step)


def test_the_entropy_is_that_of_the_attention_over_the_cells() -> None:
    a = noise(3).square().sum(1)
    expected = np.mean([scipy.stats.entropy(row.flatten().numpy(), base=256) for row in a])
    assert entropy(a) == pytest.approx(expected, abs=1e-6)
    assert entropy(7 * torch.ones(2, 4, 6)) == pytest.approx(1)
    assert entropy(torch.eye(9)[:1].view(1, 3, 3)) == 0
    assert entropy(torch.ones(1, 1, 1)) == 1


@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, 3.0, 12.5])
def test_cfg_alone_is_equivalent_to_itself(
    model: sv.Model, v_model: sv.Model, scale: float
) -> None:
    for each in (model, v_model):
        for step in sv.trace(each, "a fox", steps=3, guidance=CFG(scale), images=2, progress=False):
            assert equivalent_cfg(step) == pytest.approx(scale, abs=2e-5)


def test_another_term_adds_its_projection(model: sv.Model) -> None:
    """In noise: w + s <sag, d> / <d, d>, for each image."""
    (step,) = sv.trace(
        model, "a fox", steps=1, images=2, guidance=CFG(3.0) + SAG(2.0), progress=False
    )
    sag, d = (step.terms[name].double().flatten(1) for name in ("sag", "cfg"))
    expected = [3 + 2 * float(a @ b / (b @ b)) for a, b in zip(sag, d, strict=True)]
    assert equivalent_cfg(step) == pytest.approx(np.mean(expected), rel=1e-4)
    assert abs(expected[0] - 3) > 1e-3


def test_a_known_projection() -> None:
    """x_t = 0 with a hand-made degraded prediction: the SAG term is d / 2 plus a part at right
    angles to d.
    """
    d, side = noise(), noise(seed=1)
    side = side - d * (side * d).sum() / d.square().sum()
    step = Step(
        index=0,
        level=NoiseLevel(1, 0.5, 0.5),
        guidance=CFG(3.0) + SAG(2.0),
        x_t=torch.zeros_like(d),
        out_uncond=torch.zeros_like(d),
        out_cond=d,
        kept={"out_degraded": -(d / 2 + side), "attention": torch.ones(1, 16, 16)},
    )
    assert equivalent_cfg(step) == pytest.approx(3 + 2 / 2, abs=1e-5)


@pytest.mark.parametrize("rounding", [0, 1e-7])
def test_two_equal_branches_have_no_direction(rounding: float) -> None:
    """An empty prompt: the direction is 0 but for rounding, and nothing is equivalent to it."""
    out = noise()
    step = Step(
        index=0,
        level=NoiseLevel(1, 0.5, 0.5),
        guidance=Guidance((CFG(3.0),)),
        x_t=out,
        out_uncond=out,
        out_cond=out + rounding * noise(seed=1),
    )
    assert math.isnan(equivalent_cfg(step))


def test_zero_terminal_snr_keeps_the_equivalent_scale() -> None:
    """At alpha = 0 the noises of both branches coincide, the outputs of a v-model do not."""
    level = NoiseLevel(999, 0.0, 1.0, "v_prediction")
    step = Step(
        index=0,
        level=level,
        guidance=Guidance((CFG(4.0),)),
        x_t=noise(),
        out_uncond=noise(seed=1),
        out_cond=noise(seed=2),
    )
    assert rms(step.terms["cfg"]) == 0
    assert equivalent_cfg(step) == pytest.approx(4, abs=1e-5)


def test_a_trace_is_measured_step_by_step(model: sv.Model) -> None:
    trace = sv.trace(
        model,
        "a fox",
        steps=4,
        guidance=CFG(2.0) + SAG(1.0, stop=0.5),
        keep=[0, 1, 3],
        progress=False,
    )
    frame = of_trace(trace)
    assert list(frame.index) == [0, 1, 3]
    assert list(frame["t"]) == [step.t for step in trace]
    for step in trace:
        for name, value in of_step(step).items():
            assert frame.loc[step.index, name] == pytest.approx(value, nan_ok=True)
    whole = of_run(trace)
    assert whole["cfg"] == pytest.approx(frame["cfg"].mean())
    assert whole["sag"] == pytest.approx(frame["sag"].mean())  # over the two steps that have it
    assert whole["margin"] == frame["margin"].min()
    assert list(of_trace([]).columns) == ["t", "alpha", "sigma"]
    assert of_run([]) == {}


def solid(*colour: int) -> Image.Image:
    return Image.new("RGB", (8, 8), colour)


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    )


def test_solid_pictures_have_known_measures() -> None:
    assert measure.of_picture(solid(90, 90, 90)) == pytest.approx(
        {"sharpness": 0, "saturation": 0, "contrast": 0}
    )
    assert measure.of_picture(solid(0, 0, 0))["saturation"] == 0
    assert measure.saturation(solid(255, 0, 0)) == 1
    assert measure.saturation(solid(200, 100, 150)) == pytest.approx(0.5)
    halves = np.zeros((8, 8, 3), np.uint8)
    halves[:4] = 255
    assert measure.contrast(Image.fromarray(halves)) == pytest.approx(0.5)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    luma = np.asarray(picture()) / 255 @ [0.299, 0.587, 0.114]
    expected = scipy.ndimage.laplace(luma)[1:-1, 1:-1].var()
    assert measure.sharpness(picture()) == pytest.approx(expected)
    assert measure.sharpness(picture().filter(ImageFilter.GaussianBlur(1))) < expected / 4
    assert measure.sharpness(Image.new("RGB", (1, 2))) == 0


def test_saturation_is_that_of_the_hexcone() -> None:
    assert measure.saturation(picture()) == pytest.approx(
        np.asarray(picture().convert("HSV"))[..., 1].mean() / 255, abs=3e-3
    )


def drawn(mean: np.ndarray, cov: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Samples whose own mean and covariance are exactly those."""
    x = np.random.default_rng(seed).standard_normal((count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(cov).T + mean


def test_the_frechet_distance_of_gaussians_is_the_closed_form() -> None:
    rng = np.random.default_rng(3)
    means, roots = rng.standard_normal((2, 5)), rng.standard_normal((2, 5, 5))
    covs = [root @ root.T + np.eye(5) / 10 for root in roots]
    a, b = (
        drawn(mean, cov, 40, seed) for seed, (mean, cov) in enumerate(zip(means, covs, strict=True))
    )
    expected = np.square(means[0] - means[1]).sum() + np.trace(
        covs[0] + covs[1] - 2 * scipy.linalg.sqrtm(covs[0] @ covs[1]).real
    )
    assert measure.frechet(a, b) == pytest.approx(expected, rel=1e-9)
    assert measure.frechet(torch.from_numpy(a), b) == measure.frechet(a, b)
    assert measure.frechet(b, a) == pytest.approx(expected, rel=1e-9)
    assert measure.frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert measure.frechet(a, a + 2) == pytest.approx(4 * 5)  # a shift alone
    # a stretch alone
    assert measure.frechet(a, 3 * (a - means[0]) + means[0]) == pytest.approx(4 * np.trace(covs[0]))


def test_fewer_samples_than_features_do_no_harm() -> None:
    """Covariances without full rank, where the root of a product may turn out complex."""
    a = np.random.default_rng(0).standard_normal((6, 50))
    assert measure.frechet(a, a) == pytest.approx(0, abs=1e-6)
    assert math.isfinite(measure.frechet(a, a[::-1] + 1))
    assert measure.frechet(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])) == pytest.approx(1)


def test_precision_and_recall_have_known_limits() -> None:
    a = np.random.default_rng(0).standard_normal((1500, 3))
    assert measure.precision_recall(a, a) == (1, 1)
    assert measure.precision_recall(a, a + 100) == (0, 0)
    half = np.concatenate([a, a + 100])
    # half of what is made is like nothing real
    assert measure.precision_recall(a, half) == (0.5, 1)
    assert measure.precision_recall(half, a) == (1, 0.5)  # half of what is real is never made
    assert measure.precision_recall(np.zeros((5, 2)), np.zeros((5, 2))) == (1, 1)


def test_precision_is_that_of_the_paper_in_a_worked_example() -> None:
    """Real members 0, 1, 3 on a line with k = 1 reach 1, 1 and 2 far: their manifold is [-1, 5]."""
    real, made = np.array([[0.0], [1.0], [3.0]]), np.array([[-1.0], [-1.1], [5.0], [5.1]])
    # Those made reach 0.1: nothing real is near them.
    assert measure.precision_recall(real, made, k=1) == (0.5, 0)
    assert measure.precision_recall(real, made, k=2).precision == 1  # they reach 3, 2 and 3


@pytest.mark.parametrize(
    ("real", "made", "k"),
    [
        (np.zeros(3), np.zeros((3, 3)), 1),
        (np.zeros((3, 2)), np.zeros((3, 3)), 1),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), 1),
        (np.zeros((3, 2)), np.zeros((3, 2)), 3),
        (np.zeros((3, 2)), np.zeros((3, 2)), 0),
    ],
)
def test_features_that_are_none_are_refused(real: np.ndarray, made: np.ndarray, k: int) -> None:
    with pytest.raises(sv.SagvizError):
        measure.precision_recall(real, made, k)


def test_what_has_no_direction_has_no_cosine() -> None:
    a, b = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])
    assert measure.cosine(a, b) == 1
    assert np.isnan(measure.cosine(a[:1], b[:1]))


def test_numbers_come_from_numpy_as_well() -> None:
    drawn = np.random.default_rng(0).normal(size=(2, 4, 8, 8)).astype(np.float32)
    latents = torch.from_numpy(drawn)
    assert sv.measure.rms(drawn) == sv.measure.rms(latents)
    assert sv.measure.cosine(drawn, drawn[::-1]) == sv.measure.cosine(latents, latents.flip(0))
    assert sv.measure.spectrum(drawn) == sv.measure.spectrum(latents)
    assert sv.measure.entropy(abs(drawn[0])) == sv.measure.entropy(latents[0].abs())
    assert sv.measure.rms(torch.tensor([3, -3])) == 3
    assert sv.measure.rms(torch.full((4,), 300.0, dtype=torch.float16)) == 300


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LOOSE.rms("x"), "x is 'x'; give a tensor"),
        (lambda: sv.measure.cosine(torch.ones(3), torch.ones(3)), "a is of the shape .3,.; give"),
        (lambda: sv.measure.cosine(torch.ones(1, 3), torch.ones(1, 2)), "give latents of one"),
        (lambda: sv.measure.entropy(-torch.ones(1, 2, 2)), "negative cells"),
        (lambda: sv.measure.entropy(torch.ones(4)), "give maps .B, h, w."),
        (lambda: sv.measure.spectrum(torch.ones(4, 8, 8)), "give latents .B, C, H, W."),
        (lambda: sv.measure.spectrum(torch.ones(1, 4, 8, 8), rings=0), "rings is 0"),
        (lambda: LOOSE.fine_share([1]), "give latents"),
        (lambda: sv.measure.rms(np.array([1j])), "x is of the shape .1,.; give a tensor"),
        (lambda: LOOSE.of_picture([picture(), picture()]), "a picture is 2 of them"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(sv.SagvizError, match=words) as error:
        call()
    assert is_one_sentence(error.value)


def test_rounding_has_no_direction(model: sv.Model) -> None:
    """Of a mask of nothing SAG's term is what rounding leaves of it."""
    nothing = CFG(3.0) + SAG(1.0, threshold=50.0)
    trace = sv.trace(model, "a fox", guidance=nothing, steps=2, progress=False)
    assert math.isnan(of_step(trace[0])["cosine"])
    assert "cosine" not in sv.measure.of_run(trace)
    both = sv.trace(model, "a fox", guidance=CFG(3.0) + SAG(1.0), steps=2, progress=False)
    off = sv.what_if(model, both, 0, guidance=CFG(0.0) + SAG(0.0))
    assert of_step(off)["cosine"] == pytest.approx(of_step(both[0])["cosine"]), "without its scale"
