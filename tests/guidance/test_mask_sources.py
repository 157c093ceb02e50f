"""SAG's mask sources in a run: equal areas, repeatable, one pass to change, and a hand-made mask
before all of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import counted, difference

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.guidance import MASK_SOURCES, Guidance

OTHERS = tuple(MASK_SOURCES)[1:]


def guidance(source: str = "attention", **changes: Any) -> Guidance:
    return CFG(3.0) + SAG(1.0, mask_source=source, **changes)


@pytest.fixture(scope="module")
def plain(model: sv.Model) -> sv.Trace:
    """Three images, not square, by the attention's own mask."""
    return sv.trace(
        model,
        "a fox",
        seed=5,
        steps=4,
        images=3,
        size=(32, 48),
        guidance=guidance(),
        progress=False,
    )


def cells(step: sv.Step) -> torch.Tensor:
    """The mask at the map's own grid, (B, 8, 12)."""
    assert step.mask is not None
    assert torch.equal(
        step.mask, step.mask[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    return step.mask[:, 0, ::2, ::2] > 0


@pytest.mark.slow
@pytest.mark.parametrize("source", OTHERS)
def test_another_source_costs_one_pass_from_a_stored_step(
    model: sv.Model, plain: sv.Trace, source: str
) -> None:
    """The same x_t, no first pass: the attention is stored. In each image as many cells as the
    attention's mask.
    """
    for index in (0, 2):
        with counted(model.unet) as rows:
            step = sv.what_if(model, plain, index, guidance=guidance(source))
        assert rows == [3]
        assert (step.forwards, step.samples) == (1, 3)
        assert not torch.equal(step.mask, plain[index].mask)
        area = cells(step).sum((1, 2))
        expected = torch.full((3,), 96) if source == "none" else cells(plain[index]).sum((1, 2))
        assert torch.equal(area, expected)


def test_inverted_takes_the_cells_of_least_attention(plain: sv.Trace) -> None:
    step = replace(plain[1], guidance=guidance("inverted"))
    for row in range(3):
        taken = cells(step)[row]
        assert step.attention[row][taken].max() < step.attention[row][~taken].min()


def test_high_frequency_takes_the_cells_where_the_blur_takes_most(plain: sv.Trace) -> None:
    step = replace(plain[1], guidance=guidance("high-frequency", blur_sigma=0.7))
    lost = (
        (step.x0_hat - step.x0_blurred)
        .abs()
        .mean(1)
        .unflatten(1, (8, 2))
        .unflatten(3, (12, 2))
        .mean((2, 4))
    )
    for row in range(3):
        taken = cells(step)[row]
        assert lost[row][taken].min() >= lost[row][~taken].max()


@pytest.mark.slow
def test_a_random_mask_belongs_to_the_image_and_the_step(
    model: sv.Model, plain: sv.Trace, tmp_path: Path
) -> None:
    """Image i of a batch has the mask of its own seed; steps differ; a run repeated, alone or
    loaded, has the same.
    """
    options: dict[str, Any] = {
        "seed": 5,
        "steps": 4,
        "size": (32, 48),
        "guidance": guidance("random"),
        "progress": False,
    }
    batch = sv.trace(model, "a fox", images=3, **options)
    assert not torch.equal(batch[0].mask, batch[1].mask)
    alone = sv.trace(model, "a fox", **{**options, "seed": 6})
    assert torch.equal(alone[0].mask, batch[0].mask[1:2])
    loaded = sv.Trace.load(batch.save(tmp_path / "run.sagtrace"))
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(batch, loaded, strict=True))
    assert torch.equal(sv.what_if(model, plain, 0, guidance=guidance("random")).mask, batch[0].mask)
    again = sv.branch(model, batch, 2, progress=False)
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(batch, again, strict=True))


@pytest.mark.parametrize("source", OTHERS)
def test_a_hand_made_mask_comes_first(model: sv.Model, plain: sv.Trace, source: str) -> None:
    painted = torch.zeros(16, 24)
    painted[3:7, 5:20] = 1
    step = sv.what_if(model, plain, 1, guidance=guidance(source), mask=painted)
    assert torch.equal(step.mask[2, 0], painted)


def test_none_is_the_mask_of_a_threshold_below_zero(model: sv.Model, plain: sv.Trace) -> None:
    everywhere, low = (
        sv.what_if(model, plain, 1, guidance=each)
        for each in (guidance("none"), guidance(threshold=-1.0))
    )
    assert torch.equal(everywhere.x_next, low.x_next)


@pytest.mark.slow
@pytest.mark.parametrize("source", OTHERS)
def test_a_whole_run_follows_its_source(model: sv.Model, plain: sv.Trace, source: str) -> None:
    run = sv.trace(
        model,
        "a fox",
        seed=5,
        steps=4,
        images=3,
        size=(32, 48),
        guidance=guidance(source),
        progress=False,
    )
    assert run.settings.guidance.to_json()[1]["mask_source"] == source
    assert difference(run.latents, plain.latents) > 1e-3
    torch.testing.assert_close(
        run[0].x_next,
        sv.what_if(model, plain, 0, guidance=guidance(source)).x_next,
        rtol=1e-5,
        atol=1e-5,
    )
