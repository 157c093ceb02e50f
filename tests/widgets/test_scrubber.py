"""The Scrubber without a page: its traits refuse with a sentence, and without anywidget plain
widgets do the work.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as W
import pytest
import torch
from tiny import is_one_sentence

import sagviz as sv
from sagviz import describe
from sagviz.plot.panels import step_panel
from sagviz.widgets.scrubber import face
from sagviz.widgets.scrubber import stage as module


@pytest.fixture(scope="module")
def traces(model: sv.Model) -> tuple[sv.Trace, ...]:
    """CFG, and CFG + SAG."""
    return sv.compare(model, "a fox", steps=4, seed=3, progress=False)


@pytest.fixture(params=[True, False], ids=["anywidget", "plain"])
def scrubber(
    request: pytest.FixtureRequest, traces: tuple[sv.Trace, ...], monkeypatch: pytest.MonkeyPatch
) -> sv.Scrubber:
    """Of two runs, with anywidget and as if it were missing."""
    if not request.param:
        monkeypatch.setattr(module, "anywidget", None)
    return sv.Scrubber(traces, index=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("index", 4, "4 steps"),
        ("index", -1, "from 0"),
        ("index", 1.5, "whole number"),
        ("front", 2, "2 runs"),
        ("view", "above", "'flip'"),
        ("panes", ["x_t", "eps"], "x0_guided"),
    ],
)
def test_a_wrong_value_is_refused_and_changes_nothing(
    scrubber: sv.Scrubber, name: str, value: Any, hint: str
) -> None:
    before = getattr(scrubber, name)
    with pytest.raises(sv.SagvizError, match=hint) as error:
        setattr(scrubber, name, value)
    assert is_one_sentence(error.value)
    assert getattr(scrubber, name) == before == getattr(scrubber.stage, name)
    with pytest.raises(sv.SagvizError, match=hint):
        sv.Scrubber(scrubber.traces, **{name: value})


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(sv.SagvizError, match="there is no trace"):
        sv.Scrubber([])


def test_an_unknown_option_is_refused(traces: tuple[sv.Trace, ...]) -> None:
    with pytest.raises(
        sv.SagvizError,
        match="has no argument 'speed'; it takes base, front, index, large, panes, playing, view",
    ):
        sv.Scrubber(traces[0], speed=3)


def test_both_sides_follow_and_observers_switch_the_reports_on(scrubber: sv.Scrubber) -> None:
    scrubber.index, scrubber.panes = 3, ["mask"]
    assert (scrubber.stage.index, scrubber.stage.panes) == (3, ["mask"])
    assert not scrubber.stage.watched
    seen: list[int] = []
    scrubber.observe(lambda change: seen.append(change.new), "index")
    assert scrubber.stage.watched
    scrubber.stage.index = 2
    assert seen == [2]


def test_every_option_says_what_it_is(scrubber: sv.Scrubber) -> None:
    assert all(scrubber.traits()[name].help for name in scrubber.options())
    assert all(f"{name}:" in sv.Scrubber.__doc__ for name in scrubber.options())


@pytest.mark.slow
def test_the_bundle_has_both_faces(scrubber: sv.Scrubber) -> None:
    bundle = scrubber._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert 'class="sagviz-data"' in bundle["text/html"]


def test_closing_frees_all_that_it_made(
    traces: tuple[sv.Trace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = W.widget._instances if hasattr(W.widget, "_instances") else W.Widget.widgets
    for kind in (module.anywidget, None):
        monkeypatch.setattr(module, "anywidget", kind)
        before = len(alive)
        sv.Scrubber(traces).close()
        assert len(alive) == before


def test_without_anywidget_the_kernel_draws(
    traces: tuple[sv.Trace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "anywidget", None)
    scrubber = sv.Scrubber(traces)
    pictures = scrubber.stage.pictures
    first = pictures.value
    scrubber.stage.step.box.value = 4  # people count from 1
    assert scrubber.index == scrubber.stage.play.value == 3
    assert pictures.value != first
    assert describe.of_step(traces[1][3], 4).replace("'", "&#x27;") in pictures.value
    scrubber.panes = ["x_t", "attention"]
    assert pictures.value.count("<img") == 3
    scrubber.view, scrubber.front = "flip", 1
    assert pictures.value.count("<img") == 2
    scrubber.playing = True
    assert scrubber.stage.play.playing
    assert not scrubber.notice.value


def test_an_error_is_shown_and_the_next_step_works(
    traces: tuple[sv.Trace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "anywidget", None)
    scrubber = sv.Scrubber(traces)
    with monkeypatch.context() as broken:
        broken.setattr(face, "step_panel", lambda *_: 1 / 0)
        scrubber.index = 1
    assert "division by zero" in scrubber.notice.value
    scrubber.index = 2
    assert not scrubber.notice.value


def test_a_hand_made_mask_without_attention_is_shown_plainly(
    model: sv.Model, traces: tuple[sv.Trace, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panes are chosen by their names, whichever of them a step has."""
    monkeypatch.setattr(module, "anywidget", None)
    mask = torch.zeros(traces[0][0].x_t.shape[2:])
    mask[4:9, 4:9] = 1
    branch = sv.branch(
        model, traces[0], 2, guidance=sv.CFG(3.0) + sv.SAG(1.0), mask=mask, progress=False
    )
    assert branch[2].mask is not None
    assert branch[2].attention is None
    scrubber = sv.Scrubber(branch, index=2, panes=["x_t", "sag", "x0_guided"])
    assert not scrubber.notice.value
    shown = [panel.name for panel in step_panel(branch, 2).panels]
    assert {"x_t", "sag", "x0_guided"} <= set(shown)
    assert scrubber.stage.pictures.value.count("<img") == 3
