"""`estimate`: what memory a run would take, without running it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sagviz.models import Model
from sagviz.room import Estimate, estimated
from sagviz.runs import prepare
from sagviz.sampling import kept_steps, record_bytes


def estimate(model: Model, prompt: str = "", *, keep: int | Collection[int] | None = None, **settings: Any) -> Estimate:
    """The memory of a run, before it: on the device and, for its records, on the CPU. Takes what `trace` takes.

    The networks' own code runs without numbers, on torch's meta device, and the bytes that live at once are counted: some
    seconds for SDXL, no memory, no GPU. A model that was loaded with `device="meta"` has read its configuration alone:

        sv.estimate(sv.load("stabilityai/stable-diffusion-xl-base-1.0", device="meta", dtype="float16"), guidance=CFG(5.0))

    Attention counts as PyTorch's fused kernels take it, without its N x N map. CUDA's own context (some 0.4 GiB), the
    workspaces of cuDNN and gaps between allocations come on top.

    Args:
        model: from `load`.
        prompt: counts where a `Capture` keeps attention to its words.
        keep: which steps are kept; all where `None`.
        settings: those of `trace`.

    Raises:
        ArgumentError: what `trace` would refuse as well, but for runs that are too large.
    """
    run = prepare(model, prompt, **settings)
    return estimated([run], records=len(kept_steps(keep, run.evaluations)) * record_bytes(run))
