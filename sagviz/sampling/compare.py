"""The same prompt and noise under several guidances, side by side."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, SAG, Guidance
from sagviz.models import Model
from sagviz.records.trace import Trace
from sagviz.sampling.loop import collect_together
from sagviz.sampling.prepare import prepare


def compare(
    model: Model,
    prompt: str = "",
    *,
    cfg: float | CFG | EllipsisType | None = ...,
    sag: float | SAG = 1.0,
    unguided: bool = False,
    progress: bool = True,
    **settings: Any,
) -> tuple[Trace, ...]:
    """CFG and CFG+SAG of one prompt and one noise: (cfg, cfg_sag), or (plain, cfg, cfg_sag) with
    `unguided=True`.

    Without CFG, which a model of pixels has no use for, it is (plain, sag) in both cases.

    The runs share their U-Net calls and their first step: the trace with SAG counts every call, and
    the rows that it shares.

    Args:
        cfg: CFG's scale, or a `CFG`; `None` leaves it out; `...` is 3 where the model reads a
            prompt, else `None`.
        sag: SAG's scale, with the model's own blur (`Model.sag`), or a `SAG` with its own
            threshold, blur ...
        settings: those of `trace`, but for `guidance`.
    """
    if "guidance" in settings:
        raise ArgumentError(
            "compare makes its guidance from cfg= and sag=; give those, or use trace for any other"
            " guidance"
        )
    if isinstance(cfg, EllipsisType):
        cfg = 3.0 if model.reads_text else None
    sag = sag if isinstance(sag, SAG) else model.sag(sag)
    without = Guidance() if cfg is None else Guidance((cfg if isinstance(cfg, CFG) else CFG(cfg),))
    options = {"keep": settings.pop("keep", None), "progress": progress}
    run = prepare(model, prompt, guidance=without + sag, **settings)
    settings["seed"] = run.settings.seed  # the one that was drawn, where none was given
    if cfg is None:
        # it has no place without CFG, of which the first run has warned
        settings["negative_prompt"] = ""
    runs = [run, prepare(model, prompt, guidance=without, **settings)]
    if unguided and cfg is not None:
        settings["negative_prompt"] = ""
        runs.append(prepare(model, prompt, **settings))
    with_sag, *others = collect_together(runs, **options)
    return (*reversed(others), with_sag)
