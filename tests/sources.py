"""Python files read without running them: which modules there are, what they import and what they
name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sagviz"


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package ("" for its own __init__) to file."""
    paths = {
        path.relative_to(package).with_suffix(""): path for path in sorted(package.rglob("*.py"))
    }
    return {
        ".".join(part for part in name.parts if part != "__init__"): path
        for name, path in paths.items()
    }


def home(module: str, is_package: bool) -> str:
    """The package from which relative imports of a module count."""
    dotted = f"sagviz.{module}".rstrip(".")
    return dotted if is_package else dotted.rpartition(".")[0]


def imports(source: str, package: str = "sagviz", types: bool = True) -> Iterator[str]:
    """Dotted name of each thing that a file imports, at its top or late in a function.

    Args:
        source: The file's text.
        package: Dotted name of the package that it is in, from which relative imports count.
        types: Whether imports for type checkers count, too.
    """
    for node in _nodes(ast.parse(source), types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) - node.level + 1] if node.level else []
            stem = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{stem}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _imports(node.func) and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


def _nodes(node: ast.AST, types: bool) -> Iterator[ast.AST]:
    """A syntax tree node by node, with or without what only type checkers read."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if not types and isinstance(node, ast.If) and _last_name(node.test) == "TYPE_CHECKING":
        children = node.orelse
    for child in children:
        yield from _nodes(child, types)


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _imports(function: ast.expr) -> bool:
    """Whether a call of it is an import, too."""
    return _last_name(function) in ("import_module", "__import__")
