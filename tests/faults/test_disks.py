"""A disk that is full, or may only be read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.disks import Disk
from faults.works import BOTH, Work, saves, sweeps, votes
from tiny import is_one_sentence

import sagviz as sv
from sagviz.errors import SagvizError

WORKS: dict[str, Callable[[sv.Model], Work]] = {"trace save": saves, "sweep": sweeps, "vote": votes}
ROOM = 1000  # bytes: less than any of their files
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk of memory"),
]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = Disk(folder)
    yield made
    made.end()


@pytest.mark.parametrize("name", WORKS)
def test_a_full_disk_is_one_sentence_and_the_work_goes_on_when_there_is_room(
    model: sv.Model, disk: Disk, name: str
) -> None:
    work = WORKS[name](model)
    going = work.go(disk.folder)
    said = {next(going) for _ in range(3)}
    with disk.full(ROOM):
        with pytest.raises(SagvizError, match=r"No space left|File too large") as error:
            said |= set(going)
        assert said <= work.whole(disk.folder), "finished, and lost"
    assert is_one_sentence(error.value)
    assert not list(disk.folder.glob(".*.part"))
    said |= set(work.go(disk.folder))
    assert said <= work.whole(disk.folder)
    assert not set(work.go(disk.folder)), "all is done"


def test_a_page_that_finds_no_room_leaves_the_old_one(model: sv.Model, disk: Disk) -> None:
    trace = sv.trace(model, "a fox", steps=1, guidance=BOTH, progress=False)
    path = trace.to_html(disk.folder / "fox.html")
    before = path.read_bytes()
    with disk.full(ROOM), pytest.raises(SagvizError, match=r"No space|too large") as error:
        sv.compare(model, "a cat", steps=1, progress=False)[1].to_html(path)
    assert is_one_sentence(error.value)
    assert path.read_bytes() == before
    assert os.listdir(disk.folder) == ["fox.html"]


def test_a_store_that_may_only_be_read_is_read_and_nothing_else(
    model: sv.Model, disk: Disk, tmp_path: Path
) -> None:
    """With what a killed process left in it, which nobody may clear there."""
    work, vote = sweeps(model), votes(model)
    done = {next(going) for going in [work.go(disk.folder)] for _ in range(8)}
    assert next(vote.go(disk.folder)) == "0"
    made = sv.Sweep.open(disk.folder)
    left = next(cell for cell in made.cells if cell.key not in done)
    for name in (f"{left.key}.lock", f".{left.key}.sagtrace.1-a.part"):
        (disk.folder / name).touch()
    before = sorted(os.listdir(disk.folder))
    with disk.read_only():
        if os.access(disk.folder, os.W_OK):
            pytest.skip("no disk can be mounted here, and nothing is read-only for root")
        seen = sv.Sweep.open(disk.folder)
        assert f"{len(done)} done" in repr(seen)
        assert seen.status(left) == "running", "nobody can tell"
        assert len(seen.table()) == len(list(seen)) == len(done)
        assert len(seen.missing()) == len(made) - len(done)
        assert seen.to_html(tmp_path / "grid.html").exists()
        for write in (
            lambda: list(seen.run(model)),
            lambda: list(vote.go(disk.folder)),
            lambda: next(iter(seen)).save(disk.folder / "fox.sagtrace"),
            lambda: seen.to_html(disk.folder / "grid.html"),
        ):
            with pytest.raises(SagvizError) as error:
                write()
            assert is_one_sentence(error.value)
        assert sorted(os.listdir(disk.folder)) == before
    assert len(set(work.go(disk.folder))) == len(made) - len(done)
