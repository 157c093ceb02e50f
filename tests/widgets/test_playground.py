"""The Playground without a page: what it runs, what it shows, what it keeps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from memory_worker import held
from PIL import Image
from scipy.stats import theilslopes
from tiny import is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG, cli
from sagviz.errors import ArgumentError, SagvizError
from sagviz.image import from_png, png_texts, to_png
from sagviz.models import SCHEDULERS, make_scheduler
from sagviz.models.schedulers import scheduler_name
from sagviz.sampling.schedule import describe
from sagviz.widgets.playground import history, pictures
from sagviz.widgets.playground.playground import Playground
from sagviz.widgets.playground.restore import read_settings
from sagviz.widgets.playground.settings import FormSettings


@pytest.fixture
def playground(model: sv.Model) -> Iterator[Playground]:
    made = Playground(model, prompt="a fox", steps=3, seed=5)
    yield made
    made.worker.cancel()
    assert made.worker.wait(60)
    made.close()


@pytest.mark.slow
def test_it_makes_what_compare_makes(playground: Playground, model: sv.Model) -> None:
    ours = playground.run()
    theirs = sv.compare(model, "a fox", seed=5, steps=3, progress=False)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.latents, other.latents)
        assert one.settings == other.settings
        assert one.pictures == other.pictures


def test_every_setting_reaches_the_run(model: sv.Model) -> None:
    values = {
        "prompt": "a fox",
        "negative_prompt": "blur",
        "steps": 4,
        "cfg_scale": 2.5,
        "sag_scale": -0.25,
        "seed": 9,
        "height": 48,
        "width": 32,
        "scheduler": "ddim",
        "eta": 0.5,
        "threshold": 1.25,
        "blur_sigma": 0.5,
        "images": 2,
        "image": Image.new("RGB", (64, 48), "orange"),
        "strength": 0.5,
    }
    playground = Playground(model, **values)
    _, with_sag = playground.run()
    settings = with_sag.settings
    assert "aspect-ratio:1/1.5" in playground.screen.pictures[1].value
    assert settings.guidance == CFG(2.5) + SAG(-0.25, threshold=1.25, blur_sigma=0.5)
    assert (settings.prompt, settings.negative_prompt, settings.steps, settings.seed) == (
        "a fox",
        "blur",
        4,
        9,
    )
    assert (settings.size, settings.scheduler["class"], settings.eta) == (
        (48, 32),
        "DDIMScheduler",
        0.5,
    )
    assert (settings.images, settings.strength, list(settings.inputs)) == (2, 0.5, ["image"])
    assert set(values) == set(FormSettings.names()) - {"randomize"}, (
        "a setting that this test forgets"
    )


def test_every_trait_says_its_unit_and_default() -> None:
    for name in FormSettings.names():
        words = getattr(FormSettings, name).help
        assert "(" in words or name == "prompt", name
        assert 20 < len(words) < 120, name


@pytest.mark.slow
def test_randomized_seed_is_drawn_shown_and_repeats_the_pictures(playground: Playground) -> None:
    playground.randomize = True
    first, second = playground.run()[0], playground.run()[0]
    assert first.settings.seed != second.settings.seed == playground.seed
    playground.randomize = False
    assert playground.run()[0].pictures == second.pictures


def test_reset_gives_the_initial_values_and_a_randomized_seed(playground: Playground) -> None:
    initial = {name: getattr(playground, name) for name in FormSettings.names()}
    changed = {
        "prompt": "",
        "steps": 9,
        "cfg_scale": 0.0,
        "sag_scale": 2.0,
        "seed": 1,
        "eta": 1.0,
        "scheduler": "ddim",
    }
    playground.set(changed)
    playground.buttons["reset"].click()
    assert {name: getattr(playground, name) for name in FormSettings.names()} == {
        **initial,
        "randomize": True,
    }


def test_article_s_best(playground: Playground) -> None:
    playground.buttons["best"].click()
    assert (playground.cfg_scale, playground.sag_scale, playground.steps) == (10.0, 1.0, 200)
    assert playground.prompt == "a fox"


def test_an_example_fills_the_form(model: sv.Model) -> None:
    playground = Playground(
        model,
        examples=[{"prompt": "a cat", "seed": 3}, {"prompt": "", "cfg_scale": 0.0}],
        randomize=True,
    )
    chips = parts(playground, lambda part: "sag-examples" in part._dom_classes)[0].children
    chips[0].click()
    assert (playground.prompt, playground.seed, playground.randomize) == ("a cat", 3, False)
    chips[1].click()
    assert (playground.prompt, playground.cfg_scale) == ("", 0.0)
    with pytest.raises(ArgumentError, match="an example holds sed"):
        Playground(model, examples=[{"sed": 3}])


def test_capitals_do_not_matter(model: sv.Model) -> None:
    lower, upper = (Playground(model, prompt=words, steps=2).run() for words in ("a fox", "A FOX"))
    assert lower[1].pictures == upper[1].pictures


@pytest.mark.parametrize(
    ("guidance", "words"),
    [
        (SAG(1.0), "that run had no CFG"),
        (CFG(3.0, start=0.3, stop=0.8) + SAG(1.0), "the form sets its scale only"),
        (CFG(3.0) + SAG(0.5), ""),
        (None, ""),
    ],
    ids=str,
)
def test_a_run_comes_back_as_it_was_or_is_told_of(
    model: sv.Model, guidance: Any, words: str
) -> None:
    """The form has a CFG that acts at every step."""
    trace = sv.trace(model, "a fox", steps=3, seed=4, guidance=guidance, progress=False)
    playground = Playground(model)
    said = playground.settings.restore(trace.settings)
    assert [words in each for each in said] == [True] * bool(words)
    again = playground.run()[-1].latents
    same = torch.allclose(again, trace.latents, rtol=0, atol=1e-4)
    assert same == (not words)
    playground.close()


@pytest.mark.slow
def test_picture_carries_its_settings_which_load_restores(
    playground: Playground, model: sv.Model
) -> None:
    playground.set({"scheduler": "euler", "threshold": 1.5, "negative_prompt": "blur", "width": 32})
    playground.run()
    pictures = playground.history.runs[0].pictures
    assert [from_png(content).size for content in pictures] == [(32, model.default_size[0])] * 2
    other = Playground(model)
    other.load(pictures[1])
    assert "Run makes it again" in other.notice.value
    assert other.run()[1].pictures == playground.traces[1].pictures
    other.load(pictures[0])
    assert other.sag_scale == 0.0, "that picture was made without"
    assert other.run()[1].pictures == playground.traces[0].pictures


@pytest.mark.slow
def test_picture_of_the_command_line_is_loaded_too(
    model: sv.Model, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fox.png"
    command = [
        "generate",
        "a fox",
        "-o",
        str(out),
        "--model",
        str(folder),
        "--steps",
        "3",
        "--seed",
        "8",
        "--cfg-scale",
        "2",
    ]
    assert cli.main(command) == 0
    playground = Playground(model)
    playground.load(out)
    assert playground.run()[1].image.tobytes() == from_png(out.read_bytes()).tobytes()
    with pytest.raises(ArgumentError, match=r"cannot read 'nothing\.png'"):
        playground.load("nothing.png")


@pytest.mark.slow
def test_what_the_form_has_no_place_for_is_said(playground: Playground, model: sv.Model) -> None:
    made = sv.trace(model, "a fox", steps=2, guidance=SAG(1.0, heads=(0,)), progress=False)
    settings = {
        **made.settings.to_json(),
        "model": "another",
        "fingerprint": "0123456789abcdef",
        "scheduler": {"class": "DDIMScheduler", "beta_start": 0.1},
        "clip_skip": 1,
        "inputs": {"noise": ["0123456789abcdef"]},
    }
    playground.load(to_png(made.image, {"sagviz": json.dumps(settings)}))
    for words in ("made by another", "heads=(0,)", "DDIMScheduler", "given noise, clip_skip 1"):
        assert words in playground.notice.value


def test_what_the_form_sets_is_not_said_to_be_lost(playground: Playground) -> None:
    playground.set({"scheduler": "ddim", "eta": 0.5})
    settings = playground.prepare()[1].settings
    assert "eta 0.5" in settings.extras
    playground.reset()
    playground.load(to_png(Image.new("RGB", (4, 4)), settings.note()))
    assert "Run makes it again" in playground.notice.value
    assert playground.eta == 0.5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no picture",
        to_png(Image.new("RGB", (4, 4))),
        to_png(Image.new("RGB", (4, 4)), {"sagviz": "{"}),
    ],
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ArgumentError, match="no settings of sagviz"):
        read_settings(content)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"flavour": 1}, "'flavour', which is not known"),
        ({"guidance": [{"kind": "cfg", "scale": 3.0, "taste": 1}]}, "'taste', which is not known"),
        ({"guidance": [{"kind": "nope"}]}, "no guidance term 'nope'"),
        ({"scheduler": {"class": "UNet2DModel"}}, "'UNet2DModel' is not known"),
        ({"scheduler": {}}, "is not known"),
        ({"seed": "7"}, "seed is '7'"),
    ],
    ids=str,
)
def test_settings_of_another_version_are_refused(
    playground: Playground, change: dict[str, Any], words: str
) -> None:
    noted = {**playground.prepare()[0].settings.to_json(), **change}
    content = to_png(Image.new("RGB", (4, 4)), {"sagviz": json.dumps(noted)})
    with pytest.raises(ArgumentError, match=words) as error:
        playground.load(content)
    assert is_one_sentence(error.value)
    with pytest.raises(ArgumentError, match="lacks 'model'"):
        read_settings(to_png(Image.new("RGB", (4, 4)), {"sagviz": "{}"}))


@pytest.mark.slow
def test_each_picture_of_a_batch_makes_itself_again(
    model: sv.Model, folder: Path, tmp_path: Path
) -> None:
    """Of the command line and of a sweep: image i carries seed + i."""
    out = tmp_path / "fox.png"
    given = ["--model", str(folder), "--steps", "3", "--seed", "8", "--images", "3"]
    assert cli.main(["generate", "a fox", "-o", str(out), *given]) == 0
    guidance = CFG(3.0) + SAG(1.0)
    made = sv.sweep(
        model, "a fox", seeds=8, steps=3, guidance=guidance, images=3, progress=False
    ).trace()
    contents = [out.with_stem(f"fox-{number}").read_bytes() for number in range(3)]
    playground = Playground(model)
    for number in (0, 2):
        for content in (contents[number], made.pictures[number]):
            playground.load(content)
            assert "Run makes it again" in playground.notice.value
            assert playground.seed == 8 + number
            again, wanted = np.asarray(playground.run()[1].image), np.asarray(from_png(content))
            assert np.abs(again.astype(int) - wanted.astype(int)).max() <= 1
    playground.close()


def test_the_same_model_under_another_name_is_no_news(
    playground: Playground, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = playground.run()
    monkeypatch.chdir(folder.parent)
    other = Playground(sv.load(f"{folder.name}/"))
    other.load(to_png(made[1].image, {"sagviz": json.dumps(made[1].settings.to_json())}))
    assert "Run makes it again" in other.notice.value
    other.close()


ODD = {"cfg_scale": 7.25, "sag_scale": 1 / 3, "threshold": 1.234, "blur_sigma": 0.77}


@pytest.mark.slow
def test_settings_arrive_unchanged_by_every_way(model: sv.Model, tmp_path: Path) -> None:
    """In code, through the form's own controls, in a run, its picture, and the form again."""
    playground = Playground(model, prompt="a fox", steps=2, seed=5_000_000_000, **ODD)
    _, with_sag = playground.run()
    wanted = CFG(7.25) + SAG(1 / 3, threshold=1.234, blur_sigma=0.77)
    assert with_sag.settings.guidance == wanted
    assert with_sag.settings.seed == 5_000_000_000
    other = Playground(model)
    other.load(playground.history.runs[0].pictures[1])
    assert {name: getattr(other, name) for name in ODD} == ODD
    assert other.seed == 5_000_000_000
    scope = sv.Microscope(model, with_sag)
    assert scope.guidance == wanted
    assert scope.step.forwards == 0
    assert all(again.disabled for again in scope.controls.resets.values())
    scope.tabs.selected_index = 3
    assert repr(wanted) in scope.code.value
    with_sag.save(tmp_path / "odd.sagtrace")
    assert sv.Trace.load(tmp_path / "odd.sagtrace").settings == with_sag.settings


@pytest.mark.parametrize(
    ("typed", "seed"),
    [("12", 12), ("5e9", 5_000_000_000), (str(2**63 - 4097), 2**63 - 4097), (" 7.0 ", 7)],
)
def test_a_seed_that_is_typed_is_used(playground: Playground, typed: str, seed: int) -> None:
    playground.reset()
    box = seed_box(playground)
    box.value = typed
    assert (playground.seed, playground.randomize, box.value) == (seed, False, str(seed))
    assert playground.prepare()[0].settings.seed == seed


@pytest.mark.parametrize("typed", ["", "fox", "1.5", "-1", "1e40", "nan", "inf", str(2**63)])
def test_what_is_no_seed_is_refused_with_a_sentence(playground: Playground, typed: str) -> None:
    box = seed_box(playground)
    box.value = typed
    assert "give a whole number from 0" in playground.notice.value
    assert (playground.seed, box.value) == (5, "5")


def parts(widget: Any, wanted: Callable[[Any], bool]) -> list[Any]:
    """All parts of a widget that are wanted, in their order."""
    every = [widget]
    for part in every:
        every += getattr(part, "children", ())
    return [part for part in every if wanted(part)]


def seed_box(playground: Playground) -> Any:
    """The box where a seed is typed."""
    return parts(playground, lambda part: getattr(part, "description", "") == "Seed")[0]


def test_a_picture_that_fails_leaves_the_form_as_it_was(playground: Playground) -> None:
    playground.run()
    content = playground.history.runs[0].pictures[1]
    settings = json.loads(png_texts(content)["sagviz"])
    settings["guidance"] = (CFG(3.0) + SAG(1.0, threshold=99.0)).to_json()
    wrong = to_png(from_png(content), {"sagviz": json.dumps({**settings, "prompt": "a cat"})})
    playground.set({"prompt": "mine", "randomize": True})
    before = {name: getattr(playground, name) for name in FormSettings.names()}
    with pytest.raises(ArgumentError, match="threshold is 99"):
        playground.load(wrong)
    assert {name: getattr(playground, name) for name in before} == before


def test_the_same_file_can_be_uploaded_again(playground: Playground) -> None:
    playground.run()
    content = memoryview(playground.history.runs[0].pictures[1])
    when = datetime(2026, 1, 1, tzinfo=timezone.utc)
    kind = {"name": "a.png", "type": "image/png", "size": len(content), "last_modified": when}
    file = {**kind, "content": content}
    for _ in range(2):
        playground.reset()
        playground.upload.value = (file,)
        assert (playground.randomize, playground.upload.value) == (False, ())
        assert "Run makes it again" in playground.notice.value


def test_upload_reads_the_files_of_both_ipywidgets(playground: Playground) -> None:
    playground.run()
    content = playground.history.runs[0].pictures[1]
    for value in ({"a.png": {"content": content}}, ({"content": memoryview(content)},)):
        playground.set({"prompt": "", "steps": 9})
        playground.load_files(value)
        assert (playground.prompt, playground.steps) == ("a fox", 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_are_recognized(model: sv.Model, name: str) -> None:
    recorded = describe(make_scheduler(model, name))
    found = scheduler_name(model, recorded)
    assert found is not None
    assert describe(make_scheduler(model, found or None)) == recorded


def test_cancel_ends_within_a_step_keeps_what_was_done_and_the_next_run_works(
    playground: Playground,
) -> None:
    playground.worker.threaded = True
    playground.steps = 999
    playground.buttons["run"].click()
    assert not playground.buttons["cancel"].disabled
    while "Step" not in playground.screen.status.value:
        time.sleep(0.01)
    playground.buttons["cancel"].click()
    assert playground.worker.wait(5)
    done = len(playground.traces[0])
    assert 0 < done == len(playground.traces[1]) < 500
    assert "stopped after" in playground.screen.status.value
    assert json.loads(png_texts(playground.history.runs[0].pictures[1])["sagviz"])["steps"] == 999
    playground.steps = 2
    playground.buttons["run"].click()
    assert playground.worker.wait(30)
    assert len(playground.traces[0].pictures) == 1


def test_nothing_starts_while_a_run_is_under_way(playground: Playground) -> None:
    playground.worker.threaded = True
    playground.steps = 999
    playground.buttons["run"].click()
    with pytest.raises(SagvizError, match="under way"):
        playground.run()
    playground.worker.cancel()


def test_an_error_stands_under_the_widget_which_stays_usable(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.height = 17
    playground.buttons["run"].click()
    assert "multiples of" in playground.notice.value
    playground.buttons["reset"].click()
    with monkeypatch.context() as patch:
        patch.setattr(playground.model, "predict", lambda *_: 1 / 0)
        playground.worker.threaded = True
        playground.buttons["run"].click()
        assert playground.worker.wait(30)
    assert "ZeroDivisionError" in playground.notice.value
    assert not playground.buttons["run"].disabled
    playground.buttons["run"].click()
    assert playground.worker.wait(30)
    assert playground.notice.value == ""
    assert playground.traces


def test_an_interrupt_keeps_the_steps(
    playground: Playground, model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = model.predict, []

    def predict(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(model, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        playground.run()
    assert [len(trace) for trace in playground.traces] == [1, 1]
    assert not playground.worker.busy


def test_a_warning_belongs_to_its_pictures(playground: Playground) -> None:
    """It stays whatever else is done, goes with the next run, and comes back with the pictures."""
    playground.prompt = "fox " * 100
    playground.buttons["run"].click()
    warned, said = playground.screen.warned, playground.screen.warned.value
    assert "these words were cut" in said
    playground.buttons["code"].click()
    playground.buttons["trace"].click()
    assert warned.value == said
    playground.prompt = "a fox"
    playground.buttons["run"].click()
    assert warned.value == ""
    playground.history.places[1].again.click()
    assert warned.value == said


@pytest.mark.slow
def test_history_brings_settings_and_pictures_back(playground: Playground) -> None:
    playground.run()
    first = playground.traces
    shown = [picture.value for picture in playground.screen.pictures]
    playground.set({"prompt": "", "seed": 6, "cfg_scale": 1.0})
    playground.run()
    assert [picture.value for picture in playground.screen.pictures] != shown
    playground.history.places[1].again.click()
    assert [picture.value for picture in playground.screen.pictures] == shown
    assert (playground.prompt, playground.seed, playground.cfg_scale) == ("a fox", 5, 3.0)
    assert playground.traces == first


@pytest.mark.slow
def test_history_holds_a_few_runs_and_a_few_bytes(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    playground.run()
    monkeypatch.setattr(history, "MAX_BYTES", int(2.5 * playground.history.runs[0].nbytes))
    for _ in range(10):
        playground.run()
    lengths = [len(made.traces[0]) for made in playground.history.runs]
    assert lengths == [3, 3] + [0] * (history.LENGTH - 2)
    playground.history.places[-1].again.click()
    assert playground.traces[0].image
    playground.buttons["explain"].click()
    assert "press Run first" in playground.notice.value


@pytest.mark.slow
def test_a_run_is_not_slowed_by_its_display(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that says 10 ms a step, 40 steps are 0.4 s: no more than six previews at 15 a
    second, and the end.
    """
    clock, shown = count(1), []
    monkeypatch.setattr(pictures, "time", SimpleNamespace(monotonic=lambda: next(clock) / 100))
    monkeypatch.setattr(playground.screen.pictures[0], "show", lambda _, alt: shown.append(alt))
    playground.steps = 40
    playground.run()
    assert 5 <= len(shown) <= 7
    assert "preview" not in shown[-1]


def test_prompts_with_markup_show_as_text(model: sv.Model) -> None:
    playground = Playground(model, prompt='<script>"', steps=1)
    playground.run()
    places = [*playground.screen.pictures, *playground.screen.links, playground.screen.status]
    shown = [part.value for part in (*places, playground.history.places[0].thumbnails)]
    assert not any("<script" in value for value in shown)
    assert "<script" not in playground.static_html()


def test_static_face_holds_form_and_pictures(playground: Playground) -> None:
    playground.run()
    face, (cfg, sag) = playground.static_html(), playground.screen.pictures
    assert cfg.value in face
    assert sag.value in face
    assert face.count("<img") == 4, "and the last run, small"
    playground.eta = 0.25
    assert "Eta: <b>0.25</b>" in playground.static_html()


def test_empty_prompt_and_the_device_are_shown(model: sv.Model) -> None:
    playground = Playground(model, steps=1)
    playground.run()
    assert "no prompt, seed 0" in playground.screen.status.value
    assert "on cpu" in playground.children[1].value


@pytest.mark.slow
def test_memory_does_not_grow_from_run_to_run(playground: Playground) -> None:
    """Theil-Sen slope over 40 runs after 20 to warm up, far below the records of one run."""
    playground.steps = 1
    looks = []
    for number in range(60):
        playground.seed = number
        playground.run()
        if number >= 20 and number % 4 == 0:
            looks.append((1024 * held()["MiB"], number))
    slope = theilslopes(*zip(*looks, strict=True)).slope
    made = playground.history.runs[0]
    of_a_run = (made.nbytes + sum(map(len, (*made.pictures, *made.thumbnails)))) / 1024
    assert slope < of_a_run / 4, f"{slope:.1f} kB a run, whose records take {of_a_run:.0f} kB"
