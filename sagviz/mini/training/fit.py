"""One training loop for every network of the miniature: resumable, seeded by step, logged, with an
optional moving average.
"""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from sagviz.files import write_whole

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. `hold` is the fraction of the steps at full rate before the
    cosine to zero; `autocast` computes in bfloat16, which is slow on CPUs that have no such unit.
    """

    steps: int
    rate: float
    hold: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.0
    save_every: float = 120.0  # seconds
    autocast: bool = True

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: linear warm-up, plateau, cosine to zero."""
        progress = max(0.0, (step / self.steps - self.hold) / (1 - self.hold))
        return (
            self.rate
            * min(1.0, (step + 1) / self.warmup)
            * 0.5
            * (1 + math.cos(math.pi * min(progress, 1.0)))
        )


def save_atomically(content: object, path: Path) -> None:
    """`torch.save` that leaves either the old file or the new one, never half of one."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def fit(
    module: M,
    loss_at: Callable[[np.random.Generator], Tensor],
    plan: Plan,
    checkpoint: Path,
    *,
    seed: int = 0,
    measure: Callable[[M], dict[str, float]] | None = None,
) -> M:
    """Train `module` to the end of the plan and return it (its moving average where the plan asks
    for one).

    Each step draws from its own generator, seeded by (seed, step), so that a run that was killed
    goes on as if it had not been. The log, `<checkpoint>.jsonl`, gets a line of step, seconds, mean
    loss and `measure` at each checkpoint.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay
    )
    average = deepcopy(module).requires_grad_(False) if plan.ema else module
    saved = Checkpoint(checkpoint, {"module": module, "average": average, "optimizer": optimizer})
    start, spent = saved.load()
    clock, last_save, losses = time.monotonic(), time.monotonic(), []
    bar = tqdm(
        range(start, plan.steps),
        initial=start,
        total=plan.steps,
        desc=checkpoint.stem,
        mininterval=10,
    )
    for step in bar:
        rng = np.random.default_rng((seed, step))
        torch.manual_seed(int(rng.integers(2**31)))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=plan.autocast):
            loss = loss_at(rng)
        _descend(optimizer, loss, plan.rate_at(step))
        losses.append(loss.item())
        if plan.ema:
            _follow(average, module, min(plan.ema, (step + 1) / (step + 10)))
        if step + 1 == plan.steps or time.monotonic() - last_save > plan.save_every:
            seconds, last_save = spent + time.monotonic() - clock, time.monotonic()
            saved.save(step + 1, seconds)
            line = {"step": step + 1, "seconds": round(seconds), "loss": float(np.mean(losses))}
            line |= measure(average) if measure else {}
            bar.set_postfix(line)
            with checkpoint.with_suffix(".jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
    return average.eval()


@dataclass(frozen=True)
class Checkpoint:
    """A file with the states of what is being trained, by name, and how far it is."""

    path: Path
    parts: dict[str, nn.Module | torch.optim.Optimizer]

    def load(self) -> tuple[int, float]:
        """Steps and seconds so far, the states put back; none where there is no file."""
        if not self.path.exists():
            return 0, 0.0
        saved = torch.load(self.path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        return saved["step"], saved["seconds"]

    def save(self, step: int, seconds: float) -> None:
        states = {name: part.state_dict() for name, part in self.parts.items()}
        save_atomically({**states, "step": step, "seconds": seconds}, self.path)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """One step, gradients clipped at norm 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimizer.step()


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Move the average towards the trained weights."""
    for kept, new in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
