"""The cells of a sweep at an fsspec address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tiny import counted, is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.cli import main
from sagviz.errors import RunError
from sagviz.sweeps import begin
from sagviz.sweeps.folder_store import Folder
from sagviz.sweeps.fsspec_store import Remote, store_at

SMALL: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": [0, 1],
    "steps": 2,
    "guidance": [CFG(3.0), CFG(3.0) + SAG(1.0)],
}


@pytest.fixture
def address() -> Iterator[str]:
    """Of a place in fsspec's own memory, which is shared by all that name it in this process."""
    yield "memory://bucket/runs"
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def objects() -> Counter[str]:
    """How many objects of each kind are there."""
    return Counter(Path(path).suffix for path in fsspec.filesystem("memory").find("/bucket"))


def sweep(model: sv.Model, address: str, **settings: Any) -> sv.Sweep:
    return sv.sweep(model, **{**SMALL, **settings}, store=address, progress=False)


@pytest.mark.slow
def test_a_sweep_goes_there_and_comes_back(model: sv.Model, address: str) -> None:
    laid = begin(model, **SMALL, store=address)
    assert repr(laid) == "<Sweep of 8 cells: 8 pending>"
    made, here = sweep(model, address), sv.sweep(model, **SMALL, progress=False)
    assert objects() == {".sagtrace": 8, ".json": 1}
    again = sv.Sweep.open(address)
    assert again.cells == made.cells
    assert repr(again) == repr(laid) == "<Sweep of 8 cells: 8 done>"
    assert (
        again.trace(prompt="a cat", seed=1, sag_scale=1).pictures
        == here.trace(prompt="a cat", seed=1, sag_scale=1).pictures
    )
    pd.testing.assert_frame_equal(again.table(), here.table())
    with counted(model.unet) as rows:
        sweep(model, address)
    assert not rows  # all is there


def test_an_object_is_the_file_of_a_folder(model: sv.Model, address: str, tmp_path: Path) -> None:
    made = sweep(model, address, prompts="a fox", seeds=0)
    fsspec.filesystem("memory").get("/bucket/runs/", f"{tmp_path}/", recursive=True)
    opened = sv.Sweep.open(tmp_path)
    assert not opened.missing()
    assert opened.table().equals(made.table())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "cut", "empty"])
def test_a_damaged_object_is_found_and_made_again(model: sv.Model, how: str, address: str) -> None:
    made = sweep(model, address)
    files, path = fsspec.filesystem("memory"), f"/bucket/runs/{made.cells[3].key}.sagtrace"
    whole = files.cat_file(path)
    broken = {
        "flipped": whole[:-200] + bytes([whole[-200] ^ 1]) + whole[-199:],
        "cut": whole[:-100],
        "empty": b"",
    }[how]
    files.pipe_file(path, broken)
    assert made.missing() == (made.cells[3],)
    with pytest.warns(sv.SagvizWarning, match="was damaged"):
        sweep(model, address)
    assert not made.missing()
    assert files.cat_file(path.replace(".sagtrace", ".damaged")) == broken
    assert objects() == {".sagtrace": 8, ".json": 1, ".damaged": 1}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*cells failed")
def test_what_failed_is_tried_again(
    model: sv.Model, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = model.embed

    def fails(text: str | None, **size: Any) -> Any:
        if text == "a cat":
            raise RuntimeError("out of memory")
        return embed(text, **size)

    monkeypatch.setattr(model, "embed", fails)
    assert set(sweep(model, address).failed.values()) == {"RuntimeError: out of memory"}
    assert objects() == {".sagtrace": 4, ".failed": 4, ".json": 1}
    monkeypatch.undo()
    assert not sweep(model, address).failed
    assert objects() == {".sagtrace": 8, ".json": 1}


def test_the_command_writes_its_table_there(
    folder: Path, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "sweep",
                "--model",
                str(folder),
                "--steps",
                "1",
                "--seeds",
                "0",
                "1",
                "--store",
                address,
            ]
        )
        == 0
    )
    assert capsys.readouterr().out == f"{address}/table.csv\n"
    with fsspec.open(f"{address}/table.csv") as file:
        assert len(pd.read_csv(file)) == 2


class Failing(MemoryFileSystem):
    """An address that answers, until `error` says how it fails, in all ways or where it writes."""

    protocol = "failing"
    cachable = False
    error: Exception | None = None
    writes_only = False

    def _fail(self, writes: bool = False) -> None:
        if self.error is not None and (writes or not self.writes_only):
            raise self.error

    def ls(self, *args: Any, **kwargs: Any) -> Any:
        self._fail()
        return super().ls(*args, **kwargs)

    def cat_file(self, *args: Any, **kwargs: Any) -> bytes:
        self._fail()
        return super().cat_file(*args, **kwargs)

    def exists(self, *args: Any, **kwargs: Any) -> bool:
        self._fail()
        return super().exists(*args, **kwargs)

    def pipe_file(self, path: str, value: bytes, *args: Any, **kwargs: Any) -> None:
        self._fail(writes=path.endswith(".sagtrace") or not self.writes_only)
        super().pipe_file(path, value, *args, **kwargs)


class NoCredentialsError(Exception):
    """botocore's own is no OSError either."""


TROUBLES = [
    PermissionError(13, "Access Denied. Check the bucket"),
    NoCredentialsError("Unable to locate credentials"),
    TimeoutError('Read timeout on endpoint URL: "https://bucket"'),
]


@pytest.fixture(params=TROUBLES, ids=repr)
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """From when it is called on, "failing://bucket/runs" fails."""
    fsspec.register_implementation("failing", Failing, clobber=True)

    def fail(**how: object) -> None:
        for name, value in {"error": request.param, **how}.items():
            monkeypatch.setattr(Failing, name, value)

    fail(error=None, store={}, pseudo_dirs=[""])
    return fail


def test_a_store_that_does_not_answer_is_one_sentence(
    model: sv.Model, failing: Callable[..., None]
) -> None:
    """Whatever is asked first, and whatever kind its protocol raises: nothing counts as missing."""
    address = "failing://bucket/runs"
    made = sweep(model, address, prompts="a fox", seeds=0)
    failing()
    cell = made.cells[0]
    asks: list[Callable[[], object]] = [
        lambda: repr(made),
        lambda: made.status(cell),
        lambda: made.store.holds(cell.key),
        lambda: made.trace(sag_scale=1),
        lambda: made.missing(),
        lambda: made.failed,
        lambda: made.table(),
        lambda: sweep(model, address),
        lambda: sv.Sweep.open(address),
        lambda: made.store.begin(made.plan.to_json()),
    ]
    for ask in asks:
        with pytest.raises(sv.SagvizError, match=address) as error:
            ask()
        assert is_one_sentence(error.value)
        assert "is not the store" not in str(error.value)


@pytest.mark.slow
def test_a_put_that_fails_stops_the_sweep_with_what_there_is(
    model: sv.Model, failing: Callable[..., None]
) -> None:
    failing(writes_only=True)
    with pytest.raises(RunError, match="failing://bucket/runs cannot be reached") as error:
        sweep(model, "failing://bucket/runs")
    assert is_one_sentence(error.value)
    assert len(error.value.sweep.pending) == 8


@pytest.mark.parametrize("wrong", ["nosuch://bucket/runs", "root://server/runs"])
def test_an_address_that_nothing_reads_is_refused(wrong: str) -> None:
    """No such protocol, and one whose package is not installed."""
    with pytest.raises(sv.SagvizError, match=f"{wrong} cannot be reached .*install"):
        store_at(wrong)


def test_an_address_without_a_sweep_is_refused() -> None:
    with pytest.raises(sv.SagvizError, match="memory://empty is not the store of a sweep"):
        sv.Sweep.open("memory://empty")


def test_files_on_this_machine_are_a_folder(tmp_path: Path) -> None:
    """With its locks, and with files that are whole or absent."""
    for address in (tmp_path, str(tmp_path), f"file://{tmp_path}", f"local://{tmp_path}"):
        store = store_at(address)
        assert isinstance(store, Folder)
        assert store.address == str(tmp_path)
    assert isinstance(store_at("memory://x"), Remote)
