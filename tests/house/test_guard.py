"""The guard that keeps every test off the network can itself fail."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "huggingface.co"])
def test_a_connection_that_leaves_the_machine_fails_the_test(address: str) -> None:
    """The outcome is not an `Exception`, so that no code under test can swallow it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with (
        socket.socket(family) as outward,
        pytest.raises(pytest.fail.Exception, match="network") as outcome,
    ):
        outward.connect((address, 80))
    assert not isinstance(outcome.value, Exception)
    with pytest.raises(pytest.fail.Exception, match="network"):
        socket.getaddrinfo(address, 80)


def test_loopback_is_allowed() -> None:
    """Jupyter's kernels need it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as inward,
    ):
        assert inward.getpeername() == server.getsockname()
    assert socket.getaddrinfo("localhost", 80)


def test_sockets_in_the_file_system_are_allowed(tmp_path: Path) -> None:
    """A process pool needs them."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        assert client.getpeername() == path
