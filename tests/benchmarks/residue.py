"""What stays behind 300 runs of a trace, of a cell of a sweep, of a report and of each widget, and
behind calls that end or are broken off: `make residue`, or one of them, `make residue KINDS=trace`.

Each kind of run has a process of its own, see `tests/memory_worker.py`. Through what it holds after
every fifth run goes a line by Theil and Sen, which single jumps of the allocator do not turn: its
slope, at the upper end of the 95% interval, must be below half of what a single latent of the
miniature takes, which is the least that a run could leave behind.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from benchmarks.bounds import bounded
from evidence import Line, record
from scipy.stats import theilslopes

ROOT = Path(__file__).parents[2]
WORKER = ROOT / "tests" / "memory_worker.py"
BOUND = 2.0  # KiB a run
CALLS = "calls"
KINDS = {
    "trace": "a trace, saved and loaded",
    "sweep": "a sweep of one cell on the disk, and its table",
    "widgets": "each of the five widgets opened, used and closed",
    "reports": "a report in a warm kernel, the kernel's memory counted",
}


def climb(kind: str, runs: int) -> list[Line]:
    """The slopes of what a process holds."""
    lengths = f"--runs={runs}", "--warm-up=100"  # the heap takes its last steps until then
    command = [sys.executable, "-W", "ignore", str(WORKER), kind, *lengths]
    looks = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    number, mib = (np.array([look[name] for look in looks]) for name in ("run", "MiB"))
    slope, _, low, high = theilslopes(1024 * mib, number, alpha=0.95)
    what = f"{runs} runs of {KINDS[kind]}"
    measured = (
        f"{slope:+.2f} KiB a run ({low:+.2f} to {high:+.2f}),"
        f" from {mib[0]:,.1f} to {mib[-1]:,.1f} MiB"
    )
    return [
        bounded(f"{what}: KiB a run that stay", float(high), f"<= {BOUND:g}", measured),
        *(_count(what, name, looks[0][name], looks[-1][name]) for name in ("threads", "files")),
        _count(what, "objects", looks[0]["objects"], looks[-1]["objects"], runs),
    ]


def _count(what: str, name: str, first: float, last: float, runs: int = 1) -> Line:
    """What must be as many at the end; of Python's objects, less than one a run is caches."""
    measured = f"{first:,.0f} at first, {last:,.0f} at last"
    return bounded(f"{what}: {name} that stay, a run", (last - first) / runs, "<= 0.5", measured)


def calls() -> Line:
    """The tests of what calls leave behind."""
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests/house/test_residue.py")]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout
    passed, failed = (
        int(found.group(1)) if (found := re.search(rf"(\d+) {word}", said)) else 0
        for word in ("passed", "failed")
    )
    line = Line(
        "processors, hooks, random numbers, grad mode, scheduler, train or eval, CPU threads,"
        " warnings, environment, loggers, files and locks are as before after a call that ends, and"
        " after each of six that are broken off by Ctrl-C or an error, from its first operation to"
        " its last",
        f"of {passed + failed} kinds of calls {passed}",
        passed > 0 and not failed,
    )
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300, help="of each kind (300)")
    parser.add_argument("kinds", nargs="*", metavar="kind", help=f"{CALLS}, {', '.join(KINDS)}")
    asked = parser.parse_args()
    for kind in asked.kinds or (CALLS, *KINDS):
        lines = [calls()] if kind == CALLS else climb(kind, asked.runs)
        record(f"Residue of {kind}", f"make residue KINDS={kind}", lines)


if __name__ == "__main__":
    main()
