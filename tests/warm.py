"""An interpreter that has imported torch, diffusers and sagviz already: what a test starts by
`sys.executable`, kernels included, is forked from it and begins at once, where a new one imports
the same for ten seconds of a core.

The first who asks starts it (`warm_client.py`); it ends with the tests. What an interpreter reads
only at its start (flags, `PYTHONPATH`, the number of threads) cannot be forked: the client starts
a new one then.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import select
import shlex
import signal
import socket
import struct
import sys
from pathlib import Path
from types import ModuleType

from warm_client import read_at_start

CLIENT = Path(__file__).with_name("warm_client.py")
NEW = sys.executable  # this Python itself: for tests of what its start imports
STREAMS = 3  # standard input, output, errors


def executable(folder: Path) -> str:
    """A command like this Python's, whose processes are forked from a warm one.

    Args:
        folder: for the command and its socket; those who share it share the warm interpreter.
    """
    own = folder / f"python.{os.getpid()}"
    words = (NEW, "-S", "-E", str(CLIENT), NEW, str(folder), str(own))
    (folder / "environment.json").write_text(json.dumps(read_at_start(os.environ)))
    own.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    own.chmod(0o755)
    return str(own)


def serve(folder: Path) -> None:
    """Forks for whoever asks, while any process lives that has a command in the folder."""
    _import_all()
    gc.freeze()  # nothing of it is looked at again, which would copy its pages
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that attend
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(folder / "closed"))
        door.listen(64)
        (folder / "closed").rename(folder / "open")
        while any(Path(f"/proc/{own.suffix[1:]}").exists() for own in folder.glob("python.*")):
            if not select.select([door], [], [], 5)[0]:
                continue
            asked, _ = door.accept()
            with asked:
                if os.fork() == 0:
                    door.close()
                    return _attend(asked)


def _import_all() -> None:
    import IPython
    import pandas

    import sagviz as sv

    sv.load()  # imports torch, diffusers and transformers
    for name in ("tqdm.auto", "tqdm.autonotebook"):  # each process chooses its bar: kernel or not
        sys.modules.pop(name, None)
    del IPython, pandas


def _attend(asked: socket.socket) -> None:
    """Fork the process, tell its number and how it ended; it ends where its client has gone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(asked, 4, STREAMS)
    with asked.makefile("rb") as given:
        request = json.loads(given.read(*struct.unpack("i", head)))
    process = os.fork()
    if process == 0:
        asked.close()
        return _become(streams=streams, **request)
    for stream in streams:
        os.close(stream)
    asked.sendall(struct.pack("i", process))
    ended = os.pidfd_open(process)
    if asked.fileno() in select.select([ended, asked.fileno()], [], [])[0]:
        os.kill(process, signal.SIGKILL)
    else:
        asked.sendall(struct.pack("i", os.waitpid(process, 0)[1]))
    os._exit(0)


def _become(
    streams: list[int],
    executable: str,
    arguments: list[str],
    folder: str,
    environment: dict[str, str],
) -> None:
    """Do what `python -m MODULE`, `python -c CODE` or `python FILE` does."""
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = executable
    match arguments:
        case ["-m", module, *rest]:
            sys.argv, sys.path[0] = [module, *rest], folder
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            sys.modules["__main__"] = main = ModuleType("__main__")
            exec(compile(code, "<string>", "exec"), vars(main))
        case [file, *rest]:
            sys.argv, sys.path[0] = [file, *rest], str(Path(file).resolve().parent)
            runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
