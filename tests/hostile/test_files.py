"""Files that somebody else wrote: each is refused with a sentence, or all that it is for works."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from typing import Any, ClassVar

import pytest
from hostile.draws import changed, json_values, texts
from hostile.trying import attempt, check_sentence, hostile
from hypothesis import strategies as st
from papermill.translators import PythonTranslator
from PIL import Image

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.image import from_file, to_png
from sagviz.measure.merged_votes import merge
from sagviz.measure.preference import Votes
from sagviz.records import trace_file
from sagviz.reports.jobs import file_name, read
from sagviz.reports.parameters import Parameters
from sagviz.sweeps import begin
from sagviz.widgets.playground.playground import Playground

BOTH = CFG(3.0) + SAG(1.0)
BYTES = st.binary(max_size=60)


def recorded(trace: sv.Trace) -> dict[str, Any]:
    """What a trace's file says beside its tensors."""
    content = trace.to_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["meta"])


@cache
def made() -> sv.Trace:
    return sv.trace(sv.load(), "a fox", steps=1, guidance=BOTH, progress=False)


def noted_settings() -> Any:
    return json.loads(json.dumps(made().settings.to_json()))


def noted_plan() -> Any:
    return json.loads(json.dumps(begin(sv.load(), "a fox", seeds=[0, 1], steps=1).plan.to_json()))


@contextmanager
def meta(noted: Any) -> Iterator[None]:
    """Meanwhile `json.dumps` in traces writes this record, with the checksum that fits."""

    class Writer:
        dumps: ClassVar[Any] = staticmethod(lambda *_, **__: json.dumps(noted))
        loads: ClassVar[Any] = staticmethod(json.loads)

    usual, trace_file.json = trace_file.json, Writer  # type: ignore[assignment]
    try:
        yield
    finally:
        trace_file.json = usual


@hostile(0.07, noted=st.deferred(lambda: changed(recorded(made()))))
def test_a_trace_of_another_hand_is_refused_or_shown(noted: Any) -> None:
    """Its checksum fits what it says."""
    with meta(noted):
        content = made().to_bytes()
    found = attempt(lambda: sv.Trace.from_bytes(content, "fox.sagtrace"))
    if found is not None:
        attempt(found._repr_html_)
        attempt(lambda: found.image)
        attempt(lambda: found.of_image(0))
        assert attempt(lambda: sv.Trace.from_bytes(found.to_bytes())) is not None


@hostile(0.04, noted=st.deferred(lambda: changed(noted_settings())))
def test_a_picture_of_another_hand_is_refused_or_fills_the_form(
    playground: Playground, noted: Any
) -> None:
    """All of the form or, where it is refused, nothing."""
    content = to_png(Image.new("RGB", (8, 8)), {"sagviz": json.dumps(noted)})
    before = playground.settings.values()
    attempt(lambda: playground.load(content))
    after = playground.settings.values()
    if after != before:
        assert (after["prompt"], after["seed"]) == (noted["prompt"], noted["seed"])
    playground.settings.set(before)


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    made = Playground(sv.load(), steps=1)
    yield made
    made.close()


@hostile(
    0.08,
    content=BYTES
    | st.builds(
        lambda place, byte: _flipped(place, byte), st.integers(0, 2000), st.integers(1, 255)
    ),
)
def test_bytes_that_are_no_picture_are_refused(content: bytes) -> None:
    attempt(lambda: from_file(io.BytesIO(content), "this file"))


PNG = to_png(Image.new("RGB", (40, 30), "red"), {"sagviz": "{}"})


def _flipped(place: int, byte: int) -> bytes:
    damaged = bytearray(PNG)
    damaged[place % len(PNG)] ^= byte
    return bytes(damaged)


@hostile(
    0.05,
    noted=st.deferred(lambda: changed(noted_plan())),
    failed=BYTES | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_a_store_of_another_hand_is_refused_or_shown(
    noted: Any, failed: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("store")
    (folder / "sweep.json").write_text(json.dumps(noted))
    found = attempt(lambda: sv.Sweep.open(folder))
    if found is not None:
        for cell in found.cells[:1]:
            (folder / f"{cell.key}.failed").write_bytes(failed)
            (folder / f"{cell.key}.sagtrace").write_bytes(made().to_bytes())
        for look in (
            found._repr_html_,
            found.table,
            lambda: list(found),
            found.missing,
            lambda: found.to_html(folder / "a.html"),
            lambda: found.failed,
        ):
            attempt(look)


VOTES = json.loads(
    json.dumps(
        {
            "format": "sagviz-votes-2",
            "names": ["CFG", "CFG + SAG"],
            "fingerprint": "0f",
            "pairs": 3,
            "seed": 7,
            "given": ["left", "tie"],
            "ballot": "a1",
            "choices": [],
        }
    )
)


@hostile(0.08, noted=changed(VOTES))
def test_votes_of_another_hand_are_refused_or_counted(
    noted: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("votes") / "votes.json"
    path.write_text(json.dumps(noted))
    found = attempt(lambda: Votes.load(path))
    if found is not None:
        assert str(merge([found, found])).startswith("2 people")
        assert len(found.given) <= found.pairs


COLUMNS = st.lists(
    st.sampled_from([*asdict(Parameters()), "pag_scale", "cg_scale", "x"]), min_size=1, max_size=3
)


@hostile(0.13, content=BYTES | texts.map(str.encode) | st.text().map(str.encode))
def test_a_table_that_is_none_is_refused_or_its_rows_are(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _read(content, tmp_path_factory)


@hostile(
    0.13,
    names=COLUMNS,
    cells=st.lists(texts, min_size=3, max_size=3),
    dialect=st.sampled_from([",", ";", "\t"]),
)
def test_a_table_is_read_as_it_was_written(
    names: list[str], cells: list[str], dialect: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each row is refused, or its texts are those of the cells, lines in them included."""
    written = io.StringIO(newline="")
    csv.writer(written, delimiter=dialect).writerows(
        [["prompt", *names], ["a fox", *cells[: len(names)]], [cells[0], *["1"] * len(names)]]
    )
    if dialect not in written.getvalue().partition("\n")[0]:
        return
    for row, job in enumerate(_read(written.getvalue().encode(), tmp_path_factory)):
        if job.parameters is not None:
            assert job.parameters.prompt == ("a fox", cells[0].strip())[row]
            file_name(job.parameters).encode("ascii")


def _read(content: bytes, folders: pytest.TempPathFactory) -> list[Any]:
    path = folders.mktemp("jobs") / "jobs.csv"
    path.write_bytes(content)
    found = attempt(lambda: read(path)) or []
    for job in found:
        assert (job.parameters is None) == bool(job.error)
        if job.error:
            check_sentence(job.error)
    return found


@hostile(
    0.1,
    given=st.dictionaries(st.sampled_from(sorted(asdict(Parameters()))), json_values, max_size=3),
)
def test_a_reports_parameters_are_refused_or_reach_its_notebook(given: dict[str, Any]) -> None:
    """As papermill writes them into a cell, whatever quotes and lines they have."""
    wanted = attempt(lambda: Parameters.checked(given))
    if wanted is not None:
        cell, found = PythonTranslator.codify(asdict(wanted)), dict[str, Any]()
        exec(cell, found)
        found.pop("__builtins__")
        assert Parameters.from_namespace(found) == replace(wanted)
