"""Other ways to run: compiled, other layouts, other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from gpu.families import build
from gpu.rows import Row, row
from gpu.stage import Stage, final, run, without_tf32
from tiny import difference

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ArgumentError, ModelError
from sagviz.sweeps import pool

CELLS: dict[str, Any] = {
    "prompts": ["a fox", "a cat"],
    "seeds": [0],
    "steps": 2,
    "guidance": [CFG(3.0), CFG(3.0) + SAG(1.0)],
}


def layouts(stage: Stage) -> Iterator[Row]:
    """Another memory format, and diffusers' own attention slicing."""

    def last(model: sv.Model) -> None:
        model.unet.to(memory_format=torch.channels_last)

    for name, change in (
        ("channels_last", last),
        ("attention slicing", lambda model: model.unet.set_attention_slice(1)),
    ):
        with without_tf32():  # each way rounds otherwise, and with ten bits visibly so
            yield _changed(f"miniature, {name}", stage.miniature(), change)


def compiled(stage: Stage) -> Iterator[Row]:
    """A compiled U-Net, which ran without SAG first."""
    options = stage.choose({}, {"backend": "eager"})

    def wrapped(model: sv.Model) -> None:
        model.unet = torch.compile(model.unet, **options)

    ways = {
        "unet.compile()": lambda model: model.unet.compile(**options),
        "torch.compile(unet)": wrapped,
    }
    for name, change in ways.items():
        tiny = build("sd15", stage.folder / name, stage.device, toy=True)
        yield _changed(f"tiny U-Net, {name}", sv.load(tiny), change)


def _changed(name: str, model: sv.Model, change: Callable[[sv.Model], None]) -> Row:
    """CFG, then CFG + SAG twice, beside an unchanged model: right, or refused with a sentence."""
    what, aim = f"{name}: latents and maps", "<= 1e-3, or refused in a sentence"
    options = {"steps": 2}
    expected = run(model, **options)
    try:
        change(model)
        run(model, guidance=CFG(3.0), **options)
        run(model, **options)
        found = run(model, **options)
    except (ArgumentError, ModelError) as error:
        return row(what, f"refused: {error}", aim, True)
    except Exception as error:
        return Row(what, "", aim, f"failed: {type(error).__name__}: {str(error)[:300]}")
    latents = difference(final(found), final(expected))
    maps = max(
        float((a.attention - b.attention).abs().max()) for a, b in zip(found, expected, strict=True)
    )
    return row(
        what,
        f"latents {latents:.1e}, maps {maps:.1e}",
        aim,
        max(latents, maps) <= 1e-3,
        latents=latents,
        maps=maps,
    )


def processes(stage: Stage) -> Iterator[Row]:
    """A pool of processes on this device."""
    workers = stage.choose(2, 1)
    yield _apart(stage, f"a pool of {workers}", pool(workers))


def dask(stage: Stage) -> Iterator[Row]:
    """A worker of Dask on this device."""
    yield _apart(stage, "a Dask worker", _dask())


@contextmanager
def _dask() -> Iterator[Executor]:
    """One worker, in a process of its own."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


def _apart(stage: Stage, name: str, made: AbstractContextManager[Executor]) -> Row:
    """A sweep elsewhere, beside the same one here."""
    model = stage.miniature()
    here = sv.sweep(model, **CELLS, batch=2, progress=False)
    store = stage.folder / name.replace(" ", "-")
    with made as executor:
        there = sv.sweep(model, **CELLS, batch=2, store=store, executor=executor, progress=False)
    pairs = list(zip(here, there, strict=True))
    apart = max(difference(b.latents, a.latents) for a, b in pairs)
    equal = all(torch.equal(a.latents, b.latents) for a, b in pairs)
    return row(
        f"miniature: {len(pairs)} cells made by {name}, beside those made here",
        "equal to the bit" if equal else f"within {apart:.1e}",
        "<= 1e-4",
        len(pairs) == len(here.cells) and not there.failed and apart <= 1e-4,
    )
