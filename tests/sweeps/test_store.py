"""The folder of a sweep's cells, and files that are whole or absent."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tiny import is_one_sentence
from warm import NEW

import sagviz as sv
from sagviz import CFG
from sagviz.errors import RunError
from sagviz.files import write_whole
from sagviz.image import to_png
from sagviz.sweeps.cell_file import Failure, measures, peek
from sagviz.sweeps.folder_store import Folder
from sagviz.sweeps.fsspec_store import Remote, store_at
from sagviz.sweeps.memory_store import Memory
from sagviz.sweeps.store import Store


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", steps=1, progress=False)


@pytest.fixture(params=["folder", "remote", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    places: dict[str, Callable[[], Store]] = {
        "folder": lambda: Folder(tmp_path / "a" / "b"),
        "remote": lambda: Remote(f"memory:/{tmp_path}"),
        "memory": Memory,
    }
    return places[request.param]()


def test_a_cell_is_pending_then_failed_then_done(store: Store, trace: sv.Trace) -> None:
    store.begin({})
    assert (store.status("k"), store.holds("k"), store.failure("k")) == ("pending", False, None)
    store.fail("k", "no room")
    first = store.failure("k")
    assert first is not None
    assert (store.status("k"), store.holds("k"), first.error) == ("failed", False, "no room")
    store.fail("k", "no room")
    assert store.failure("k") != first  # another attempt
    store.save("k", trace)
    assert (store.status("k"), store.holds("k"), store.failure("k")) == ("done", True, None)
    assert store.load("k").pictures == trace.pictures
    assert store.status("other") == "pending"


def test_one_look_tells_of_all_cells(store: Store, trace: sv.Trace) -> None:
    assert store.look() == {}
    store.begin({})
    for key in ("done", "once failed"):
        store.fail(key, "no room")
        store.save(key, trace)
    store.fail("failed", "no room")
    assert store.look() == {"done": "done", "once failed": "done", "failed": "failed"}
    assert list(store.whole(["failed", "done", "absent"])) == [False, True, False]


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    one, two = Folder(tmp_path), Folder(tmp_path)
    claim = one.claim("k")
    assert claim is not None
    with claim:
        assert two.claim("k") is None
        assert two.status("k") == one.status("k") == "running"
        other = two.claim("other")
        assert other is not None
        with other:
            pass
    assert one.status("k") == "pending"
    assert not list(tmp_path.iterdir())


def test_a_look_sees_who_works(tmp_path: Path) -> None:
    folder, claim = Folder(tmp_path), Folder(tmp_path).claim("k")
    (tmp_path / "left.lock").touch()  # by a process that was killed
    (tmp_path / "odd.failed").touch()  # without a reason: as if it had not been tried
    (tmp_path / "made.sagtrace").touch()
    folder.fail("made", "no room")  # in another process, before
    assert claim is not None
    with claim:
        assert folder.look() == {"k": "running", "made": "done"}
    assert folder.look() == {"made": "done"}


@pytest.mark.slow
def test_a_claim_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from sagviz.sweeps.folder_store import Folder; claim ="
        " Folder(sys.argv[1]).claim('k')\nprint(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [NEW, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,  # it dies at once, no fork of it
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folder = Folder(tmp_path)
        held = folder.status("k"), folder.claim("k")
        part = tmp_path / ".k.sagtrace.99999999-a.part"
        part.touch()
        folder.begin({})
        spared = part.exists()
        process.kill()
    assert held == ("running", None)
    assert spared  # it may still be writing it
    assert folder.status("k") == "pending"
    folder.begin({})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.json"]


@pytest.mark.parametrize(
    "name",
    [
        "k.lock",
        ".k.sagtrace.99999999-ab.part",
        "k.sagtrace.part",
        ".k.failed.99999999-ab.part",
        ".sweep.json.99999999-ab.part",
    ],
)
def test_what_a_killed_process_left_is_cleared(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    Folder(tmp_path).begin({"plan": 1})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "sweep.json"]


def test_what_a_living_process_writes_is_left_to_it(tmp_path: Path) -> None:
    """Such as a table, for which no run is claimed; what is old was another's of that number."""
    part = tmp_path / f".table.csv.{os.getpid()}-ab.part"
    part.touch()
    Folder(tmp_path).begin({})
    assert part.exists()
    os.utime(part, (0, 0))
    Folder(tmp_path).begin({})
    assert not part.exists()


def test_an_unreadable_reason_is_none(tmp_path: Path) -> None:
    for content in ("", "{", '{"error": "x"}', "3"):
        (tmp_path / "k.failed").write_text(content)
        assert Folder(tmp_path).failure("k") is None


def test_a_failure_is_told_to_other_processes(tmp_path: Path) -> None:
    Folder(tmp_path).fail("k", "it 'broke' at β")
    found = Folder(tmp_path).failure("k")
    assert isinstance(found, Failure)
    assert found.error == "it 'broke' at β"


def test_a_store_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(sv.SagvizError, match="cannot be made"):
        Folder(tmp_path / "file" / "store")
    folder = Folder(tmp_path / "gone")
    folder.path.rmdir()
    folder.path.touch()
    with pytest.raises(sv.SagvizError, match="cannot write to the store"):
        folder.begin({})


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert write_whole(path, b"one") == path
    write_whole(str(path), b"two")
    assert path.read_bytes() == b"two"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode  # readable for whom other files are
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    write_whole(path, b"one")

    def full(descriptor: int) -> None:
        del descriptor
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"two")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.bin", b"one")]


def test_many_writers_of_one_file_do_no_harm(tmp_path: Path) -> None:
    path, contents = tmp_path / "a.bin", [bytes([number]) * 100_000 for number in range(8)]

    def write(content: bytes) -> None:
        for _ in range(10):
            write_whole(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]
    assert path.read_bytes() in contents


# The measures of a cell without its tensors


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("steps", [1, 60])  # 60 have a longer index than is read at first
def test_measures_are_read_without_the_cell(
    model: sv.Model, images: int, steps: int, store: Store
) -> None:
    made = sv.sweep(
        model, "a fox", steps=steps, guidance=CFG(3.0), images=images, keep=None, progress=False
    )
    (trace,) = made
    store.begin({})
    store.save("k", trace)
    assert list(store.measures(["k"])) == [measures(trace)]
    content, taken = trace.to_bytes(), []

    def read(offset: int, length: int) -> bytes:
        taken.append(len(content[offset : offset + length]))
        return content[offset : offset + length]

    assert peek(read) == measures(trace)
    assert len(taken) == 1 + (steps == 60) + images
    assert sum(taken) < len(content)


def part_of(content: bytes, offset: int, length: int) -> bytes:
    return content[offset : offset + length]


def test_measures_that_are_damaged_are_not_believed(model: sv.Model, tmp_path: Path) -> None:
    made = sv.sweep(model, "a fox", steps=1, store=tmp_path, progress=False)
    (path,) = tmp_path.glob("*.sagtrace")
    whole = path.read_bytes()
    place = whole.index(b'"sharpness"')
    for broken in (
        whole[:place] + b"X" + whole[place + 1 :],
        whole[: place + 20],
        whole[:9],
        b"",
        b"\xff" * 99,
    ):
        path.write_bytes(broken)
        assert peek(partial(part_of, broken)) is None
        with pytest.raises(sv.SagvizError, match=r"damaged|cannot be read"):
            made.table()


def test_measures_behind_a_long_text_are_read_with_the_cell(
    model: sv.Model, tmp_path: Path
) -> None:
    (trace,) = sv.sweep(model, "a fox", steps=1, progress=False)
    picture = to_png(
        trace.image, {"sagviz": "x" * 20_000, "measures": trace.image.info["measures"]}
    )
    folder = Folder(tmp_path)
    folder.save("k", replace(trace, pictures=(picture,)))
    assert list(folder.measures(["k"])) == [measures(trace)]


def test_a_folder_that_is_gone_or_closed_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Folder(tmp_path / "runs")
    (tmp_path / "runs").rmdir()
    with pytest.raises(RunError, match="runs cannot be reached") as error:
        store.look()
    assert is_one_sentence(error.value)

    def closed(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    store = Folder(tmp_path / "runs")
    store.fail("k", "no room")
    monkeypatch.setattr(Path, "read_bytes", closed)
    with pytest.raises(RunError, match="Permission denied"):
        store.failure("k")


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trace: sv.Trace) -> None:
    """Wherever a path is given; a name that begins so and is nobody's stays a name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Path(str(Folder("~/runs").address)) == tmp_path / "runs"
    trace.save("~/fox.sagtrace")
    assert sv.Trace.load("~/fox.sagtrace").latents.equal(trace.latents)
    assert trace.to_html("~/fox.html") == tmp_path / "fox.html"
    assert store_at("~/runs", make=False).address == str(tmp_path / "runs")
    write_whole("~nobody-of-that-name.txt", b"")
    made = {path.name for path in tmp_path.iterdir()} - {".config", ".cache"}  # Matplotlib's
    assert made == {"runs", "fox.sagtrace", "fox.html", "~nobody-of-that-name.txt"}


@pytest.mark.parametrize("name", ["f" * 251 + ".txt", "\N{FOX FACE}" * 62 + ".txt"])
def test_a_name_may_be_as_long_as_the_system_allows(name: str, tmp_path: Path) -> None:
    """The temporary file beside it has a longer ending, and must not be what is refused."""
    assert write_whole(tmp_path / name, b"whole").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == [name]
