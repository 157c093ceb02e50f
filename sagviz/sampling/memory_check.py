"""Whether runs fit: their records on the CPU, their passes on the GPU; told before they begin."""

from __future__ import annotations

from collections.abc import Sequence

from sagviz.checks import format_bytes
from sagviz.errors import ArgumentError, ModelError
from sagviz.models.oom import advice
from sagviz.models.unfit import network_word
from sagviz.sampling.estimate import estimated, free_bytes
from sagviz.sampling.keep import record_bytes
from sagviz.sampling.prepare import Run

MAX_TRACE_BYTES = 4 * 2**30


def check_memory(runs: Sequence[Run], kept: Sequence[set[int]]) -> None:
    """Refuse more records than fit, more of the attention than was allowed, and passes that the GPU
    has no room for.
    """
    _check_captures(runs, kept)
    check_room(runs)
    needed = [len(indices) * record_bytes(run) for run, indices in zip(runs, kept, strict=True)]
    if sum(needed) <= MAX_TRACE_BYTES:
        return
    run, steps = runs[0], max(map(len, kept))
    fitting = MAX_TRACE_BYTES // sum(map(record_bytes, runs))
    every = -(-(run.evaluations - 1) // max(1, fitting - 1))
    advice = (
        f"keep={every} or more keeps one step in {every}"
        if fitting > 1
        else "make fewer images at once, or smaller ones"
    )
    raise ArgumentError(
        f"{steps} steps of this size need {sum(needed) / 2**30:.1f} GiB of records, "
        f"more than {MAX_TRACE_BYTES / 2**30:.0f}; {advice}"
    )


def _check_captures(runs: Sequence[Run], kept: Sequence[set[int]]) -> None:
    """Refuse more of the attention than the captures allow together."""
    needed = 0
    for run, indices in zip(runs, kept, strict=True):
        if run.capture is not None:
            s, steps = run.settings, sum(map(run.capture.acts, indices))
            needed += run.capture.bytes(
                run.model, s.prompt, size=s.size, images=s.images, evaluations=steps
            )
            run.capture.check(needed, f"{steps} steps" + f" of {len(runs)} runs" * (len(runs) > 1))


def check_room(runs: Sequence[Run]) -> None:
    """Refuse what certainly does not fit on a GPU; elsewhere the memory that is free is not known.

    Raises:
        ArgumentError: says what is needed, what there is, and what to lower.
        ModelError: the model has no weights.
    """
    model = runs[0].model
    if model.device.type == "meta":
        raise ModelError(
            f"{model.name} was loaded on 'meta', without weights, for sagviz.estimate alone; load"
            " it on a device to run it"
        )
    room = free_bytes(model)
    if room is None:
        return
    try:
        need = estimated(runs, tiled=False)
        need = need if need.peak <= room else estimated(runs)
    # a network that cannot be built anew from its configuration may run all the same
    except Exception:
        return
    if need.least > room:
        raise ArgumentError(
            f"{need.images} of {need.size[0]} x {need.size[1]} pixels need"
            f" {format_bytes(need.least)} on {model.device}, of which {format_bytes(need.unet)} for"
            f" a {network_word(need.network)} call of {need.rows} rows, and {format_bytes(room)}"
            f" are there; {advice(model)}"
        )
