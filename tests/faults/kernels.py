"""Kernels of Jupyter that are forked from this process, in place of a Python that starts anew and
imports torch for ten seconds.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import Any

from forks import forked

STARTS = ("-m", "ipykernel_launcher")  # after the name of the interpreter


class Forked:
    """What jupyter_client needs of a kernel's `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, command: list[str], env: dict[str, str], **_: Any) -> None:
        assert tuple(command[1:3]) == STARTS, command
        self.returncode: int | None = None
        self.pid = forked(partial(serve, command[3:], env))
        os.setpgid(self.pid, self.pid)  # which is killed as a whole, and is not ours

    def poll(self) -> int | None:
        if self.returncode is None:
            child, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if child else None
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(arguments: list[str], env: dict[str, str]) -> None:
    """Be a kernel."""
    from ipykernel.kernelapp import IPKernelApp

    os.environ.update(env)
    asyncio.set_event_loop(asyncio.new_event_loop())  # in place of the parent's, which runs there
    # by its parent the kernel sees that who started it was killed, and ends
    IPKernelApp.launch_instance(argv=[*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])


def fork_them() -> None:
    """From now on all kernels that this process starts are forks of it."""
    import ipykernel.kernelapp
    import matplotlib.figure
    import papermill
    from jupyter_client.provisioning import local_provisioner

    import sagviz.plot
    import sagviz.reports.finding

    del ipykernel, matplotlib, papermill, sagviz  # what a kernel finds imported
    local_provisioner.launch_kernel = Forked  # type: ignore[assignment]
