"""One command goes from sprites to a model that `load` opens, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.mini import train
from sagviz.mini.fit import Plan


def test_from_sprites_to_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SCENES": 96, "HELD_OUT": 8}.items():
        monkeypatch.setattr(train, name, value)
    for name in ("VAE_PLAN", "JUDGE_PLAN", "UNET_PLAN"):
        monkeypatch.setattr(train, name, Plan(steps=2, rate=1e-3, ema=0.9 if name == "UNET_PLAN" else 0.0))
    command = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "model"), "--threads", "1"]
    train.main(command)
    model = sv.load(tmp_path / "model")
    made = sv.trace(model, "a fox on a blue background", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
    assert made.image.size == (64, 64)
    assert made.latents.isfinite().all()

    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").rglob("*") if path.is_file()}
    weights = (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    train.main(command)
    assert (tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    trained = [path for path, time in times.items() if path.suffix == ".pt" and path.stat().st_mtime_ns != time]
    assert not trained, "the second run trained again"
