"""The guidance formula with one step's own numbers under its terms."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from sagviz import measure
from sagviz.guidance import title_of
from sagviz.plot.curves import COLOURS
from sagviz.plot.display import FONT
from sagviz.records.step import Step

X, X_DEGRADED = "x<sub>t</sub>", "x̂<sub>t</sub>"


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
        """Length of what is added, RMS; negative where the term is turned round."""
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
        terms = [
            f"{part.scale:g} times {title_of(part.name)}'s direction of length {part.length:.3f}"
            for part in self.parts[1:]
        ]
        base = f"the {self.parts[0].name} prediction of length {self.parts[0].length:.3f}"
        return f"guided noise of length {self.total:.3f} = {' plus '.join([base, *terms])}"

    def _repr_html_(self) -> str:
        blocks = [_block("ε̃", f"length {self.total:.3f}", "currentColor"), _sign("=")]
        for place, part in enumerate(self.parts):
            blocks += ([_sign("+" if part.scale >= 0 else "−")] if place else []) + [
                _summand(part, place == 0)
            ]
        style = (
            f"{FONT};display:flex;flex-wrap:wrap;gap:10px"
            " 12px;align-items:flex-start;padding:6px 2px"
        )
        return (
            f'<div role="img" aria-label="{escape(self.words, quote=True)}"'
            f' style="{style}">{"".join(blocks)}</div>'
        )


def formula(step: Step, image: int = 0) -> Formula:
    """The formula of one step, measured on one image of the batch.

    Args:
        step: a record, or what `what_if` made of it.
        image: which image of the batch.
    """
    rows = slice(image, image + 1)
    text = (
        ", c"
        if step.out_uncond is None
        or (not step.guidance.needs_both_branches and step.out_cond is not None)
        else ""
    )
    clean, told = f"ε({X}{text})", ", c" if step.out_cond is not None else ""
    spread = f"std ε({X}, c) / std ε<sub>w</sub>"
    symbols = {
        "cfg": f"ε({X}, c) − {clean}",
        "sag": f"{clean} − ε({X_DEGRADED}{text})",
        "pag": f"ε({X}{told}) − ε({X}{told}; A = 1)",
        "seg": f"ε({X}{told}) − ε({X}{told}; q blurred)",
        "cg": f"−σ ∇ log p(y | {X})",
        "apg": "−(α/σ) (Δ<sub>⊥</sub> + η Δ<sub>∥</sub>)",
        "rescale": f"({spread} − 1) ε<sub>w</sub>",
    }
    base = Part(
        "conditional" if text else "unconditional", clean, 1.0, measure.rms(step.eps_base[rows])
    )
    terms = [
        Part(term.name, symbols[term.name], term.scale, measure.rms(step.terms[term.name][rows]))
        for term in step.guidance.terms
    ]
    return Formula((base, *terms), measure.rms(step.eps[rows]))


def _summand(part: Part, is_base: bool) -> str:
    if is_base:
        return _block(part.symbol, f"length {part.length:.3f}", "currentColor")
    scale = abs(part.scale)
    numbers = f"{title_of(part.name)}: {scale:g} × {part.length:.3f} = {abs(part.scaled):.3f}"
    return _block(f"{scale:g} · ({part.symbol})", numbers, COLOURS[part.name])


def _block(symbol: str, numbers: str, colour: str) -> str:
    """A summand over its numbers, underlined in its colour; of one height, with or without
    subscripts.
    """
    style = (
        "font:italic 20px/34px Georgia,serif;height:34px;white-space:nowrap;border-bottom:3px"
        f" solid {colour}"
    )
    below = f'<div style="font-size:13px;line-height:1.7;white-space:nowrap">{numbers}</div>'
    return f'<div><div style="{style}">{symbol}</div>{below}</div>'


def _sign(sign: str) -> str:
    return f'<div style="font:20px/34px Georgia,serif">{sign}</div>'
