"""The rules of the layers, as functions on any source tree: rows, circles, owners of big libraries,
sizes.

The rows are those of ARCHITECTURE.md, read from there.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from sources import ROOT, home, imports, modules
from warm import NEW

Rows = dict[str, int]  # package to height, from 0 at the bottom
Graph = dict[str, set[str]]

MAX_NAMES, MAX_LINES = 22, 260
OWNERS = {
    "diffusers": {"models", "mini"},
    "transformers": {"models", "mini"},
    "accelerate": {"models"},
    "distributed": {"sweeps"},
    "fsspec": {"sweeps"},
    "ipywidgets": {"widgets"},
    "papermill": {"reports"},
    "nbconvert": {"reports"},
    "nbformat": {"reports"},
    "matplotlib": {"image", "plot", "mini.training.curves", "mini.evaluation", "mini.study"},
    # Its Image is the type of every picture.
    "PIL": {"image", "plot", "mini", "records", "models", "measure", "sweeps", "widgets"},
}
HEAVY = ("torch", "diffusers", "transformers", "matplotlib")


def read_rows(text: str) -> Rows:
    """The table of ARCHITECTURE.md: a line a row, the highest first; names, two spaces, words."""
    (block,) = re.findall(r"^```rows\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [re.split(r"\s{2,}", line)[0].split() for line in reversed(block.splitlines())]
    names = [name for line in lines for name in line]
    assert len(names) == len(set(names)), "a name stands twice in the table"
    return {name: height for height, line in enumerate(lines) for name in line}


ROWS = read_rows((ROOT / "ARCHITECTURE.md").read_text())


def is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def package_of(module: str, rows: Rows = ROWS) -> str | None:
    """The longest name of the table that a module belongs to, None where there is none."""
    names = [name for name in rows if is_in(module or "sagviz", name)]
    return max(names, key=len, default=None)


def targets(source: str, package: str, known: set[str]) -> Iterator[str]:
    """The modules of ours that a file imports, by their longest known name: `sagviz.a.b` may be a
    function.
    """
    for dotted in imports(source, package):
        if is_in(dotted, "sagviz"):
            name = dotted.removeprefix("sagviz").lstrip(".")
            while name and name not in known:
                name = name.rpartition(".")[0]
            yield name


def faults(
    module: str, source: str, known: set[str], is_package: bool = False, rows: Rows = ROWS
) -> Iterator[str]:
    """One sentence for each import of `module` that breaks a rule."""
    package, here = package_of(module, rows), home(module, is_package)
    if package is None:
        yield f"{module} has no row: give it one in ARCHITECTURE.md"
        return
    for target in targets(source, here, known):
        other = package_of(target, rows)
        if other is None or (other != package and rows[other] >= rows[package]):
            yield (
                f"{module or '__init__'} imports {target or 'sagviz itself'}, which is not below it"
            )
    for name in imports(source, here, types=False):  # a type alone costs and binds nothing
        owners = OWNERS.get(name.split(".")[0], {module})
        if name.startswith(("matplotlib.pyplot", "matplotlib.pylab", "pylab")):
            yield f"{module} imports {name}: its figures leak, and race between threads"
        elif not any(is_in(module, owner) for owner in owners):
            yield f"{module} imports {name}, which belongs to {' and '.join(sorted(owners))}"


def arrows(package: Path) -> Graph:
    """Each file to the files of ours that it imports."""
    files = modules(package)
    return {
        module: set(targets(path.read_text(), home(module, path.name == "__init__.py"), set(files)))
        for module, path in files.items()
    }


def between_packages(files: Graph, rows: Rows = ROWS) -> Graph:
    """The same arrows among the packages of the table."""
    graph: Graph = {}
    for module, others in files.items():
        package = package_of(module, rows) or module
        found = {package_of(other, rows) or other for other in others}
        graph.setdefault(package, set()).update(found - {package})
    return graph


def circle(graph: Mapping[str, set[str]]) -> str:
    """A circle in a graph, "a imports b imports a", or "" where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " imports ".join(name or "sagviz" for name in reversed(error.args[1]))
    return ""


def package_faults(package: Path, rows: Rows = ROWS) -> list[str]:
    """All imports of a source tree that break a rule."""
    files = modules(package)
    return [
        fault
        for module, path in files.items()
        for fault in faults(module, path.read_text(), set(files), path.name == "__init__.py", rows)
    ]


def top_names(package: Path) -> set[str]:
    """Packages and modules at the top."""
    return {name.split(".")[0] for name in modules(package)} - {""}


def long_files(package: Path, bound: int = MAX_LINES) -> dict[str, int]:
    """Files of more lines than that."""
    lines = {name: len(path.read_text().splitlines()) for name, path in modules(package).items()}
    return {name: count for name, count in lines.items() if count > bound}


def loaded(code: str, path: Path, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the names a fresh interpreter has loaded after the code, with `path` first on its
    search path.
    """
    code += f"\nimport sys; print(*sorted(set({names}) & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [NEW, "-c", code]  # which searches the current folder even before `path`
    done = subprocess.run(
        command, env=environment, cwd=path, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def body_lines(file: Path) -> dict[str, int]:
    """How many lines each function of a file has, docstring aside."""
    text = file.read_text()
    functions = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.FunctionDef)]
    bodies = {each.name: each.body[bool(ast.get_docstring(each)) :] for each in functions}
    return {
        name: sum(len((ast.get_source_segment(text, each) or "").splitlines()) for each in body)
        for name, body in bodies.items()
    }
