"""Sweeps in processes of their own, which are killed: run by test_sweeps.py in a fresh interpreter,
because it forks.

The children are forked from a process that has the model in memory, so that a kill costs no import.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from forks import finished, forked

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.sweeps.folder_store import Folder

AXES: dict[str, Any] = {
    "prompts": ["", "a fox", "a red fox", "a cat", "a blue cat"],
    "seeds": range(10),
    "steps": 2,
    "guidance": [None, CFG(1.0), CFG(3.0), CFG(3.0) + SAG(1.0)],
}  # 200 cells
KILLS = 20


def killed_at_random(work: Callable[[], object], store: Path, rng: random.Random) -> dict[str, Any]:
    """Start the sweep and kill it, again and again.

    One time in four at a random moment from its start, one in four when it is seen writing a file,
    else a random while after some more cells.
    """
    ends, strays, done = [], 0, [0]
    for number in range(KILLS):
        child, target = forked(work), done[-1] + rng.randrange(1, 12) if number % 4 else 0
        while count(store) < target and not (number % 4 == 1 and any(store.glob("*.part"))):
            time.sleep(0.0005)
        time.sleep(0 if number % 4 == 1 else rng.random() * 0.06)
        os.kill(child, signal.SIGKILL)
        ends.append(finished(child))
        done.append(count(store))
        strays += len(list(store.glob("*.part")))
    return {"ends": ends, "strays": strays, "done": done, "last": finished(forked(work))}


def count(store: Path) -> int:
    return len(list(store.glob("*.sagtrace")))


def logged(work: Callable[[], object], log: Path) -> Callable[[], object]:
    """The same, and each cell that this process makes becomes a line of the log."""

    def save(self: Folder, key: str, trace: sv.Trace) -> None:
        plain(self, key, trace)
        with log.open("a") as file:
            file.write(f"{os.getpid()} {key}\n")

    plain, Folder.save = Folder.save, save  # type: ignore[method-assign, assignment]
    return work


def main(mode: str, model_folder: str, store: str, seed: str) -> None:
    torch.set_num_threads(1)
    model = sv.load(model_folder)

    def work() -> None:
        sv.sweep(model, **AXES, store=store, batch=4, progress=False)

    if mode == "kill":
        print(json.dumps(killed_at_random(work, Path(store), random.Random(seed))))
    else:
        both = logged(work, Path(store + ".log"))
        print(json.dumps({"ends": [finished(child) for child in (forked(both), forked(both))]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
