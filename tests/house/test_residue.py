"""Nothing stays behind a call: neither when it ends, nor when it is broken off anywhere by an error
or by Ctrl-C, nor when a generator is closed, forgotten or never asked again.

The settings of process and thread are not the usual ones here, so that what is put back to the
usual is seen as well as what is not put back. That of CPU threads has `models/test_at_work.py`.
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub.utils as hub
import numpy as np
import pytest
import torch
from breaking import Break, at_function, at_operation, spread
from state import unchanged

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG
from sagviz.cli import main
from sagviz.guidance import Guidance
from sagviz.player.live.export import exported, known_call
from sagviz.reports import summary
from sagviz.reports.finding import Pair, finding, seeds_gallery
from sagviz.reports.parameters import Parameters

BOTH = CFG(3.0) + SAG(1.0)
EVERYTHING = BOTH + PAG(1.0) + SEG(1.0)
# ipywidgets keeps what a constructor made before it was broken off, which nobody can close
KEPT_BY_OTHERS = ("widgets",)
ERRORS = (KeyboardInterrupt, RuntimeError, MemoryError)


@dataclass(frozen=True)
class Given:
    """What calls begin with."""

    model: sv.Model
    folder: Path
    pipe: Any
    pair: Pair

    @property
    def run(self) -> sv.Trace:
        return self.pair[1]

    def trace(self, guidance: Guidance = BOTH, **options: Any) -> sv.Trace:
        return sv.trace(self.model, "a fox", guidance=guidance, steps=2, progress=False, **options)

    def walk(self) -> Iterator[sv.Step]:
        return sv.steps(self.model, "a fox", guidance=EVERYTHING, steps=3)

    def sweep(self, **options: Any) -> sv.Sweep:
        sums = [CFG(3.0) + SAG(scale) for scale in (0.0, 1.0)]
        return sv.sweep(self.model, "a fox", steps=2, guidance=sums, progress=False, **options)


def closed_halfway(given: Given) -> None:
    walk: Any = given.walk()
    next(walk)
    walk.close()


def forgotten_halfway(given: Given) -> None:
    next(given.walk())


def thrown_into(given: Given) -> None:
    walk: Any = given.walk()
    next(walk)
    with suppress(KeyboardInterrupt):
        walk.throw(KeyboardInterrupt)


def stored_sweep(given: Given) -> None:
    with tempfile.TemporaryDirectory() as store:
        made = given.sweep(store=store, keep=None)
        made.table()
        made.to_html(Path(store) / "sweep.html")


def files(given: Given) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = given.run.save(Path(folder) / "a.sagtrace")
        loaded = sv.Trace.load(path)
        loaded.to_html(path.with_suffix(".html"))
        loaded.to_video(path.with_suffix(".gif"))


def figures(given: Given) -> None:
    drawn: list[Any] = [
        sv.plot.guidance_curves(given.run),
        sv.plot.step_panel(given.run, 1, given.model),
        sv.plot.schematic(given.run, 1),
    ]
    assert all(each._repr_html_() for each in drawn)


def parts_of_a_report(given: Given) -> None:
    shown: list[Any] = [
        finding([given.pair] * 3),
        seeds_gallery([given.pair]),
        summary(given.pair, given.model, Parameters(steps=2)),
        sv.plot.triptych(given.pair),
    ]
    assert all(each._repr_html_() for each in shown)


def generate(given: Given) -> None:
    with tempfile.TemporaryDirectory() as folder:
        where = ["--model", str(given.folder), "-o", f"{folder}/a.png"]
        assert main(["generate", "a fox", "--steps", "2", *where]) == 0


def playground(given: Given) -> None:
    with closing(sv.Playground(given.model, prompt="a fox", steps=2)) as opened:
        opened.run()
        opened.explain()


def microscope(given: Given) -> None:
    with closing(sv.Microscope(given.model, given.run, place=(2, 2))) as scope:
        scope.threshold = 1.2
        scope.branch_tab.start(here=True)


def grid(given: Given) -> None:
    with closing(sv.Grid(given.sweep(), given.model, selected=(0, 1))) as opened:
        opened.run_whole()


def preference(given: Given) -> None:
    with closing(sv.Preference([given.pair])) as opened:
        opened.vote("left")


def scrubber(given: Given) -> None:
    sv.Scrubber(given.run).close()


CALLS: dict[str, Callable[[Given], object]] = {
    "trace": lambda given: given.trace(EVERYTHING, capture=sv.Capture("all", ("mass", "words"))),
    "trace from a picture": lambda given: given.trace(
        image=given.run.image, paint=np.eye(32), scheduler="ddim", eta=1.0, images=2
    ),
    "steps, closed": closed_halfway,
    "steps, forgotten": forgotten_halfway,
    "steps, thrown into": thrown_into,
    "compare": lambda given: sv.compare(given.model, "a fox", steps=2, progress=False),
    "sweep": stored_sweep,
    "what_if": lambda given: sv.what_if(given.model, given.run, 1, guidance=CFG(2.0) + PAG(1.0)),
    "branch": lambda given: sv.branch(given.model, given.run, 1, guidance=CFG(2.0), progress=False),
    "attend": lambda given: sv.attend(given.model, given.run, 1, (3, 3)),
    "atlas": lambda given: sv.atlas(given.model, "a fox", step=1, steps=2),
    "layers": lambda given: sv.layers(given.model, given.run, 1),
    "estimate": lambda given: sv.estimate(given.model, guidance=BOTH, steps=2),
    "load": lambda given: sv.load(given.folder),
    "load a pipeline": lambda given: sv.load(given.pipe),
    "encode and decode": lambda given: given.model.decode(given.model.encode(given.run.image)),
    "files": files,
    "figures": figures,
    "parts of a report": parts_of_a_report,
    "sagviz generate": generate,
    "Playground": playground,
    "Microscope": microscope,
    "Grid": grid,
    "Preference": preference,
    "Scrubber": scrubber,
}


@pytest.fixture(scope="module")
def given(model: sv.Model, folder: Path, pipe: Any) -> Given:
    without, with_sag = sv.compare(model, "a fox", steps=2, progress=False)
    made = Given(model, folder, pipe, (without, with_sag))
    figures(made)  # matplotlib keeps the files of its fonts open
    return made


@pytest.fixture(autouse=True)
def unusual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings that nobody has by default."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1), np.random.seed(2), random.seed(3)  # noqa: NPY002
    hub.disable_progress_bars()
    with warnings.catch_warnings(), np.errstate(over="raise"):
        warnings.simplefilter("ignore", UserWarning)
        yield
    hub.enable_progress_bars()
    torch.set_default_dtype(torch.float32)
    assert not os.environ.get("SAGVIZ_IN_REPORT")


def broken_off(call: Callable[[], object], how: Break, place: int, kind: type) -> bool:
    """Whether the error came."""
    with how(place, kind("broken off")) as count, suppress(Exception, KeyboardInterrupt):
        call()
    return count.came


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CALLS)
def test_nothing_stays(given: Given, name: str) -> None:
    """After a call that ends, and after each that is broken off, from its first operation of torch
    or function of ours to its last.
    """
    call = partial(CALLS[name], given)
    kinds = itertools.cycle(ERRORS)
    for how in (at_operation, at_function):
        with unchanged(given.model, f"{name}, to its end"), how() as whole:
            call()
        for place in spread(3, whole.passed):
            kind = next(kinds)
            why = f"{name}, {kind.__name__} {how.__name__} {place} of {whole.passed}"
            with unchanged(given.model, why, KEPT_BY_OTHERS):
                broken_off(call, how, place, kind)


@pytest.mark.slow
def test_networks_in_training_go_on_with_it(given: Given) -> None:
    """A live page is of networks without dropout."""
    given.pipe.unet.train()
    try:
        model = sv.load(given.pipe)
        with unchanged(model):
            exported(model, "mid")
            known_call(model, "mid")
    finally:
        given.pipe.unet.eval()
