"""`atlas`: every guidance term at one step beside the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, cast

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from sagviz import describe, measure
from sagviz.checks import names_arguments
from sagviz.diffusion.precision import exact
from sagviz.guidance import CFG, Guidance, Term, as_guidance, title_of
from sagviz.html import grid, page, write_page
from sagviz.measure.steps import NAN, NOTHING
from sagviz.models import Model, as_model
from sagviz.plot.atlas_parts import draw_spectra, draw_table, shaded
from sagviz.plot.curves import chart
from sagviz.plot.display import FONT, Drawing, Panel, Panels
from sagviz.plot.png import write
from sagviz.plot.sheet import PAGE_STYLE
from sagviz.records.step import Step
from sagviz.sampling.probe import all_terms

NUMBER = "text-align:right;padding:2px 8px;font-variant-numeric:tabular-nums"
NAME = "text-align:left;padding:2px 8px 2px 0"


@dataclass(frozen=True, eq=False, repr=False)
class Atlas:
    """What `atlas` gives; a notebook shows it, `save` writes a PNG, `to_html` a page.

    Attributes:
        step: the step, with every term in its guidance.
        latent_rgb: from latents to colours.
        title: the prompt, seed and step.
        left_out: terms that are not here, and why, by name.

    Example:
        >>> import sagviz as sv
        >>> found = sv.atlas(sv.load(), "a fox", 7, 2, steps=5)
        >>> "sag" in found.table().index, found.cosine("sag", "sag")
        (True, 1.0)
    """

    step: Step
    latent_rgb: Tensor
    title: str
    left_out: Mapping[str, str]

    def __repr__(self) -> str:
        return f"<Atlas of {len(self.terms)} terms: {self.title}>"

    @property
    def terms(self) -> tuple[Term, ...]:
        return self.step.guidance.terms

    @cached_property
    def directions(self) -> dict[str, Tensor]:
        """Each term unscaled, in noise units, (B, C, H, W), by name."""
        return self.step.terms

    def size(self, name: str) -> float:
        """Unscaled length of a direction, relative to that of the prediction."""
        return measure.rms(self.directions[name]) / measure.rms(self.step.eps_base)

    def cosine(self, one: str, other: str) -> float:
        """Of the angle between two directions; NaN where one is nothing but rounding."""
        if min(self.size(one), self.size(other)) <= NOTHING:
            return NAN
        return 1.0 if one == other else measure.cosine(self.directions[one], self.directions[other])

    @property
    def cosines(self) -> list[list[float]]:
        """Of each direction, a row, to each."""
        names = [term.name for term in self.terms]
        return [[self.cosine(one, other) for other in names] for one in names]

    def spectrum(self, name: str) -> list[float]:
        """See `measure.spectrum`."""
        return measure.spectrum(self.directions[name])

    def table(self) -> Any:
        """A pandas frame, a row a term by its name: `size`; `fine`, the share of its power above
        0.25 cycles a cell (white noise: 0.8); `rows` and `calls` that it costs a step; and the
        cosine to each other term, `cosine_NAME`.
        """
        import pandas as pd

        rows = {
            term.name: {
                "size": self.size(term.name),
                "fine": measure.fine_share(self.directions[term.name]),
                "rows": term.cost[0],
                "calls": term.cost[1],
                **{f"cosine_{o.name}": self.cosine(term.name, o.name) for o in self.terms},
            }
            for term in self.terms
        }
        return pd.DataFrame.from_dict(rows, orient="index")

    def picture(self, name: str) -> Image.Image:
        """What a direction adds to the predicted picture's colours, around grey; the strongest
        colour is as strong as it can be.
        """
        push = self.step.pushes[name][0]
        with exact(push.device):
            colours = torch.einsum("chw,ck->hwk", push, self.latent_rgb[:-1])
        most = float(colours.abs().max()) or 1.0
        levels = 127.5 * (1 + colours / most)
        return Image.fromarray(levels.round().clamp(0, 255).byte().numpy())

    def panels(self) -> Panels:
        """The directions as pictures."""
        return Panels(tuple(map(self._panel, self.terms)), width=150, columns=3)

    def _panel(self, term: Term) -> Panel:
        rows, calls = term.cost
        size = f"{self.size(term.name):.1%} of the prediction's length"
        words = f"{size}; rows +{rows}, calls +{calls}"
        return Panel(self.picture(term.name), f"{term.title}: {term.formula}", words, term.name)

    def spectra(self) -> Drawing:
        """Power over frequency, of each term."""
        axes = chart("power, relative to white noise", "cycles a cell of the latent", width=6.2)
        self._lines(axes)
        fine = {t.title: measure.fine_share(self.directions[t.name]) for t in self.terms}
        shares = ", ".join(f"{title} {share:.0%}" for title, share in fine.items())
        words = f"Power of each direction over frequency; above 0.25 cycles a cell: {shares}"
        return Drawing([cast(Figure, axes.figure)], words)

    def _lines(self, axes: Axes) -> None:
        draw_spectra(axes, [(t.title, t.colour, self.spectrum(t.name)) for t in self.terms])

    def figure(self) -> Figure:
        """Pictures, cosines and spectra on one matplotlib figure."""
        count = len(self.terms)
        columns = min(6, count)
        lines = -(-count // columns)
        figure = Figure(figsize=(12, 2.1 * lines + 4.4), layout="constrained")
        above, below = cast(Any, figure.subfigures(2, 1, height_ratios=[2.1 * lines, 4.4]))
        places = above.subplots(lines, columns, squeeze=False).flatten()
        for axes in places:
            axes.set_axis_off()
        for axes, term in zip(places, self.terms, strict=False):
            axes.imshow(self.picture(term.name), interpolation="nearest")
            axes.set_title(f"{term.title} {self.size(term.name):.1%}", fontsize=10)
        left, right = below.subplots(1, 2)
        draw_table(left, [term.title for term in self.terms], self.cosines)
        left.set_title("cosine", fontsize=11, loc="left")
        self._lines(right)
        right.set_title("power, relative to white noise", fontsize=11, loc="left")
        right.set_xlabel("cycles a cell of the latent")
        figure.suptitle(self.title, fontsize=12)
        return figure

    def save(self, path: str | Path) -> Path:
        """Write the figure as PNG."""
        return write(self.figure(), path)

    def _repr_html_(self) -> str:
        frame = self.table()
        titles = [term.title for term in self.terms]
        cells = [
            (
                term.title,
                [
                    f"{frame.loc[term.name, 'size']:.1%}",
                    f"{frame.loc[term.name, 'fine']:.0%}",
                    str(term.cost[0]),
                    str(term.cost[1]),
                    *map(shaded, cosines),
                ],
            )
            for term, cosines in zip(self.terms, self.cosines, strict=True)
        ]
        columns = ["size", "fine", "rows", "calls", *(f"cosine to {title}" for title in titles)]
        numbers = grid(
            columns,
            cells,
            "Length before the scale, relative to the prediction; share of fine detail (white"
            " noise: 80%); what it costs a step; and the cosines",
            head_style=f"{NUMBER};font-size:12px;vertical-align:bottom;max-width:70px",
            row_style=NAME,
            cell_style=NUMBER,
            style=f"{FONT};border-collapse:collapse;font-size:13px",
        )
        rest = "; ".join(f"{title_of(name)}: {reason}" for name, reason in self.left_out.items())
        lines = f"<p>{escape(f'Left out are {rest}.')}</p>" if rest else ""
        return (
            f'<div style="{FONT}"><p>{escape(self.title)}</p>{self.panels()._repr_html_()}'
            f'<div style="overflow-x:auto" tabindex="0" role="group">{numbers}</div>'
            f"{self.spectra()._repr_html_()}{lines}</div>"
        )

    def to_html(self, path: str | Path) -> Path:
        """Write a page of its own: no script, nothing that is fetched."""
        body = f"<h1>Guidance terms at one step</h1>{self._repr_html_()}"
        return write_page(path, page("Guidance terms", body, PAGE_STYLE))


@names_arguments()
def atlas(
    model: Model,
    prompt: str = "",
    seed: int = 0,
    step: int | None = None,
    *,
    guidance: Guidance | Term | None = None,
    negative_prompt: str = "",
    steps: int = 50,
    size: tuple[int, int] | None = None,
    scheduler: object = None,
) -> Atlas:
    """Every guidance term at one step of a run, beside the others: its direction as a picture, its
    length, the cosines between all, how coarse or fine it is, and what it costs.

    All are asked at the same x_t, that of a run under `guidance`. Terms that this does not name are
    taken at their defaults, those of one's own too; APG has no past there.

    Args:
        model: from `load`.
        prompt, seed, negative_prompt, steps, size, scheduler: of the run, as for `trace`.
        step: which evaluation, from 0; the middle one where `None`.
        guidance: of the run up to the step; CFG(3.0) where `None` and the model reads a prompt. Its
            terms are taken with their settings.

    Raises:
        ArgumentError: before anything is computed.

    Example:
        >>> import sagviz as sv
        >>> found = sv.atlas(sv.load(), "a fox", 7, 2, steps=5)
        >>> list(found.table().columns)[:5]
        ['size', 'fine', 'rows', 'calls', 'cosine_cfg']
    """
    model = as_model(model)
    options: dict[str, Any] = {
        "prompt": prompt,
        "negative_prompt": negative_prompt,
        "steps": steps,
        "seed": seed,
        "size": size,
        "scheduler": scheduler,
    }
    if guidance is None and model.reads_text:
        guidance = CFG(3.0)
    run, whole, left_out = all_terms(model, as_guidance(guidance), step, options)
    at = f"step {whole.number} of {run.evaluations}, run with {as_guidance(guidance)}"
    title = f"{describe.quoted(prompt)}, seed {run.settings.seed}, {at}"
    return Atlas(whole, model.latent_rgb, title, left_out)
