"""An executed notebook as one page without code: formulas as MathML, pictures as data."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

from sagviz import html

STYLE = Path(__file__).with_name("report.css")


def to_html(notebook: Any, title: str) -> str:
    """The page of an executed notebook, which loads nothing.

    Args:
        notebook: nbformat's; cells with the tag "hide" are left out.
        title: in the browser's tab.
    """
    shown = [cell for cell in notebook.cells if "hide" not in cell.metadata.get("tags", [])]
    without = {f"exclude_{part}": True for part in ("input", "input_prompt", "output_prompt")}
    body, _ = exporter(**without).from_notebook_node(type(notebook)({**notebook, "cells": shown}))
    return html.page(f"SAG report: {title}", body, STYLE.read_text(encoding="utf-8"))


def exporter(**options: bool) -> Any:
    """nbconvert's exporter of notebooks, with formulas as MathML.

    Args:
        options: of nbconvert, such as `exclude_input`.
    """
    from nbconvert import HTMLExporter

    made = HTMLExporter(template_name="basic", **options)
    made.register_filter("markdown2html", markdown_with_math)
    return made


def markdown_with_math(source: str) -> str:
    """Markdown to HTML in which $formulas$ are MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    def display(formula: re.Match[str]) -> str:  # on a line of its own, which a narrow page scrolls
        drawn = convert(unescape(formula[1]).strip(), display="block")
        return f'<span class="formula" tabindex="0">{drawn}</span>'

    converted = markdown2html_mistune(source)
    converted = re.sub(r"\$\$(.+?)\$\$", display, converted, flags=re.DOTALL)
    return re.sub(r"\$(.+?)\$", lambda m: convert(unescape(m[1]).strip()), converted)
