"""No command reaches for the network when the miniature is used, not even the kernel that runs a
report's notebook.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

GUARD = """
import os, socket

def tell(address):
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    if host and not str(host).startswith(("127.", "::1", "localhost", "/", "\\0")):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{host}\\n")

for name in ("connect", "connect_ex"):
    def wrapped(self, address, original=getattr(socket.socket, name)):
        tell(address)
        return original(self, address)
    setattr(socket.socket, name, wrapped)

def look_up(host, *args, original=socket.getaddrinfo, **kwargs):
    tell(host)
    return original(host, *args, **kwargs)
socket.getaddrinfo = look_up
"""


@pytest.fixture
def guarded(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment in which every Python process writes down the hosts that it asks for, and
    where it does.
    """
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard" / "sitecustomize.py").write_text(GUARD)
    log = tmp_path / "network.log"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "guard"), "NETWORK_LOG": str(log)}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        env.pop(name, None)  # a user has not set them
    return env, log


def test_the_guard_sees_an_attempt(guarded: tuple[dict[str, str], Path]) -> None:
    env, log = guarded
    # of RFC 5737
    code = "import socket; s = socket.socket(); s.settimeout(0.01); s.connect_ex(('192.0.2.1', 9))"
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    assert log.read_text() == "192.0.2.1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["generate", "a fox", "--steps", "1", "-o", "a.png"], ["report", "a.html", "--steps", "2"]],
)
def test_commands_stay_on_the_machine(
    command: list[str], guarded: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    env, log = guarded
    subprocess.run(
        [sys.executable, "-m", "sagviz", *command],
        env=env,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert not log.exists(), log.read_text()
