"""`sagviz generate`: a prompt to a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sagviz.cli.flags import add_settings, settings, terms
from sagviz.errors import ArgumentError
from sagviz.files import save
from sagviz.guidance import as_guidance
from sagviz.image import to_png
from sagviz.reports.parameters import Parameters
from sagviz.sampling.loop import trace


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "generate", help="make a picture", description="Make a picture with CFG + SAG."
    )
    parser.add_argument(
        "prompt", nargs="?", default="", help="what to draw; nothing for an unconditional picture"
    )
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("sagviz.png"), help="PNG file (sagviz.png)"
    )
    parser.add_argument(
        "--images",
        type=int,
        default=1,
        help="how many; image i uses seed + i and is called NAME-i.png (1)",
    )
    add_settings(parser, skip=("prompt", "explain_at"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make the pictures; each file holds its settings, as JSON."""
    out: Path = arguments.out
    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise ArgumentError(f"cannot write {out}; give a .png file in a folder that exists")
    parameters = Parameters.checked(settings(arguments))
    model = parameters.load()
    given = parameters.settings(model)
    more = given.pop("terms") + terms(arguments)
    guidance = as_guidance(given.pop("cfg")) + given.pop("sag") + more
    made = trace(model, guidance=guidance, images=arguments.images, keep=[], **given)
    for number, picture in enumerate(made.images):
        notes = {"sagviz": json.dumps(made.settings.of_image(number).to_json())}
        path = out if arguments.images == 1 else out.with_stem(f"{out.stem}-{number}")
        print(save(path, to_png(picture, notes)))
