"""What several commands share: the flags of a report's parameters, a scale for each term, and the
files that they write. Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagviz.checks import shown
from sagviz.checks.texts import whole
from sagviz.cli.term_flags import term_flags
from sagviz.errors import ArgumentError
from sagviz.files import from_home
from sagviz.reports.parameters import Parameters
from sagviz.reports.texts import KINDS, scale

if TYPE_CHECKING:
    from sagviz.guidance import Guidance

PURPOSES = {
    "model": "'miniature', a folder in diffusers' format or a hub name",
    "prompt": "what to draw",
    "negative_prompt": "what not to draw",
    "seed": "of the start noise",
    "steps": "1 to 999",
    "cfg_scale": (
        "classifier-free guidance: 0 ignores the prompt, 1 is plain; not where the model reads no"
        " prompt; a number, or a curve over the run such as 'cosine 1 7'"
    ),
    "sag_scale": "self-attention guidance: 0 is off; a number or a curve",
    "threshold": "of the mask, in units of the mean attention",
    "blur_sigma": "of the blur, in latent pixels; without a number what suits the model's family",
    "scheduler": "'ddim', 'pndm', 'dpm++ 2m', 'euler', 'heun' ...; '' is the model's own",
    "explain_at": "which step is taken apart, as a fraction of the run",
    "seeds": "how many further seeds the finding is of",
}


def add_settings(parser: argparse.ArgumentParser, skip: Sequence[str] = ()) -> None:
    """One flag for each of a report's parameters, with the same name and default; and one for the
    scale of each other term of guidance.
    """
    for field in fields(Parameters):
        if field.name in PURPOSES and field.name not in skip:
            flag = f"--{field.name.replace('_', '-')}"
            value, text = field.default, _escaped(f"{PURPOSES[field.name]} ({field.default!r})")
            kind = from_home if field.name == "model" else KINDS[str(field.type)]
            parser.add_argument(flag, type=kind, default=value, help=text)
    for term in term_flags():
        parser.add_argument(
            term.flag,
            type=scale,
            action=_Scale,
            const=term.name,
            dest="terms",
            default=[],
            metavar="SCALE",
            help=_escaped(f"{term.title}: {term.scale_help} (0.0)"),
        )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report's parameters of a command line, without its terms."""
    return {name: getattr(arguments, name) for name in PURPOSES if hasattr(arguments, name)}


def terms(arguments: argparse.Namespace) -> Guidance:
    """The other terms of a command line, in its order; a scale of 0 is none."""
    from sagviz.guidance import Guidance, Term

    return Guidance(tuple(Term.kinds[name](scale) for name, scale in arguments.terms if scale))


def add_schedule(parser: argparse.ArgumentParser) -> None:
    """The flags that `schedule` reads."""
    parser.add_argument(
        "--clip-skip",
        type=whole,
        metavar="LAYERS",
        help="how many last layers of the text encoder are left out for the prompt (none)",
    )
    parser.add_argument(
        "--timesteps",
        type=whole,
        nargs="+",
        metavar="TIME",
        help="where to evaluate, falling from 999 at most, in place of --steps (by the scheduler)",
    )


def schedule(arguments: argparse.Namespace) -> dict[str, Any]:
    """What such flags say, as arguments of `trace` and `sweep`."""
    return {name: getattr(arguments, name) for name in ("clip_skip", "timesteps")}


def add_force(parser: argparse.ArgumentParser) -> None:
    """The flag that `check_free` reads."""
    parser.add_argument(
        "--force", action="store_true", help="write over files that exist, which is else refused"
    )


def check_free(arguments: argparse.Namespace, paths: Iterable[Path]) -> None:
    """Refuse to write over files, unless `--force` was given, and names that no file can have.

    Raises:
        ArgumentError: says which one.
    """
    for path in paths:
        try:
            there = path.exists()
        except OSError as error:
            raise ArgumentError(
                f"cannot write {shown(str(path))}: {error.strerror}; give another name"
            ) from error
        if there and not arguments.force:
            raise ArgumentError(f"{path} exists; give another name, or --force to write over it")


class _Scale(argparse.Action):
    """Adds a term's name, its `const`, and the scale to what was given before."""

    def __call__(self, _: Any, namespace: argparse.Namespace, scale: Any, __: Any = None) -> None:
        namespace.terms = [*namespace.terms, (self.const, scale)]


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
