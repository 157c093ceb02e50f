"""The study: `make study`, or `python -m sagviz.mini.study`.

Makes what is still lacking of the pictures of `cells.CELLS`, for hours, and keeps numbers about
them in a folder of the repository, so that a run that was stopped goes on, on any machine, and
several on one machine share the work; then writes the table that `notebooks/study.ipynb` draws
from. The order is such that what matters most comes first, and all cells have some pictures early:
a table of what is there can be written at any time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tqdm.auto import tqdm

from sagviz.mini.evaluation.gallery import fingerprint
from sagviz.mini.study import table
from sagviz.mini.study.cells import order
from sagviz.mini.study.pictures import chunk
from sagviz.mini.study.store import Store
from sagviz.mini.training.judge import Judge, load_judge
from sagviz.models import Model
from sagviz.models.load import load


def main(argv: list[str] | None = None) -> None:
    """Make the pictures, then the table."""
    arguments = _parser().parse_args(argv)
    torch.set_num_threads(1)
    model, judge = load(device=arguments.device), load_judge()
    store = Store(arguments.store, fingerprint(model))
    if "pictures" in arguments.only:
        if arguments.compile:
            model.unet.compile()
        fill(store, model, judge)
    if "table" in arguments.only:
        print(f"{len(table.write(store, judge))} rows in {table.TABLE}")


def fill(store: Store, model: Model, judge: Judge) -> None:
    """Make all chunks that are not in the store."""
    # the same numbers, in the order in which CPUs are fastest
    model.unet.to(memory_format=torch.channels_last)
    lacking = [each for each in order() if not store.has(*each)]
    for cell, first in tqdm(lacking, desc="chunks", mininterval=60):
        with store.claim(cell, first) as mine:
            if mine:
                store.save(cell, first, chunk(model, judge, cell, first))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sagviz.mini.study", description=__doc__)
    parser.add_argument(
        "--store", type=Path, default=Path("docs/study"), help="where the numbers are kept"
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="torch.compile the U-Net: a third faster where there is a C++ compiler, and a judge's"
        " logit is another by 0.005 at most",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("pictures", "table"),
        default=["pictures", "table"],
        help="this part only",
    )
    return parser
