"""What the engine costs beside bare U-Net passes and beside diffusers' pipelines, on the miniature;
`large.py` tells the same at the size of Stable Diffusion 1.5.

Everything is timed in one process, the peers in turn, and told as a ratio of medians: the machine
may be busy, the ratio holds. Both sides compute with as many CPU threads: the miniature's one,
whose reason has a row of its own, or torch's choice for joined calls, which keep several at work.
The pictures of both sides are compared, too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from benchmarks.bounds import bounded
from diffusers import StableDiffusionPipeline, StableDiffusionSAGPipeline
from diffusers.utils import logging
from evidence import Line, record

import sagviz as sv
from sagviz import CFG, SAG, image
from sagviz.attention.read import column_mass
from sagviz.guidance import Guidance
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import prepare

PROMPT = "a fox on a blue background"
SCALES = [(w, s) for w in (1.5, 3.0, 5.0, 7.5) for s in (0.25, 0.5, 0.75, 1.0)]


def timed(repeats: int, *actions: Callable[[], Any], warm: bool = False) -> list[tuple[float, Any]]:
    """Median seconds of each action and what it gave last; they take turns, where they are not
    `warm` after one round that does not count."""
    times: list[list[float]] = [[] for _ in actions]
    results: list[Any] = [None for _ in actions]
    for turn in range(warm, repeats + 1):
        for place, action in enumerate(actions):
            start = time.perf_counter()
            results[place] = action()
            if turn:
                times[place].append(time.perf_counter() - start)
    return [(statistics.median(own), result) for own, result in zip(times, results, strict=True)]


@contextmanager
def others(count: int) -> Iterator[None]:
    """That many processes at work."""
    spin = "print(flush=True)\nwhile True: pass"
    working = [
        subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) for _ in range(count)
    ]
    try:
        for each in working:
            assert each.stdout is not None
            each.stdout.readline()
        yield
    finally:
        for each in working:
            each.kill()
            each.communicate()


def row(
    model: str, what: str, ours: float, peer: float, of: str, aim: str, ratio: float, note: str = ""
) -> Line:
    """Seconds of both sides, and their ratio beside its bound."""
    times = f"{1e3 * ours:,.1f} ms beside {1e3 * peer:,.1f} ms"
    measured = f"{ratio:.2f} ({times}{', ' * bool(note)}{note})"
    how = "times faster than" if aim.startswith(">") else "time over that of"
    return bounded(f"{model}: {what}, {how} {of}", ratio, aim, measured)


class Bench:
    """One model on both sides: ours, and diffusers' two pipelines on the same networks."""

    def __init__(self, name: str, model: sv.Model, steps: int, repeats: int) -> None:
        self.name, self.model, self.steps, self.repeats = name, model, steps, repeats
        parts = {
            part: getattr(model, part)
            for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
        }
        rest: dict[str, Any] = {
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        self.pipes = [
            kind(**parts, **rest) for kind in (StableDiffusionPipeline, StableDiffusionSAGPipeline)
        ]
        for pipe in self.pipes:
            pipe.set_progress_bar_config(disable=True)
        self.noise = torch.randn(
            1, *model.latent_shape(model.default_size), generator=torch.Generator().manual_seed(7)
        )
        self.settings: dict[str, Any] = {"steps": steps, "noise": self.noise, "progress": False}
        self.lines = list[Line]()

    def row(self, *cells: Any, **note: Any) -> None:
        self.lines.append(row(self.name, *cells, **note))

    def theirs(self, cfg: float, sag: float | None) -> np.ndarray[Any, Any]:
        """diffusers' picture, (H, W, 3) from 0 to 1."""
        extra = {} if sag is None else {"sag_scale": sag}
        height, width = self.model.default_size
        with self.model.undisturbed():
            done = self.pipes[sag is not None](
                PROMPT,
                num_inference_steps=self.steps,
                guidance_scale=cfg,
                latents=self.noise,
                height=height,
                width=width,
                output_type="np",
                **extra,
            )
        return np.asarray(done.images[0])

    def difference(
        self, traces: Sequence[sv.Trace], pictures: Sequence[np.ndarray[Any, Any]]
    ) -> str:
        """Largest difference of any colour of any picture, both sides from 0 to 1, before rounding
        to bytes.
        """
        with torch.no_grad():
            decoded = [
                self.model.vae.decode(t.latents / self.model.vae.config.scaling_factor).sample[0]
                for t in traces
            ]
        ours = [((pixels / 2 + 0.5).clamp(0, 1)).permute(1, 2, 0).numpy() for pixels in decoded]
        return (
            "pictures within"
            f" {max(float(np.abs(a - b).max()) for a, b in zip(ours, pictures, strict=True)):.0e}"
        )

    @torch.no_grad()
    def bare(self) -> None:
        """The U-Net calls of CFG + SAG and nothing else."""
        text = self.model.embed(PROMPT).expand(2).text
        t = torch.tensor(500)
        with self.model.undisturbed():
            for _ in range(self.steps):
                self.model.unet(self.noise.expand(2, -1, -1, -1), t, encoder_hidden_states=text)
                self.model.unet(self.noise, t, encoder_hidden_states=text[:1])

    def overhead(self, aim: str) -> None:
        """A trace of CFG + SAG, with all its records, over its bare passes."""
        settings: dict[str, Any] = {
            "guidance": CFG(3.0) + SAG(1.0),
            "steps": self.steps,
            "noise": self.noise,
        }
        (ours, _), (bare, _) = timed(
            self.repeats, lambda: list(sv.steps(self.model, PROMPT, **settings)), self.bare
        )
        self.row(
            f"{self.steps} steps of CFG + SAG", ours, bare, "the bare passes", aim, ours / bare
        )

    def beside_others(self, aim: str) -> None:
        """A trace beside two processes that compute all the time, over the same on the machine as
        it is.
        """

        def seconds() -> float:
            start = time.perf_counter()
            sv.trace(self.model, PROMPT, guidance=CFG(3.0) + SAG(1.0), **self.settings)
            return time.perf_counter() - start

        seconds()
        quiet, busy = list[float](), list[float]()
        for _ in range(self.repeats):
            quiet.append(seconds())
            with others(2):
                busy.append(seconds())
        ours, peer = statistics.median(busy), statistics.median(quiet)
        what = f"{self.steps} steps beside two busy processes"
        note = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        self.row(what, ours, peer, "the same on the machine as it is", aim, ours / peer, note=note)

    def compare(self, aim: str) -> None:
        """CFG beside CFG + SAG."""
        (ours, traces), (peer, pictures) = timed(
            self.repeats,
            lambda: sv.compare(self.model, PROMPT, cfg=3, sag=1, **self.settings),
            lambda: [self.theirs(3.0, None), self.theirs(3.0, 1.0)],
        )
        note = self.difference(traces, pictures)
        self.row(
            f"compare, {self.steps} steps",
            ours,
            peer,
            "diffusers' two pipelines",
            aim,
            peer / ours,
            note=note,
        )

    def grid(self, aim: str, rounds: int) -> None:
        """16 cells of scales from one noise."""

        def ours() -> list[sv.Trace]:
            guidances: list[Guidance] = [CFG(w) + SAG(s) for w, s in SCALES]
            runs = [
                prepare(self.model, PROMPT, guidance=g, steps=self.steps, noise=self.noise)
                for g in guidances
            ]
            return collect(runs, keep=self.steps)

        def theirs() -> list[np.ndarray[Any, Any]]:
            return [self.theirs(w, s) for w, s in SCALES]

        (mine, traces), (peer, pictures) = timed(rounds, ours, theirs, warm=True)
        note = self.difference(traces, pictures)
        self.row(
            f"4 x 4 grid of scales, {self.steps} steps",
            mine,
            peer,
            "diffusers' SAG, 16 times",
            aim,
            peer / mine,
            note=note,
        )

    def what_if(self, aim: str) -> None:
        """Other scales at the middle of a trace, with the new preview."""
        trace = sv.trace(self.model, PROMPT, guidance=CFG(3.0) + SAG(1.0), **self.settings)
        middle = self.steps // 2

        def ours() -> object:
            step = sv.what_if(self.model, trace, middle, guidance=CFG(5.0) + SAG(0.5))
            assert step.forwards == 0
            assert trace.latent_rgb is not None
            return image.preview(step.x0_guided, trace.latent_rgb)

        (mine, _), (peer, _) = timed(max(3, self.repeats), ours, lambda: self.theirs(5.0, 0.5))
        self.row(
            f"what-if at step {middle} of {self.steps}",
            mine,
            peer,
            "diffusers again from the start",
            aim,
            peer / mine,
        )


def mass() -> Line:
    """A_t at 4,096 tokens beside one plain attention of the same size."""
    q, k, v = (torch.randn(1, 8, 4096, 40) for _ in range(3))
    (ours, _), (peer, _) = timed(
        7,
        lambda: column_mass(q, k, 40**-0.5),
        lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v),
    )
    what = "4,096 tokens, 8 heads"
    return row("A_t", what, ours, peer, "a plain attention", "<= 3", ours / peer)


def repeats() -> int:
    """What the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--repeats", type=int, default=7, help="timed rounds of what takes seconds (7)"
    )
    return int(parser.parse_args().repeats)


def main() -> None:
    rounds = repeats()
    logging.set_verbosity_error()
    lines = [mass()]
    bench = Bench("miniature", sv.load(), 50, rounds)
    bench.overhead("<= 1.25")
    bench.beside_others("<= 2.2")
    bench.what_if(">= 100")
    model = sv.load()
    model.threads = None
    joined = Bench("miniature with torch's threads", model, 50, rounds)
    joined.compare(">= 1.2")
    joined.grid(">= 2", rounds=3)
    lines += bench.lines + joined.lines
    record("Speed of the engine", "make bench TABLES=engine", lines)


if __name__ == "__main__":
    main()
