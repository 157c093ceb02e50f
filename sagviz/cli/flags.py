"""The flags that several commands share: a report's parameters, and a scale for each term."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from sagviz.guidance import CFG, SAG, Guidance, Term
from sagviz.reports.parameters import Parameters

PURPOSES = {
    "model": "'miniature', a folder in diffusers' format or a hub name",
    "prompt": "what to draw",
    "negative_prompt": "what not to draw",
    "seed": "of the start noise",
    "steps": "1 to 999",
    "cfg_scale": (
        "classifier-free guidance: 0 ignores the prompt, 1 is plain; not where the model reads no"
        " prompt"
    ),
    "sag_scale": "self-attention guidance: 0 is off",
    "threshold": "of the mask, in units of the mean attention",
    "blur_sigma": "of the blur, in latent pixels; without a number what suits the model's family",
    "scheduler": "'ddim', 'pndm', 'dpm++ 2m', 'euler', 'heun' ...; '' is the model's own",
    "explain_at": "which step is taken apart, as a fraction of the run",
}
KINDS = {"int": int, "float": float, "str": str, "float | None": float}


def add_settings(parser: argparse.ArgumentParser, skip: Sequence[str] = ()) -> None:
    """One flag for each of a report's parameters, with the same name and default; and one for the
    scale of each other term of guidance.
    """
    for field in fields(Parameters):
        if field.name in PURPOSES and field.name not in skip:
            flag = f"--{field.name.replace('_', '-')}"
            value, text = field.default, _escaped(f"{PURPOSES[field.name]} ({field.default!r})")
            parser.add_argument(flag, type=KINDS[str(field.type)], default=value, help=text)
    for kind in _other_terms():
        flag = f"--{kind.name.replace('_', '-')}-scale"
        text = _escaped(f"{kind.title}: {kind.scale_help} (0.0)")
        parser.add_argument(
            flag,
            type=float,
            action=_Scale,
            const=kind,
            dest="terms",
            default=[],
            metavar="SCALE",
            help=text,
        )


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report's parameters of a command line, without its terms."""
    return {name: getattr(arguments, name) for name in PURPOSES if hasattr(arguments, name)}


def terms(arguments: argparse.Namespace) -> Guidance:
    """The other terms of a command line, in its order; a scale of 0 is none."""
    return Guidance(tuple(kind(scale) for kind, scale in arguments.terms if scale))


class _Scale(argparse.Action):
    """Adds a term's class, its `const`, and the scale to what was given before."""

    def __call__(self, _: Any, namespace: argparse.Namespace, scale: Any, __: Any = None) -> None:
        namespace.terms = [*namespace.terms, (self.const, scale)]


def _other_terms() -> Iterable[type[Term]]:
    """The terms that need nothing but a scale, beside CFG and SAG, whose flags are parameters."""
    for kind in Term.kinds.values():
        needed = [f for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        if kind not in (CFG, SAG) and [field.name for field in needed] == ["scale"]:
            yield kind


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
