"""The README's first pictures: the empty prompt from one noise, plain and with SAG, not chosen and
chosen. `make render`; every run is kept in `build/gallery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sagviz import SAG
from sagviz.mini.evaluation.gallery import Gallery
from sagviz.mini.evaluation.settings import CONFIDENT
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.judge import load_judge, look
from sagviz.mini.world import NAMES
from sagviz.models import load
from sagviz.plot.montage import Tile, montage

DOCS = Path(__file__).parent
SETTING = SAG(1.0, blur_sigma=3.0)  # the best of the ten that the model's card tried
ACROSS, SIZE = 8, 96
SEEN = 96  # seeds of which winners and losers are chosen
WON, LOST = (17, 80, 26, 46), (10, 14, 66, 72)
VERSUS = "above: plain, below: SAG 1 (blur σ 3), from the same noise"


@dataclass(frozen=True)
class Pair:
    """Two pictures of one seed, and what the judge is sure to see on each ("" for nothing)."""

    seed: int
    pictures: Sequence[Image.Image]
    seen: Sequence[str]


def pairs(count: int) -> list[Pair]:
    """Seeds from 0 on: the plain prediction of the empty prompt, and SAG alone."""
    gallery, judge = Gallery(load(), DOCS.parent / "build" / "gallery"), load_judge()
    made = [gallery.pictures([""] * count, guidance) for guidance in (None, SETTING)]
    sure = [look(judge, to_tensor(pixels)).objects.sigmoid().max(dim=1) for pixels in made]
    return [
        Pair(
            seed,
            [Image.fromarray(pixels[seed]) for pixels in made],
            [
                NAMES[int(best.indices[seed])] if best.values[seed] >= CONFIDENT else ""
                for best in sure
            ],
        )
        for seed in range(count)
    ]


def sheet(chosen: Sequence[Pair], caption: str) -> Image.Image:
    """Pairs in blocks of two rows, below each picture what the judge is sure to see."""
    rows = []
    for start in range(0, len(chosen), ACROSS):
        block = chosen[start : start + ACROSS]
        rows += [[_tile(pair, which) for pair in block] for which in (0, 1)]
    words = ["plain", "SAG"] * (len(rows) // 2)
    return montage(words, [""] * ACROSS, rows, (SIZE, SIZE), caption)


def _tile(pair: Pair, which: int) -> Tile:
    picture = pair.pictures[which].resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return Tile(picture, below=pair.seen[which] or "unclear")


def make() -> None:
    """Both pictures."""
    everyone = pairs(SEEN)
    first = everyone[:24]
    clear = [sum(bool(pair.seen[which]) for pair in first) for which in (0, 1)]
    not_chosen = (
        f"Empty prompt, seeds 0 to 23, nothing chosen; {VERSUS}. An object that the judge is sure"
        f" of: plain {clear[0]} of 24, SAG {clear[1]} of 24."
    )
    chosen = (
        f"Chosen among seeds 0 to {SEEN - 1}: four that SAG mends ({_listed(WON)}), four that it"
        f" spoils ({_listed(LOST)}); {VERSUS}."
    )
    sheet(first, not_chosen).save(DOCS / "hero.png")
    sheet([everyone[seed] for seed in WON + LOST], chosen).save(DOCS / "chosen.png")


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


if __name__ == "__main__":
    make()
