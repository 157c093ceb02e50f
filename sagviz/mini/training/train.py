"""From raw sprites to weights, resumable: `python -m sagviz.mini.training`.

Each stage leaves its result in the work folder and is skipped when that is there; a stage that was
killed goes on at its last checkpoint. Stages can be run one by one, on several cores at once:
"unet" needs "text", it and "noisy" need "latents", all need "scenes".
The finished model is written in diffusers' own folder format, its judges beside it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from sagviz.mini import WEIGHTS
from sagviz.mini.training.budget import FULL, SMOKE
from sagviz.mini.training.export import export
from sagviz.mini.training.stages import STAGES, Stages


def main(argv: list[str] | None = None) -> None:
    """Render, train the VAE, the judges and the denoiser, and export."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.keep_encoder and not arguments.start:
        parser.error(
            "--keep-encoder keeps the encoder of an earlier model; give its folder with --start"
        )
    torch.set_num_threads(arguments.threads)
    work = arguments.work or Path(".mini/smoke" if arguments.smoke else ".mini")
    budget = SMOKE if arguments.smoke else FULL
    budget = budget.shortened(0 if arguments.export_now else arguments.share)
    stages = Stages(work, budget, arguments.start, arguments.keep_encoder)
    if arguments.stage:
        getattr(stages, arguments.stage)
    else:
        export(stages, arguments.out or (work / "model" if arguments.smoke else WEIGHTS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sagviz.mini.training", description=__doc__)
    parser.add_argument("--work", type=Path, help="folder of checkpoints and logs (.mini)")
    parser.add_argument(
        "--out", type=Path, help="folder for the finished model (the package's own)"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="folder of an earlier model whose weights the VAE and the denoiser start from",
    )
    parser.add_argument(
        "--keep-encoder",
        action="store_true",
        help="leave the VAE's encoder as it is in --start, with it the latents and the judges",
    )
    parser.add_argument(
        "--stage", choices=STAGES, help="run this stage and what it needs, and export nothing"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="CPU threads; fewer leave room for other work",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="share of the full number of steps: less to go on from --start (1)",
    )
    parser.add_argument(
        "--export-now", action="store_true", help="export the last checkpoints, train nothing"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="every stage with tiny counts, to see that it runs (.mini/smoke)",
    )
    return parser
