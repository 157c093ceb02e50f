"""Sweeps: every combination once, whatever happens to the process."""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image
from sweep_worker import AXES, KILLS
from tiny import counted, is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG, files, measure
from sagviz.cli import main
from sagviz.errors import Interrupted, RunError
from sagviz.guidance import Guidance
from sagviz.models import Conditioning
from sagviz.models.fingerprint import fingerprint
from sagviz.records.settings import Settings
from sagviz.sampling.prepare import Run, resume
from sagviz.sweeps import begin
from sagviz.sweeps.bar import Bar
from sagviz.sweeps.folder_store import Folder
from sagviz.sweeps.labels import axes_of, values_of
from sagviz.sweeps.memory_store import Memory
from sagviz.sweeps.workers import batch_size

SMALL: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": [0, 1],
    "steps": 2,
    "guidance": [CFG(3.0), CFG(3.0) + SAG(1.0)],
}


def sweep(model: sv.Model, **settings: Any) -> sv.Sweep:
    return sv.sweep(model, **{**SMALL, **settings}, progress=False)


def names(store: Path) -> Counter[str]:
    """How many files of each kind a store has."""
    return Counter(path.suffix for path in store.iterdir())


def outside(mode: str, model_folder: Path, store: Path, seed: int = 0) -> dict[str, Any]:
    """What a process of its own did to the store."""
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "sweep_worker.py"),
        mode,
        str(model_folder),
        str(store),
        str(seed),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


# What a sweep makes


@pytest.mark.slow
def test_cells_are_the_product_in_order(model: sv.Model) -> None:
    made = sweep(model, steps=[2, 3], schedulers=["ddim", "euler"])
    found = [(*list(cell.columns.values())[:4], cell.settings.guidance) for cell in made.cells]
    assert len(made) == len(found) == 2 * 2 * 2 * 2 * 2
    assert found == [
        (prompt, seed, steps, scheduler, guidance)
        for prompt in ("a fox", "a cat")
        for seed in (0, 1)
        for steps in (2, 3)
        for scheduler in ("ddim", "euler")
        for guidance in (Guidance((CFG(3.0),)), CFG(3.0) + SAG(1.0))
    ]
    assert [trace.settings for trace in made] == [cell.settings for cell in made.cells]


@pytest.mark.slow
def test_each_cell_is_the_run_that_trace_makes(model: sv.Model) -> None:
    made = sweep(
        model,
        guidance=[None, CFG(2.0), CFG(2.0) + SAG(1.0)],
        steps=[2, 4],
        negative_prompt="a cat",
        keep=None,
    )
    for cell, trace in zip(made.cells, made, strict=True):
        s = cell.settings
        negative = "a cat" if s.guidance.get(CFG) else ""
        alone = sv.trace(
            model,
            s.prompt,
            negative_prompt=negative,
            guidance=s.guidance,
            steps=s.steps,
            seed=s.seed,
            progress=False,
        )
        assert trace.settings == alone.settings
        assert torch.allclose(trace.latents, alone.latents, atol=1e-4)
        assert [step.index for step in trace] == [step.index for step in alone]


def test_first_steps_are_shared(model: sv.Model) -> None:
    """Four scales of CFG on one noise: 2 rows at the first of two steps, 8 at the second."""
    with counted(model.unet) as rows:
        sweep(model, prompts="a fox", seeds=0, guidance=[CFG(w) for w in (1.0, 2.0, 3.0, 4.0)])
    assert rows == [2, 8]


def test_single_values_and_doubles(model: sv.Model) -> None:
    made = sv.sweep(
        model,
        "a fox",
        seeds=np.arange(2),
        steps=np.int64(1),  # type: ignore[arg-type]
        guidance=[CFG(3), CFG(3.0), CFG(np.float64(3))],
        schedulers=[None, "ddim", "DDIM", model.scheduler],
        progress=False,
    )
    assert len(made) == 2
    assert [cell.settings.seed for cell in made.cells] == [0, 1]
    assert len(sv.sweep(model, steps=1, progress=False)) == 1


def test_schedulers_of_one_class_keep_apart(model: sv.Model) -> None:
    karras = EulerDiscreteScheduler.from_config(model.scheduler.config, use_karras_sigmas=True)
    made = begin(
        model,
        "a fox",
        schedulers=[
            "euler",
            karras,
            EulerDiscreteScheduler.from_config(karras.config, beta_end=0.02),
        ],
    )
    labels = [cell.scheduler for cell in made.cells]
    assert labels == ["euler", "EulerDiscrete", "EulerDiscrete 3"]
    assert len({cell.key for cell in made.cells}) == 3
    assert made.select(scheduler="euler")[0].settings.scheduler["use_karras_sigmas"] is False


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"prompts": []}, "prompts"),
        ({"prompts": ["a fox", 3]}, "prompts"),
        ({"seeds": [1, None]}, "seeds"),
        ({"seeds": -1}, "seeds"),
        ({"steps": [10, 0]}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"guidance": [CFG(1.0), 3.0]}, "guidance"),
        ({"schedulers": ["ddim", "dream"]}, "dream"),
        ({"schedulers": "euler", "eta": 0.5}, "eta"),
        ({"negative_prompt": 3}, "negative_prompt"),
        ({"images": 0}, "images"),
        ({"size": (3, 3)}, "size"),
        ({"keep": "all"}, "keep"),
        ({"keep": [0, 2], "steps": [3, 2]}, "keep"),
        ({"batch": 0}, "batch"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_before_anything_runs(
    model: sv.Model, wrong: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with counted(model.unet) as rows, pytest.raises(sv.SagvizError, match=named):
        sweep(model, **wrong, store=tmp_path)
    assert not rows
    assert not list(tmp_path.iterdir())


def test_seeds_whose_images_overlap_are_warned_of(model: sv.Model) -> None:
    with pytest.warns(sv.SagvizWarning, match=r"less than images=2 apart.*range\(0, 6, 2\)"):
        begin(model, "a fox", seeds=[4, 3], images=2)
    begin(model, "a fox", seeds=[4, 2], images=2)


def test_the_batch_comes_from_the_latent(model: sv.Model) -> None:
    # 16 x 16 cells: bounded by the number of runs
    assert batch_size(model, model.default_size) == 16
    # 64 x 64 cells, as Stable Diffusion at 512 x 512
    assert batch_size(model, (128, 128)) == 4
    assert batch_size(model, (128, 128), images=3) == 1
    assert batch_size(model, (512, 512)) == 1


# What a Sweep tells


def test_cells_are_found_by_their_settings(model: sv.Model) -> None:
    made = sweep(model)
    assert [cell.settings.seed for cell in made.select(prompt="a fox", guidance=CFG(3))] == [0, 1]
    assert len(made.select(sag_scale=1)) == 4
    trace = made.trace(prompt="a cat", seed=1, guidance=SMALL["guidance"][1])
    assert (trace.settings.prompt, trace.settings.seed, trace.settings.guidance) == (
        "a cat",
        1,
        SMALL["guidance"][1],
    )
    assert trace.image.size == (32, 32)
    with pytest.raises(sv.SagvizError, match=r"2 cells fit; say also seed= one of 0, 1$"):
        made.trace(prompt="a fox", guidance=CFG(3.0))
    with pytest.raises(sv.SagvizError, match="there are 0, 1"):
        made.trace(seed=7)
    with pytest.raises(sv.SagvizError, match="there are prompt, seed"):
        made.trace(sead=1)
    with pytest.raises(sv.SagvizError, match="this cell is pending"):
        begin(model, "a fox").trace()


@pytest.mark.parametrize(
    "guidance",
    [
        [CFG(3.0) + SAG(0.3), CFG(3.0) + SAG(0.1 + 0.2)],
        [CFG([1, 1, 3, 3, 5, 5, 7, 7, 9]), CFG([1, 9, 3, 9, 5, 9, 7, 9, 9])],
    ],
    ids=["rounded", "shortened"],
)
def test_a_page_shows_values_of_the_same_words_apart(
    model: sv.Model, tmp_path: Path, guidance: list[Any]
) -> None:
    made = sv.sweep(model, "a fox", guidance=guidance, steps=2, progress=False)
    assert made.to_html(tmp_path / "page.html").read_text().count("<button") == 2
    for axis in axes_of(made).values():
        assert len(set(map(axis.label, axis.values))) == len(axis.values), axis.name


@pytest.mark.slow
def test_questions_about_settings_make_no_cells(model: sv.Model) -> None:
    """Of a million cells all would take half a minute and half a gigabyte."""
    guidance: list[Any] = [None, CFG(2.0), CFG(2.0) + SAG(1.0, threshold=0.9), CFG(3.0) + SAG(0.5)]
    laid = begin(
        model,
        ["a fox", "a cat"],
        seeds=range(1000),
        steps=[2, 3],
        schedulers=["ddim", "euler"],
        guidance=guidance,
    )
    found = laid.select(prompt="a cat", seed=7, scheduler="euler", sag_scale=1)
    axes, words = axes_of(laid), laid._repr_html_()
    with pytest.raises(sv.SagvizError, match=r"no cell has cfg_scale=9; there are 2\.0, 3\.0"):
        laid.select(cfg_scale=9)
    assert (len(laid), len(found)) == (2 * 1000 * 2 * 2 * 4, 2)
    cells = [cell for cell in laid.cells if cell in found]
    assert cells == list(found)
    assert all(cell.settings.seed == 7 and cell.settings.guidance == guidance[2] for cell in cells)
    every = [values_of(cell) for cell in laid.cells]
    assert list(axes)[:-1] == [
        *dict.fromkeys(name for own in every for name in own if name != "guidance"),
        "guidance",
    ]
    for name, axis in list(axes.items())[:-1]:
        assert axis.values == tuple(dict.fromkeys(own.get(name) for own in every)), name
    assert "(1000 in all)" in words


@pytest.mark.slow
def test_the_table_has_settings_and_measures(model: sv.Model) -> None:
    guidance: list[Any] = [
        None,
        CFG(2.0),
        CFG(2.0) + SAG(1.0, threshold=0.9),
        CFG(2.0) + SAG(1.0, threshold=1.1),
    ]
    made = sweep(model, seeds=[4], guidance=guidance, images=2, keep="last")
    table = made.table()
    assert len(table) == 2 * 4 * 2
    settings = [
        "prompt",
        "seed",
        "steps",
        "scheduler",
        "cfg_scale",
        "sag_scale",
        "sag_threshold",
        "image",
    ]
    assert list(table.columns[:8]) == settings
    assert [math.isnan(value) for value in table["sag_scale"][:8]] == [True] * 4 + [False] * 4
    row = table.iloc[7]
    alone = sv.trace(
        model, "a fox", seed=4, steps=2, images=2, guidance=guidance[3], progress=False
    )
    assert (row["prompt"], row["sag_threshold"], row["image"]) == ("a fox", 1.1, 1)
    assert row["sharpness"] == pytest.approx(
        measure.sharpness(made.trace(prompt="a fox", guidance=guidance[3]).images[1])
    )
    for name, value in measure.of_run(alone.of_image(1)).items():
        assert row[name] == pytest.approx(value, rel=2e-2, abs=1e-4), name
    assert len(begin(model).table()) == 0
    assert list(begin(model, guidance=CFG(1.0)).table().columns) == [
        "prompt",
        "seed",
        "steps",
        "scheduler",
        "cfg_scale",
    ]


def test_a_cell_takes_the_memory_of_the_steps_that_it_keeps(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its measures are of all steps all the same."""
    options: dict[str, Any] = {"guidance": CFG(3.0) + SAG(1.0), "steps": 8, "progress": False}
    whole = sv.trace(model, "a fox", seed=1, **options)
    monkeypatch.setattr("sagviz.sampling.memory_check.MAX_TRACE_BYTES", whole.nbytes // 3)
    made = sv.sweep(model, "a fox", seeds=[1, 2], keep="last", **options)
    assert not made.failed
    assert [step.index for step in made.trace(seed=1)] == [7]
    (row,) = made.table().query("seed == 1").to_dict("records")
    for name, value in measure.of_run(whole).items():
        assert row[name] == pytest.approx(value, rel=1e-2, abs=1e-4), name
    (reason,) = sv.sweep(model, "a fox", seeds=1, keep=None, **options).failed.values()
    assert re.search(r"keep=(\d) or more keeps one step in \1$", reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("last", [3]),
        (None, [0, 1, 2, 3]),
        (2, [0, 2, 3]),
        (9, [0, 3]),
        ([1, 2], [1, 2]),
        (np.array([1, 2]), [1, 2]),
    ],
)
def test_a_cell_keeps_what_it_is_told(
    model: sv.Model, keep: Any, kept: list[int], tmp_path: Path
) -> None:
    made = sweep(model, prompts="a fox", seeds=0, steps=4, keep=keep, store=tmp_path)
    for cell, trace in zip(made.cells, made, strict=True):
        alone = sv.trace(model, "a fox", steps=4, guidance=cell.settings.guidance, progress=False)
        assert [step.index for step in trace] == kept
        assert all(torch.allclose(step.x_t, alone[step.index].x_t, atol=1e-4) for step in trace)


def test_a_small_cell_holds_no_more_memory_than_its_own(model: sv.Model) -> None:
    (trace,) = sweep(model, prompts="a fox", seeds=0, guidance=CFG(1.0), steps=6)
    assert trace[0].x_t.untyped_storage().nbytes() == trace[0].x_t.nbytes


@pytest.mark.slow
def test_a_store_opens_without_a_model(model: sv.Model, tmp_path: Path) -> None:
    made = sweep(model, schedulers=["ddim", "euler"], keep=[1], size=(24, 32), store=tmp_path)
    again = sv.Sweep.open(tmp_path)
    assert again.cells == made.cells
    assert [cell.settings for cell in again.cells] == [cell.settings for cell in made.cells]
    assert again.table().equals(made.table())
    assert again.trace(
        **{"prompt": "a fox", "seed": 0, "scheduler": "euler", "sag_scale": 1}
    ).image.size == (32, 24)
    assert repr(again) == "<Sweep of 16 cells: 16 done>"
    for wrong in (tmp_path / "nowhere", tmp_path.parent):
        with pytest.raises(sv.SagvizError, match="give the"):
            sv.Sweep.open(wrong)


def test_the_summary_is_a_table_with_nothing_to_run(model: sv.Model) -> None:
    page = begin(model, ["<script>alert(1)</script>"], seeds=range(20))._repr_html_()
    assert "<script>" not in page
    assert "(20 in all)" in page
    assert '<th scope="row">pending</th><td>20</td>' in page


@pytest.mark.slow
def test_cells_are_told_of_as_they_finish(model: sv.Model) -> None:
    laid = begin(model, **SMALL)
    assert len(laid.pending) == 8
    seen = []
    for cell in laid.run(model, batch=2):
        seen.append(cell)
        assert laid.status(cell) == "done"
        if len(seen) == 3:
            break
    assert len(laid.pending) == 4  # two batches of two
    assert list(laid.run(model)) == list(laid.cells[4:])
    assert not laid.pending


# What a store survives


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_stopped(model: sv.Model, tmp_path: Path) -> None:
    sweep(model, seeds=0, store=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.sagtrace")}
    with counted(model.unet) as rows:
        sweep(model, seeds=0, store=tmp_path)
        assert not rows
        sweep(model, store=tmp_path)
    assert rows
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert names(tmp_path) == {".sagtrace": 8, ".json": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [
        {"prompts": "A fox"},
        {"seeds": 5},
        {"steps": 3},
        {"guidance": CFG(3.5)},
        {"guidance": CFG(3.0) + SAG(1.0)},
        {"schedulers": "euler"},
        {"negative_prompt": "a cat"},
        {"images": 2},
        {"size": (32, 48)},
        {"eta": 0.5},
        {"keep": None},
    ],
    ids=str,
)
def test_a_changed_setting_is_a_new_cell(model: sv.Model, changed: dict[str, Any]) -> None:
    same = {"prompts": "a fox", "seeds": 4, "steps": 2, "guidance": CFG(3.0)}
    (a,), (b,), (c,) = (
        begin(model, **settings).cells for settings in (same, same, {**same, **changed})
    )
    assert a.key == b.key != c.key


def test_a_whole_number_is_the_same_scale(model: sv.Model) -> None:
    whole, real = (
        begin(model, guidance=CFG(kind(3)) + SAG(kind(1), heads=(0, 1))) for kind in (int, float)
    )
    assert whole.cells == real.cells
    assert whole.cells != begin(model, guidance=CFG(3.0) + SAG(1.0, heads=(0, 2))).cells


@pytest.mark.slow
def test_other_weights_are_other_cells(model: sv.Model, v_model: sv.Model, folder: Path) -> None:
    assert fingerprint(model) == fingerprint(sv.load(folder)) != fingerprint(v_model)
    assert fingerprint(sv.load(folder, dtype="bfloat16")) != fingerprint(model)
    other = sv.load(folder)
    list(other.unet.parameters())[-1].add_(1e-3)  # a fine-tune of the last layer
    laid = begin(model, "a fox")
    with pytest.raises(sv.SagvizError, match="other weights"):
        next(laid.run(other))


def broken(content: bytes, how: str) -> bytes:
    return {
        "flipped": content[:-200] + bytes([content[-200] ^ 1]) + content[-199:],
        "cut": content[:-100],
        "empty": b"",
    }[how]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_cell_is_found_and_made_again(model: sv.Model, how: str, tmp_path: Path) -> None:
    made = sweep(model, store=tmp_path)
    path = tmp_path / f"{made.cells[3].key}.sagtrace"
    whole = path.read_bytes()
    path.write_bytes(broken(whole, how))
    with pytest.warns(sv.SagvizWarning, match="was damaged"):
        sweep(model, store=tmp_path)
    assert sv.Trace.load(path).settings == made.cells[3].settings
    assert not made.missing()
    assert path.with_suffix(".damaged").read_bytes() == broken(whole, how)
    assert names(tmp_path) == {".sagtrace": 8, ".json": 1, ".damaged": 1}


@pytest.mark.filterwarnings("ignore:.*cells failed")
def test_a_failed_cell_costs_only_itself_and_is_tried_again(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guidance = [CFG(3.0), SAG(1.0, layer="nowhere"), SAG(1.0)]
    made = sweep(model, guidance=guidance, store=tmp_path)
    assert [cell.settings.guidance.terms for cell in made.failed] == [(guidance[1],)] * 4
    assert all("no self-attention layer 'nowhere'" in reason for reason in made.failed.values())
    assert (len(list(made)), len(made.table()), len(made.pending)) == (8, 8, 0)
    assert "no self-attention layer" in made._repr_html_()
    with pytest.raises(sv.SagvizError, match="no self-attention layer"):
        made.trace(prompt="a fox", seed=0, guidance=guidance[1])
    tries: list[Guidance] = []

    def noted(model: sv.Model, settings: Settings) -> Run:
        tries.append(settings.guidance)
        return resume(model, settings)

    monkeypatch.setattr("sagviz.sweeps.workers.resume", noted)
    with pytest.warns(sv.SagvizWarning, match="4 of 12 cells failed"):
        sweep(model, guidance=guidance, store=tmp_path)
    assert tries == [Guidance((guidance[1],))] * 4


@pytest.mark.slow
def test_what_failed_once_is_done_in_the_end(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = model.embed

    def fails(text: str | None, **size: Any) -> Conditioning:
        if text == "a cat":
            raise RuntimeError("out of\nmemory")
        return embed(text, **size)

    monkeypatch.setattr(model, "embed", fails)
    with pytest.warns(sv.SagvizWarning, match="4 of 8 cells failed"):
        made = sweep(model, store=tmp_path)
    assert set(made.failed.values()) == {"RuntimeError: out of memory"}
    assert {cell.settings.prompt for cell in made.failed} == {"a cat"}
    monkeypatch.undo()
    assert not sweep(model, store=tmp_path).failed
    assert names(tmp_path) == {".sagtrace": 8, ".json": 1}


@pytest.mark.slow
def test_a_batch_that_is_too_large_is_made_one_by_one(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = model.predict

    def small(x: torch.Tensor, *others: Any) -> torch.Tensor:
        if len(x) > 2:
            raise torch.OutOfMemoryError("tried to allocate 40 GiB")
        return predict(x, *others)

    monkeypatch.setattr(model, "predict", small)
    made = sweep(model)
    assert not made.failed
    assert len(list(made)) == 8


@pytest.mark.slow
def test_an_interrupt_leaves_everything_whole(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, saved = Folder.save, 0

    def interrupted(self: Folder, key: str, trace: sv.Trace) -> None:
        nonlocal saved
        if saved == 3:
            raise KeyboardInterrupt
        save(self, key, trace)
        saved += 1

    monkeypatch.setattr(Folder, "save", interrupted)
    with pytest.raises(Interrupted) as stop:
        sweep(model, store=tmp_path, batch=2)
    assert len(stop.value.sweep.pending) == 5
    assert names(tmp_path) == {".sagtrace": 3, ".json": 1}
    monkeypatch.undo()
    assert len(list(sweep(model, store=tmp_path))) == 8


def test_an_interrupt_within_a_run_has_sweep_and_traces(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict, calls = model.predict, []

    def interrupted(*given: Any) -> torch.Tensor:
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(*given)

    monkeypatch.setattr(model, "predict", interrupted)
    with pytest.raises(Interrupted) as stop:
        sweep(model, guidance=CFG(3.0), batch=2)
    monkeypatch.undo()
    assert [len(trace) for trace in stop.value.traces] == [1, 1]
    left = stop.value.sweep
    assert len(left.pending) == 2
    assert list(left.run(model)) == list(left.cells[2:])


@pytest.mark.slow
def test_a_full_disk_stops_a_sweep_that_can_go_on(
    model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No fault of the cell: it is not one that failed."""
    write, written = files.write_whole, list[Path]()

    def full(path: Path, content: bytes) -> Path:
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(files, "write_whole", full)
    with pytest.raises(RunError, match="No space left on device") as stop:
        sweep(model, store=tmp_path)
    monkeypatch.undo()
    left = stop.value.sweep
    assert (len(left.pending), left.failed) == (5, {})
    assert list(left.run(model)) == list(left.cells[3:])


def test_what_is_not_ours_is_the_cause_of_a_run_error(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Memory, key: str, trace: sv.Trace) -> None:
        del self, key, trace
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Memory, "save", broken)
    with pytest.raises(RunError, match="the sweep stopped: ZeroDivisionError: by zero") as stop:
        sweep(model)
    assert isinstance(stop.value.__cause__, ZeroDivisionError)
    assert len(stop.value.sweep.pending) == 8


# From the command line


@pytest.mark.slow
def test_the_command_makes_the_same_sweep(
    model: sv.Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--prompts",
        "a fox",
        "a cat",
        "--seeds",
        "0",
        "1",
        "--steps",
        "2",
        "--cfg-scale",
        "1",
        "3",
        "--sag-scale",
        "0.5",
    ]
    settings = [
        "--model",
        str(folder),
        "--schedulers",
        "",
        "euler",
        "--store",
        str(tmp_path / "runs"),
    ]
    assert main(["sweep", *flags, *settings]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(tmp_path / "runs" / "table.csv")
    table = pd.read_csv(said.out.strip())
    made = sweep(
        model,
        guidance=[CFG(1.0) + SAG(0.5), CFG(3.0) + SAG(0.5)],
        schedulers=[None, "euler"],
        store=tmp_path / "runs",
    )
    assert len(table) == len(made) == 16
    pd.testing.assert_frame_equal(table, made.table())
    assert names(tmp_path / "runs") == {".sagtrace": 16, ".json": 1, ".csv": 1}


@pytest.mark.filterwarnings("ignore:.*cells failed")
def test_the_command_lists_what_failed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blur = ["--blur-sigma", "1", "100", "--sag-scale", "1"]  # more taps than the latent has cells
    assert (
        main(["sweep", "--model", str(folder), "--steps", "1", *blur, "--store", str(tmp_path)])
        == 1
    )
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("sagviz: failed: ")]
    assert "sag_blur_sigma 100.0" in line
    assert "a blur of 801 taps does not fit" in line
    assert len(pd.read_csv(tmp_path / "table.csv")) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [["--steps", "0"], ["--seeds", "-1"], ["--schedulers", "dream"], ["--cfg-scale", "nan"]],
)
def test_the_command_refuses_in_one_line(
    wrong: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *wrong, "--store", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("sagviz: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


# What a store survives when its processes are killed


@pytest.mark.slow
def test_a_sweep_killed_twenty_times_ends_complete(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    told = outside("kill", folder, store)
    assert told["ends"] == [-9] * KILLS
    assert told["last"] == 0
    assert told["done"][-1] < 200  # the last kill still interrupted something
    made = sv.Sweep.open(store)
    assert len(made) == len(made.plan.prompts) * 10 * 4 == 200
    assert not made.missing()  # every checksum is right
    assert names(store) == {".sagtrace": 200, ".json": 1}
    assert [trace.settings for trace in made] == [cell.settings for cell in made.cells]


@pytest.mark.slow
def test_two_processes_share_a_store(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert outside("two", folder, store)["ends"] == [0, 0]
    made = sv.Sweep.open(store)
    lines = [line.split() for line in Path(f"{store}.log").read_text().splitlines()]
    # each was made once
    assert sorted(key for _, key in lines) == sorted(cell.key for cell in made.cells)
    assert min(Counter(process for process, _ in lines).values()) > 20  # and both had their share
    assert len(made) == math.prod(len(AXES[name]) for name in ("prompts", "seeds", "guidance"))
    assert not made.missing()
    assert names(store) == {".sagtrace": 200, ".json": 1}


def test_unknown_words_warn_once_and_make_their_cells(recwarn: pytest.WarningsRecorder) -> None:
    """Where the sweep was asked for, and not again for each cell."""
    mini = sv.load()
    done = sv.sweep(mini, ["two cats", "a fox"], seeds=[0, 1], steps=1, progress=False)
    said = [warning for warning in recwarn if issubclass(warning.category, sv.SagvizWarning)]
    assert [
        "'cats'" in str(warning.message) and warning.filename == __file__ for warning in said
    ] == [True]
    assert not done.failed


@pytest.mark.parametrize(
    "change",
    [
        {"flavour": 1},
        {"fingerprint": None},
        {"prompts": []},
        {"seeds": ["7"]},
        {"size": 64},
        {"schedulers": {}},
        {"schedulers": {"mine": {"class": "UNet2DModel"}}},
        {"guidance": [[{"kind": "nope"}]]},
        {"guidance": [[{"kind": "cfg", "scale": 3.0, "taste": 1}]]},
    ],
    ids=str,
)
def test_a_store_of_another_version_is_refused(
    model: sv.Model, tmp_path: Path, change: dict[str, Any]
) -> None:
    noted = json.dumps({**begin(model, "a fox").plan.to_json(), **change})
    for content in (noted, "{}", "[]", "3"):
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(sv.SagvizError) as error:
            sv.Sweep.open(tmp_path)
        assert is_one_sentence(error.value)


def test_the_bar_moves_at_every_joint_step(
    model: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the cells of a batch are under way none of them has ended."""
    seen: list[float] = []

    class Recorder(Bar):
        def add(self, cells: float) -> None:
            seen.append(cells)
            super().add(cells)

        def end(self) -> None:
            seen.append(0.0)
            super().end()

    monkeypatch.setattr("sagviz.sweeps.Bar", Recorder)
    sv.sweep(model, seeds=range(3), steps=[2, 4], batch=6, progress=False)
    assert seen == pytest.approx([2.25, 2.25, 0.75, 0.75, *[0.0] * 6])


def test_the_bar_tells_cells_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(8, True) as bar:
        bar.start(4)
        bar.add(2.5)
        bar.add(9.0)  # a batch that failed is made again, cell by cell
        bar.end()
    shown = capsys.readouterr().err
    assert "50%" in shown
    assert "8.0/8 cells" in shown
    assert "left]" in shown


def test_the_measures_of_an_image_are_its_own(model: sv.Model) -> None:
    """Also where several images are one run."""
    settings: Any = {"prompts": "a fox", "steps": 3, "guidance": CFG(3.0) + SAG(1.0)}
    together = sweep(model, **{**settings, "seeds": 0, "images": 2}).table()
    apart = sweep(model, **{**settings, "seeds": [0, 1]}).table()
    for name in ("coverage", "margin", "cfg_equivalent", "cfg", "sag"):
        assert together[name].tolist() == pytest.approx(apart[name].tolist(), rel=1e-3), name
    assert apart.cfg_equivalent[0] != pytest.approx(apart.cfg_equivalent[1], rel=1e-3)


def test_what_is_written_is_json_for_every_program(model: sv.Model, tmp_path: Path) -> None:
    """Python's own writes -Infinity, which no other reads: of DPM++ and of masks of nothing."""
    store, endless = tmp_path / "store", SAG(1.0, threshold=math.inf)
    made = sweep(
        model, prompts="a fox", seeds=0, guidance=endless, schedulers="dpm++ 2m", store=store
    )
    (trace,) = made
    notes = Image.open(io.BytesIO(trace.pictures[0])).text  # type: ignore[attr-defined]
    for text in ((store / "sweep.json").read_text(), *notes.values()):
        json.loads(text, parse_constant=pytest.fail)
    assert sv.Sweep.open(store).cells[0].settings == trace.settings
    assert trace.settings.guidance == Guidance((endless,))
    assert math.isnan(made.table().get("margin", pd.Series([math.nan]))[0])
