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

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from sagviz.files import write_whole


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train. `hold` is the fraction of the steps at full rate before the
    cosine to zero.
    """

    steps: int
    rate: float
    hold: float = 0.0
    warmup: int = 100
    weight_decay: float = 0.01
    ema: float = 0.0
    save_every: float = 120.0  # seconds

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
    module: nn.Module,
    loss_at: Callable[[np.random.Generator], Tensor],
    plan: Plan,
    checkpoint: Path,
    *,
    seed: int = 0,
    measure: Callable[[nn.Module], dict[str, float]] | None = None,
) -> nn.Module:
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
    start, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(saved["module"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        start, spent = saved["step"], saved["seconds"]
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
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_at(rng)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if plan.ema:
            decay = min(plan.ema, (step + 1) / (step + 10))
            with torch.no_grad():
                for kept, new in zip(average.parameters(), module.parameters(), strict=True):
                    kept.lerp_(new, 1 - decay)
        ended = step + 1 == plan.steps
        if ended or time.monotonic() - last_save > plan.save_every:
            seconds, last_save = spent + time.monotonic() - clock, time.monotonic()
            networks = {"module": module.state_dict(), "average": average.state_dict()}
            state = {
                **networks,
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": seconds,
            }
            save_atomically(state, checkpoint)
            line = {"step": step + 1, "seconds": round(seconds), "loss": float(np.mean(losses))}
            line |= measure(average) if measure else {}
            bar.set_postfix(line)
            with checkpoint.with_suffix(".jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            losses = []
    return average.eval()
