"""Guidance terms in the player: their sliders, their pushes, their colours, whoever wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toys import Constant, Mirror

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Rescale
from sagviz.guidance import APG
from sagviz.player import PAGE_BYTES
from sagviz.player.pack import pack

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
