"""The command line: `sagviz generate` makes a picture, `sagviz report` makes the page that explains it."""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError, SagvizError, SagvizWarning


def main(argv: list[str] | None = None) -> int:
    """Run a command; what goes wrong is one sentence on standard error and exit status 2."""
    arguments = _parser().parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        arguments.run(arguments)
    except SagvizError as error:
        print(f"sagviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sagviz: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sagviz", description="Self-Attention Guidance, made visible.")
    commands = parser.add_subparsers(required=True, metavar="generate | report")
    generate = commands.add_parser("generate", help="make a picture", description="Make a picture with CFG + SAG.")
    generate.add_argument("prompt", nargs="?", default="", help="what to draw; nothing for an unconditional picture")
    generate.add_argument("-o", "--out", type=Path, default=Path("sagviz.png"), help="PNG file (sagviz.png)")
    generate.add_argument("--images", type=int, default=1, help="how many; image i uses seed + i and is called NAME-i.png (1)")
    _add_settings(generate, skip=("prompt", "explain_at"))
    generate.set_defaults(run=_generate)
    report = commands.add_parser("report", help="explain a run in one HTML file", description="Explain a run in one HTML file.")
    report.add_argument("out", type=Path, nargs="?", default=Path("report.html"), help="HTML file (report.html)")
    _add_settings(report)
    report.set_defaults(run=_report)
    return parser


def _add_settings(parser: argparse.ArgumentParser, skip: tuple[str, ...] = ()) -> None:
    """One flag for each report parameter, with the same name and default."""
    from sagviz.reports import Parameters

    kinds = {"int": int, "float": float, "str": str}
    for field in fields(Parameters):
        if field.name not in skip:
            flag = f"--{field.name.replace('_', '-')}"
            text = f"{PURPOSES[field.name]} ({field.default!r})".replace("%", "%%")
            parser.add_argument(flag, type=kinds[str(field.type)], default=field.default, help=text)


PURPOSES = {
    "model": "'miniature', a folder in diffusers' format or a hub name",
    "prompt": "what to draw",
    "negative_prompt": "what not to draw",
    "seed": "of the start noise",
    "steps": "1 to 999",
    "cfg_scale": "classifier-free guidance: 0 ignores the prompt, 1 is plain",
    "sag_scale": "self-attention guidance: 0 is off",
    "threshold": "of the mask, in units of the mean attention",
    "blur_sigma": "of the blur, in latent pixels",
    "scheduler": "'ddim', 'pndm', 'dpm++ 2m', 'euler', 'heun' ...; '' is the model's own",
    "explain_at": "which step is taken apart, as a fraction of the run",
}


def _parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    from sagviz.reports import Parameters

    return {field.name: getattr(arguments, field.name) for field in fields(Parameters) if hasattr(arguments, field.name)}


def _generate(arguments: argparse.Namespace) -> None:
    import json

    from sagviz.image import to_png
    from sagviz.reports import Parameters
    from sagviz.sampling import trace

    out: Path = arguments.out
    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise ArgumentError(f"cannot write {out}; give a .png file in a folder that exists")
    parameters = Parameters.checked(_parameters(arguments))
    guidance = parameters.cfg + parameters.sag
    made = trace(parameters.load(), guidance=guidance, images=arguments.images, keep=[], **parameters.run)
    notes = {"sagviz": json.dumps(made.settings.to_json())}
    for number, picture in enumerate(made.images):
        path = out if arguments.images == 1 else out.with_stem(f"{out.stem}-{number}")
        try:
            path.write_bytes(to_png(picture, notes))
        except OSError as error:
            raise ArgumentError(f"cannot write {path}: {error.strerror}; give a folder that may be written to") from error
        print(path)


def _report(arguments: argparse.Namespace) -> None:
    from sagviz.reports import report

    print(report(arguments.out, progress=True, **_parameters(arguments)).resolve())


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    if issubclass(category, SagvizWarning):
        print(f"sagviz: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
