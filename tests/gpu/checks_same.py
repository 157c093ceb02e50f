"""The same pictures: on CPU and GPU, twice over, and finite in the short number formats."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from gpu.families import NAMES, twin
from gpu.rows import Row, row
from gpu.stage import PROMPT, Stage, both, final, heard, run, without_tf32
from tiny import difference, margin

import sagviz as sv

SMALL = {"sd15": (256, 256), "sd21": (256, 256), "sdxl": (256, 256)}
FULL = {"sd15": (512, 512), "sd21": (768, 768), "sdxl": (1024, 1024)}


def same(stage: Stage, family: str) -> Iterator[Row]:
    """One family: float32 beside the CPU, the same bits twice, float16 and bfloat16."""
    mini, name = family == "miniature", NAMES[family]
    model = stage.model(family)
    options = {
        "steps": stage.choose(50 if mini else 3, 3),
        "size": (32, 32) if stage.toy else SMALL.get(family),
    }
    ours, cpu = run(model, **options), run(twin(model), **options)
    equal = torch.equal(ours[0].x_t, cpu[0].x_t)
    yield row(
        f"{name}: start noise on both devices", "equal" if equal else "differs", "equal", equal
    )
    yield _beside(name, _tf32(), ours, cpu, options["steps"], aim=not stage.cuda)
    again = torch.equal(final(run(model, **options)), final(ours))
    yield row(
        f"{name}: two float32 runs on {stage.device}",
        "equal to the bit" if again else "differ",
        "equal",
        again,
    )
    if stage.cuda:
        with without_tf32():
            yield _beside(name, "no TF32", run(model, **options), cpu, options["steps"], aim=True)
    del cpu, ours
    stage.clean()
    for dtype in (torch.float16, torch.bfloat16):
        yield _finite(stage, family, dtype)


def _tf32() -> str:
    return (
        f"TF32 as PyTorch leaves it: convolutions {torch.backends.cudnn.allow_tf32},"
        f" products {torch.backends.cuda.matmul.allow_tf32}"
    )


def _beside(
    name: str, how: str, ours: Sequence[sv.Step], cpu: Sequence[sv.Step], steps: int, *, aim: bool
) -> Row:
    """The last latents beside the CPU's. Ten bits of a number, as TF32 has, are no float32: what it
    costs is said, and has no aim.
    """
    apart = difference(final(ours), final(cpu))
    flips = sum(int((a.mask != b.mask).sum()) for a, b in zip(ours, cpu, strict=True))
    first = difference(ours[0].out_base, cpu[0].out_base)
    return row(
        f"{name}: float32 latents after {steps} steps, largest difference from the CPU's over their"
        f" RMS ({how})",
        f"{apart:.1e}",
        "<= 1e-3" if aim else "",
        apart <= 1e-3 if aim else None,
        f"first U-Net output {first:.1e}; {flips} mask cells differ; smallest margin of a mask"
        f" {margin(cpu):.1e}",
        difference=apart,
    )


def _finite(stage: Stage, family: str, dtype: torch.dtype) -> Row:
    """A picture at the family's own size."""
    model, name = stage.model(family, dtype), NAMES[family]
    size = (32, 32) if stage.toy else FULL.get(family)
    with heard() as said:
        trace = sv.trace(
            model, PROMPT, guidance=both(model), steps=2, size=size, seed=7, progress=False
        )
    kind = str(dtype).removeprefix("torch.")
    fine = bool(trace.latents.isfinite().all()) and trace.image.getextrema() is not None
    side = trace.image.size
    twice = torch.equal(trace.latents, final(run(model, steps=2, size=size)))
    return row(
        f"{name}: {kind}, {side[1]} x {side[0]} pixels, latents and picture",
        ("finite" if fine else "NaN") + (", twice the same bits" if twice else ", runs differ"),
        "finite, the same",
        fine and twice,
        "; ".join(said),
    )


FAMILY_CHECKS = {family: partial(same, family=family) for family in NAMES}
