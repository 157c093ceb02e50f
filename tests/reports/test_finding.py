"""What a report finds, said of pictures that differ and of those that do not."""

from __future__ import annotations

import numpy as np

import sagviz as sv
from sagviz.reports.finding import OPEN, finding


def pair(model: sv.Model, sag: float, seed: int = 7) -> tuple[sv.Trace, sv.Trace]:
    without, with_sag = sv.compare(model, "a fox", steps=2, seed=seed, sag=sag, progress=False)
    return without, with_sag


def test_equal_pictures_are_said_to_be_equal(model: sv.Model) -> None:
    """No vote on them, no chance, and no frame around a place where nothing differs."""
    same = pair(model, 0.0)
    one, several = finding([same]).text, finding([same, pair(model, 0.0, 8)]).text
    assert "Both pictures are the same: CFG 3 and CFG 3 + SAG 0" in one
    assert "for each of 2 seeds" in several
    for words in ("vote", "chance", "interval", "changes by"):
        assert words not in one + several
    shown = sv.plot.difference(*same)
    assert [panel.words for panel in shown.panels] == [
        "none: the pictures are the same",
        "the whole picture",
        "the whole picture",
    ]
    black = np.asarray(shown.panels[0].image)
    assert (black == black[0, 0]).all(), "a frame"


def test_one_pair_of_several_may_be_equal(model: sv.Model) -> None:
    said = finding([pair(model, 0.0), pair(model, 1.0, 8)]).text
    assert "in every pixel here." in said
    assert "Over 2 seeds sharpness changes" in said
    assert OPEN in said


def test_pictures_that_differ_by_next_to_nothing_do_differ(model: sv.Model) -> None:
    almost = pair(model, 0.02)
    assert "changes by less than 0.1% of" in finding([almost]).text
    assert "less than 1% of their range" in sv.plot.difference(*almost).panels[0].words
