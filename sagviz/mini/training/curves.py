"""The picture of a training: what each network's log says, over its steps."""

from __future__ import annotations

import json
import math
from pathlib import Path

from matplotlib.figure import Figure

PANELS = (  # log of a stage, title, and the measures drawn
    ("vae", "VAE: PSNR of held-out renders in dB", ("psnr",)),
    ("decoder", "decoder alone: PSNR of held-out renders in dB", ("psnr",)),
    ("judge", "judge: held-out renders right", ("objects", "background", "relation")),
    ("noisy", "noisy-latent classifier: held-out right", ("t=100", "t=500", "t=900")),
    ("text", "text encoder: layout of held-out captions right", ("layout",)),
    ("unet", "U-Net: held-out squared error of the noise", ("held_out",)),
    ("unet", "U-Net: share of pairs whose order is read", ("order",)),
)
COLUMNS = 3


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a training log, one for each checkpoint; none where the stage has not run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def draw(work: Path, target: Path) -> None:
    """Write the picture of the logs that a work folder has as PNG; none where it has no log."""
    drawn = [
        (lines, title, measures)
        for stage, title, measures in PANELS
        if (lines := read_log(work / f"{stage}.jsonl"))
    ]
    if not drawn:
        return
    rows, columns = math.ceil(len(drawn) / COLUMNS), min(COLUMNS, len(drawn))
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), layout="constrained")
    for place, (lines, title, measures) in enumerate(drawn, start=1):
        axes = figure.add_subplot(rows, columns, place, title=title, xlabel="step")
        axes.title.set_fontsize(9)
        for name in measures:
            axes.plot(
                [line["step"] for line in lines], [line[name] for line in lines], ".-", label=name
            )
        if len(measures) > 1:
            axes.legend()
    figure.savefig(target, dpi=80)
