"""`sagviz estimate`: the memory of a run that is not made."""

from __future__ import annotations

import argparse
from typing import Any

from sagviz.checks.texts import whole
from sagviz.cli.flags import PURPOSES
from sagviz.files import from_home
from sagviz.mini import NAME

ABOUT = (
    "Tell the memory of a run with CFG + SAG, or SAG alone where a model reads no text. Only the"
    " configuration of the model is read, no weights."
)


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "estimate", help="tell the memory of a run without making it", description=ABOUT
    )
    parser.add_argument("model", type=from_home, nargs="?", default=NAME, help=PURPOSES["model"])
    parser.add_argument(
        "--dtype", default="float16", help="'float16', 'bfloat16' or 'float32' (float16)"
    )
    parser.add_argument(
        "--size",
        type=whole,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (the model's own)",
    )
    parser.add_argument("--images", type=whole, default=1, help="pictures at once (1)")
    parser.add_argument(
        "--steps", type=whole, default=50, help="all of which are kept on the CPU (50)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the estimate."""
    from sagviz.guidance import CFG, as_guidance
    from sagviz.models.load import load
    from sagviz.sampling.estimate import estimate

    model = load(arguments.model, device="meta", dtype=arguments.dtype)
    size = None if arguments.size is None else tuple(arguments.size)
    guidance = as_guidance(CFG(3.0) if model.reads_text else None) + model.sag()
    images, steps = arguments.images, arguments.steps
    print(estimate(model, guidance=guidance, steps=steps, images=images, size=size))
