"""`layers`: what each self-attention layer and head does at one step, ranked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, cast

from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from sagviz import describe, measure
from sagviz.checks import names_arguments
from sagviz.html import grid, img, page, write_page
from sagviz.image import heat_map, to_png
from sagviz.models import Model, as_model
from sagviz.plot.curves import chart
from sagviz.plot.display import FONT
from sagviz.plot.png import write
from sagviz.plot.sheet import PAGE_STYLE
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.checks import check_made_by
from sagviz.sampling.probe import Head, by_head

BAR = "#CC99CC"
CELL = "padding:2px 8px;text-align:right;font-variant-numeric:tabular-nums"
SHOWN = 40  # bars in the figure


@dataclass(frozen=True)
class HeadRow:
    """A layer, or one head of it, at a step.

    Attributes:
        layer, head: the dotted path; `None` is all heads.
        grid: (h, w) of the map.
        moves: length of what changes in the prediction given the prompt when each cell attends to
            itself alone here (PAG's direction), relative to the prediction.
        entropy: of the attention received, 0 (on one cell) to 1 (even).
        overlap: of SAG's mask from this map with that of the run's own layer, 0 to 1 (IoU).
        cosine, size: SAG's direction with this map, against that of the run's own layer: the angle,
            and the length relative to it; NaN where a mask is empty.
    """

    layer: str
    head: int | None
    grid: tuple[int, int]
    moves: float
    entropy: float
    overlap: float
    cosine: float
    size: float

    @property
    def name(self) -> str:
        return self.layer if self.head is None else f"{self.layer} head {self.head}"


@dataclass(frozen=True, eq=False, repr=False)
class Layers:
    """What `layers` gives; a notebook shows it, `save` writes a PNG, `to_html` a page.

    Attributes:
        own: the step with SAG as the run has it, or at its defaults.
        found: the step with SAG's map and PAG's identity map at each layer and head.
        title: the prompt, seed and step.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=4, guidance=sv.CFG(3.0), progress=False)
        >>> sv.layers(model, trace, 2).heads[0].head is None
        False
    """

    own: Step
    found: dict[Head, Step]
    title: str

    def __repr__(self) -> str:
        return f"<Layers: {len(self.rows)} layers and heads, {self.title}>"

    @cached_property
    def rows(self) -> tuple[HeadRow, ...]:
        """All layers and heads, in the order of the network."""
        return tuple(self._row(place, step) for place, step in self.found.items())

    @property
    def layers(self) -> list[HeadRow]:
        """The layers as wholes, the one that moves the prediction most first."""
        return _ranked(row for row in self.rows if row.head is None)

    @property
    def heads(self) -> list[HeadRow]:
        """The heads, likewise."""
        return _ranked(row for row in self.rows if row.head is not None)

    def _row(self, place: Head, step: Step) -> HeadRow:
        attention, term, usual = _map(step), step.terms["sag"], self.own.terms["sag"]
        told = step.level.eps(step.x_t, step.out_conditional)
        length = measure.rms(usual)
        return HeadRow(
            *place,
            grid=(attention.shape[1], attention.shape[2]),
            moves=measure.rms(step.terms["pag"]) / measure.rms(told),
            entropy=measure.entropy(attention),
            overlap=measure.iou(cast(Tensor, step.mask), cast(Tensor, self.own.mask)),
            cosine=measure.cosine(term, usual) if measure.rms(term) and length else float("nan"),
            size=measure.rms(term) / length if length else float("nan"),
        )

    def table(self) -> Any:
        """A pandas frame, a row a layer or head in the order of its rank: `layer`, `head` ("all"
        for a layer), `rank` among layers or heads, and the numbers of `HeadRow`.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "layer": row.layer,
                    "head": "all" if row.head is None else row.head,
                    "rank": rank,
                    **{name: getattr(row, name) for name in NUMBERS},
                }
                for ranked in (self.layers, self.heads)
                for rank, row in enumerate(ranked, 1)
            ]
        )

    def figure(self) -> Figure:
        """How much each head moves the prediction, the first ones on top."""
        rows = self.heads[:SHOWN]
        axes = chart("what a head moves in the prediction", "length, relative to it", width=7)
        figure = cast(Figure, axes.figure)
        figure.set_size_inches(7, 0.9 + 0.24 * len(rows))
        axes.barh(range(len(rows)), [row.moves for row in rows], color=BAR)
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows], fontsize=8)
        axes.invert_yaxis()
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG."""
        return write(self.figure(), path)

    def _repr_html_(self) -> str:
        tables = "".join(
            self._table(words, ranked)
            for words, ranked in (("Layers", self.layers), ("Heads", self.heads))
        )
        words = (
            "Ranked by what changes in the prediction when each cell attends to itself alone there."
            " Mask and SAG are compared with those of the run's own layer and heads."
        )
        return (
            f'<div style="{FONT}"><p>{escape(self.title)}. {escape(words)}</p>'
            f'<div style="overflow-x:auto" tabindex="0" role="group">{tables}</div></div>'
        )

    def _table(self, caption: str, ranked: Sequence[HeadRow]) -> str:
        most = max(row.moves for row in ranked) or 1.0
        columns = ["map", "moves", "", "entropy", "mask overlap", "SAG cosine", "SAG size"]
        return grid(
            columns,
            [(f"{rank}. {row.name}", self._cells(row, most)) for rank, row in enumerate(ranked, 1)],
            caption,
            head_style=f"{CELL};font-size:12px",
            row_style="text-align:left;font-weight:400;font-size:12px",
            cell_style=CELL,
            style="border-collapse:collapse;font-size:13px;margin:8px 0",
        )

    def _cells(self, row: HeadRow, most: float) -> list[str]:
        attention = _map(self.found[row.layer, row.head])[0]
        colours = heat_map(attention, 0, float(attention.max()), "viridis")
        alt = f"attention received at {row.name}"
        style = "width:40px;display:block;image-rendering:pixelated"
        bar = f"height:10px;background:{BAR};width:{row.moves / most:.1%}"
        return [
            img(to_png(Image.fromarray(colours)), alt, style=style),
            f"{row.moves:.2%}",
            f'<div style="width:120px"><div style="{bar}"></div></div>',
            f"{row.entropy:.2f}",
            f"{row.overlap:.2f}",
            f"{row.cosine:.2f}",
            f"{row.size:.2f}",
        ]

    def to_html(self, path: str | Path) -> Path:
        """Write a page of its own: no script, nothing that is fetched."""
        body = f"<h1>Layers and heads at one step</h1>{self._repr_html_()}"
        return write_page(path, page("Layers and heads", body, PAGE_STYLE))


NUMBERS = ("moves", "entropy", "overlap", "cosine", "size")


def _ranked(rows: Iterator[HeadRow]) -> list[HeadRow]:
    return sorted(rows, key=lambda row: -row.moves)


def _map(step: Step) -> Tensor:
    assert step.attention is not None, "a step with SAG"
    return step.attention


def _short(row: HeadRow) -> str:
    """The name without what all layers have in it."""
    return row.name.replace(".attentions", "").replace(".transformer_blocks", "")


@names_arguments()
def layers(model: Model, trace: Trace, step: int) -> Layers:
    """What each self-attention layer and each of its heads does at one step of a run: where it
    looks, what SAG's mask and direction become with its map, and how much the prediction moves when
    its map is disturbed; ranked by the latter.

    Costs two rows of the network for each layer and head, one that is disturbed and one of SAG's
    second pass, and the branches once.

    Args:
        model: what made the trace.
        trace: a run with its steps.
        step: position in the trace; -1 is the last.

    Raises:
        ArgumentError: there is no such step, or another model made the trace.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=4, guidance=sv.CFG(3.0), progress=False)
        >>> list(sv.layers(model, trace, 2).table().columns)[:4]
        ['layer', 'head', 'rank', 'moves']
    """
    model = as_model(model)
    check_made_by(model, trace)
    own, found = by_head(model, trace, trace.position(step))
    settings, at = trace.settings, trace[trace.position(step)].number
    words = describe.quoted(settings.caption)
    return Layers(own, found, f"{words}, seed {settings.seed}, step {at} of {trace.evaluations}")
