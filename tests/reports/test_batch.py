"""Many reports from a table: rows read as they were meant, warm kernels, and going on."""

from __future__ import annotations

import csv
import io
import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import build_pixels, is_one_sentence

from sagviz import PAG, SEG
from sagviz.cli import main
from sagviz.errors import ReportError
from sagviz.guidance import as_guidance
from sagviz.mini import NAME
from sagviz.reports.batch import batch
from sagviz.reports.index import write_index
from sagviz.reports.jobs import Job, read
from sagviz.reports.kernel import WarmKernel
from sagviz.reports.workers import Workers, how_many

JOBS = """prompt,seed,steps,sag_scale,colour
a fox,3,2,0.33,
a panda,1e3,2,much,
a fox,3,2,0.33,red
,5,2,,
a fox,3,2,0.33,
"""


def table(folder: Path, content: str) -> Path:
    path = folder / "jobs.csv"
    path.write_text(content, encoding="utf-8-sig")  # as spreadsheets write it
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_are_what_was_written(tmp_path: Path, separator: str) -> None:
    content = "prompt, cfg_scale ,pag_scale,blur_sigma\n a fox ,cosine 1 7,2,\n,7.25,,0.77\n"
    first, second = read(table(tmp_path, content.replace(",", separator)))
    assert first.parameters is not None
    assert second.parameters is not None
    assert first.parameters.prompt == "a fox"
    assert first.parameters.cfg_scale == {"shape": "cosine", "values": [1, 7]}
    assert first.parameters.terms[0]["kind"] == "pag"
    assert first.parameters.blur_sigma is None, "an empty cell of a number is the usual one"
    assert second.parameters.prompt == "", "and an empty text is an empty text"
    assert (second.parameters.cfg_scale, second.parameters.blur_sigma) == (7.25, 0.77)


def test_a_rows_terms_and_its_scales_of_terms_add_up(tmp_path: Path) -> None:
    text = io.StringIO()
    rows = [("pag_scale", "terms"), (1.5, json.dumps(as_guidance(SEG(2.0)).to_json()))]
    csv.writer(text).writerows(rows)
    (job,) = read(table(tmp_path, text.getvalue()))
    assert job.parameters is not None, job.error
    assert job.parameters.others == SEG(2.0) + PAG(1.5)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ("seed\nx", "seed"),
        ("seed\n1.5", "seed"),
        ("steps\n0", "steps"),
        ("promt\na fox", "prompt"),
        ("prompt\na fox,on blue", "cells"),
        ("prompt,seed\na fox", "cells"),
    ],
)
def test_a_row_that_cannot_be_made_is_one_sentence(tmp_path: Path, row: str, named: str) -> None:
    (job,) = read(table(tmp_path, row))
    assert named in job.error
    assert is_one_sentence(job.error)


@pytest.mark.parametrize("content", ["", "prompt\n", 'prompt\n"a fox'])
def test_a_table_without_jobs_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ReportError) as error:
        read(table(tmp_path, content))
    assert is_one_sentence(error.value)


@pytest.mark.slow
def test_a_batch_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs, folder = table(tmp_path, JOBS), tmp_path / "reports"
    stopped = batch(jobs, folder, workers=1)
    first = next(stopped)
    stopped.close()  # while the kernel is at the next row, which ends with it
    assert first.page is not None
    before = first.page.stat().st_mtime_ns
    assert "<h1>Self-Attention Guidance: 1 report</h1>" in (folder / "index.html").read_text()
    assert main(["report", "--batch", str(jobs), "--out", str(folder)]) == 1
    said = capsys.readouterr()
    assert "2 was there, 2 failed, 1 made" in said.out
    assert "row 2: " in said.err
    assert "row 3: " in said.err
    assert "colour" in said.err
    assert first.page.stat().st_mtime_ns == before
    pages = sorted(path for path in folder.glob("*.html") if path.name != "index.html")
    assert len(pages) == 2
    index = (folder / "index.html").read_text()
    assert all(page.name in index for page in pages)
    assert "3 reports, 2 rows failed" in index
    assert "row 4: seed 5, CFG 3 + SAG 1, steps 2<" in index
    assert index.count("<img") == 9, "three runs of three rows"
    notebook = json.loads(next(folder.glob("report-*.ipynb")).read_text())
    counts = [c["execution_count"] for c in notebook["cells"] if c["cell_type"] == "code"]
    assert counts == [*range(1, len(counts) + 1)], "the kernel was found empty"
    made = "".join(json.dumps(cell) for cell in notebook["cells"])
    assert "seed = 5" in made
    assert "a fox" not in made.replace("a fox on a blue background", ""), "nothing of other rows"


def test_a_card_is_in_words(tmp_path: Path) -> None:
    """Also where its notebook is gone."""
    text = "seed,cfg_scale,pag_scale,blur_sigma,model,scheduler\n5,cosine 1 7,2,0.5,,ddim\n"
    (job,) = read(table(tmp_path, text))
    assert job.parameters is not None, job.error
    assert job.parameters.model == NAME
    failed = Job(2, error="no")
    index = write_index(tmp_path, [replace(job, page=tmp_path / "a.html"), failed]).read_text()
    assert "<h1>Self-Attention Guidance: 1 report, 1 row failed</h1>" in index
    words = "row 1: seed 5, CFG cosine 1 → 7 + SAG 1 + PAG 2, blur sigma 0.5, scheduler ddim<"
    assert words in index


@pytest.mark.slow
def test_a_model_that_reads_no_text_has_no_prompt(tmp_path: Path) -> None:
    """In the index, in its tab and in the command that makes it again; nor has it CFG."""
    build_pixels().save_pretrained(tmp_path / "pixels")
    jobs = table(tmp_path, f"model,steps,seeds\n{tmp_path / 'pixels'},2,0\n")
    (job,) = batch(jobs, tmp_path / "reports", workers=1)
    assert job.page is not None, job.error
    assert "<title>SAG report: unconditional: sagviz</title>" in (page := job.page.read_text())
    assert "prompt=&#x27;&#x27;" in page or "prompt=''" in page
    index = (tmp_path / "reports" / "index.html").read_text()
    assert "<b>(no prompt)</b>" in index
    assert "row 1: seed 7, SAG 1, model " in index
    assert "a fox on" not in page + index


def test_kernels_work_at_once() -> None:
    both = threading.Barrier(2)

    def meet(kernel: WarmKernel) -> WarmKernel:
        both.wait(5)
        return kernel

    with Workers(2) as workers:
        first, second = (workers.submit(meet) for _ in range(2))
        assert first.result() is not second.result()


@pytest.mark.parametrize(
    ("models", "busy", "free", "count"),
    [
        ([NAME] * 9, 50.0, 64, 4),
        ([NAME] * 9, 0.0, 3, 3),
        ([NAME, ""], 0.0, 64, 2),
        ([NAME], 100.0, 64, 1),
        ([NAME, "a/large-one"], 0.0, 64, 1),
    ],
    ids=["half of 8 cores", "memory", "rows", "a busy machine", "a large model"],
)
def test_as_many_kernels_as_there_is_room_for(
    models: list[str], busy: float, free: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.cpu_percent", lambda **_: busy)
    monkeypatch.setattr("psutil.cpu_count", lambda: 8)
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: SimpleNamespace(available=free * 2**30 + 1)
    )
    assert how_many(None, models) == count
    assert how_many(7, models) == 7


def test_settings_beside_a_table_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--batch", str(table(tmp_path, JOBS)), "--seed", "3"]) == 2
    assert "make it a column" in capsys.readouterr().err
