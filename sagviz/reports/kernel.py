"""The notebook's run by papermill, in a kernel of its own, or in one that goes from notebook to
notebook.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagviz.errors import ReportError
from sagviz.guidance import Guidance
from sagviz.reports import emptied, progress
from sagviz.reports.own_terms import define, own_kinds, pickled, reason

if TYPE_CHECKING:
    from jupyter_client.manager import KernelManager

TERMS = "terms.pkl"
INSTALL = "reports need papermill and nbconvert; install them with pip install 'sagviz[report]'"
STARTS_WITHIN = 120  # seconds
REMEMBERED = 1000  # messages, on either side: of the usual 65,536 each has 8 MiB
LONGEST = 90  # letters of a folder in which a socket's path stays below the 104 that macOS allows


def _called(function: Any, *arguments: str) -> str:
    """The code that has a kernel call a function of ours."""
    where, name = function.__module__, function.__name__
    return f"__import__({where!r}, fromlist=[{name!r}]).{name}({', '.join(map(repr, arguments))})"


def _at_start(function: Any, *arguments: str) -> str:
    """The kernel's argument that has it do so before the first cell."""
    return f"--IPKernelApp.exec_lines={_called(function, *arguments)}"


def _arguments() -> list[str]:
    """A kernel's own: it announces steps, and what it keeps grows little."""
    return [
        _at_start(progress.begin),
        "--HistoryManager.enabled=False",  # the user's own stays as it is
        f"--Session.digest_history_size={REMEMBERED}",
    ]


def run(
    notebook: Path,
    parameters: dict[str, Any],
    terms: Guidance,
    folder: Path,
    shown: bool,
    kernel: WarmKernel | None = None,
) -> Any:
    """Run a notebook; gives it with its outputs, as nbformat's object.

    Args:
        notebook: the file, with a cell for parameters.
        parameters: by name.
        terms: guidance whose classes the kernel must know.
        folder: an empty one for files that nobody keeps.
        shown: whether to show how far it is.
        kernel: one that is there already, for terms of the package; `None` starts one.

    Raises:
        ReportError: a part of the `report` extra is missing, a class cannot be handed over, a
            cell raised, or the kernel did not start or died.
    """
    check_installed()
    import papermill

    try:
        where = _new(terms, folder) if kernel is None else kernel.emptied()
        with progress.Bar(notebook, shown) as bar:
            made = papermill.execute_notebook(
                notebook,
                None,  # it is written when it is whole
                parameters,
                progress_bar=False,
                start_timeout=STARTS_WITHIN,
                kernel_name="python3",
                on_cell_start=bar.cell,
                stderr_file=bar,
                **where,
            )
    except papermill.PapermillExecutionError as error:
        lost = reason(folder / TERMS)
        why = lost.read_text(encoding="utf-8") if lost.exists() else error.evalue
        raise ReportError(f"the report stopped: {why}") from error
    except Exception as error:  # of nbclient, jupyter_client, ZeroMQ, the system
        raise ReportError(_kernel_trouble(error)) from error
    for name in ("input_path", "output_path"):  # of this machine
        made.metadata.papermill.pop(name, None)
    return progress.without_steps(made)


def _new(terms: Guidance, folder: Path) -> dict[str, Any]:
    """A kernel that is still to be started, as papermill is given it."""
    return {
        "kernel_manager_class": _kernel_manager(),
        "config": _config(folder),
        "extra_arguments": [*_arguments(), *_own_terms(terms, folder / TERMS)],
    }


class WarmKernel:
    """A kernel for many notebooks, each of which finds it empty: what takes long, to import and to
    load the model, is done once. One that has died is replaced, until this is stopped.

    Args:
        folder: an empty one for files that nobody keeps.
        environment: variables that it finds beside ours.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._manager: Any = None
        self._stopped, self._turn = False, threading.Lock()

    def emptied(self) -> dict[str, Any]:
        """The kernel as papermill is given it: it runs, and has no names. Always called from one
        thread, whose event loop the kernel's client keeps.
        """
        manager = self._started()
        if manager.talk is not None:
            manager.talk.execute(_called(emptied.empty), silent=True)
        return {"km": manager}

    def stop(self) -> None:
        """End it, whatever it is at: a notebook that it runs has failed."""
        with self._turn:
            self._stopped = True
            if self._manager is not None:
                self._manager.shutdown_kernel(now=True)

    def close(self) -> None:
        """Let go of the client of a kernel that has ended, when no notebook waits for it."""
        if self._manager is not None and self._manager.talk is not None:
            self._manager.talk.stop_channels()

    def _started(self) -> Any:
        with self._turn:
            if self._stopped:
                raise ReportError("the batch was stopped")
            if self._manager is not None and not self._manager.is_alive():
                self._manager.shutdown_kernel(now=True)  # its files are left
                self.close()
                self._manager = None
            if self._manager is None:
                self._manager = _kernel_manager()(config=_config(self._folder))
                self._manager.start_kernel(
                    env=os.environ | self._environment, extra_arguments=_arguments()
                )
            return self._manager


def check_installed() -> None:
    """Refuse to begin where a part of the `report` extra is missing."""
    try:
        import latex2mathml
        import nbconvert
        import papermill
    except ImportError as error:
        raise ReportError(INSTALL) from error
    del latex2mathml, nbconvert, papermill  # of which some are needed when the work is done


def _kernel_manager() -> type[KernelManager]:
    """Of a kernel of this very Python, whatever kernels of that name the user has installed, with
    one client for all notebooks: each that connects leaves 19 KiB in the kernel.
    """
    from jupyter_client.asynchronous import AsyncKernelClient  # which nbclient awaits
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager
    from traitlets import default

    class Lasting(AsyncKernelClient):
        def start_channels(self, *which: bool, **named: bool) -> None:
            if not self.hb_channel.is_alive():
                super().start_channels(*which, **named)

    class ThisPython(KernelManager):
        talk: Any = None

        @default("client_factory")
        def _lasting(self) -> type[Lasting]:
            return Lasting

        def client(self, **options: Any) -> Any:
            self.talk = self.talk or super().client(**options)
            return self.talk

        @default("kernel_spec_manager")
        def _own(self) -> KernelSpecManager:
            return KernelSpecManager(kernel_dirs=[])  # without any, ipykernel's own is left

    return ThisPython


def _config(folder: Path) -> Any:
    """For the manager of a kernel and for its client. Connection file and sockets are in the
    report's own folder: parallel reports share no name, and no TCP port, which they race for and
    anyone on the machine can read.
    """
    from traitlets.config import Config

    on_disk = os.name != "nt" and len(os.fsencode(folder)) <= LONGEST
    manager = {"connection_file": str(folder / "kernel.json")}
    return Config(
        {
            "KernelManager": manager | ({"transport": "ipc"} if on_disk else {}),
            "Session": {"digest_history_size": REMEMBERED},
        }
    )


def _own_terms(terms: Guidance, path: Path) -> list[str]:
    """The kernel's arguments that make the user's own classes of terms known to it."""
    kinds = own_kinds(terms)
    if not kinds:
        return []
    path.write_bytes(pickled(kinds))
    return [_at_start(define, str(path))]


def _kernel_trouble(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    if said == "Kernel died":
        return (
            "the kernel that made the report died, perhaps of too little memory; close other"
            " programs, or take a smaller model"
        )
    return (
        f"the report's kernel did not do its work ({type(error).__name__}: {said}); try again, and"
        " if it stays so reinstall with pip install 'sagviz[report]'"
    )
