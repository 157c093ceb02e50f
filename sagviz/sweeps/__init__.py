"""`sweep`: many runs, the product of settings, each made once and kept.

`axes` checks what was asked for and lays out a `plan` of runs, its cells; `workers` make them, in
joint passes, here or in `tasks` that `dispatch` gives to an executor, of which `executors` has two.
A `store` keeps them: in memory, in a folder, at an fsspec address. `results` is the `Sweep` that a
user holds; `labels` and `layout` say what its settings are called and where its pictures stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from sagviz.checks import names_arguments
from sagviz.errors import Unfinished, stopped, warn
from sagviz.guidance import Guidance, Term
from sagviz.models import Model, as_model
from sagviz.records.settings import EMBEDDINGS
from sagviz.sweeps.axes import begin as begin
from sagviz.sweeps.bar import Bar
from sagviz.sweeps.dispatch import run
from sagviz.sweeps.executors import cluster as cluster
from sagviz.sweeps.executors import pool as pool
from sagviz.sweeps.results import Sweep

OF_ONE_RUN = "a cell is known by its settings alone; sv.trace and sv.compare take it"


@names_arguments(**dict.fromkeys((*EMBEDDINGS, "noise", "image", "strength", "paint"), OF_ONE_RUN))
def sweep(
    model: Model,
    prompts: str | Iterable[str] = "",
    seeds: int | Iterable[int] = 0,
    steps: int | Iterable[int] = 50,
    guidance: Guidance | Term | Iterable[Guidance | Term | None] | None = None,
    schedulers: object = None,
    *,
    negative_prompt: str = "",
    images: int = 1,
    size: tuple[int, int] | None = None,
    eta: float = 0.0,
    clip_skip: int | None = None,
    timesteps: Sequence[int] | None = None,
    store: str | Path | None = None,
    keep: str | int | Collection[int] | None = "last",
    batch: int | None = None,
    executor: Executor | None = None,
    progress: bool = True,
) -> Sweep:
    """Make every combination of the axes, once. Each axis is one value or a list of them.

    A cell is one run of the sweep. With a `store` the same call goes on where it was stopped,
    however it was stopped: what is there is not made again, a damaged cell is found and made again,
    a failed one is tried again, and a changed setting is a new cell. Several processes may work on
    one store: they share the cells between them. A cell that fails costs only itself.

    Args:
        model: from `load`.
        prompts, seeds, steps, guidance, schedulers: the axes; what a value may be is what `trace`
            takes, but a seed is a number. Ranges and arrays of NumPy are lists as well.
        negative_prompt, images, size, eta, clip_skip, timesteps: as in `trace`, for all cells;
            cells without CFG have no negative prompt, and `timesteps` take the place of `steps`.
            Image i has the seed of its cell + i, so that seeds lie at least `images` apart.
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
        Interrupted: Ctrl-C.
        RunError: anything else that is not the fault of one cell, such as a full disk.
            The last three have the sweep as far as it came as their attribute `sweep`.

    Example:
        >>> import sagviz as sv
        >>> from sagviz import CFG, SAG
        >>> made = sv.sweep(sv.load(), "a fox", seeds=range(2), steps=2,
        ...                 guidance=[CFG(3.0), CFG(3.0) + SAG(1.0)], progress=False)
        >>> made
        <Sweep of 4 cells: 4 done>
        >>> list(made.table()["sag_scale"].fillna(0.0))
        [0.0, 1.0, 0.0, 1.0]
    """
    model = as_model(model)
    made = begin(
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
        clip_skip=clip_skip,
        timesteps=timesteps,
        store=store,
        keep=keep,
    )
    try:
        with Bar(len(made), progress) as bar:
            missing = made.missing()
            bar.start(len(made) - len(missing))
            going = run(
                model, made.plan, made.store, missing, batch=batch, executor=executor, told=bar.add
            )
            for _ in going:
                bar.end()
    except (Exception, KeyboardInterrupt) as error:
        raised = stopped(error, "the sweep")
        if isinstance(raised, Unfinished):
            raised.sweep = made
        raise raised from (error.__cause__ if raised is error else error)
    if failed := made.failed:
        warn(
            f"{len(failed)} of {len(made)} cells failed; sweep.failed says why, and the same call"
            " tries them again"
        )
    return made
