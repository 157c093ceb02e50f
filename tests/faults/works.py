"""Work that a fault may hit: what it leaves in a folder, finished thing by finished thing, and what
of that is there and whole.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import torch
from PIL import Image

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.measure.preference import Votes
from sagviz.reports.batch import batch
from sagviz.reports.jobs import file_name, read
from sagviz.sweeps import begin

BOTH = CFG(3.0) + SAG(1.0)
SIDES = ("left", "right", "tie")
SAVES, VOTES = 40, 120


@dataclass(frozen=True)
class Work:
    """Work on a folder.

    Attributes:
        go: does what is missing there, and yields the name of each thing as soon as it is finished.
        whole: the names of what is there, each of which is checked to its last byte.
        first: the name of its first thing, in case nothing else is to be done.
    """

    go: Callable[[Path], Iterator[str]]
    whole: Callable[[Path], set[str]]


def saves(model: sv.Model) -> Work:
    """One trace after another under the same name, seeds 0, 1, 2 ...: the newest one counts."""
    made = [
        sv.trace(model, "a fox", seed=seed, steps=1, guidance=BOTH, progress=False)
        for seed in range(SAVES)
    ]

    def go(folder: Path) -> Iterator[str]:
        for seed in range(len(whole(folder)), SAVES):
            made[seed].save(folder / "fox.sagtrace")
            yield str(seed)

    def whole(folder: Path) -> set[str]:
        path = folder / "fox.sagtrace"
        if not path.exists():
            return set()
        found = sv.Trace.load(path)
        assert torch.equal(found.latents, made[found.settings.seed].latents)
        return set(map(str, range(found.settings.seed + 1)))

    return Work(go, whole)


def sweeps(model: sv.Model) -> Work:
    """A sweep of 60 cells into one store."""
    axes: dict[str, Any] = {"seeds": range(15), "steps": 2, "guidance": [None, CFG(3.0), BOTH, SAG]}
    axes["guidance"][-1] = SAG(1.0)
    cells = {cell.key: cell.settings for cell in begin(model, "a fox", **axes).cells}

    def go(folder: Path) -> Iterator[str]:
        for cell in begin(model, "a fox", **axes, store=folder).run(model, batch=4):
            yield cell.key

    def whole(folder: Path) -> set[str]:
        found = {path.stem: sv.Trace.load(path) for path in folder.glob("*.sagtrace")}
        assert all(trace.settings == cells[key] for key, trace in found.items())
        assert not list(folder.glob("*.failed"))
        return set(found)

    return Work(go, whole)


def votes(_: sv.Model) -> Work:
    """A blind vote on 120 pairs, written after each."""
    pixels = np.random.default_rng(0).integers(0, 255, (VOTES, 2, 8, 8, 3), dtype=np.uint8)
    pairs = [[Image.fromarray(one) for one in pair] for pair in pixels]
    order = list(itertools.islice(itertools.cycle(SIDES), VOTES))

    def go(folder: Path) -> Iterator[str]:
        vote = sv.Preference(pairs, path=folder / "votes.json")
        for number in range(len(vote.votes.given), VOTES):
            vote.vote(order[number])
            yield str(number)
        vote.close()

    def whole(folder: Path) -> set[str]:
        path = folder / "votes.json"
        given = Votes.load(path).given if path.exists() else ()
        assert list(given) == order[: len(given)]
        return set(map(str, range(len(given))))

    return Work(go, whole)


def reports(_: sv.Model) -> Work:
    """Two reports of the miniature, from a table."""
    rows = [f"a fox,{seed},1,0" for seed in range(2)]

    def go(folder: Path) -> Iterator[str]:
        jobs = folder / "jobs.csv"
        jobs.write_text("\n".join(("prompt,seed,steps,seeds", *rows)))
        for job in batch(jobs, folder):
            assert job.page is not None, job.error
            yield job.page.stem

    def whole(folder: Path) -> set[str]:
        pages = {path.stem: path for path in folder.glob("*.html")}
        assert all(path.read_text().endswith("</html>\n") for path in pages.values())
        index = pages.pop("index", None)
        for path in pages.values():
            notebook = nbformat.read(path.with_suffix(".ipynb"), 4)
            assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")
        if index is not None and pages:
            jobs = read(folder / "jobs.csv")
            assert pages.keys() <= {file_name(job.parameters) for job in jobs if job.parameters}
        return set(pages)

    return Work(go, whole)


def live(model: sv.Model, runtime: Path) -> Work:
    """The live page. Its networks are exported once, by who forks: that takes half a minute, and
    writes nothing.
    """
    from sagviz.player.live import page

    made = page.parts(model, runtime)
    page.parts = lambda *_: made

    def go(folder: Path) -> Iterator[str]:
        sv.live_page(model, folder / "live.html", runtime=runtime)
        yield from whole(folder)

    def whole(folder: Path) -> set[str]:
        return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.html")}

    return Work(go, whole)
