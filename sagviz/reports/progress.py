"""How far a report is: its kernel announces the steps of the run, and a bar shows cells, steps and
the time left.

The kernel's standard error is the way from one to the other. No step stays in the notebook.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from sagviz.errors import SagvizWarning

IN_REPORT = "SAGVIZ_IN_REPORT"  # the environment variable that a report's kernel sets itself
STEP = re.compile(r"sagviz step (\d+) of (\d+)\n")
FORMAT = "{desc} |{bar}| {elapsed}"


def begin() -> None:
    """In a report's kernel, before the first cell: steps are announced from now on, and warnings
    are sentences for readers, without a file, a line and its code.
    """
    os.environ[IN_REPORT] = "1"
    warnings.showwarning = _say


@dataclass(frozen=True, repr=False)
class Said:
    """A warning as a paragraph."""

    words: str

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        return f'<p class="said" role="note">{escape(self.words)}</p>'


def _say(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """In place of `warnings.showwarning`: ours are shown where they happen; what libraries say to
    programmers goes to standard error.
    """
    if issubclass(category, SagvizWarning):
        from IPython.display import display

        display(Said(str(message)))
    else:
        print(f"{category.__name__}: {message}", file=sys.stderr, flush=True)


def announced(run: int = 0, runs: int = 1) -> bool | Callable[[int, int], None]:
    """What the notebook gives to `compare` as `progress`: nothing is shown where it runs by itself,
    and in a report each step is announced.

    Args:
        run: which of several runs after each other this is, from 0; `runs`: how many they are.

    Example:
        >>> from sagviz.reports import announced
        >>> announced()
        False
    """
    return partial(_announce, run, runs) if IN_REPORT in os.environ else False


def _announce(run: int, runs: int, done: int, total: int) -> None:
    """In one piece: the kernel may send what is written at any moment, and `print` writes the end
    of the line by itself.
    """
    sys.stderr.write(f"sagviz step {run * total + done} of {runs * total}\n")
    sys.stderr.flush()


class Bar:
    """A line on the screen: which cell of the notebook, which step of the run, how long still.

    Args:
        notebook: the file that is run.
        shown: whether there is anything to see.
    """

    def __init__(self, notebook: Path, shown: bool) -> None:
        import nbformat
        from tqdm.auto import tqdm

        self._cells = len(nbformat.read(notebook, 4).cells) + 1  # papermill adds its parameters
        self._words = "report"
        self._bar = tqdm(
            total=1, desc=self._words, disable=not shown, bar_format=FORMAT, leave=False
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def cell(self, cell: Any, cell_index: int) -> None:
        """A cell begins, as nbclient tells it."""
        del cell
        self._words = f"report: cell {cell_index + 1} of {self._cells}"
        self._bar.set_description_str(self._words)

    def write(self, text: str) -> None:
        """What the kernel writes to its standard error, as papermill hands it on."""
        for done, total in STEP.findall(text):
            self._step(int(done), int(total))

    def flush(self) -> None:
        """Nothing waits here."""

    def _step(self, done: int, total: int) -> None:
        if self._bar.total != total:
            self._bar.reset(total)  # the time left is counted from the first step
            self._bar.bar_format = f"{FORMAT}, {{remaining}} left"
        self._bar.n = done
        self._bar.set_description_str(f"{self._words}, step {done} of {total}")


def without_steps(notebook: Any) -> Any:
    """The notebook without what its kernel announced; other words on standard error stay."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                output.text = STEP.sub("", output.text)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("text") != ""]
    return notebook
