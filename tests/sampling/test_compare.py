"""The same prompt and noise under several guidances."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import counted, difference, is_one_sentence, margin, noise, same

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError


def compared(model: sv.Model, **settings: Any) -> tuple[sv.Trace, ...]:
    return sv.compare(model, **{"prompt": "a fox", "steps": 4, "progress": False, **settings})


def identical(a: sv.Trace, b: sv.Trace) -> bool:
    """Bit for bit, pictures included; what each step cost may differ."""
    return (
        a.pictures == b.pictures
        and len(a) == len(b)
        and all(same(one, other) for one, other in zip(a, b, strict=True))
    )


def alike(a: sv.Trace, b: sv.Trace) -> bool:
    """Every stored field within the rounding of another batch shape."""
    pairs = [(x.tensors, y.tensors) for x, y in zip(a, b, strict=True)]
    return all(
        x.keys() == y.keys() and all(difference(x[name], y[name]) < 1e-4 for name in x)
        for x, y in pairs
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seed": 5, "images": 2, "size": (32, 48)},
        {"scheduler": "euler"},
        {"eta": 1.0},
        {"noise": noise(seed=4)},
        {"prompt": ""},
    ],
    ids=str,
)
def test_the_pair_is_that_of_two_traces(model: sv.Model, settings: dict[str, Any]) -> None:
    """The joint passes change nothing but the rounding."""
    alone = [
        sv.trace(
            model,
            **{"prompt": "a fox", "steps": 4, "progress": False, **settings},
            guidance=guidance,
        )
        for guidance in (None, CFG(3.0), CFG(3.0) + SAG(1.0))
    ]
    plain, cfg, with_sag = compared(model, unguided=True, **settings)
    assert margin(alone[2]) > 1e-5, "rounding must not decide a mask"
    assert all(alike(*pair) for pair in zip((plain, cfg, with_sag), alone, strict=True))
    assert [trace.settings for trace in (plain, cfg, with_sag)] == [
        trace.settings for trace in alone
    ]


@pytest.mark.parametrize(("scheduler", "evaluations"), [("ddim", 4), ("pndm", 5)])
def test_the_first_step_is_paid_for_once(model: sv.Model, scheduler: str, evaluations: int) -> None:
    """The U-Net's own count, and what the traces say."""
    with counted(model.unet) as rows:
        cfg, with_sag = compared(model, scheduler=scheduler)
    assert rows == [2, 1] + [4, 1] * (evaluations - 1)
    assert (with_sag.forwards, with_sag.samples) == (2 * evaluations, 3 * evaluations)
    assert (cfg.forwards, cfg.samples) == (0, 2 * evaluations - 2)
    assert cfg[0].samples == 0


def test_the_first_step_of_cfg_is_a_step_of_cfg(model: sv.Model) -> None:
    cfg, with_sag = compared(model)
    assert set(cfg[0].terms) == {"cfg"}
    assert cfg[0].mask is None
    assert cfg[0].eps_degraded is None
    assert set(with_sag[0].terms) == {"cfg", "sag"}
    assert torch.equal(cfg[0].x_t, with_sag[0].x_t)
    assert not torch.equal(cfg[0].x_next, with_sag[0].x_next)


def test_a_seed_that_was_drawn_is_that_of_all(model: sv.Model) -> None:
    traces = compared(model, seed=None, unguided=True)
    assert len({trace.settings.seed for trace in traces}) == 1
    assert all(torch.equal(trace[0].x_t, traces[0][0].x_t) for trace in traces)


@pytest.mark.slow
@pytest.mark.parametrize("keep", [2, [1, 3]], ids=str)
def test_keep_is_that_of_all(model: sv.Model, keep: Any) -> None:
    """Also where the first step, which is shared, is not kept."""
    whole, some = compared(model, unguided=True), compared(model, unguided=True, keep=keep)
    for trace, kept in zip(whole, some, strict=True):
        assert kept.pictures == trace.pictures
        assert [step.index for step in kept] == ([0, 2, 3] if keep == 2 else [1, 3])
        assert all(torch.equal(step.x_next, trace[step.index].x_next) for step in kept)


@pytest.mark.slow
def test_scales_and_terms_are_taken_alike(model: sv.Model) -> None:
    by_scale, by_term = compared(model, cfg=5, sag=-0.1), compared(model, cfg=CFG(5), sag=SAG(-0.1))
    assert all(identical(a, b) for a, b in zip(by_scale, by_term, strict=True))
    windowed = compared(model, sag=SAG(1.0, start=0.5))
    assert [step.mask is not None for step in windowed[1]] == [False, False, True, True]
    assert torch.equal(windowed[0][1].x_next, windowed[1][1].x_next)


def test_sag_of_scale_zero_compares_equal(model: sv.Model) -> None:
    cfg, with_sag = compared(model, sag=0)
    assert cfg.image.tobytes() == with_sag.image.tobytes()


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("guidance", {"guidance": CFG(3.0)}),
        ("the cfg scale", {"cfg": float("nan")}),
        ("the sag scale", {"sag": "1"}),
        ("steps", {"steps": 0}),
        ("cfg", {"cfg": SAG(1.0)}),
        ("sag", {"sag": CFG(1.0)}),
        ("cfg", {"cfg": "3"}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused(model: sv.Model, words: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        compared(model, **settings)
    assert is_one_sentence(error.value)


def test_a_negative_prompt_and_no_kept_step_are_no_trouble(
    model: sv.Model, recwarn: pytest.WarningsRecorder
) -> None:
    """The plain run has no use for a negative prompt and does not warn of it; the pictures come
    without any record.
    """
    kept = sv.compare(
        model, "a fox", negative_prompt="a tree", steps=2, unguided=True, progress=False
    )
    bare = sv.compare(
        model, "a fox", negative_prompt="a tree", steps=2, unguided=True, progress=False, keep=[]
    )
    assert [trace.pictures for trace in bare] == [trace.pictures for trace in kept]
    assert not [warning for warning in recwarn if issubclass(warning.category, sv.SagvizWarning)]
