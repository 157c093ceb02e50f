"""The notebook's run, in a kernel of its own: papermill, and the user's own guidance terms."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sagviz.errors import ReportError
from sagviz.guidance import Guidance, Term

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
            **_own_terms(terms, folder / "terms.pkl"),
        )
    except papermill.PapermillExecutionError as error:
        raise ReportError(f"the report stopped: {error.evalue}") from error
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
    """The kernel's arguments that make the user's own classes of terms known to it: those of a
    notebook or a script, which it cannot import.
    """
    kinds = [type(term) for term in terms.terms if not _is_ours(type(term).__module__)]
    if not kinds:
        return {}
    path.write_bytes(_pickled(kinds))
    code = f"__import__({__name__!r}, fromlist=['define']).define({str(path)!r})"
    return {"extra_arguments": [f"--IPKernelApp.exec_lines={code}"]}


def define(path: str) -> None:
    """Make known the classes of terms that `run` left in a file."""
    import cloudpickle

    for kind in cloudpickle.loads(Path(path).read_bytes()):
        Term.kinds[kind.name] = kind


def _pickled(kinds: Sequence[type[Term]]) -> bytes:
    """The classes by value, whatever module they are of."""
    try:
        import cloudpickle
    except ImportError as error:
        raise ReportError(INSTALL.replace("papermill and nbconvert", "cloudpickle")) from error
    with _by_value({kind.__module__ for kind in kinds}):
        try:
            return cloudpickle.dumps(kinds)
        except Exception as error:  # whatever an object of the user's module raises
            names = ", ".join(kind.__name__ for kind in kinds)
            raise ReportError(
                f"the class of {names} cannot be handed to the report's kernel: {error}; define it"
                " without open files, locks or models"
            ) from error


@contextmanager
def _by_value(modules: set[str]) -> Iterator[None]:
    """cloudpickle takes what these modules define by value, as it does with `__main__`."""
    import cloudpickle

    known = cloudpickle.list_registry_pickle_by_value()
    found = [sys.modules[name] for name in modules - {"__main__"} - known if name in sys.modules]
    for module in found:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in found:
            cloudpickle.unregister_pickle_by_value(module)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]
