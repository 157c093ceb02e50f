"""Proves on a real GPU what the package promises there: `python tests/gpu/prove.py --out docs`.

Writes `gpu.md` and `gpu.json`, after each check anew. `--device cpu --toy` runs the same checks on
tiny networks. Nothing is downloaded: weights are random, of the published sizes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the hub's client is imported
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' own modules
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the package in this checkout

import diffusers
import torch
import transformers
from diffusers.utils import logging
from gpu import checks_memory, checks_peers, checks_speed, checks_ways
from gpu.checks_same import FAMILY_CHECKS
from gpu.rows import Report, Row
from gpu.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
Check = Callable[[Stage], Iterator[Row]]
CHECKS: dict[str, Check] = {  # in the order of their weight, as long as one model serves several
    "miniature": FAMILY_CHECKS["miniature"],
    "offload": checks_memory.offload,
    "sd15": FAMILY_CHECKS["sd15"],
    "broken-off": checks_memory.broken_off,
    "waits": checks_speed.waits,
    "engine": checks_speed.engine,
    "overflow": checks_memory.overflow,
    "refusal": checks_memory.refusal,
    "compare": checks_peers.beside_diffusers,
    "all-layers": checks_speed.all_layers,
    "preview": checks_speed.preview,
    "memory-sd15": partial(checks_memory.estimates, family="sd15"),
    "sd21": FAMILY_CHECKS["sd21"],
    "sdxl": FAMILY_CHECKS["sdxl"],
    "memory-sdxl": partial(checks_memory.estimates, family="sdxl"),
    "layouts": checks_ways.layouts,
    "processes": checks_ways.processes,
    "dask": checks_ways.dask,
    "compiled": checks_ways.compiled,
}


def facts(stage: Stage, arguments: Sequence[str]) -> dict[str, str]:
    """Where and with what it was measured."""
    card = "none"
    if stage.cuda:
        about = torch.cuda.get_device_properties(0)
        card = f"{about.name}, {about.total_memory / 2**30:.1f} GiB"
    return {
        "card": card,
        "CUDA": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
        "Python": sys.version.split()[0],
        "CPU": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "networks": "tiny" if stage.toy else "of the published sizes, random",
        "command": " ".join(["python tests/gpu/prove.py", *arguments]),
    }


def prove(stage: Stage, report: Report, out: Path, names: Sequence[str], limit: float) -> None:
    """Run these checks, one after the other, whatever becomes of them."""
    began = time.monotonic()
    for name in names:
        start = time.monotonic()
        if start - began > limit:
            report.rows.append(Row("all", "", "", f"skipped: {limit:g} s are over", check=name))
        else:
            _attempt(name, CHECKS[name], stage, report)
            report.seconds[name] = round(time.monotonic() - start, 1)
        own = [each for each in report.rows if each.check == name]
        bad = [f"{each.what}: {each.measured} {each.verdict}" for each in own if not each.is_fine]
        print(f"{name}: {report.seconds.get(name, 0):.1f} s, {len(own)} lines", *bad, sep="\n  ")
        sys.stdout.flush()
        report.write(out)


def _attempt(name: str, check: Check, stage: Stage, report: Report) -> None:
    try:
        for each in check(stage):
            report.rows.append(replace(each, check=name))
    except Exception as error:
        said = f"failed: {type(error).__name__}: {str(error)[:400]}"
        place = traceback.extract_tb(error.__traceback__)[-1]
        note = f"at {Path(place.filename).name}:{place.lineno}"
        report.rows.append(Row("the rest of this check", "", "", said, note, check=name))
        traceback.print_exc()
        traceback.clear_frames(error.__traceback__)
        stage.free()


def main(given: Sequence[str]) -> Report:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder to write to (docs)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--toy", action="store_true", help="tiny networks and pictures")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds")
    arguments = parser.parse_args(given)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    stage = Stage(arguments.device, arguments.toy)
    report = Report(facts(stage, given))
    prove(stage, report, arguments.out, arguments.only, arguments.limit)
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
