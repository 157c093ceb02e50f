"""A run as a film: its frames are read back from the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image, ImageSequence
from tiny import is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.image import enlarge, preview

PANES = ("x_t", "attention", "sag", "image")


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    """SAG ends half the way."""
    guidance = CFG(3.0) + SAG(1.0, stop=0.5)
    return sv.trace(model, "a fox", steps=4, seed=3, guidance=guidance, progress=False)


def frames(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Pictures, and how many milliseconds each stays."""
    if path.suffix == ".mp4":
        read = imageio_ffmpeg.read_frames(str(path))
        meta = next(read)
        width, height = meta["size"]
        shown = [np.frombuffer(each, np.uint8).reshape(height, width, 3) for each in read]
        return shown, [round(1000 / meta["fps"])] * len(shown)
    film = Image.open(path)
    shown, stays = [], []
    for each in ImageSequence.Iterator(film):
        shown.append(np.asarray(each.convert("RGB")))
        stays.append(int(film.info["duration"]))
    return shown, stays


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "bound"), [("gif", 25), ("webp", 25), ("mp4", 40)])
def test_each_step_is_a_frame_with_its_pictures(
    trace: sv.Trace, tmp_path: Path, kind: str, bound: int
) -> None:
    shown, stays = frames(trace.to_video(tmp_path / f"a.{kind}", panes=PANES, rate=5))
    assert stays[0] == 200
    assert sum(stays) == pytest.approx(3 * 200 + 2000, abs=250)
    if kind == "mp4":  # the last step again and again
        assert len(shown) == 13
        shown = shown[:4]
    assert len(shown) == 4
    for step, frame in zip(trace, shown, strict=True):
        rgb, height = trace.latent_rgb, frame.shape[0]
        cells = enlarge(preview(step.x_t / step.level.norm, rgb)[0], 256)
        inside = frame[height - 16 - 256 : height - 16, 16 : 16 + 256].astype(float)
        apart = np.abs(inside - np.asarray(cells, dtype=float)).mean()
        assert apart < bound, step.index
        assert (frame.shape[0] % 2, frame.shape[1] % 2) == (0, 0)


def test_what_cannot_be_filmed_is_said(
    trace: sv.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("a.avi", {}, "ends in .mp4, .gif, .webp"),
        ("a.gif", {"panes": ["x_t", "eps"]}, "x0_guided"),
        ("a.gif", {"panes": "x_t"}, "in a list"),
        ("a.gif", {"rate": 0}, "from 0.1 to 60"),
        ("a.gif", {"image": 1}, "from 0 to 0"),
        ("no/a.gif", {}, "cannot write"),
        ("a.mp4", {}, r"pip install 'sagviz\[video\]'"),
    ]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    for name, how, hint in cases:
        with pytest.raises(sv.SagvizError, match=hint) as error:
            trace.to_video(tmp_path / name, **how)
        assert is_one_sentence(error.value)
    assert not list(tmp_path.iterdir())
