"""What the Playground does beyond one run: a line of runs, several seeds, other terms, a picture to
start from, grids, files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as W
import numpy as np
import pytest
import torch
from PIL import Image

import sagviz as sv
from sagviz import CFG, PAG, SAG
from sagviz.errors import SagvizError
from sagviz.guidance import CG, Guidance, Term
from sagviz.guidance.views import StepView
from sagviz.image import from_png
from sagviz.player import page
from sagviz.widgets.playground import save
from sagviz.widgets.playground.cross import Cross
from sagviz.widgets.playground.line import MOST, Asked
from sagviz.widgets.playground.made import Made
from sagviz.widgets.playground.pictures import COVERED
from sagviz.widgets.playground.playground import Playground
from sagviz.widgets.playground.steps import LogNumber


@pytest.fixture
def playground(model: sv.Model) -> Iterator[Playground]:
    made = Playground(model, prompt="a fox", steps=2, seed=5)
    yield made
    made.close()
    assert made.worker.wait(60)


def part(widget: Any, kind: type[Any]) -> Any:
    """The first part of that kind."""
    every = [widget]
    for each in every:
        if isinstance(each, kind):
            return each
        every += getattr(each, "children", ())
    raise AssertionError(f"no {kind.__name__}")


@pytest.mark.slow
def test_without_a_model_it_is_the_miniature() -> None:
    playground = Playground()
    assert playground.model.name == "miniature"
    playground.close()


@pytest.mark.slow
def test_runs_wait_in_line_and_can_be_taken_out(playground: Playground) -> None:
    playground.worker.threaded = True
    playground.steps = 400
    run = playground.buttons["run"]
    run.click()
    while not playground.screen.bar.value:
        time.sleep(0.01)
    playground.steps = 2
    for prompt in ("a cat", "a dog", "a cake"):
        playground.prompt = prompt
        run.click()
    shown = [each.description for each in playground.line.places if each.layout.display is None]
    assert shown == [
        f"{n}. {p}, seed 5, 2 steps ✕" for n, p in ((1, "a cat"), (2, "a dog"), (3, "a cake"))
    ]
    playground.line.places[1].click()
    with pytest.raises(SagvizError, match="under way"):
        playground.run()
    playground.buttons["cancel"].click()
    assert playground.worker.wait(60)
    made = [run.traces[0] for run in playground.history.runs]
    assert [trace.settings.prompt for trace in made] == ["a cake", "a cat", "a fox"]
    assert [bool(trace.pictures) for trace in made] == [True, True, False]
    assert playground.line.layout.display == "none"
    assert not playground.notice.value


def test_a_run_that_fails_leaves_the_next_in_line(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, may, failed = playground.model.predict, threading.Event(), list[int]()

    def predict(*arguments: Any) -> torch.Tensor:
        may.wait(30)
        if not failed:
            failed.append(1)
            raise ZeroDivisionError
        return whole(*arguments)

    monkeypatch.setattr(playground.model, "predict", predict)
    playground.worker.threaded = True
    following = Asked(playground.prepare(), None)  # which would wait for the model, too
    playground.buttons["run"].click()
    playground.line.add(following)
    may.set()
    assert playground.worker.wait(60)
    assert "ZeroDivisionError" in playground.notice.value
    assert [run.whole for run in playground.history.runs] == [True]


def test_the_line_has_an_end(playground: Playground) -> None:
    asked = Asked(playground.prepare(), None)
    assert [playground.line.add(asked) for _ in range(MOST)] == [True] + [False] * (MOST - 1)
    with pytest.raises(SagvizError, match="8 runs wait already"):
        playground.line.add(asked)


@pytest.mark.slow
def test_each_seed_of_a_run_is_what_it_is_alone(playground: Playground, model: sv.Model) -> None:
    playground.images = 3
    playground.run()
    screen, (made,) = playground.screen, playground.history.runs
    assert [place.again.description for place in screen.seeds.places] == [
        "seed 5",
        "seed 6",
        "seed 7",
    ]
    screen.seeds.places[2].again.click()
    alone = sv.compare(model, "a fox", seed=7, steps=2, progress=False)
    for trace, content, picture in zip(alone, made.pair(2), screen.pictures, strict=True):
        ours, theirs = (np.asarray(each, dtype=int) for each in (from_png(content), trace.image))
        assert abs(ours - theirs).max() <= 1
        assert "seed 7" in picture.value
    other = Playground(model)
    other.load(made.pair(2)[1])
    assert (other.seed, other.images) == (7, 1)
    other.close()


@pytest.mark.slow
def test_the_form_has_each_term_that_the_model_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """CG's label and a term of the user's own included."""
    monkeypatch.setattr(Term, "kinds", dict(Term.kinds))

    @dataclass(frozen=True, repr=False)
    class Brighten(Term):
        name: ClassVar[str] = "brighten"
        scale_range: ClassVar[tuple[float, float]] = (-2.0, 3.0)

        def in_noise(self, step: StepView) -> torch.Tensor:
            return -0.1 * torch.ones_like(step.x_t)

    wanted = {"cg_scale": 2.0, "cg_label": "fox", "pag_scale": 1.5, "brighten_scale": -0.5}
    model = sv.load()
    playground, again = Playground(model, prompt="a fox", steps=2, **wanted), Playground(model)
    assert {f"{name}_scale" for name in Term.kinds} <= set(playground.settings.names())
    cfg, with_sag = playground.run()
    assert cfg.settings.guidance == CFG(3.0) + Guidance()
    terms = CFG(3.0), SAG(1.0), CG(2.0, "fox"), PAG(1.5), Brighten(-0.5)
    assert {*with_sag.settings.guidance.terms} == {*terms}
    assert playground.screen.pictures[1].title.startswith("CFG + SAG + ")
    again.load(playground.history.runs[0].pictures[1])
    assert {name: getattr(again, name) for name in wanted} == wanted
    assert "Run makes it again" in again.notice.value
    for each in (playground, again):
        each.close()


@pytest.mark.slow
def test_a_picture_to_start_from(playground: Playground, model: sv.Model) -> None:
    picture = Image.linear_gradient("L").convert("RGB")
    playground.set({"image": picture, "strength": 0.5, "steps": 4})
    ours = playground.run()
    small = picture.resize(model.default_size[::-1], Image.Resampling.BICUBIC)
    theirs = sv.compare(model, "a fox", seed=5, steps=4, image=small, strength=0.5, progress=False)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.latents, other.latents)
    playground.image = None
    assert playground.run()[0].settings.strength is None
    playground.history.places[1].again.click()
    assert playground.settings.prepare()[1].settings == ours[1].settings
    playground.load(playground.history.runs[1].pictures[1])
    assert "started from a picture" in playground.notice.value


@pytest.mark.slow
def test_any_two_settings_in_a_grid(playground: Playground) -> None:
    part(playground, W.Accordion).selected_index = 3
    cross = part(playground, Cross)
    for menu, box, name, text in zip(
        cross.menus, cross.boxes, ("pag_scale", "steps"), ("0, 1.5", "1, 2"), strict=True
    ):
        menu.value, box.value = name, text
    cross.go.click()
    assert not playground.notice.value
    grid = playground.more.children[-1]
    assert (grid.columns, grid.rows) == ("pag_scale", "steps")
    found = {(t.settings.steps, str(t.settings.guidance)) for t in grid.sweep}
    assert found == {
        (steps, f"CFG(3.0) + SAG(1.0){more}") for steps in (1, 2) for more in ("", " + PAG(1.5)")
    }
    for name, text, words in (
        ("steps", "1", "both axes are Steps"),
        ("sag_scale", "1, x", "give numbers with commas"),
        ("seed", ", ".join(map(str, range(65))), "cells; give fewer values"),
        ("cfg_scale", "11", "cfg_scale is 11"),
    ):
        cross.menus[0].value, cross.boxes[0].value = name, text
        cross.go.click()
        assert words in playground.notice.value
    cross.menus[0].value, cross.boxes[0].value = "seed", "5e9, 7"
    cross.go.click()
    assert {t.settings.seed for t in playground.more.children[-1].sweep} == {5_000_000_000, 7}
    for menu in cross.menus:
        for _, name in menu.options:
            menu.value = name


@pytest.mark.slow
def test_a_run_as_files(playground: Playground, tmp_path: Path) -> None:
    for name in ("pair", "player", "trace", "vote", "steps", "code", "explain"):
        playground.buttons[name].click()
        assert "press Run first" in playground.notice.value
    cfg, with_sag = playground.run()
    made: Made = playground.history.runs[0]
    name, kind, content = save.pair(made, 0)
    assert (name, kind) == ("a-fox-seed5-cfg3-sag1-pair.png", "image/png")
    width, height = from_png(content).size
    assert width > 2 * 4 * cfg.image.width
    assert height > 4 * cfg.image.height
    playground.load(content)
    assert "Run makes it again" in playground.notice.value
    name, _, content = save.trace(made, 0)
    (tmp_path / name).write_bytes(content)
    assert torch.equal(sv.Trace.load(tmp_path / name).latents, with_sag.latents)
    told: list[tuple[int, int]] = []
    name, _, content = save.player(playground.model, lambda *count: told.append(count), made, 0)
    assert told == [(done, told[-1][1]) for done in range(1, told[-1][1] + 1)], "how far it is"
    page([cfg, with_sag], tmp_path / name, model=playground.model)
    assert content == (tmp_path / name).read_bytes(), "with decoded predictions"
    playground.buttons["code"].click()
    box = playground.more.children[-1].children[-1]
    space: dict[str, Any] = {}
    exec(box.value, space)
    again = space["trace"]
    assert again.settings == with_sag.settings
    torch.testing.assert_close(again.latents, with_sag.latents, rtol=0, atol=1e-4)
    playground.buttons["steps"].click()
    assert playground.more.children[-1].traces[1].settings == with_sag.settings
    playground.run()
    playground.buttons["vote"].click()
    vote = playground.more.children[-1]
    assert vote.votes.pairs == 1, "the same run again is no other pair"
    pictures = (playground.screen, playground.history)
    assert all(COVERED in each._dom_classes for each in pictures), "they have names"
    vote.vote("left")
    assert not any(COVERED in each._dom_classes for each in pictures)
    vote.undo()
    assert all(COVERED in each._dom_classes for each in pictures)
    playground.run()
    assert COVERED not in playground.screen._dom_classes, "pictures that nobody votes on"


def test_the_slider_of_steps_is_logarithmic_and_never_speaks_of_itself(model: sv.Model) -> None:
    playground = Playground(model, steps=137)
    number = part(playground, LogNumber)
    assert (playground.steps, number.box.value) == (137, 137)
    assert 130 <= number.stops[number.slider.value] <= 145
    for value in (1, 20, 50, 200, 999):
        number.slider.value = number.stops.index(value)
        assert playground.steps == value
    assert max(after / stop for stop, after in pairwise(number.stops) if stop > 9) < 1.25
    playground.close()
