"""How good the miniature is, measured: `python -m sagviz.mini.evaluation`.

Prints what the model card says, with 95 % intervals (Wilson for shares, bootstrap for the rest),
and writes the card's tables and its sheet of uncurated samples. Prompts and seeds are fixed:
picture i of a set has seed i. Pictures and figures are kept in the work folder, so that a run that
was stopped goes on, and parts can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from sagviz.mini import WEIGHTS
from sagviz.mini.evaluation import networks, prompted, settings
from sagviz.mini.evaluation.card import SHEET, Rows, write_card
from sagviz.mini.evaluation.gallery import Gallery
from sagviz.mini.evaluation.prompts import sheet_prompts
from sagviz.mini.evaluation.subject import GUIDED, Evaluation
from sagviz.models.load import load, load_classifier


def sheet(evaluation: Evaluation) -> Rows:
    """The card's sheet of samples, which has no figures."""
    pictures = evaluation.gallery.pictures(sheet_prompts(), GUIDED)
    page = Image.new("RGB", (8 * 66, 8 * 66), "white")
    for index, picture in enumerate(pictures):
        page.paste(Image.fromarray(picture), (index % 8 * 66 + 1, index // 8 * 66 + 1))
    page.save(evaluation.gallery.folder / SHEET.name)
    return []


PARTS: dict[str, Callable[[Evaluation], Rows]] = {
    "vae": networks.vae,
    "judging": networks.judging,
    "noisy": networks.noisy,
    "one": prompted.one,
    "two": prompted.two,
    "wording": prompted.wording,
    "distance": prompted.distance,
    "tried": settings.tried,
    "empty": settings.empty,
    "cg": prompted.cg,
    "sag": settings.sag,
    "sheet": sheet,
}


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the card."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(arguments.threads)
    model = load(arguments.model, classifier=load_classifier(arguments.judges))
    gallery = Gallery(model, arguments.work)
    evaluation = Evaluation(gallery, arguments.count, arguments.judges)
    log = gallery.folder / "figures.json"
    found: dict[str, Rows] = {}
    for part in arguments.only:
        rows = PARTS[part](evaluation)
        found = {**(json.loads(log.read_text()) if log.exists() else {}), part: rows}
        found = {name: found[name] for name in PARTS if name in found}
        log.write_text(json.dumps(found, indent=1, ensure_ascii=False))
        print(part, *(": ".join(row) for row in rows), sep="\n  ", flush=True)
    missing = ", ".join(part for part in PARTS if part not in found)
    if arguments.model is None and missing:
        print(f"The card is written when all parts have been measured; missing: {missing}.")
    elif arguments.model is None:
        write_card(found, gallery.folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sagviz.mini.evaluation", description=__doc__)
    parser.add_argument(
        "--count",
        type=int,
        default=1000,
        help="one-object prompts; the other sets are as large or smaller (1000)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts only"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(".mini/evaluation"),
        help="where pictures and figures are kept",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="folder of another model than the bundled one; no card is written then",
    )
    parser.add_argument(
        "--judges", type=Path, default=WEIGHTS, help="folder of the judges (the bundled ones)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    return parser
