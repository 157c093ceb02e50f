"""`python`, whose process is forked from the warm interpreter: see `warm.py`.

It starts in a few milliseconds (no packages, `-S`), hands its streams, folder, environment and
arguments over, passes signals on, and ends as the process does.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

# read when an interpreter, or a library that the warm one has imported, starts
READ_AT_START = ("PYTHON", "OMP_", "MKL_", "HF_", "TRANSFORMERS_", "TORCH", "PYTORCH")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


def main(python: str, folder: Path, executable: str, arguments: list[str]) -> None:
    if not (_can_be_forked(arguments) and _same_start(folder)):
        os.execv(python, [python, *arguments])
    with _door(python, folder) as door:
        request = {
            "executable": executable,
            "arguments": arguments,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
        }
        words = json.dumps(request).encode()
        socket.send_fds(door, [struct.pack("i", len(words))], [0, 1, 2])
        door.sendall(words)
        process = _number(door)
        for number in PASSED_ON:
            signal.signal(number, lambda sent, _: os.kill(process, sent))
        status = os.waitstatus_to_exitcode(_number(door))
    if status < 0:
        if -status in PASSED_ON:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _can_be_forked(arguments: list[str]) -> bool:
    """`-m` and `-c` with something, or a file; other flags are the interpreter's own."""
    first = arguments[0] if arguments else "-"
    return first in ("-m", "-c") or not first.startswith("-")


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    """What cannot be changed by a fork."""
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _same_start(folder: Path) -> bool:
    return read_at_start(os.environ) == json.loads((folder / "environment.json").read_text())


def _door(python: str, folder: Path) -> socket.socket:
    """To the warm interpreter, which the first who comes starts."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "open").exists():
            with (folder / "log").open("w") as log:
                subprocess.Popen(
                    [python, Path(__file__).with_name("warm.py"), folder],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while not (folder / "open").exists():
                time.sleep(0.05)
    door = socket.socket(socket.AF_UNIX)
    door.connect(str(folder / "open"))
    return door


def _number(door: socket.socket) -> int:
    return struct.unpack("i", door.recv(4, socket.MSG_WAITALL))[0]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
