"""`sweep`: many runs, the product of settings, each made once and kept.

`axes` checks what was asked for and lays out a plan of `cells`; `workers` make them, in joint
passes; a `store` or a `remote` one keeps them; `results` is the `Sweep` that a user holds.
`running` has them made here or, in `tasks` that are `spread` over an executor, by other processes;
`engines` are two such executors.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from sagviz.errors import SagvizWarning
from sagviz.models import Model
from sagviz.sweeps.axes import lay_out
from sagviz.sweeps.executors import cluster as cluster
from sagviz.sweeps.executors import pool as pool
from sagviz.sweeps.fsspec_store import store_at
from sagviz.sweeps.results import Sweep
from sagviz.sweeps.running import run
from sagviz.sweeps.store import Memory


def sweep(
    model: Model,
    prompts: object = "",
    seeds: object = 0,
    steps: object = 50,
    guidance: object = None,
    schedulers: object = None,
    *,
    negative_prompt: str = "",
    images: int = 1,
    size: tuple[int, int] | None = None,
    eta: float = 0.0,
    store: str | Path | None = None,
    keep: str | int | Collection[int] | None = "last",
    batch: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Sweep:
    """Make every combination of the axes, once. Each axis is one value or a list of them.

    With a `store` the same call goes on where it was stopped, however it was stopped: what is there
    is not made again, a damaged cell is found and made again, a failed one is tried again, and a
    changed setting is a new cell. Several processes may work on one store: they share the cells
    between them. A cell that fails costs only itself.

    Args:
        prompts, seeds, steps, guidance, schedulers: the axes; what a value may be is what `trace`
            takes, but a seed is a number.
        negative_prompt, images, size, eta: as in `trace`, for all cells; cells without CFG have no
            negative prompt.
        store: a folder, made where it is missing, or an fsspec address such as "s3://bucket/runs";
            in memory where `None`.
        keep: the steps that each trace keeps: the last ("last"), all (`None`), every k-th and the
            last (a number), or these indices. The measures of the table are taken over all steps in
            any case.
        batch: how many cells run in joint passes; where `None`, as many as make 16,384 latent cells
            (4 at 512 x 512 pixels of Stable Diffusion 1.x, counting every image), 16 at most. More
            share more, and need more memory.
        executor: whose workers make the cells, `batch` of them at a time: `client.get_executor()`
            of Dask for many machines, `sweeps.pool()` for the GPUs or cores of this one, or any
            `concurrent.futures.Executor`. Each worker loads the model as `load` did, and writes
            into the store itself. Cells that are lost with a worker are made again.
        progress: whether to show a progress bar with the remaining time.

    Raises:
        ArgumentError: before anything runs.
        WorkerError: the executor broke or was shut down. What is finished is stored.
        BaseException: whatever stops the sweep, Ctrl-C included, carries it as its attribute
            `sweep`.
    """
    laid = begin(
        model,
        prompts,
        seeds,
        steps,
        guidance,
        schedulers,
        negative_prompt=negative_prompt,
        images=images,
        size=size,
        eta=eta,
        store=store,
        keep=keep,
    )
    missing = laid.missing()
    there = len(laid) - len(missing)  # they count as done, but not in the time that a cell takes
    bar = tqdm(total=len(laid), initial=there, unit="cell", smoothing=0, disable=not progress)
    try:
        for _ in run(model, laid.plan, laid.store, missing, batch=batch, executor=executor):
            bar.update()
    except BaseException as stopped:
        stopped.sweep = laid  # type: ignore[attr-defined]
        raise
    finally:
        bar.close()
    if failed := laid.failed:
        text = (
            f"{len(failed)} of {len(laid)} cells failed; sweep.failed says why, and the same call"
            " tries them again"
        )
        warnings.warn(text, SagvizWarning, stacklevel=2)
    return laid


def begin(
    model: Model,
    prompts: object = "",
    seeds: object = 0,
    steps: object = 50,
    guidance: object = None,
    schedulers: object = None,
    *,
    store: str | Path | None = None,
    **shared: Any,
) -> Sweep:
    """The sweep that `sweep` would make, of which nothing is made yet: `Sweep.run` makes it, and
    tells of each cell.
    """
    plan = lay_out(
        model,
        prompts=prompts,
        seeds=seeds,
        steps=steps,
        guidance=guidance,
        schedulers=schedulers,
        **shared,
    )
    return Sweep(plan, Memory() if store is None else store_at(store))
