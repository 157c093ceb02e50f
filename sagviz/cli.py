"""The command line: `sagviz generate` makes a picture, `sagviz report` makes the page that explains
it.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError, SagvizError, SagvizWarning


def main(argv: list[str] | None = None) -> int:
    """Run a command; what goes wrong is one sentence on standard error and exit status 2, or 1
    where cells of a sweep failed.
    """
    arguments = _parser().parse_args(argv)
    warnings.showwarning = _show_warning
    try:
        return arguments.run(arguments) or 0
    except SagvizError as error:
        print(f"sagviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sagviz: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagviz", description="Self-Attention Guidance, made visible."
    )
    commands = parser.add_subparsers(
        required=True, metavar="generate | report | sweep | show | estimate"
    )
    generate = commands.add_parser(
        "generate", help="make a picture", description="Make a picture with CFG + SAG."
    )
    generate.add_argument(
        "prompt", nargs="?", default="", help="what to draw; nothing for an unconditional picture"
    )
    generate.add_argument(
        "-o", "--out", type=Path, default=Path("sagviz.png"), help="PNG file (sagviz.png)"
    )
    generate.add_argument(
        "--images",
        type=int,
        default=1,
        help="how many; image i uses seed + i and is called NAME-i.png (1)",
    )
    _add_settings(generate, skip=("prompt", "explain_at"))
    for flag, words in OTHER_TERMS.items():
        generate.add_argument(flag, type=float, default=0.0, help=f"{words}: 0 is off (0.0)")
    generate.set_defaults(run=_generate)
    report = commands.add_parser(
        "report",
        help="explain a run in one HTML file",
        description="Explain a run in one HTML file.",
    )
    report.add_argument(
        "out", type=Path, nargs="?", default=Path("report.html"), help="HTML file (report.html)"
    )
    _add_settings(report)
    report.set_defaults(run=_report)
    sweep = commands.add_parser(
        "sweep", help="make every combination of settings", description=ABOUT_SWEEP
    )
    _add_axes(sweep)
    sweep.set_defaults(run=_sweep)
    show = commands.add_parser(
        "show", help="show saved runs in one HTML file", description="Show saved runs side by side."
    )
    show.add_argument(
        "traces",
        type=Path,
        nargs="+",
        metavar="FILE.sagtrace",
        help="what Trace.save wrote; several are compared",
    )
    show.add_argument("-o", "--out", type=Path, help="HTML file (the first file's name with .html)")
    show.set_defaults(run=_show)
    estimate = commands.add_parser(
        "estimate", help="tell the memory of a run without making it", description=ABOUT_ESTIMATE
    )
    estimate.add_argument("model", nargs="?", default="miniature", help=PURPOSES["model"])
    estimate.add_argument(
        "--dtype", default="float16", help="'float16', 'bfloat16' or 'float32' (float16)"
    )
    estimate.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="in pixels (the model's own)"
    )
    estimate.add_argument("--images", type=int, default=1, help="pictures at once (1)")
    estimate.add_argument(
        "--steps", type=int, default=50, help="all of which are kept on the CPU (50)"
    )
    estimate.set_defaults(run=_estimate)
    return parser


def _add_settings(parser: argparse.ArgumentParser, skip: tuple[str, ...] = ()) -> None:
    """One flag for each report parameter, with the same name and default."""
    from sagviz.reports.report import Parameters

    kinds = {"int": int, "float": float, "str": str, "float | None": float}
    for field in fields(Parameters):
        if field.name not in skip:
            flag = f"--{field.name.replace('_', '-')}"
            text = f"{PURPOSES[field.name]} ({field.default!r})".replace("%", "%%")
            parser.add_argument(flag, type=kinds[str(field.type)], default=field.default, help=text)


CFG_SCALE = 3.0
ABOUT_ESTIMATE = (
    "Tell the memory of a run with CFG + SAG. Only the configuration of the model is read, no"
    " weights."
)
ABOUT_SWEEP = (
    "Make every combination of the settings and write a table of measures. The same command goes on"
    " where it stopped."
)


def _add_axes(parser: argparse.ArgumentParser) -> None:
    """The flags of a sweep: those that take several values are its axes."""

    def axis(flag: str, kind: type, default: object, text: str) -> None:
        parser.add_argument(
            flag, type=kind, nargs="+", default=[default], help=f"{text} ({default!r})"
        )

    axis("--prompts", str, "", "what to draw, each in quotes")
    axis("--seeds", int, 0, "of the start noise")
    axis("--steps", int, 50, PURPOSES["steps"])
    axis("--cfg-scale", float, CFG_SCALE, PURPOSES["cfg_scale"])
    axis("--sag-scale", float, 1.0, PURPOSES["sag_scale"])
    axis("--threshold", float, 1.0, PURPOSES["threshold"])
    axis("--blur-sigma", float, None, PURPOSES["blur_sigma"])
    axis("--schedulers", str, "", PURPOSES["scheduler"])
    parser.add_argument("--negative-prompt", default="", help=PURPOSES["negative_prompt"])
    parser.add_argument("--model", default="miniature", help=PURPOSES["model"])
    parser.add_argument(
        "--images", type=int, default=1, help="how many in each cell; image i uses seed + i (1)"
    )
    parser.add_argument(
        "--batch", type=int, help="how many cells run together (as fits the latent's size)"
    )
    parser.add_argument(
        "--store",
        default="runs",
        help="folder or fsspec address of the cells and of table.csv (runs)",
    )
    engine = parser.add_mutually_exclusive_group()
    engine.add_argument(
        "--workers",
        type=int,
        help="processes of this machine that share the work, one for each GPU (none)",
    )
    engine.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="of the Dask scheduler whose workers share it, tcp://HOST:8786 (none)",
    )


OTHER_TERMS = {
    "--pag-scale": "perturbed-attention guidance",
    "--seg-scale": "smoothed-energy guidance",
    "--rescale": "guidance rescale, the share that is taken back, 0 to 1",
}

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


def _parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    from sagviz.reports.report import Parameters

    return {
        field.name: getattr(arguments, field.name)
        for field in fields(Parameters)
        if hasattr(arguments, field.name)
    }


def _generate(arguments: argparse.Namespace) -> None:
    import json

    from sagviz.guidance import PAG, SEG, Guidance, Rescale
    from sagviz.image import to_png
    from sagviz.reports.report import Parameters
    from sagviz.sampling.loop import trace

    out: Path = arguments.out
    if out.suffix.lower() != ".png" or not out.parent.is_dir():
        raise ArgumentError(f"cannot write {out}; give a .png file in a folder that exists")
    parameters = Parameters.checked(_parameters(arguments))
    model = parameters.load()
    settings = parameters.settings(model)
    others = (PAG(arguments.pag_scale), SEG(arguments.seg_scale), Rescale(arguments.rescale))
    terms = (settings.pop("cfg"), settings.pop("sag"), *(term for term in others if term.scale))
    guidance = Guidance(tuple(term for term in terms if term is not None))
    made = trace(model, guidance=guidance, images=arguments.images, keep=[], **settings)
    notes = {"sagviz": json.dumps(made.settings.to_json())}
    for number, picture in enumerate(made.images):
        path = out if arguments.images == 1 else out.with_stem(f"{out.stem}-{number}")
        try:
            path.write_bytes(to_png(picture, notes))
        except OSError as error:
            raise ArgumentError(
                f"cannot write {path}: {error.strerror}; give a folder that may be written to"
            ) from error
        print(path)


def _report(arguments: argparse.Namespace) -> None:
    from sagviz.reports.report import report

    print(report(arguments.out, progress=True, **_parameters(arguments)).resolve())


def _show(arguments: argparse.Namespace) -> None:
    from sagviz.player import page
    from sagviz.records.trace import Trace

    out = arguments.out or arguments.traces[0].with_suffix(".html")
    print(page([Trace.load(path) for path in arguments.traces], out).resolve())


def _estimate(arguments: argparse.Namespace) -> None:
    from sagviz.guidance import CFG, SAG
    from sagviz.models.load import load
    from sagviz.sampling.estimate import estimate

    model = load(
        None if arguments.model == "miniature" else arguments.model,
        device="meta",
        dtype=arguments.dtype,
    )
    size = None if arguments.size is None else tuple(arguments.size)
    print(
        estimate(
            model,
            guidance=CFG(3.0) + SAG(1.0),
            images=arguments.images,
            size=size,
            steps=arguments.steps,
        )
    )


def _sweep(arguments: argparse.Namespace) -> int:
    from contextlib import nullcontext
    from itertools import product

    from sagviz.guidance import CFG, Guidance
    from sagviz.models.load import load
    from sagviz.sweeps import cluster, pool, sweep
    from sagviz.sweeps.fsspec_store import store_at

    model = load(None if arguments.model in ("", "miniature") else arguments.model)
    no_cfg = not model.reads_text and arguments.cfg_scale == [CFG_SCALE]  # nobody asked for it
    cfgs = [Guidance()] if no_cfg else [Guidance((CFG(scale),)) for scale in arguments.cfg_scale]
    scales = product(cfgs, arguments.sag_scale, arguments.threshold, arguments.blur_sigma)
    guidance = [
        cfg + model.sag(sag, threshold=psi, **({} if sigma is None else {"blur_sigma": sigma}))
        for cfg, sag, psi, sigma in scales
    ]
    names = ("prompts", "seeds", "steps", "negative_prompt", "images", "batch", "store")
    workers, dask = arguments.workers, arguments.dask
    with cluster(dask) if dask else nullcontext() if workers is None else pool(workers) as executor:
        made = sweep(
            model,
            guidance=guidance,
            schedulers=[name or None for name in arguments.schedulers],
            executor=executor,
            **{name: getattr(arguments, name) for name in names},
        )
    failed = made.failed
    for cell, reason in failed.items():
        settings = ", ".join(f"{name} {value!r}" for name, value in made.shown(cell).items())
        print(f"sagviz: failed: {settings}: {reason}", file=sys.stderr)
    print(store_at(arguments.store).write("table.csv", made.table().to_csv(index=False).encode()))
    return 1 if failed else 0


def _show_warning(
    message: Warning | str, category: type[Warning], *_: object, **__: object
) -> None:
    if issubclass(category, SagvizWarning):
        print(f"sagviz: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
