"""Guidance terms in the player: their sliders, their pushes, their colours, whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toys import Constant, Mirror

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Rescale
from sagviz.guidance import APG, Guidance
from sagviz.player import PAGE_BYTES
from sagviz.player.pack import pack
from sagviz.player.planes import colours, planes, shares

SUM = CFG(3.0) + SAG(0.5) + PAG(1.5) + SEG(0.5) + APG(1.0) + Rescale(0.3)


def test_the_player_makes_the_guided_prediction_of_any_sum(model: sv.Model) -> None:
    """From its planes: x0_hat and the scaled pushes of all terms."""
    trace = sv.trace(model, "a fox", guidance=SUM, steps=4, seed=3, progress=False)
    data = pack([trace], PAGE_BYTES)
    (run,) = data["runs"]
    assert [term["title"] for term in run["terms"]] == [
        "CFG",
        "SAG",
        "PAG",
        "SEG",
        "APG",
        "Rescale",
    ]
    assert all(term["low"] <= term["scale"] <= term["high"] for term in run["terms"])
    assert {"cfg", "sag", "pag", "seg", "apg", "rescale"} <= set(run["planes"])
    for step in trace:
        total = step.x0_hat + sum(
            term.scale * step.pushes[term.name] for term in step.guidance.terms
        )
        torch.testing.assert_close(total, step.x0_guided, rtol=0, atol=1e-4)
    assert "run's own scale" in run["words"]["rescale"]


@pytest.mark.parametrize("after", [CFG(8.0), CFG(3.0) + SAG(0.0), CFG(1.5) + PAG(1.0), None])
def test_a_branch_is_shown_as_it_ran(after: Guidance | CFG | None, model: sv.Model) -> None:
    """Before the branch the terms and scales of the run that it left, though it has one slider."""
    options: dict[str, Any] = {"steps": 4, "seed": 3, "progress": False}
    trace = sv.trace(
        model, "a fox", guidance=CFG(sv.schedule("linear", 1, 3)) + SAG(1.0), **options
    )
    left = sv.branch(model, trace, 2, guidance=after, progress=False)
    (run,) = pack([left], PAGE_BYTES)["runs"]
    assert {"cfg", "sag"} <= {term["name"] for term in run["terms"]}
    rgb = colours(left, [left])
    made = planes(left.steps, rgb, [shares(step, left.acting) for step in left])
    for place, step in enumerate(left):
        shown = made["x0_hat"].values[place].clone()
        for term in run["terms"]:
            if place in made[term["name"]].values:
                shown += term["scale"] * made[term["name"]].values[place]
        own = torch.einsum("chw,ck->khw", step.x0_guided[0], rgb[:-1]) + rgb[-1][:, None, None]
        torch.testing.assert_close(shown, own, rtol=0, atol=1e-4)
    assert "; from step 3 on" in dict(run["settings"])["guidance"]
    assert "cosine" in sv.plot.guidance_curves(left).words


@pytest.mark.parametrize("scale", [0.5, 7.0])
def test_a_term_of_ones_own_has_slider_pane_curve_and_colour(
    scale: float, model: sv.Model, tmp_path: Path
) -> None:
    guidance = CFG(3.0) + Constant(scale) + Mirror(0.25)
    trace = sv.trace(model, "a fox", guidance=guidance, steps=3, seed=3, progress=False)
    data = pack([trace], PAGE_BYTES)
    (run,) = data["runs"]
    _, constant, mirrored = run["terms"]
    assert (constant["title"], constant["low"]) == ("Constant push", -2.0)
    assert constant["high"] == max(3.0, scale)
    assert constant["step"] == Constant.scale_step
    assert mirrored["title"] == "Mirror"
    assert ("constant", "Constant push's push") in [tuple(pane) for pane in data["panes"]]
    assert {"constant", "mirror"} <= set(data["shown"])
    assert data["charts"][0] == ["cfg", "constant", "mirror"]
    assert data["hues"]["constant"] == Constant.colour
    assert "Constant push" in run["steps"][1]["caption"]
    html = trace.to_html(tmp_path / "own.html").read_text(encoding="utf-8")
    assert "Constant push" in html


def test_a_loaded_run_keeps_its_own_terms(model: sv.Model, tmp_path: Path) -> None:
    guidance = CFG(3.0) + Constant(0.5)
    trace = sv.trace(model, "a fox", guidance=guidance, steps=2, progress=False)
    loaded = sv.Trace.load(trace.save(tmp_path / "a.sagtrace"))
    one, other = (pack([each], PAGE_BYTES)["runs"][0] for each in (trace, loaded))
    assert one["packed"] == other["packed"]
    assert torch.equal(loaded[1].terms["constant"], trace[1].terms["constant"])
