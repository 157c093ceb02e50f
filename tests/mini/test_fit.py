"""The miniature's training loop: a run that was killed goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sagviz.mini.training.fit import Plan, fit

PLAN = Plan(steps=12, rate=0.05, hold=0.5, warmup=3, ema=0.9, save_every=0.0)


def train(checkpoint: Path, stop_at: int | None = None) -> nn.Module:
    """Fit a line; with `stop_at`, die in that step."""
    torch.manual_seed(1)
    line, done = nn.Linear(3, 1), 0

    def loss_at(rng: np.random.Generator) -> Tensor:
        nonlocal done
        done += 1
        if done == stop_at:
            raise KeyboardInterrupt
        x = torch.from_numpy(rng.normal(size=(8, 3))).float() + 0.1 * torch.randn(8, 3)
        return (line(x).float() - x.sum(dim=1, keepdim=True)).square().mean()

    return fit(line, loss_at, PLAN, checkpoint)


def test_a_killed_run_ends_where_an_undisturbed_one_does(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed.pt", stop_at=6)
    resumed = train(tmp_path / "killed.pt")
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert not list(tmp_path.glob("*.part"))


def test_the_rate_warms_up_holds_and_ends_at_zero() -> None:
    rates = [PLAN.rate_at(step) for step in range(PLAN.steps + 1)]
    assert rates[0] == pytest.approx(PLAN.rate / 3)
    assert rates[3:6] == [PLAN.rate] * 3
    assert rates[7:] == sorted(rates[7:], reverse=True)
    assert rates[-1] == pytest.approx(0)
