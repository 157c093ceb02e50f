"""What one process holds while it does the same again and again, as JSON: `python
tests/memory_worker.py trace --runs 300`.

A process of its own, because what an older one has freed before would hide a leak.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import psutil
import torch

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.guidance import Guidance
from sagviz.reports.parameters import Parameters
from sagviz.reports.report import make
from sagviz.reports.workers import Workers

BOTH = CFG(3.0) + SAG(1.0)
KEPT = list[torch.Tensor]()
Held = dict[str, float]  # by what is counted
Work = Callable[[sv.Model, int], object]


def leak(_: sv.Model, number: int) -> None:
    """A latent of 16 KiB a run, which stays."""
    KEPT.append(torch.full((64, 64), float(number)))


def all_day(model: sv.Model, number: int) -> None:
    """What a notebook does again and again: compare, ask what if, go on from there."""
    _, with_sag = sv.compare(model, "a fox", seed=number, steps=2, progress=False)
    sv.what_if(model, with_sag, 1, guidance=CFG(5.0) + SAG(1.0, threshold=1.01))
    sv.branch(model, with_sag, 1, guidance=CFG(1.0), progress=False)


def trace(model: sv.Model, number: int) -> sv.Trace:
    """A run with all that can be read of the attention, and its file."""
    read = sv.Capture("all", ("mass", "words"))
    made = sv.trace(
        model, "a fox", seed=number, steps=2, guidance=BOTH, capture=read, progress=False
    )
    with tempfile.TemporaryDirectory() as folder:
        return sv.Trace.load(made.save(Path(folder) / "a.sagtrace"))


def sweep(model: sv.Model, number: int) -> object:
    """A sweep of one cell on the disk, and its table."""
    with tempfile.TemporaryDirectory() as store:
        made = sv.sweep(
            model, "a fox", seeds=number, steps=2, guidance=BOTH, store=store, progress=False
        )
        return made.table()


def widgets(model: sv.Model, number: int) -> None:
    """Each of the five opened, used and closed."""
    pair = sv.compare(model, "a fox", seed=number, steps=2, progress=False)
    sums = [CFG(3.0) + SAG(scale) for scale in (0.0, 1.0)]
    cells = sv.sweep(model, "a fox", seeds=number, steps=2, guidance=sums, progress=False)
    with closing(sv.Playground(model, prompt="a fox", steps=2, seed=number)) as playground:
        playground.run()
    with closing(sv.Microscope(model, pair[1])) as scope:
        scope.threshold = 1.2
    with closing(sv.Preference([pair])) as vote:
        vote.vote("left")
    sv.Scrubber(pair[1]).close()
    sv.Grid(cells, model).close()


WORK: dict[str, Work] = {each.__name__: each for each in (leak, all_day, trace, sweep, widgets)}


def reports(runs: int) -> Iterator[object]:
    """The shortest reports there are, in one warm kernel, which rests while we look."""
    with tempfile.TemporaryDirectory() as folder, Workers(1) as kernels:
        for seed in range(runs):
            page, short = Path(folder, f"{seed}.html"), Parameters(seed=seed, steps=1, seeds=0)
            yield kernels.submit(partial(make, page, short, Guidance(), False)).result()


def worked(kind: str, model: str | None) -> Iterator[object]:
    """The same work without end."""
    opened = sv.load(model)
    for number in count():
        yield WORK[kind](opened, number)


def held() -> Held:
    """What this process and those that it started hold: MiB of memory that they wrote, wherever the
    system keeps it, objects of Python here, threads, open files.
    """
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    here = psutil.Process()
    all_of_them = [here, *here.children(recursive=True)]
    return {
        "MiB": sum(map(_written, all_of_them)) / 2**20,
        "objects": len(gc.get_objects()),
        "threads": threading.active_count() + sum(p.num_threads() for p in all_of_them[1:]),
        "files": sum(each.num_fds() for each in all_of_them),
    }


def _written(process: psutil.Process) -> int:
    """Bytes that are no file's (Linux): those of files come and go as the system likes."""
    maps = process.memory_maps(grouped=False)
    return sum(each.anonymous + each.swap for each in maps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=(*WORK, "reports"))
    parser.add_argument("--model", help="a folder (the miniature)")
    parser.add_argument("--runs", type=int, default=120)
    parser.add_argument("--warm-up", type=int, default=40, help="runs that do not count (40)")
    parser.add_argument("--every", type=int, default=5, help="how many runs lie between looks (5)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    total = asked.warm_up + asked.runs
    going = reports(total) if asked.kind == "reports" else worked(asked.kind, asked.model)
    looks = list[Held]()
    for number in range(total):
        next(going)
        if number >= asked.warm_up and (number - asked.warm_up) % asked.every == 0:
            looks.append({"run": number, **held()})
    going.close()  # type: ignore[attr-defined]
    print(json.dumps(looks))


if __name__ == "__main__":
    main()
