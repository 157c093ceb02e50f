"""How fast: the engine beside bare passes and diffusers, and what it makes the device wait for."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gpu.families import NAMES
from gpu.rows import Row, needs_cuda, row
from gpu.stage import MIB, PROMPT, Stage, both, in_turn, run
from torch.profiler import ProfilerActivity, profile

import sagviz as sv

WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")


def engine(stage: Stage) -> Iterator[Row]:
    """A step of CFG + SAG with all its records, over the same U-Net calls alone."""
    for family, images in (("sd15", 1), ("sd15", 4), ("miniature", 1)):
        model = stage.model(family, torch.float32 if family == "miniature" else stage.short)
        steps = stage.choose(8, 2)
        calls = _bare(model, steps, images)
        ours, bare = in_turn(
            stage.choose(5, 1),
            partial(_steps, stage, model, steps, images),
            partial(stage.seconds, calls),
        )
        yield row(
            f"{NAMES[family]}: a step of {images} pictures with all records, over bare U-Net calls",
            f"{ours / bare:.3f}",
            "<= 1.05",
            None if stage.toy else ours / bare <= 1.05,
            f"{1e3 * ours / steps:.1f} ms and {1e3 * bare / steps:.1f} ms a step",
            ratio=ours / bare,
        )


def _steps(stage: Stage, model: sv.Model, steps: int, images: int) -> float:
    """Seconds of so many steps after the first."""
    going = iter(
        sv.steps(model, PROMPT, guidance=both(model), steps=steps + 1, images=images, seed=7)
    )
    next(going)
    return stage.seconds(lambda: list(going))


def _bare(model: sv.Model, steps: int, images: int) -> Any:
    """The U-Net calls of those steps, on inputs that are there already."""
    text = model.embed(PROMPT).expand(2 * images).text
    noise = run(model, steps=1, images=images)[0].x_t.to(model.device, model.dtype)
    both_rows, t = noise.repeat(2, 1, 1, 1), torch.full((2 * images,), 500, device=model.device)

    @torch.no_grad()
    def calls() -> None:
        for _ in range(steps):
            model.unet(both_rows, t, encoder_hidden_states=text)
            model.unet(noise, t[:images], encoder_hidden_states=text[:images])

    return calls


def waits(stage: Stage) -> Iterator[Row]:
    """What a step makes the host wait for, by torch's profiler, and where it is in the code."""
    aim = "1 wait, 1 copy to the host"
    for family in ("miniature", "sd15"):
        what = f"{NAMES[family]}: waits for the device in a step, copies from and to it"
        if not stage.cuda:
            yield needs_cuda(what, aim)
            continue
        model = stage.model(family, torch.float32 if family == "miniature" else torch.float16)
        run(model, steps=2)
        few, many = (_events(model, steps) for steps in (2, 4))
        a_step = {name: (many[name] - few[name]) / 2 for name in many}
        synced = sum(a_step.get(name, 0) for name in WAITS)
        back, there = (_sum(a_step, f"Memcpy {way}") for way in ("DtoH", "HtoD"))
        yield row(
            what,
            f"{synced:g} waits, {back:g} copies to the host, {there:g} to the device",
            aim,
            synced <= 1 and back <= 1,
            "waits are at " + ", ".join(_places(model)),
            waits=synced,
            to_host=back,
            to_device=there,
        )


def _sum(counts: dict[str, float], start: str) -> float:
    return sum(number for name, number in counts.items() if name.startswith(start))


def _events(model: sv.Model, steps: int) -> Counter[str]:
    """How often each thing happens in so many steps after the first."""
    going = iter(sv.steps(model, PROMPT, guidance=both(model), steps=10, seed=7))
    next(going)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        for _ in range(steps):
            next(going)
    return Counter({each.key: each.count for each in seen.key_averages()})


def _places(model: sv.Model) -> list[str]:
    """The lines of code that wait in one step, as torch's own debug mode tells."""
    going = iter(sv.steps(model, PROMPT, guidance=both(model), steps=10, seed=7))
    next(going)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            next(going)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waiting = [each for each in caught if "called a synchronizing" in str(each.message)]
    found = Counter(f"{'/'.join(Path(w.filename).parts[-2:])}:{w.lineno}" for w in waiting)
    return [f"{place} ({count} x)" for place, count in found.items()]


def preview(stage: Stage) -> Iterator[Row]:
    """A run in the Playground, pictures on the screen, over the same run without it."""
    yield _preview(stage, "sd15", stage.choose(20, 2))
    yield _preview(stage, "miniature", stage.choose(20, 2))


def _preview(stage: Stage, family: str, steps: int) -> Row:
    model = stage.model(family, torch.float32 if family == "miniature" else stage.short)
    playground = sv.Playground(model, prompt=PROMPT, steps=steps, seed=7)
    shown, hidden = stage.medians(
        stage.choose(2, 1),
        playground.run,
        lambda: sv.compare(model, PROMPT, cfg=3, sag=1, seed=7, steps=steps, progress=False),
    )
    one = _one_preview(playground, steps)
    playground.close()
    return row(
        f"{NAMES[family]}: a run of {steps} steps in the Playground, over `compare`",
        f"{shown / hidden:.2f}",
        "<= 1.25",
        None if stage.toy else shown / hidden <= 1.25,
        f"{1e3 * shown / steps:.1f} ms and {1e3 * hidden / steps:.1f} ms a step; one preview of"
        f" both pictures {1e3 * one:.1f} ms, 15 a second at most",
        ratio=shown / hidden,
        preview_ms=1e3 * one,
    )


def _one_preview(playground: sv.Playground, steps: int) -> float:
    """Seconds that it takes to show both pictures of a step."""
    pair, start = [trace[-1] for trace in playground.traces], time.perf_counter()
    for _ in range(5):
        playground.screen.last = 0.0  # the last preview was long ago
        playground.screen.follow(pair, steps)
    return (time.perf_counter() - start) / 5


def all_layers(stage: Stage) -> Iterator[Row]:
    """Attention of every layer, and to each word: its cost in time and memory."""
    model, steps = stage.model("sd15", stage.short), stage.choose(3, 2)
    read = sv.Capture("all", ("mass", "words"))

    def captured() -> list[sv.Step]:
        return run(model, steps=steps, capture=read)

    found = captured()[-1].captured
    right = all(abs(float(each.mass.mean()) - 1) < 1e-3 for each in found.values())
    slow, quick = stage.medians(stage.choose(2, 1), captured, lambda: run(model, steps=steps))
    memory = ""
    if stage.cuda:
        more = stage.peak(captured) - stage.peak(lambda: run(model, steps=steps))
        memory = f"; {more / MIB:.0f} MiB more at the peak"
    yield row(
        f"{NAMES['sd15']}: attention of all {len(found)} layers, mass and words",
        f"{slow / quick:.2f} x the time of a step",
        "maps whose mean is 1",
        right,
        f"{1e3 * slow / steps:.0f} ms and {1e3 * quick / steps:.0f} ms a step{memory}",
        ratio=slow / quick,
    )
