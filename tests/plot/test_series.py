"""Pictures and lines over one setting: each stands where it belongs, and has words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny import is_one_sentence

import sagviz as sv
from sagviz import plot

PICTURES = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]


def test_a_gallery_keeps_rows_and_columns() -> None:
    shown = plot.gallery(
        {"CFG": PICTURES, "CFG + SAG": PICTURES[::-1]}, ["w = 0", "w = 1", "w = 2"]
    )
    assert [name for name, _ in shown.rows] == ["CFG", "CFG + SAG"]
    assert [panel.image for panel in shown.rows[1][1]] == PICTURES[::-1]
    html = shown._repr_html_()
    assert html.count("<img") == 6
    assert html.index('alt="CFG, w = 2"') < html.index('alt="CFG + SAG, w = 0"')


def test_a_label_does_not_break_before_its_number() -> None:
    html = plot.gallery({"CFG 3, SAG -0.5": PICTURES}, ["a", "b", "c"])._repr_html_()
    assert ">CFG\N{NO-BREAK SPACE}3, SAG\N{NO-BREAK SPACE}-0.5<" in html


def test_a_gallery_refuses_a_row_with_a_gap() -> None:
    with pytest.raises(sv.SagvizError, match="'CFG' has 3 pictures for 2 columns") as error:
        plot.gallery({"CFG": PICTURES}, ["w = 0", "w = 1"])
    assert is_one_sentence(error.value)


def test_lines_and_dots_are_the_numbers() -> None:
    drawing = plot.lines(
        [0, 1, 4],
        {"law": [1.0, 0.5, 0.25]},
        "t",
        "what is left",
        dots={"measured": [0.9, 0.6, 0.2]},
    )
    (axes,) = drawing.figures[0].axes
    law, measured = axes.lines
    np.testing.assert_array_equal(law.get_xydata(), [(0, 1), (1, 0.5), (4, 0.25)])
    np.testing.assert_array_equal(measured.get_ydata(), [0.9, 0.6, 0.2])
    assert (law.get_linestyle(), measured.get_linestyle()) == ("-", "None")
    assert law.get_color() != measured.get_color()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["law", "measured"]
    assert (axes.get_xlabel(), axes.get_title(loc="left")) == ("t", "what is left")
    assert drawing.words == "what is left over t: law from 0.25 to 1; measured from 0.2 to 0.9"


@pytest.mark.parametrize("place", ["y", "dots"])
def test_lines_refuse_a_line_of_another_length(place: str) -> None:
    series = {"y": {"law": [1.0, 2.0]}, "dots": {}} | {place: {"short": [1.0]}}
    with pytest.raises(sv.SagvizError, match="'short' has 1 values for 2 places") as error:
        plot.lines([0, 1], xlabel="t", title="a", **series)
    assert is_one_sentence(error.value)
