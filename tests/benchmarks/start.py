"""How long it takes from the shell: `import sagviz`, `sagviz --help`, and a picture, beside a
script of a few lines that imports torch and diffusers and makes the same U-Net passes bare.

Each is a process of its own; they take turns, and medians count.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.bounds import bounded
from benchmarks.engine import repeats
from evidence import Line, record

from sagviz.mini import WEIGHTS

STEPS = 50
IMPORT = """
import sys, time
start = time.perf_counter()
import sagviz
print(time.perf_counter() - start)
assert "torch" not in sys.modules
"""
BARE = f"""
import torch, diffusers
torch.set_num_threads(1)  # as the miniature computes
unet = diffusers.UNet2DConditionModel.from_pretrained({str(WEIGHTS)!r}, subfolder="unet").eval()
config = unet.config
x = torch.randn(2, config.in_channels, config.sample_size, config.sample_size)
text, t = torch.randn(2, 16, config.cross_attention_dim), torch.tensor(500)
with torch.no_grad():
    for _ in range({STEPS}):
        unet(x, t, encoder_hidden_states=text)  # CFG
        unet(x[:1], t, encoder_hidden_states=text[:1])  # SAG
"""


def python(*words: str) -> str:
    """What a new process of Python prints."""
    command = [sys.executable, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def wall(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def medians(rounds: int, *timers: Callable[[], float]) -> list[float]:
    """Of timers in turn, after one round that fills the disk's cache."""
    times = [[timer() for timer in timers] for _ in range(rounds + 1)]
    return [statistics.median(own) for own in zip(*times[1:], strict=True)]


def quick() -> list[Line]:
    """Import and help."""
    imported, helped = medians(
        repeats(),
        lambda: float(python("-c", IMPORT)),
        lambda: wall(partial(python, "-m", "sagviz", "--help")),
    )
    return [
        bounded(
            "`import sagviz`, which does not import torch, seconds",
            imported,
            "<= 0.25",
            f"{imported:.3f}",
        ),
        bounded("`sagviz --help` from the shell, seconds", helped, "<= 0.5", f"{helped:.3f}"),
    ]


def picture(folder: Path) -> Line:
    """From the shell to the PNG."""
    words = ["-m", "sagviz", "generate", "a fox", "--steps", str(STEPS), "--force"]
    ours, bare = medians(
        repeats(),
        lambda: wall(partial(python, *words, "-o", str(folder / "a.png"))),
        lambda: wall(partial(python, "-c", BARE)),
    )
    return bounded(
        f"`sagviz generate`, {STEPS} steps of CFG + SAG on the miniature, from the shell to the"
        " PNG, time over that of `import torch, diffusers` with the bare passes",
        ours / bare,
        "<= 2.5",
        f"{ours / bare:.2f} ({ours:.2f} s beside {bare:.2f} s)",
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = [*quick(), picture(Path(folder))]
    record("From the shell", "make bench TABLES=start", lines)


if __name__ == "__main__":
    main()
