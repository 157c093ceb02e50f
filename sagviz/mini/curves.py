"""The picture of a training: what each network's log says, over its steps."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure

PANELS = {  # log of a stage -> title, and the measures drawn
    "vae": ("VAE: PSNR of held-out renders in dB", ("psnr",)),
    "decoder": ("decoder alone: PSNR of held-out renders in dB", ("psnr",)),
    "judge": ("judge: held-out renders right", ("objects", "background", "relation")),
    "noisy": ("noisy-latent classifier: held-out right", ("t=100", "t=500", "t=900")),
    "text": ("text encoder: layout of held-out captions right", ("layout",)),
    "unet": ("U-Net: held-out squared error of the noise; order of two objects read", ("held_out", "order")),
}


def read_log(path: Path) -> list[dict[str, float]]:
    """The lines of a training log, one for each checkpoint; none where the stage has not run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def draw(work: Path, target: Path) -> None:
    """Write the picture of all logs in a work folder as PNG."""
    figure = Figure(figsize=(12, 5.4), layout="constrained")
    for axes, (stage, (title, measures)) in zip(figure.subplots(2, 3).flat, PANELS.items(), strict=True):
        lines = read_log(work / f"{stage}.jsonl")
        for name in measures:
            axes.plot([line["step"] for line in lines], [line[name] for line in lines], ".-", label=name)
        axes.set(title=title, xlabel="step")
        if len(measures) > 1:
            axes.legend()
    figure.savefig(target, dpi=80)
