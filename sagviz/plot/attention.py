"""What one place of the picture attends to: a map over the picture, and bars for the words of the
prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from sagviz.attention.captured import Captured
from sagviz.html import grid
from sagviz.image import heat_map
from sagviz.plot.display import FONT, Panel
from sagviz.plot.pictures import over
from sagviz.records.about_runs import about_runs

BAR = "#0072B2"


@dataclass(frozen=True)
class WordBars:
    """Shares of attention by word, in the order of the prompt; they sum to 1."""

    shares: tuple[tuple[str, float], ...]

    @property
    def words(self) -> str:
        """The same in one sentence."""
        return "attention to the words: " + ", ".join(
            f"{name} {share:.0%}" for name, share in self.shares
        )

    def _repr_html_(self) -> str:
        rows = [(name, [f"{share:.1%}", _bar(share)]) for name, share in self.shares]
        cells = "text-align:right;padding-right:8px;font-variant-numeric:tabular-nums"
        return grid(
            (),
            rows,
            "Which words it reads",
            row_style="text-align:right;padding:2px 8px 2px 0;font-weight:500",
            cell_style=cells,
            style=f"{FONT};font-size:14px;border-collapse:collapse",
        )


def _bar(share: float) -> str:
    inner = f"height:12px;background:{BAR};width:{share:.1%}"
    return f'<div style="width:200px"><div style="{inner}"></div></div>'


def place_map(found: Captured, clean: Image.Image, image: int = 0) -> Panel:
    """Where the place attends to, over the picture of the step.

    Args:
        found: with `row`, from `attend`.
        clean: the picture below the map.
        image: which image of the batch.
    """
    assert found.row is not None, "the row of a place"
    row = found.row[image]
    most = float(row.max())
    words = (
        f"Where the cell in the frame attends to: the brightest cell gets {most:.1%} of its"
        f" attention, an even share is {1 / row.numel():.1%}"
    )
    return Panel(over(clean, heat_map(row, 0, most)), "where it attends to", words, "row")


@about_runs
def word_bars(found: Captured, size: tuple[int, int], image: int = 0) -> WordBars | None:
    """How the place shares its attention among the words; `None` where the layer reads none. Where
    picture and text share a softmax, "[picture]" is what it gives to the picture.

    Args:
        found: with `words` and `place`, from `attend`.
        size: (H, W) of the latent, which `place` counts in.
        image: which image of the batch.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, progress=False)
        >>> found = sv.attend(model, trace, 1, place=(8, 8))
        >>> [word for word, _ in sv.plot.word_bars(found, size=(16, 16)).shares]
        ['[start]', 'a', 'fox', '[end]']
    """
    if found.words is None or found.place is None:
        return None
    words = found.words[image]
    row, column = (
        place * cells // side
        for place, cells, side in zip(found.place, words.shape[1:], size, strict=True)
    )
    own = () if found.text is None else (("[picture]", 1 - float(found.text[image, row, column])),)
    return WordBars((*own, *zip(found.names, words[:, row, column].tolist(), strict=True)))
