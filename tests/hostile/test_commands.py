"""The command line: whatever stands on it, a command works or ends with one sentence and a
status.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
from hostile.draws import WORDS, texts
from hostile.trying import LONGEST, check_sentence, hostile
from hypothesis import strategies as st

import sagviz as sv
from sagviz.cli import main

FILES = ("fox.sagtrace", "fox.png", "votes.json", "jobs.csv", "no/such", "", ".", "x" * 300)
# words that no file of this machine can be called, and that no run takes long for
LOCAL = texts.filter(lambda text: not set(text) & set("/~:\\") and not text.strip().isdigit())
VALUES = LOCAL | st.sampled_from(
    ["-1", "1e99", "nan", "1", "0.5", "cosine 1 7", *FILES, *WORDS[:2]]
)
USUAL = {
    "generate": ["--steps", "1"],
    "sweep": ["--steps", "1"],
    "show": [],
    "estimate": [],
    "votes": ["merge"],
    "report": ["--steps", "0"],  # refused before its kernel begins, like what else is wrong
}
NO_RUN = ("--workers", "--dask", "--store", "--help", "-h", "--votes", "--batch")


def flags(command: str) -> list[str]:
    """All flags of a command, but those that begin processes."""
    said = io.StringIO()
    with redirect_stdout(said), suppress(SystemExit):
        main([command, *(["merge"] if command == "votes" else []), "--help"])
    found = set(re.findall(r"--[a-z][a-z-]+", said.getvalue()))
    return sorted(found - {*NO_RUN})


FLAGS = {command: flags(command) for command in USUAL}


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a file of each kind, which is the current one."""
    folder = tmp_path_factory.mktemp("here")
    trace = sv.trace(sv.load(), "a fox", steps=1, progress=False)
    trace.save(folder / "fox.sagtrace")
    trace.image.save(folder / "fox.png")
    for name in ("votes.json", "jobs.csv"):
        (folder / name).write_text("prompt\na fox\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.slow
@hostile(0.02, command=st.sampled_from(sorted(USUAL)), data=st.data())
def test_a_command_works_or_ends_with_a_sentence(command: str, data: st.DataObject) -> None:
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(FLAGS[command]), VALUES), max_size=3))
    words = data.draw(st.lists(VALUES, max_size=2))
    options = [word for flag, value in drawn for word in (flag, value)]
    usual = [] if command in ("generate", "sweep") and "--steps" in options else USUAL[command]
    argv = [command, *words[:1], *usual, *options, *words[1:]]
    said = io.StringIO()
    status: Any = 0
    with redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            status = main(argv)
        except SystemExit as stopped:
            status = stopped.code
    assert status in (0, 1, 2), argv
    if status == 2:  # argparse tells the usage before its sentence, our commands nothing
        usage, _, last = said.getvalue().rstrip("\n").rpartition(": error: ")
        assert not usage or usage.startswith("usage: ")
        check_sentence(last[:LONGEST] if usage else last)
