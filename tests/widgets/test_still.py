"""The static face of a widget: what it shows, read off its parts, and renewed when they change."""

from __future__ import annotations

import ipywidgets as W
import pytest

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.widgets.common.controls import Number
from sagviz.widgets.common.still import live, still, watch


@pytest.mark.parametrize(
    ("widget", "face"),
    [
        (W.HTML("<p>words</p>"), "<div><p>words</p></div>"),
        (W.Text(description="Prompt", value="<b>"), "<div>Prompt: <b>&lt;b&gt;</b></div>"),
        (Number("scale", 7.25, 0.0, 10.0, 0.1), "<div>scale: <b>7.25</b></div>"),
        (W.Dropdown(description="heads", options=[("all", 0)]), "<div>heads: <b>all</b></div>"),
        (W.Checkbox(description="randomize", value=True), "<div>☑ randomize</div>"),
        (W.Textarea(value="a < b"), "<pre>a &lt; b</pre>"),
        (W.Button(description="Run"), ""),
        (W.VBox([W.Button(), W.IntProgress()]), ""),
        (live(W.HTML("only alive")), ""),
        (W.HTML("hidden", layout=W.Layout(display="none")), ""),
    ],
)
def test_of_each_kind_of_part(widget: W.Widget, face: str) -> None:
    assert still(widget) == face


def test_boxes_keep_their_order_and_folds_are_open_where_they_were() -> None:
    tabs = W.Tab([W.HTML("one"), W.HTML("two")], selected_index=1)
    tabs.set_title(0, "first")
    tabs.set_title(1, "second")
    face = still(W.VBox([W.HTML("above"), tabs], layout=W.Layout(width="300px")))
    assert face.index("above") < face.index("one") < face.index("two")
    assert "width:300px" in face
    assert "<details><summary>first" in face
    assert "<details open><summary>second" in face


def test_what_comes_later_is_watched_too() -> None:
    box, late, changes = W.VBox(), W.VBox([W.HTML()]), list[str]()
    watch(box, lambda: changes.append(still(box)))
    box.children = (late,)
    late.children[0].value = "new"
    assert "new" in changes[-1]


@pytest.mark.slow
def test_the_scrubber_s_face_is_in_the_state_that_was_seen(model: sv.Model) -> None:
    traces = sv.compare(model, "a fox", steps=4, unguided=True, progress=False)
    scrubber = sv.Scrubber(traces, index=3, panes=["x_t", "x0_guided"], view="flip", front=2)
    scales = [{}, {"cfg": 3.0}, {"cfg": 5.0, "sag": 1.0}]
    scrubber.stage.looks = {"scales": scales, "smooth": True}
    face = scrubber.static_html()
    for part in ('"index":3', '"view":"flip"', '"front":2', '"smooth":true', '"cfg":5.0'):
        assert part in face
    assert "CFG 3 + SAG 1, this step as if CFG 5 + SAG 1" in face
    assert face.count("Step 4, the last of 4") >= 3
    assert "Curves over the steps" in face


@pytest.mark.slow
def test_the_microscope_s_face_gives_no_covered_mask_away(model: sv.Model) -> None:
    trace = sv.trace(model, "a fox", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
    scope = sv.Microscope(model, trace, hidden=True, sag_scale=0.33)
    face = scope.static_html()
    assert "SAG scale: <b>0.33</b>" in face
    assert "covered until you reveal it" in face
    assert "The mask covers" not in face
