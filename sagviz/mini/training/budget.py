"""How many scenes are rendered, and how long each network is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sagviz.mini.training.fit import Plan


@dataclass(frozen=True)
class Budget:
    """How many scenes to render, and how long to train each network."""

    scenes: int
    held_out: int
    judge: Plan
    vae: Plan
    decoder: Plan
    noisy: Plan
    text: Plan
    unet: Plan

    def shortened(self, share: float) -> Budget:
        """The same scenes, and a share of each network's steps."""
        shorter: dict[str, Any] = {
            name: replace(plan, steps=round(share * plan.steps))
            for name, plan in vars(self).items()
            if isinstance(plan, Plan)
        }
        return replace(self, **shorter)


FULL = Budget(
    scenes=48_000,
    held_out=2_000,
    judge=Plan(steps=1_600, rate=3e-3),
    vae=Plan(steps=9_000, rate=1e-3),
    decoder=Plan(steps=7_000, rate=8e-4),
    noisy=Plan(steps=4_000, rate=2e-3),
    text=Plan(steps=2_400, rate=1e-3),
    unet=Plan(steps=4_200, rate=8e-4, hold=0.5, ema=0.999),
)
FEW = Plan(steps=2, rate=1e-3, autocast=False)
SMOKE = Budget(
    scenes=96,
    held_out=32,
    judge=FEW,
    vae=FEW,
    decoder=FEW,
    noisy=FEW,
    text=FEW,
    unet=replace(FEW, ema=0.9),
)
