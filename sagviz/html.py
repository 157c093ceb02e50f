"""HTML by hand, in one place: pictures with an alt text, tables, and the one shell of our pages."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape as escape
from importlib import import_module
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError, SagvizError
from sagviz.files import expanded, save

KINDS = {b"\x89P": "png", b"\xff\xd8": "jpeg", b"RI": "webp"}  # by the first two bytes
NONE = "'none'"
WORKER = "'wasm-unsafe-eval'; worker-src blob:"  # after the scripts that are allowed
SCRIPTS = re.compile(r"<script type=\"module\"(?: async)?>(.*?)</script>", re.DOTALL)


def data_uri(content: bytes, kind: str = "") -> str:
    """A file as an address that a page can hold; of pictures (PNG, JPEG, WebP) the kind is seen."""
    kind = kind or f"image/{KINDS[content[:2]]}"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def attributes(values: Mapping[str, str | int | bool]) -> str:
    """` name="value"` for each; `True` is a name alone, `False` and "" are left out."""
    shown = {name.rstrip("_"): value for name, value in values.items() if value not in (False, "")}
    return "".join(
        f" {name}" if value is True else f' {name}="{escape(str(value), quote=True)}"'
        for name, value in shown.items()
    )


def img(source: bytes | str, alt: str, **more: str | int) -> str:
    """An `<img>` that holds its picture: encoded bytes, or the address made of them."""
    address = data_uri(source) if isinstance(source, bytes) else source
    return f"<img{attributes({'src': address, 'alt': alt or ' ', **more})}>"


def link(content: bytes, kind: str, file: str, words: str, **more: str | int) -> str:
    """A link that saves `content` as `file`."""
    href = data_uri(content, kind)
    marks = attributes({"class": "sag-link", "download": file, "href": href, **more})
    return f"<a{marks}>{escape(words)}</a>"


def table(rows: Iterable[tuple[str, str]], caption: str = "", **more: str) -> str:
    """A table of names and values, both plain text."""
    return grid((), [(name, [escape(value)]) for name, value in rows], caption, **more)


def grid(
    columns: Sequence[str],
    rows: Sequence[tuple[str, Sequence[str]]],
    caption: str = "",
    *,
    head_style: str = "",
    row_style: str = "",
    cell_style: str = "",
    **more: str,
) -> str:
    """A table with names above its columns and before its rows.

    Args:
        columns: plain text; none for a table without a head.
        rows: (name, cells): the name is plain text, the cells are HTML; where all names are "",
            they are left out.
        caption: plain text above the table.
        head_style, row_style, cell_style: CSS of the names above, of those before, of the cells.
        more: attributes of the table.
    """
    cell, named = f"<td{attributes({'style': cell_style})}>", any(name for name, _ in rows)
    head = "".join(_name(name, "col", head_style) for name in columns)
    head = f"<thead><tr>{'<td></td>' if named else ''}{head}</tr></thead>" if columns else ""
    body = "".join(
        f"<tr>{_name(name, 'row', row_style) if named else ''}"
        f"{''.join(f'{cell}{content}</td>' for content in cells)}</tr>"
        for name, cells in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table{attributes(more)}>{title}{head}<tbody>{body}</tbody></table>"


def _name(words: str, scope: str, style: str = "") -> str:
    return f"<th{attributes({'scope': scope, 'style': style})}>{escape(words)}</th>"


def page(
    title: str,
    body: str,
    style: str,
    script: str = "",
    body_class: str = "",
    *,
    inline_styles: bool = True,
    worker: bool = False,
) -> str:
    """A whole page that fetches nothing, and runs no script but those that it was made with.

    Args:
        title: in the browser's tab, before ": sagviz".
        body: HTML; its inline scripts (`<script type="module">`, or with `async`, which runs before
            the rest of the page has arrived) are allowed by their hashes.
        style: CSS.
        script: JavaScript that is run at the end.
        body_class: of the body element.
        inline_styles: whether other style elements and style attributes apply; else `style` alone.
        worker: whether its script may start workers of its own making, and they WebAssembly.
    """
    end = f'<script type="module">{script}</script>' if script else ""
    hashes = " ".join(f"'{_digest(code)}'" for code in dict.fromkeys(SCRIPTS.findall(body + end)))
    styles = "'unsafe-inline'" if inline_styles else f"'{_digest(style)}'"
    scripts = f"{hashes} {WORKER}" if worker else hashes or NONE
    policy = (
        f"default-src 'none'; img-src data:; style-src {styles}; script-src {scripts}; "
        f"base-uri 'none'; form-action 'none'"
    )
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}: sagviz</title>'
        f"<style>{style}</style>"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n'
        f"<body{attributes({'class': body_class})}><main>{body}</main>{end}</body></html>\n"
    )


def write_page(path: str | Path, html: str) -> Path:
    """Write a page, whole or not at all.

    Raises:
        ArgumentError: it is not called .html, or cannot be written.
    """
    return save(page_path(path), html.encode())


def page_path(path: str | Path, raises: type[SagvizError] = ArgumentError) -> Path:
    """The path of a page, where it is called so; else an error of the kind `raises`."""
    path = expanded(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise raises(f"this is an HTML page, and {path} does not end in .html; call it so")
    return path


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


# What shows a thing that lies below it, name to "module:function": the front door fills it in, so
# that records and sweeps have pages without knowing who makes them.
VIEWERS: dict[str, str] = {}


def viewer(name: str) -> Callable[..., Any]:
    """The function that shows a thing of that name, such as "trace" or "sweep"."""
    module, _, function = VIEWERS[name].partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
