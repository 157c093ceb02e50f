"""`sagviz app`: Playground, Microscope and vote as a page for a class."""

from __future__ import annotations

import argparse
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagviz.checks import check_whole
from sagviz.checks.texts import whole
from sagviz.cli.flags import PURPOSES
from sagviz.errors import ArgumentError, SagvizError
from sagviz.files import expanded, from_home
from sagviz.mini import NAME

if TYPE_CHECKING:
    from sagviz.models import Model
    from sagviz.records.trace import Trace

ABOUT = (
    "Playground, Microscope and a blind vote as a page for a class without notebooks: one model in"
    " this process, a session for each page. Ctrl-C ends it."
)
PAIR_STEPS = 50
PROGRESS = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left"
# Nobody's address (RFC 5737), to which a network has a way; then the networks of a hotspot of this
# very computer, which has none: of Linux, Windows and macOS.
SOMEWHERE = ("192.0.2.1", "10.42.0.2", "192.168.137.2", "192.168.2.2")


def add(commands: Any) -> None:
    """Add the command to a parser's."""
    parser = commands.add_parser("app", help="a page for a class", description=ABOUT)
    parser.add_argument("--model", type=from_home, default=NAME, help=PURPOSES["model"])
    parser.add_argument(
        "--host",
        default="0.0.0.0",
        help="address to listen at; 127.0.0.1 is this computer alone (0.0.0.0, the whole network)",
    )
    parser.add_argument("--port", type=whole, default=8765, help="0 is any free one (8765)")
    for name, default, words in (
        ("steps", 200, "most steps of a run"),
        ("pictures", 8, "most pictures of a run, CFG and CFG + SAG of one seed being two"),
        ("visitors", 40, "most pages at once"),
        ("pairs", 8, "pairs of pictures to vote on, made before the page opens"),
    ):
        parser.add_argument(f"--{name}", type=whole, default=default, help=f"{words} ({default})")
    parser.add_argument(
        "--prompt",
        action="append",
        metavar="WORDS",
        help="of those pairs; may be given several times (the Playground's examples)",
    )
    parser.add_argument("--votes", type=expanded, help="new folder for the votes (votes-DATE-TIME)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    try:
        from sagviz.widgets.app.server import Server
    except ModuleNotFoundError as error:
        raise SagvizError(
            f"sagviz app needs {error.name}; run: pip install 'sagviz[app]'"
        ) from error
    from sagviz.models.load import load
    from sagviz.widgets.app.classroom import Classroom
    from sagviz.widgets.app.limits import Limits
    from sagviz.widgets.playground.examples import examples_of

    limits = Limits(arguments.steps, arguments.pictures, arguments.visitors)
    check_whole("pairs", arguments.pairs, 1, 1000)
    listener = _listen(arguments.host, arguments.port)
    model = load(arguments.model or None)
    folder = _new(arguments.votes or expanded(time.strftime("votes-%Y%m%d-%H%M%S")))
    prompts = arguments.prompt or [str(each.get("prompt", "")) for each in examples_of(model)]
    pairs = _pairs(model, arguments.pairs, prompts, min(PAIR_STEPS, limits.steps))
    classroom, token = Classroom(model, pairs, limits, folder), secrets.token_urlsafe(9)
    _welcome(f"http://{_address(listener)}/{token}/")
    with suppress(KeyboardInterrupt):
        Server(classroom, listener, token).run()
    with suppress(OSError):
        folder.rmdir()  # where nobody has voted
    print(f"\nThe class is over. {classroom.result or 'Nobody has voted.'}", flush=True)


def _new(folder: Path) -> Path:
    """The folder, made."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise ArgumentError(f"{folder} exists; give a new folder for this class's votes") from error
    except OSError as error:
        raise ArgumentError(f"cannot make {folder}: {error.strerror}; give another") from error
    return folder


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, check_whole("port", port, 0, 65535)))
    except OSError as error:
        raise ArgumentError(
            f"cannot listen at {host}, port {port}: {error.strerror}; give another --port, or an"
            " address of this computer as --host"
        ) from error


def _address(listener: socket.socket) -> str:
    """Host and port as the others of the network see them."""
    host, port = listener.getsockname()[:2]
    return f"{_own_address() if host == '0.0.0.0' else host}:{port}"


def _own_address() -> str:
    """This computer's address on its network; nothing is sent to find it."""
    for there in SOMEWHERE:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.connect((there, 9))
            return str(probe.getsockname()[0])
    return "127.0.0.1"


def _pairs(model: Model, count: int, prompts: Sequence[str], steps: int) -> list[tuple[Trace, ...]]:
    """Runs to vote on: the prompts in turn, with seeds 0, 1, 2 ..."""
    from tqdm.auto import tqdm

    from sagviz.sampling.compare import compare

    words = f"Making {count} pairs of pictures to vote on"
    with tqdm(total=count, desc=words, smoothing=0, bar_format=PROGRESS) as bar:

        def follow(_: int, total: int) -> None:
            bar.update(1 / total)

        return [
            compare(model, prompts[seed % len(prompts)], seed=seed, steps=steps, progress=follow)
            for seed in range(count)
        ]


def _welcome(address: str) -> None:
    """The address, and its code for phones."""
    import segno

    segno.make(address).terminal(compact=True)
    print(f"Open {address}\nCtrl-C ends the class and says goodbye to the pages.", flush=True)
