"""`sagviz generate`: a prompt to a picture, its whole run, or the player of it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagviz.checks.texts import whole
from sagviz.cli.flags import (
    add_force,
    add_schedule,
    add_settings,
    check_free,
    schedule,
    settings,
    terms,
)
from sagviz.errors import ArgumentError
from sagviz.files import expanded, save
from sagviz.reports.parameters import Parameters

if TYPE_CHECKING:
    from sagviz.records.trace import Trace

KINDS = (".png", ".sagtrace", ".html")


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser(
        "generate", help="make a picture", description="Make a picture with CFG + SAG."
    )
    parser.add_argument(
        "prompt", nargs="?", default="", help="what to draw; nothing for an unconditional picture"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=expanded,
        default=Path("sagviz.png"),
        help="NAME.png, NAME.sagtrace for all steps, or NAME.html for the player (sagviz.png)",
    )
    parser.add_argument(
        "--images",
        type=whole,
        default=1,
        help="how many; image i uses seed + i and is called NAME-i.png; a trace has them all (1)",
    )
    add_force(parser)
    add_settings(parser, skip=("prompt", "explain_at", "seeds"))
    add_schedule(parser)
    parser.add_argument("--image", type=expanded, help="a picture to start from (noise alone)")
    parser.add_argument(
        "--strength", type=float, help="how much of the way is run from a picture, 0 to 1 (0.8)"
    )
    parser.add_argument(
        "--paint",
        type=expanded,
        metavar="MASK",
        help="a picture of the same size, white where --image is made anew (everywhere)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Make the pictures; each file holds its settings, a PNG as JSON."""
    from sagviz.checks import check_whole
    from sagviz.guidance import as_guidance
    from sagviz.sampling.loop import trace

    out: Path = arguments.out
    if out.suffix.lower() not in KINDS or not os.path.isdir(out.parent):
        raise ArgumentError(
            f"cannot write {out}; give a file called {', '.join(KINDS[:-1])} or {KINDS[-1]} in a"
            " folder that exists"
        )
    paths = _paths(out, check_whole("images", arguments.images, 1, 4096))
    check_free(arguments, paths)
    parameters = Parameters.checked(settings(arguments))
    model = parameters.load()
    given = {**parameters.settings(model), **schedule(arguments), **_from_picture(arguments)}
    given["prompt"] = parameters.prompt  # what a report takes for its own is asked for here
    more = given.pop("terms") + terms(arguments)
    guidance = as_guidance(given.pop("cfg")) + given.pop("sag") + more
    keep: list[int] | None = [] if out.suffix.lower() == ".png" else None
    made = trace(model, guidance=guidance, images=arguments.images, keep=keep, **given)
    for number, path in enumerate(paths):
        print(_write(made, number, path))


def _from_picture(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the flags of a picture say, as arguments of `trace`."""
    from sagviz.image import from_file

    files = {name: getattr(arguments, name) for name in ("image", "paint")}
    opened = {name: path and from_file(path) for name, path in files.items()}
    return {**opened, "strength": arguments.strength}


def _paths(out: Path, images: int) -> list[Path]:
    """One file for each picture; a trace holds them all."""
    if images == 1 or out.suffix.lower() == ".sagtrace":
        return [out]
    return [out.with_stem(f"{out.stem}-{number}") for number in range(images)]


def _write(made: Trace, number: int, path: Path) -> Path:
    """Write one picture of a run as what its file is called."""
    from sagviz.image import to_png

    kind = path.suffix.lower()
    if kind == ".sagtrace":
        return made.save(path)
    if kind == ".html":
        return made.to_html(path, image=number)
    return save(path, to_png(made.images[number], made.settings.of_image(number).note()))
