"""Where the numbers are kept: a file for each chunk, written at once and whole, so that a run that
was stopped goes on, and several processes share the work. They are rounded to float16: the
repository has them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

import numpy as np

from sagviz.files import write_whole
from sagviz.mini.study.cells import CHUNK, VERSION, Cell
from sagviz.mini.study.pictures import Numbers
from sagviz.sweeps.folder_store import Folder


class Store:
    """The chunks of one model in a folder; `model` is its fingerprint. Other meanings of the
    numbers, `cells.VERSION`, have folders of their own.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.folder = folder / f"{VERSION}-{model}"

    def path(self, cell: Cell, first: int) -> Path:
        return self.folder / cell.slug / f"{first:04d}.npz"

    def has(self, cell: Cell, first: int) -> bool:
        return self.path(cell, first).exists()

    @contextmanager
    def claim(self, cell: Cell, first: int) -> Iterator[bool]:
        """Whether a chunk is to be made here: it is lacking, and no other process makes it."""
        path = self.path(cell, first)
        mine = None if path.exists() else Folder(path.parent).claim(path.stem)
        with mine or nullcontext():
            yield mine is not None and not path.exists()

    def save(self, cell: Cell, first: int, numbers: Numbers) -> None:
        """Keep a chunk."""
        path, content = self.path(cell, first), BytesIO()
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: column.astype(np.float16) for name, column in asdict(numbers).items()}
        np.savez_compressed(content, **kept)
        write_whole(path, content.getvalue())

    def load(self, cell: Cell) -> Numbers | None:
        """All chunks of a cell from the first on, `None` where there is none."""
        parts = []
        for first in range(0, cell.count, CHUNK):
            if not self.has(cell, first):
                break
            with np.load(self.path(cell, first)) as kept:
                parts.append(Numbers(**{name: kept[name].astype(float) for name in kept}))
        return Numbers.joined(parts) if parts else None
