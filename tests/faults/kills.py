"""SIGKILL at random moments, again and again."""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from faults import kernels
from faults.works import Work, live, reports, saves, sweeps, votes
from forks import Child
from sources import ROOT

import sagviz as sv
from sagviz.player.live.runtime import PACKAGE as RUNTIME


@dataclass(frozen=True)
class Killed:
    """What came of it.

    Attributes:
        kills: that hit a process at work.
        finished: things that were said to be finished, and are there and whole.
        seconds: an undisturbed run.
    """

    kills: int
    finished: int
    seconds: float


def killed(work: Work, kills: int, rng: random.Random, folders: Iterator[Path]) -> Killed:
    """Kill a work at that many moments, drawn evenly from the time that it takes; the next one goes
    on where it was, or begins anew where all is done. At last one comes to its end.

    Raises:
        AssertionError: something finished is lost, or half a thing is taken for whole.
    """
    undisturbed = next(folders)
    start = time.monotonic()
    status, everything = Child(partial(work.go, undisturbed)).end(kill=False)
    span = time.monotonic() - start
    assert status == 0
    assert everything == work.whole(undisturbed)
    hits, count, folder = 0, 0, next(folders)
    while hits < kills:
        child = Child(partial(work.go, folder))
        time.sleep(rng.random() * span)
        status, said = child.end()
        there = work.whole(folder)
        assert said <= there, f"finished and lost: {said - there}"
        assert status in (0, -9), status
        hits, count = hits + (status == -9), count + len(said)
        folder = next(folders) if there == everything else folder
    status, _ = Child(partial(work.go, folder)).end(kill=False)
    assert status == 0
    assert work.whole(folder) == everything
    return Killed(hits, count, round(span, 2))


def new_folders(home: Path) -> Iterator[Path]:
    while True:
        yield Path(tempfile.mkdtemp(dir=home))


def of_reports(model: sv.Model) -> Work:
    """Their kernels are forked as well, with all that they import."""
    kernels.fork_them()
    sv.reports.Parameters().load()
    return reports(model)


WORKS: dict[str, Callable[[sv.Model], Work]] = {
    "trace save": saves,
    "sweep": sweeps,
    "vote": votes,
    "batch report": of_reports,
    "live export": lambda _: live(sv.load(), ROOT / "build" / RUNTIME),
}


def main(model_folder: str, home: str, kills: str, *names: str) -> None:
    """Print what came of each of these works."""
    torch.set_num_threads(1)
    tempfile.tempdir = home  # what a killed process leaves there goes with it
    model, folders = sv.load(model_folder), new_folders(Path(home))
    for name in names:
        told = killed(WORKS[name](model), int(kills), random.Random(name), folders)
        print(json.dumps({"name": name, **asdict(told)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
