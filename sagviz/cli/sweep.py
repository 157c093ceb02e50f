"""`sagviz sweep`: every combination of settings, and a table of measures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import TYPE_CHECKING, Any

from sagviz.checks.texts import whole
from sagviz.cli.flags import PURPOSES, add_schedule, schedule
from sagviz.files import from_home
from sagviz.mini import NAME
from sagviz.reports.texts import scale

if TYPE_CHECKING:
    from sagviz.guidance import Guidance
    from sagviz.models import Model

CFG_SCALE = 3.0
ABOUT = (
    "Make every combination of the settings and write a table of measures. The same command goes on"
    " where it stopped."
)
GIVEN = ("prompts", "seeds", "steps", "negative_prompt", "images", "batch", "store")


def add(commands: Any) -> None:
    """Add the command to a parser's; flags that take several values are its axes."""
    parser = commands.add_parser(
        "sweep", help="make every combination of settings", description=ABOUT
    )

    def axis(flag: str, kind: Callable[[str], object], default: object, text: str) -> None:
        parser.add_argument(
            flag, type=kind, nargs="+", default=[default], help=f"{text} ({default!r})"
        )

    axis("--prompts", str, "", "what to draw, each in quotes")
    axis("--seeds", whole, 0, "of the start noise")
    axis("--steps", whole, 50, PURPOSES["steps"])
    axis("--cfg-scale", scale, CFG_SCALE, PURPOSES["cfg_scale"])
    axis("--sag-scale", scale, 1.0, PURPOSES["sag_scale"])
    axis("--threshold", float, 1.0, PURPOSES["threshold"])
    axis("--blur-sigma", float, None, PURPOSES["blur_sigma"])
    axis("--schedulers", str, "", PURPOSES["scheduler"])
    parser.add_argument("--negative-prompt", default="", help=PURPOSES["negative_prompt"])
    parser.add_argument("--model", type=from_home, default=NAME, help=PURPOSES["model"])
    parser.add_argument(
        "--images", type=whole, default=1, help="how many in each cell; image i uses seed + i (1)"
    )
    parser.add_argument(
        "--batch", type=whole, help="how many cells run together (as fits the latent's size)"
    )
    parser.add_argument(
        "--store",
        default="runs",
        help="folder or fsspec address of the cells and of table.csv (runs)",
    )
    add_schedule(parser)
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--workers",
        type=whole,
        help="processes of this machine that share the work, one for each GPU (none)",
    )
    engine.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="of the Dask scheduler whose workers share it, tcp://HOST:8786 (none)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make the sweep; the status is 1 where cells failed."""
    from sagviz.models.load import load
    from sagviz.sweeps import sweep
    from sagviz.sweeps.fsspec_store import store_at

    model = load(arguments.model or None)
    with _executor(arguments) as executor:
        made = sweep(
            model,
            guidance=_guidance(model, arguments),
            schedulers=[name or None for name in arguments.schedulers],
            executor=executor,
            **schedule(arguments),
            **{name: getattr(arguments, name) for name in GIVEN},
        )
    for cell, reason in made.failed.items():
        settings = ", ".join(f"{name} {value!r}" for name, value in made.shown(cell).items())
        print(f"sagviz: failed: {settings}: {reason}", file=sys.stderr)
    print(store_at(arguments.store).write("table.csv", made.table().to_csv(index=False).encode()))
    return 1 if made.failed else 0


def _executor(arguments: argparse.Namespace) -> AbstractContextManager[Any]:
    from sagviz.sweeps import cluster, pool

    if arguments.dask:
        return cluster(arguments.dask)
    return nullcontext() if arguments.workers is None else pool(arguments.workers)


def _guidance(model: Model, arguments: argparse.Namespace) -> list[Guidance]:
    """Every sum of the scales."""
    from sagviz.guidance import CFG, Guidance

    no_cfg = not model.reads_text and arguments.cfg_scale == [CFG_SCALE]  # nobody asked for it
    cfgs = [Guidance()] if no_cfg else [Guidance((CFG(scale),)) for scale in arguments.cfg_scale]
    scales = product(cfgs, arguments.sag_scale, arguments.threshold, arguments.blur_sigma)
    return [
        cfg + model.sag(sag, threshold=psi, **({} if sigma is None else {"blur_sigma": sigma}))
        for cfg, sag, psi, sigma in scales
    ]
