"""The notebook's run by papermill, in a kernel of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sagviz.errors import ReportError
from sagviz.guidance import Guidance
from sagviz.reports.own_terms import define, own_kinds, pickled, reason

TERMS = "terms.pkl"
INSTALL = "reports need papermill and nbconvert; install them with pip install 'sagviz[report]'"


def run(
    notebook: Path, parameters: dict[str, Any], terms: Guidance, folder: Path, progress: bool
) -> Any:
    """Run a notebook; gives it with its outputs, as nbformat's object.

    Args:
        notebook: the file, with a cell for parameters.
        parameters: by name.
        terms: guidance whose classes the kernel must know.
        folder: an empty one for files that nobody keeps.
        progress: whether to show papermill's progress bar.

    Raises:
        ReportError: a part of the `report` extra is missing, a class cannot be handed over, or a
            cell raised.
    """
    try:
        import papermill
    except ImportError as error:
        raise ReportError(INSTALL) from error
    executed = folder / "report.ipynb"  # papermill formats braces in its paths
    try:
        made = papermill.execute_notebook(
            notebook,
            executed,
            parameters,
            progress_bar=progress,
            kernel_name="python3",
            **_transport(),
            **_own_terms(terms, folder / TERMS),
        )
    except papermill.PapermillExecutionError as error:
        lost = reason(folder / TERMS)
        why = lost.read_text(encoding="utf-8") if lost.exists() else error.evalue
        raise ReportError(f"the report stopped: {why}") from error
    for name in ("input_path", "output_path"):  # of this machine, and of a folder that goes
        made.metadata.papermill.pop(name, None)
    return made


def _transport() -> dict[str, Any]:
    """Sockets on disk, where the system has them: parallel reports race for TCP ports, which
    anyone on the machine can read.
    """
    from traitlets.config import Config

    return {} if os.name == "nt" else {"config": Config({"KernelManager": {"transport": "ipc"}})}


def _own_terms(terms: Guidance, path: Path) -> dict[str, Any]:
    """The kernel's arguments that make the user's own classes of terms known to it."""
    kinds = own_kinds(terms)
    if not kinds:
        return {}
    path.write_bytes(pickled(kinds))
    code = f"__import__({define.__module__!r}, fromlist=['define']).define({str(path)!r})"
    return {"extra_arguments": [f"--IPKernelApp.exec_lines={code}"]}
