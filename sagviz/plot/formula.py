"""The guidance formula with one step's own numbers under its terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from sagviz import measure
from sagviz.guidance import colour_of, title_of
from sagviz.html import attributes
from sagviz.plot.display import FONT, SMALL
from sagviz.records.about_runs import about_runs
from sagviz.records.step import Step

SUBSCRIPTS = {"ₜ": "t", "₀": "0", "⊥": "⊥", "∥": "∥"}


@dataclass(frozen=True)
class Part:
    """One summand: `symbol` in HTML with real subscripts, its scale (1 for the base), and its
    length before the scale (RMS).
    """

    name: str
    symbol: str
    scale: float
    length: float

    @property
    def scaled(self) -> float:
        """Length of what is added, RMS; negative where the term is subtracted."""
        return self.scale * self.length


@dataclass(frozen=True)
class Formula:
    r"""ε̃ = ε_base + Σ scale · term, shown as HTML that reads on light and dark pages and wraps on
    narrow ones.
    """

    parts: tuple[Part, ...]
    total: float

    @property
    def words(self) -> str:
        """The same in one sentence, without mark-up."""
        base, *terms = self.parts
        parts = [f"the {base.name} prediction of length {base.length:.3f}"] + [
            f"{part.scale:g} times {title_of(part.name)}'s direction of length {part.length:.3f}"
            for part in terms
        ]
        return f"guided noise of length {self.total:.3f} = {' plus '.join(parts)}"

    def _repr_html_(self) -> str:
        base, *terms = self.parts
        blocks = [_block("ε̃", f"length {self.total:.3f}"), _sign("=")]
        blocks.append(_block(base.symbol, f"length {base.length:.3f}"))
        for part in terms:
            sign = _sign("+" if part.scale >= 0 else "−")
            blocks.append(f'<div style="display:flex;gap:12px">{sign}{_summand(part)}</div>')
        style = (
            f"{FONT};display:flex;flex-wrap:wrap;gap:10px"
            " 12px;align-items:flex-start;padding:6px 2px"
        )
        marks = attributes({"role": "img", "aria-label": self.words, "style": style})
        return f"<div{marks}>{''.join(blocks)}</div>"


@about_runs
def formula(step: Step, image: int = 0) -> Formula:
    """The formula of one step, measured on one image of the batch.

    Args:
        step: a record, or what `what_if` made of it.
        image: which image of the batch.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> trace = sv.trace(model, "a fox", steps=2, guidance=sv.CFG(3.0), progress=False)
        >>> [(part.name, part.scale) for part in sv.plot.formula(trace[1]).parts]
        [('unconditional', 1.0), ('cfg', 3.0)]
    """
    rows = slice(image, image + 1)
    unconditional = step.out_uncond is not None and (
        step.guidance.needs_both_branches or step.out_cond is None
    )
    name = "unconditional" if unconditional else "conditional"
    symbol = in_html("ε(xₜ)" if unconditional else "ε(xₜ, c)")
    directions = step.terms
    parts = [Part(name, symbol, 1.0, measure.rms(step.eps_base[rows]))]
    for term in step.guidance.terms:
        length = measure.rms(directions[term.name][rows])
        parts.append(Part(term.name, in_html(term.formula_at(step)), term.factor, length))
    return Formula(tuple(parts), measure.rms(step.eps[rows]))


def in_html(formula: str) -> str:
    """A formula in Unicode as HTML with real subscripts: ₜ and ₀, ⊥ and ∥, and a letter after _."""
    marked = re.sub(r"_(\w)", r"<sub>\1</sub>", escape(formula))
    return re.sub(
        f"[{''.join(SUBSCRIPTS)}]", lambda found: f"<sub>{SUBSCRIPTS[found[0]]}</sub>", marked
    )


def _summand(part: Part) -> str:
    scale = abs(part.scale)
    title = escape(title_of(part.name))
    numbers = f"{title}: {scale:g} × {part.length:.3f} = {abs(part.scaled):.3f}"
    return _block(f"{scale:g} · ({part.symbol})", numbers, colour_of(part.name), part.name)


def _block(symbol: str, numbers: str, colour: str = "currentColor", name: str = "") -> str:
    """A summand over its numbers, underlined in its colour; of one height, with or without
    subscripts.
    """
    style = (
        "font:italic 20px/34px Georgia,serif;height:34px;white-space:nowrap;border-bottom:3px"
        f" solid {colour}"
    )
    below = f'<div style="{SMALL};line-height:1.7;white-space:nowrap">{numbers}</div>'
    marks = attributes({"data-shows": name})
    return f'<div{marks}><div style="{style}">{symbol}</div>{below}</div>'


def _sign(sign: str) -> str:
    return f'<div style="font:20px/34px Georgia,serif">{sign}</div>'
