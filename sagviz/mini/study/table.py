"""The study's table: one number with its interval a row, committed beside this file.

Columns: `parts`, the letters of the parts of the study that the cell is in; `cell`; `against`,
another cell, where the number is the difference to it, of the same pictures ("" where it is the
cell's own); `measure`, see `measures.statistics`; `n` pictures; `value`, `low` and `high`, a 95 %
interval. The measure "share" is how much of SAG's gain of clear pictures a cell has, percent.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from sagviz import __version__
from sagviz.mini.evaluation.prompts import held_out
from sagviz.mini.study.cells import CELLS, PARTS, REFERENCES, Cell, comparisons
from sagviz.mini.study.measures import Sampled, sampled, statistics, summary
from sagviz.mini.study.pictures import TOGETHER, Numbers
from sagviz.mini.study.store import Store
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.judge import Judge, look

TABLE = Path(__file__).parent / "table.csv"
PICTURES = Path(__file__).parent / "pictures.csv"
COLUMNS = ["parts", "cell", "against", "measure", "n", "value", "low", "high"]
Found = dict[Cell, Numbers]
Row = list[object]


def read() -> pd.DataFrame:
    """The committed table."""
    return pd.read_csv(TABLE, comment="#", keep_default_na=False)


def published() -> pd.DataFrame:
    """Others' figures, with their sources."""
    return pd.read_csv(Path(__file__).parent / "published.csv", keep_default_na=False)


def read_pictures() -> pd.DataFrame:
    """What is committed of the first pictures of each cell: `measures.summary`, to be made again
    and compared.
    """
    return pd.read_csv(PICTURES)


def write(store: Store, judge: Judge) -> pd.DataFrame:
    """Both files, from all that is in the store."""
    known = {cell: store.load(cell) for cell in CELLS}
    found = {cell: numbers for cell, numbers in known.items() if numbers is not None}
    real = look(judge, to_tensor(held_out(1000, 3)[0])).features.numpy()
    table = pd.DataFrame([*rows(found, real)], columns=COLUMNS)
    versions = f"sagviz {__version__}, torch {torch.__version__}, numpy {np.__version__}"
    head = f"# make study; {store.folder.name}; {versions}, {platform.machine()}\n"
    TABLE.write_text(head + table.to_csv(index=False, float_format="%.3f"))
    first = [summary(cell, numbers, TOGETHER) for cell, numbers in found.items()]
    if first:
        pd.concat(first).to_csv(PICTURES, index=False, float_format="%.4f")
    return table


def rows(found: Found, real: np.ndarray) -> Iterator[Row]:
    """The table, row by row."""
    known = {cell: statistics(cell, numbers, real) for cell, numbers in found.items()}

    @cache
    def measured(cell: Cell, name: str, count: int) -> Sampled:
        return sampled(name, known[cell][name], count)

    for cell in found:
        for name in known[cell]:
            yield _row(cell, "", name, measured(cell, name, len(found[cell])))
        for other in (each for each in comparisons(cell) if each in found):
            count = min(len(found[cell]), len(found[other]))
            for name in (name for name in known[cell] if name in known[other]):
                gain = measured(cell, name, count) - measured(other, name, count)
                yield _row(cell, other.name, name, gain)
        yield from _share(cell, found, measured)


def _share(
    cell: Cell, found: Found, measured: Callable[[Cell, str, int], Sampled]
) -> Iterator[Row]:
    """How much of SAG's gain a cell has, where there is no prompt."""
    plain, full = REFERENCES.get(cell.kind, (cell, cell))
    if cell in (plain, full) or not {plain, full} <= found.keys():
        return
    count = min(len(found[each]) for each in (cell, plain, full))
    one, least, most = (measured(each, "clear", count) for each in (cell, plain, full))
    if most.value != least.value:
        yield _row(cell, full.name, "share", (one - least).share_of(most - least))


def _row(cell: Cell, against: str, name: str, number: Sampled) -> Row:
    parts = "".join(letter for letter, part in PARTS.items() if cell in part)
    return [parts, cell.name, against, name, number.n, number.value, *number.interval]
