"""The Grid and the contact sheet without a page: which cell stands where, in which words, and what
is done about it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import pytest
import torch
from PIL import Image

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError, SagvizError
from sagviz.image import enlarge, from_file
from sagviz.plot import shots
from sagviz.plot.montage import GAP, Tile, montage
from sagviz.plot.sheet import LIMIT, Sheet, Window, contact_sheet
from sagviz.sweeps import begin
from sagviz.sweeps.layout import cross
from sagviz.widgets.grid import table
from sagviz.widgets.grid.grid import Grid
from sagviz.widgets.grid.settings import GridSettings
from sagviz.widgets.scrubber.scrubber import Scrubber

SCALES = [CFG(w) + SAG(s) for w in (1.0, 3.0, 5.0) for s in (0.0, 1.0)]
AXES: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": [0, 1],
    "steps": 2,
    "guidance": SCALES,
}


@pytest.fixture(scope="module")
def made(model: sv.Model) -> sv.Sweep:
    """24 cells, all done."""
    return sv.sweep(model, **AXES, progress=False)


@pytest.fixture
def fresh(model: sv.Model, tmp_path: Path) -> sv.Sweep:
    """Six cells, none made yet."""
    return begin(
        model,
        "a fox",
        seeds=[0, 1],
        steps=2,
        guidance=[CFG(1.0), CFG(3.0), CFG(3.0) + SAG(1.0)],
        store=tmp_path,
    )


@pytest.fixture
def shown(fresh: sv.Sweep, model: sv.Model) -> Iterator[Grid]:
    made = Grid(fresh, model=model)
    yield made
    made.worker.cancel()
    assert made.worker.wait(60)
    made.close()


# Which cell stands where


@pytest.mark.slow
def test_every_square_is_the_cell_with_its_settings(made: sv.Sweep) -> None:
    crossing = cross(made, "seed", "cfg_scale", {"prompt": "a cat", "sag_scale": 1.0})
    assert crossing.shape == (2, 3)
    for row, seed in enumerate((0, 1)):
        for column, scale in enumerate((1.0, 3.0, 5.0)):
            (cell,) = made.select(prompt="a cat", seed=seed, cfg_scale=scale, sag_scale=1.0)
            assert crossing.square(row, column).cell == cell
            assert (
                crossing.square(row, column).words
                == f"“a cat”, seed {seed}, CFG {scale:g} + SAG 1, 2 steps"
            )
    assert crossing.labels("seed") == ["seed 0", "seed 1"]
    assert crossing.labels("cfg_scale") == ["CFG scale 1", "CFG scale 3", "CFG scale 5"]


def test_without_a_wish_the_two_settings_with_most_values(made: sv.Sweep, model: sv.Model) -> None:
    crossing = cross(made)
    assert (crossing.rows, crossing.columns, crossing.fixed) == (
        "prompt",
        "cfg_scale",
        {"seed": 0, "sag_scale": 0.0},
    )
    assert cross(made, columns="prompt").rows == "cfg_scale"
    assert cross(made, rows="cfg_scale").columns == "prompt"
    assert cross(made, fixed={"prompt": "a cat"}).rows == "seed"
    one = begin(model, "a fox", seeds=range(5))
    assert (cross(one).rows, cross(one).columns, cross(one).shape) == ("", "seed", (1, 5))
    single = begin(model, "a fox")
    assert cross(single).shape == (1, 1)
    assert cross(single, "prompt", "seed").labels("seed") == ["seed 0"]


def test_guidance_stands_whole_where_its_scales_are_no_full_grid(model: sv.Model) -> None:
    three = begin(model, ["a", "b"], guidance=[None, CFG(3.0), CFG(3.0) + SAG(1.0)])
    crossing = cross(three)
    assert (crossing.rows, crossing.columns, crossing.fixed) == ("prompt", "guidance", {})
    assert crossing.labels("guidance") == ["plain", "CFG 3", "CFG 3 + SAG 1"]
    crossing = cross(three, "cfg_scale", "sag_scale")
    assert crossing.labels("cfg_scale") == ["no CFG", "CFG scale 3"]
    assert crossing.labels("sag_scale") == ["no SAG", "SAG scale 1"]
    cells = [[crossing.square(row, column).cell for column in (0, 1)] for row in (0, 1)]
    assert cells == [[three.cells[0], None], [three.cells[1], three.cells[2]]]


def test_settings_of_terms_in_words(model: sv.Model) -> None:
    terms = [SAG(1.0), SAG(1.0, threshold=1.5), SAG(1.0, blur_kernel=3), SAG(1.0, heads=(0,))]
    crossing = cross(begin(model, guidance=[CFG(3.0) + term for term in terms]))
    axes = crossing.axes
    assert [axes["sag_threshold"].label(value) for value in axes["sag_threshold"].values] == [
        f"SAG threshold ψ {x}" for x in (1, 1.5)
    ]
    assert [axes["sag_blur_kernel"].label(value) for value in (3, "unset")] == [
        "SAG blur taps 3",
        "SAG blur taps unset",
    ]
    assert axes["sag_heads"].values == ("unset", (0,))
    assert crossing.columns == "guidance"
    assert len(set(crossing.labels("guidance"))) == 4, "equal in their scales, and yet told apart"


def test_images_of_a_batch_are_a_setting(model: sv.Model) -> None:
    two = sv.sweep(model, "a fox", steps=1, guidance=CFG(3.0), images=3, progress=False)
    crossing = cross(two)
    assert (crossing.columns, crossing.labels("image")) == (
        "image",
        ["image 0", "image 1", "image 2"],
    )
    trace = two.trace()
    for image in range(3):
        assert shots.shoot(two, crossing.square(0, image)).picture == trace.pictures[image]
    grid = Grid(two, selected=(0, 2))
    assert grid.opened.trace is not None
    assert torch.equal(grid.opened.trace[0].x_t, trace[0].x_t[2:])
    (words,) = [each.value for each in grid.opened.body.children[0].children[1].children]
    assert "-seed2-" in words, "image i carries seed + i"
    assert grid.opened.trace.pictures == trace.pictures[2:]
    grid.close()


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (
            {"rows": "cfg"},
            "no setting 'cfg'; this one varies in prompt, seed, cfg_scale, sag_scale, guidance",
        ),
        ({"rows": "seed", "columns": "seed"}, "rows and columns are both 'seed'"),
        ({"fixed": {"seed": 9}}, "no cell has seed=9; there are 0, 1"),
        ({"fixed": {"sed": 0}}, "no cell has sed=0"),
        ({"measure": "beauty"}, "measure is 'beauty'; the cells have sharpness"),
        ({"selected": (2, 0)}, r"give \(row, column\) up to \(1, 2\)"),
        ({"page": 1}, "page is 1; there are 1"),
        ({"row": "seed"}, "Grid has no argument 'row'; did you mean rows?"),
        ({"rows": 3}, "rows"),
        ({"batch": 0}, "batch"),
    ],
)
def test_what_is_not_there_is_refused(made: sv.Sweep, wish: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        Grid(made, **wish)


def test_a_model_with_other_weights_is_refused(made: sv.Sweep, v_model: sv.Model) -> None:
    with pytest.raises(ArgumentError, match="other weights"):
        Grid(made, model=v_model)
    with pytest.raises(ArgumentError, match="no model"):
        Grid(made).run()


# The sheet


def test_the_sheet_holds_the_very_pixels_of_every_cell(made: sv.Sweep, tmp_path: Path) -> None:
    sheet = contact_sheet(made, "seed", "cfg_scale", prompt="a cat", sag_scale=1.0)
    pixels = np.asarray(Image.open(sheet.save(tmp_path / "sheet.png")))
    lines = [line.tobytes() for line in pixels]
    places = []
    for square in (sheet.crossing.square(row, column) for row in (0, 1) for column in (0, 1, 2)):
        assert square.cell is not None
        tile = np.asarray(enlarge(made.store.load(square.cell.key).image, shots.TINY))
        y, x = next(
            (y, line.find(tile[0].tobytes()) // 3)
            for y, line in enumerate(lines)
            if tile[0].tobytes() in line
        )
        assert np.array_equal(pixels[y : y + len(tile), x : x + tile.shape[1]], tile)
        places.append((y, x))
    assert places == sorted(places), "row by row, from left to right"
    assert len({y for y, _ in places}) == 2
    assert len({x for _, x in places}) == 3


def test_a_montage_is_as_large_as_its_tiles_and_words() -> None:
    tile = Tile(Image.new("RGB", (40, 30), "red"))
    bare = montage([""], ["", ""], [[tile, tile]], (40, 30))
    assert bare.size == (2 * (40 + GAP) + 2 * GAP, 30 + 4 * GAP)
    assert (np.asarray(bare) == (255, 0, 0)).all(axis=2).sum() == 2 * 40 * 30
    worded = montage(
        ["seed 1"],
        ["CFG 1", "CFG 3"],
        [[tile, Tile(None, "failed: <no>")]],
        (40, 30),
        "what is here",
    )
    assert worded.width > bare.width
    assert worded.height > bare.height


def test_the_page_names_everything_and_runs_nothing(model: sv.Model, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    sweep = sv.sweep(model, [hostile, "a fox"], seeds=[0], steps=1, progress=False)
    sweep.store.fail(sweep.cells[1].key, "no & never")
    page = (
        contact_sheet(sweep, measure="sharpness")
        .to_html(tmp_path / "sheet.html")
        .read_text(encoding="utf-8")
    )
    assert "<script" not in page
    alts = re.findall(r'alt="([^"]*)"', page)
    assert alts == [f"“{prompt}”, seed 0, plain, 1 step" for prompt in (escape(hostile), "a fox")]
    assert len(re.findall(r">0\.\d+</div>", page)) == 2
    assert "sharpness under each picture" in page
    assert page.count('scope="col"') == 2


def test_what_is_not_done_is_marked_with_its_reason(fresh: sv.Sweep, model: sv.Model) -> None:
    made = next(iter(fresh.run(model, batch=1)))
    fresh.store.fail(fresh.cells[1].key, "OutOfMemoryError: <much>")
    claim = fresh.store.claim(fresh.cells[2].key)
    assert claim is not None
    with claim:
        page = contact_sheet(fresh).html()
        statuses = [shot.status for row in contact_sheet(fresh).shots() for _, shot in row]
    assert statuses == ["done", "failed", "running", "pending", "pending", "pending"]
    assert page.count("<img") == 1
    assert page.count(">not run yet<") == 3
    assert page.count(">running<") == 1
    assert "OutOfMemoryError: &lt;much&gt;" in page
    path = fresh.store.path / f"{made.key}.sagtrace"  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-9])
    shot = shots.shoot(fresh, cross(fresh).square(0, 0))
    assert shot.status == "failed"
    assert "damaged" in shot.reason or "cannot be read" in shot.reason


def test_large_pictures_are_sent_small_and_tiny_ones_as_they_are() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    for side, kept in ((64, True), (128, True), (512, False)):
        picture = Image.fromarray(noise[:side, :side])
        small = shots.thumbnail(shots.to_png(picture))
        shown = from_file(io.BytesIO(small))
        assert max(shown.size) == min(side, shots.LONGEST)
        if kept:
            assert np.array_equal(np.asarray(shown), np.asarray(picture))


@pytest.mark.parametrize(
    ("shape", "rows", "columns", "height"),
    [((3, 4), 3, 4, 100), ((1000, 4), 100, 4, 100), ((9, 500), 9, 40, 10)],
)
def test_a_sheet_has_400_pictures_at_most_and_says_what_is_left_out(
    shape: tuple[int, int], rows: int, columns: int, height: int
) -> None:
    window = Window(shape)
    assert (len(window.rows), len(window.columns), window.height) == (rows, columns, height)
    assert len(window.rows) * len(window.columns) <= LIMIT
    assert bool(window.rest) == ((rows, columns) != shape)


def test_pages_walk_through_all_rows(model: sv.Model) -> None:
    many = begin(model, seeds=range(1000), steps=1, guidance=[CFG(1.0), CFG(3.0)])
    shown = Grid(many, rows="seed")
    assert shown.menus.pages.layout.display is None
    seen = list[str]()
    for page in range(5):
        shown.page = page
        seen += shown.table.table["rows"]
        assert len(shown.table.table["squares"]) == 400
    assert seen == [f"seed {seed}" for seed in range(1000)]
    assert "rows 801 to 1000 of 1000" in shown.caption.value
    shown.selected = (801, 1)
    assert shown.table.chosen == [1, 1]
    with pytest.raises(ArgumentError, match="there are 5"):
        shown.page = 5
    shown.close()


# The widget


def test_menus_and_traits_are_one(made: sv.Sweep) -> None:
    shown = Grid(made, rows="prompt", columns="seed")
    visible = [name for name, menu in shown.menus.others.items() if menu.layout.display is None]
    assert visible == ["cfg_scale", "sag_scale"]
    shown.menus.others["cfg_scale"].value = 2  # the third value
    assert shown.crossing.fixed["cfg_scale"] == 5.0
    shown.fixed = {"cfg_scale": 3.0, "sag_scale": 1.0}
    assert [shown.menus.others[name].label for name in visible] == ["CFG scale 3", "SAG scale 1"]
    shown.menus.axes["columns"].value = "prompt"  # they change places
    assert (shown.rows, shown.columns) == ("seed", "prompt")
    assert (shown.menus.axes["rows"].value, shown.table.table["columns"]) == (
        "seed",
        ["“a fox”", "“a cat”"],
    )
    shown.menus.measures.value = "saturation"
    assert shown.measure == shown.table.measure == "saturation"
    shown.close()


def test_measures_are_those_of_every_cell_that_is_done(fresh: sv.Sweep, model: sv.Model) -> None:
    """Those of the table, though the first cell has not all of them; they come with the cells, and
    a damaged one is in nobody's way.
    """
    shown, known = Grid(fresh), []
    for cell in (*fresh.cells[:3], None):
        known.append([name for _, name in shown.menus.measures.options])
        assert set(known[-1]) - {""} <= set(fresh.table().columns)
        if cell is not None:
            assert len([*fresh.run(model, cells=[cell])]) == 1
            shown.refresh()
    assert known[0] == [""]
    assert "coverage" in set(known[3]) - set(known[2])
    shown.menus.measures.value = "coverage"
    assert shown.measure == "coverage"
    path = fresh.store.path / f"{fresh.cells[0].key}.sagtrace"  # type: ignore[union-attr]
    path.write_bytes(b"")
    again = Grid(fresh, measure="coverage")
    assert again.menus.measures.value == "coverage"
    for each in (shown, again):
        each.close()


def test_a_cell_opens_large_or_with_its_steps(made: sv.Sweep, model: sv.Model) -> None:
    shown = Grid(made, model=model, selected=(1, 2))
    assert shown.opened.trace is not None
    assert shown.opened.trace.settings == shown.crossing.square(1, 2).cell.settings
    assert "CFG scale" in shown.opened.body.children[0].children[1].children[0].value
    shown.run_whole()
    (scrubber,) = shown.opened.body.children
    assert isinstance(scrubber, Scrubber)
    assert len(shown.opened.trace) == 2
    assert torch.allclose(
        shown.opened.trace.latents,
        made.trace(prompt="a cat", seed=0, cfg_scale=5, sag_scale=0).latents,
        atol=1e-4,
    )
    shown.selected = (0, 0)
    shown.selected = (1, 2)
    assert isinstance(shown.opened.body.children[0], Scrubber), "what was run whole is remembered"
    shown.close()


@pytest.mark.slow
def test_it_fills_in_what_is_missing(shown: Grid, fresh: sv.Sweep) -> None:
    statuses = [square["status"] for square in shown.table.table["squares"]]
    assert statuses == ["pending"] * 6
    assert not shown.buttons["run"].disabled
    shown.buttons["run"].click()
    assert [square["status"] for square in shown.table.table["squares"]] == ["done"] * 6
    assert shown.buttons["run"].disabled
    assert not fresh.missing()
    assert "6 of 6 cells" in shown.work.status.value
    found = shown.read([shown.table.table["squares"][4]["id"]])
    assert [shot.picture for shot in found.values()] == [
        fresh.store.load(fresh.cells[4].key).pictures[0]
    ]


@pytest.mark.slow
def test_cancel_leaves_the_rest_for_later(shown: Grid, fresh: sv.Sweep) -> None:
    def cancel_after_two(change: Any) -> None:
        if change.new == 2:
            shown.buttons["cancel"].click()

    shown.work.bar.observe(cancel_after_two, "value")
    shown.run()
    assert len(fresh.missing()) == 4
    assert "stopped" in shown.work.status.value
    shown.work.bar.unobserve_all()
    shown.run()
    assert not fresh.missing()


@pytest.mark.slow
def test_a_failed_and_a_damaged_cell_are_marked_and_made_again(
    shown: Grid, fresh: sv.Sweep
) -> None:
    shown.run()
    first, second = fresh.cells[:2]
    path = fresh.store.path / f"{first.key}.sagtrace"  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:-9])
    (fresh.store.path / f"{second.key}.sagtrace").unlink()  # type: ignore[union-attr]
    fresh.store.fail(second.key, "OutOfMemoryError: much")
    shown.refresh()
    assert shown.read([f"{first.key}/0", f"{second.key}/0"]) == {}
    marks = {square["id"].partition("/")[0]: square for square in shown.table.table["squares"]}
    assert marks[first.key]["status"] == marks[second.key]["status"] == "failed"
    assert marks[second.key]["reason"] == "OutOfMemoryError: much"
    assert marks[first.key]["reason"]
    with pytest.warns(sv.SagvizWarning, match="damaged"):
        shown.run()
    assert {square["status"] for square in shown.table.table["squares"]} == {"done"}


@pytest.mark.slow
def test_errors_stand_under_the_widget_which_stays_usable(
    shown: Grid, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Any:
        raise SagvizError("no <luck>")

    monkeypatch.setattr(sv.Sweep, "run", fails)
    shown.buttons["run"].click()
    assert "no &lt;luck&gt;" in shown.notice.value
    assert shown.buttons["cancel"].disabled
    monkeypatch.undo()
    shown.buttons["run"].click()
    assert shown.notice.value == ""
    assert shown.buttons["run"].disabled


def test_without_anywidget_a_plain_table_and_menus_do_the_same(
    made: sv.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "anywidget", None)
    shown = Grid(made)
    assert shown.table.sheet.value.count("<img") == 6
    shown.table.menus[0].value, shown.table.menus[1].value = 1, 2
    shown.table.go.click()
    assert shown.selected == (1, 2)
    assert shown.opened.trace is not None
    shown.buttons["html"].click()
    assert 'download="sweep.html"' in shown.table.link.value
    shown.close()


def test_static_face_and_close(made: sv.Sweep) -> None:
    # ipywidgets 8 and 7
    alive = W.widget._instances if hasattr(W.widget, "_instances") else W.Widget.widgets
    before = set(alive)
    shown = Grid(made, selected=(0, 0), measure="sharpness")
    html = shown._repr_mimebundle_()["text/html"]
    assert html.count("<img") == 6 + 1, "and the cell that is open"
    assert "sharpness under each picture" in html
    shown.close()
    assert set(alive) == before


def test_one_image_of_a_batch(model: sv.Model) -> None:
    trace = sv.trace(
        model, "a fox", steps=2, images=2, guidance=CFG(3.0) + SAG(1.0), progress=False
    )
    one = trace.of_image(1)
    assert torch.equal(one[1].eps, trace[1].eps[1:])
    assert torch.equal(one.latents, trace.latents[1:])


def test_every_trait_says_what_it_is(made: sv.Sweep) -> None:
    for name in Grid.options():
        words = getattr(GridSettings, name).help
        assert "(" in words, name
        assert 20 < len(words) < 120, name
    assert isinstance(Grid(made).sheet, Sheet)
