"""The same prompt and noise under several guidances, side by side."""

from __future__ import annotations

from typing import Any

from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, SAG
from sagviz.models import Model
from sagviz.runs import prepare
from sagviz.sampling import collect_together
from sagviz.traces import Trace


def compare(
    model: Model,
    prompt: str = "",
    *,
    cfg: float | CFG = 3.0,
    sag: float | SAG = 1.0,
    unguided: bool = False,
    progress: bool = True,
    **settings: Any,
) -> tuple[Trace, ...]:
    """CFG and CFG+SAG of one prompt and one noise: (cfg, cfg_sag), or (plain, cfg, cfg_sag) with `unguided=True`.

    The runs share their U-Net calls and their first step: the trace with SAG counts every call, and the rows that it shares.

    Args:
        cfg: CFG's scale, or a `CFG`.
        sag: SAG's scale, or a `SAG` with its own threshold, blur ...
        settings: those of `trace`, but for `guidance`.
    """
    if "guidance" in settings:
        raise ArgumentError("compare makes its guidance from cfg= and sag=; give those, or use trace for any other guidance")
    cfg, sag = cfg if isinstance(cfg, CFG) else CFG(cfg), sag if isinstance(sag, SAG) else SAG(sag)
    options = {"keep": settings.pop("keep", None), "progress": progress}
    run = prepare(model, prompt, guidance=cfg + sag, **settings)
    settings["seed"] = run.settings.seed  # the one that was drawn, where none was given
    runs = [run, prepare(model, prompt, guidance=cfg, **settings)]
    if unguided:
        settings["negative_prompt"] = ""  # it has no place without CFG
        runs.append(prepare(model, prompt, **settings))
    with_sag, *others = collect_together(runs, **options)
    return (*reversed(others), with_sag)
