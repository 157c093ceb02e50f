"""The schedule of a run, laid out on diffusers' scheduler, and what is noted of it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

from sagviz.diffusion.noise_level import is_flow
from sagviz.errors import ArgumentError, warn
from sagviz.models import Model
from sagviz.models.schedulers import set_timesteps

FEW = 10  # steps whose first one is late because strides are long
ALL_THE_WAY = 0.8  # of the times that the model was trained on
OWN_STRIDE = ("DDIMScheduler", "PNDMScheduler")  # which take it whatever their spacing is


def lay_out(
    model: Model,
    planner: Any,
    steps: int,
    times: Sequence[int] | None,
    eta: float,
    size: tuple[int, int],
) -> frozenset[str]:
    """Lay the schedule out for a picture of `size` = (height, width) pixels; the keywords of the
    scheduler's step.
    """
    options = frozenset(inspect.signature(planner.step).parameters)
    if eta and "eta" not in options:
        raise ArgumentError(
            f"eta is {eta}, but {type(planner).__name__} has none; use scheduler='ddim' or eta=0"
        )
    set_timesteps(planner, steps, times, model.schedule(planner, steps, size))
    return options


def go_to(planner: Any, steps: int, strength: float | None, *, warns: bool) -> int:
    """Bring the schedule to where a run of that strength begins; how many evaluations that leaves
    out.

    Raises:
        ArgumentError: it leaves out all.
    """
    made = steps if strength is None else _part(planner, steps, strength)
    if made < 1:
        raise ArgumentError(
            f"strength is {strength} of {steps} steps, which leaves none to be made; give"
            f" {math.ceil(1000 / steps) / 1000:g} or more, or more steps"
        )
    begin: int = (steps - made) * planner.order
    if warns and begin and type(planner).__name__ == "PNDMScheduler":
        warn(
            "PNDM that begins after its first level is told of one level less noise than there is,"
            " in diffusers as here; scheduler='ddim' and 'dpm++ 2m' are not"
        )
    if hasattr(planner, "set_begin_index"):
        planner.set_begin_index(begin)
    return begin


def warn_of_strides(planner: Any, steps: int) -> None:
    """Warn where many steps do not go all the way: schedulers stride by whole numbers, rounded
    down, and either begin late or do not arrive.
    """
    if is_flow(planner) or steps < FEW:
        return
    kind, spacing = type(planner).__name__, planner.config.get("timestep_spacing")
    times = planner.config.num_train_timesteps
    first, solver = float(planner.timesteps.max()), "solver_order" in planner.config
    stride = times // (steps + solver)
    ends = kind in OWN_STRIDE and spacing != "leading"
    if (steps * stride if ends else first) < ALL_THE_WAY * times:
        trouble = (
            "leave noise in the picture"
            if ends
            else f"begin at t = {first:.0f} of {times}, where the model expects less noise than"
            " there is"
        )
        warn(
            f"{steps} steps of {kind}, with strides rounded down to {stride}, {trouble}; give steps"
            f"={times // (stride + 1) - solver}, which go all the way"
        )


def _part(planner: Any, steps: int, strength: float) -> int:
    """How many of the steps that strength makes, as in diffusers' pipelines: rounded down, and of
    flow matching up.
    """
    share = steps * strength
    return steps - int(steps - share) if is_flow(planner) else int(share)


def describe(scheduler: Any) -> dict[str, Any]:
    """Class name and configuration, as JSON would give them back."""
    config = {
        # NumPy's arrays, such as `trained_betas`, as lists
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in dict(scheduler.config).items()
        if not key.startswith("_")
    }
    return {
        "class": type(scheduler).__name__,
        **{k: v for k, v in config.items() if isinstance(v, str | int | float | list | None)},
    }
