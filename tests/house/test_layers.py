"""The layers of the package: a file imports only from rows below its own, and each big library has
its owners.

The rows are the architecture: a new module takes its place here before its first import.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "sagviz"

ROWS = (  # from the bottom up; "name.*" is all below a package that no row names itself
    {"errors", "files", "seeds"},
    {"shortage", "footprint"},
    {"mini.*"},
    {"degrade", "schedule", "attention", "image"},
    {"perturb"},
    {"guidance.*"},
    {"captures"},
    {"models.*", "words", "records", "measure.*"},
    {"traces", "runs", "captions"},
    {"room", "finite"},
    {"passes"},
    {"sampling"},
    {"whatif", "probe", "comparison", "recipe", "memory", "sweeps.*", "votes"},
    {"plot.*", "player.pack"},
    {"player"},
    {"player.grid"},
    {"widgets.parts", "widgets.worker"},
    {"widgets.surface", "widgets.later", "widgets.dials"},
    {"widgets.form", "widgets.screen", "widgets.board", "widgets.crossed"},
    {
        "widgets.history",
        "widgets.looking",
        "widgets.painting",
        "widgets.going_on",
        "widgets.controls",
    },
    {"widgets.*"},
    {"widgets.playground", "widgets.opened"},  # runs open in the others
    {"widgets.grid"},
    {"widgets"},
    {"reports"},
    {"cli"},
    {""},  # sagviz/__init__.py, the front door: no file inside goes through it
    {"__main__", "mini.evaluate", "mini.gallery", "mini.card"},
)
# packages whose files may import each other
SAME_ROW = {"", "guidance", "measure", "mini", "models", "plot", "sweeps"}
UPWARD = {  # (module, function, target): late, and the only ones
    ("traces", "Trace.to_html", "player"),
    ("traces", "Trace._repr_html_", "player"),
    ("sweeps.results", "Sweep.to_html", "player.grid"),
}
FREE = {"mini.evaluate", "mini.curves"}  # programs that may import every library
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
    "matplotlib": {"image", "plot"},
    "PIL": {"image", "plot", "mini"},
}
HEAVY = ("torch", "diffusers", "transformers", "matplotlib")


@dataclass
class Imports(ast.NodeVisitor):
    """Collects (function, dotted name) of a module's imports, late ones included, those for type
    checkers not.
    """

    module: str
    is_package: bool = False
    scope: tuple[str, ...] = ()
    found: list[tuple[str, str]] = field(default_factory=list)

    def enter(self, node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        outer, self.scope = self.scope, (*self.scope, node.name)
        self.generic_visit(node)
        self.scope = outer

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = enter

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def add(self, name: str) -> None:
        self.found.append((".".join(self.scope), name))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            here = ["sagviz", *filter(None, self.module.split("."))]
            parents = here[: len(here) - node.level + self.is_package]
            base = ".".join([*parents, *filter(None, [node.module])])
        for alias in node.names:
            self.add(f"{base}.{alias.name}")

    def visit_Call(self, node: ast.Call) -> None:
        """`import_module("name")` is an import, too."""
        dynamic = ast.unparse(node.func) in (
            "import_module",
            "importlib.import_module",
            "__import__",
        )
        if dynamic and node.args and isinstance(node.args[0], ast.Constant):
            self.add(str(node.args[0].value))
        self.generic_visit(node)


def top(module: str) -> str:
    return module.split(".")[0]


def row(module: str) -> int | None:
    """Height of a module, None where the table lacks it; "mini" and "mini.world" both stand with
    "mini.*".
    """
    for name in (module, f"{top(module)}.*"):
        for height, modules in enumerate(ROWS):
            if name in modules:
                return height
    return None


def modules(package: Path) -> dict[str, Path]:
    """Dotted name below the package ("" for its own __init__) to file."""
    paths = {
        path.relative_to(package).with_suffix(""): path for path in sorted(package.rglob("*.py"))
    }
    return {
        ".".join(part for part in name.parts if part != "__init__"): path
        for name, path in paths.items()
    }


def targets(dotted: str, known: set[str]) -> str:
    """The module of ours that `sagviz.a.b` names, of which b may be a function: the longest known
    one.
    """
    name = dotted.removeprefix("sagviz").lstrip(".")
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def faults(module: str, source: str, known: set[str], is_package: bool = False) -> Iterator[str]:
    """One sentence for each import of `module` that breaks a rule."""
    height = row(module)
    if height is None:
        yield f"{module} has no row: give it one"
        return
    visitor = Imports(module, is_package)
    visitor.visit(ast.parse(source))
    for function, name in visitor.found:
        if name.startswith(("matplotlib.pyplot", "matplotlib.pylab", "pylab")):
            yield f"{module} imports {name}: its figures leak, and race between threads"
        elif top(name) == "sagviz":
            if name == "sagviz.__version__":
                continue
            target = targets(name, known)
            below = row(target)
            fellows = top(module) == top(target) and top(module) in SAME_ROW
            if below is None or (
                below >= height and not fellows and (module, function, target) not in UPWARD
            ):
                yield (
                    f"{module or '__init__'} imports {target or 'sagviz itself'}, which is not"
                    " below it"
                )
        elif module not in FREE and top(module) not in OWNERS.get(top(name), {top(module)}):
            yield (
                f"{module} imports {name}, which belongs to"
                f" {' and '.join(sorted(OWNERS[top(name)]))}"
            )


def package_faults(package: Path) -> list[str]:
    """All faults of a source tree."""
    files = modules(package)
    return [
        fault
        for module, path in files.items()
        for fault in faults(module, path.read_text(), set(files), path.name == "__init__.py")
    ]


def loaded(code: str, path: Path, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Which of the names a fresh interpreter has loaded after the code, with `path` first on its
    search path.
    """
    code += f"\nimport sys; print(*sorted(set({names}) & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]  # which searches the current folder even before `path`
    done = subprocess.run(
        command, env=environment, cwd=path, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_every_import_goes_down() -> None:
    assert package_faults(PACKAGE) == []


def test_import_stays_light() -> None:
    assert loaded("import sagviz", PACKAGE.parent) == []


# The rules themselves, tried on planted modules: a rule that nothing can break protects nothing.

FILES = {"guidance", "measure", "mini", "mini.world", "plot", "plot.strip", "widgets.grid"}
KNOWN = FILES | {name for row in ROWS for name in row if not name.endswith("*")}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedule", "from sagviz.sampling.loop import steps"),
        ("schedule", "from sagviz import sampling"),
        ("schedule", "import sagviz.sampling.loop as s"),
        ("schedule", "from .sampling import steps"),
        ("schedule", "from . import sampling"),
        ("schedule", "from sagviz import CFG"),
        ("schedule", "import sagviz"),
        ("schedule", "from importlib import import_module\nimport_module('sagviz.sampling.loop')"),
        ("degrade", "from sagviz.guidance import SAG")(
            "mini.world", "from sagviz.image import to_image"
        ),
        ("measure", "from sagviz.records.trace import Trace"),
        ("sampling", "def late():\n    from sagviz.cli import main"),
        ("traces", "from sagviz import player"),
        ("traces", "class Trace:\n    def save(self):\n        from sagviz import player"),
        ("traces", "class Trace:\n    def to_html(self):\n        from sagviz import plot"),
        ("widgets.grid", "from sagviz.widgets.player import Scrubber"),
        ("widgets.parts", "from sagviz.widgets.grid.grid import Grid"),
        ("widgets.grid", "from .grid import Grid"),
        ("sampling", "import diffusers"),
        ("sampling", "from transformers import CLIPTextModel"),
        ("plot", "import ipywidgets as w"),
        ("cli", "def report():\n    import papermill"),
        ("player", "from PIL import Image"),
        ("plot", "import matplotlib.pyplot as plt"),
        ("plot.strip", "from matplotlib import pyplot"),
        ("plot.strip", "from sagviz import player"),
        ("plot", "def late():\n    from matplotlib.pyplot import figure"),
        ("mini.evaluate", "import matplotlib.pyplot"),
        ("measure", "if not TYPE_CHECKING:\n    import PIL"),
        ("unheard_of", ""),
    ],
)
def test_planted_fault_is_found(module: str, source: str) -> None:
    assert len(list(faults(module, source, KNOWN))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("schedule", "import torch\nfrom sagviz.errors import SagvizError"),
        ("guidance", "from __future__ import annotations\nimport math"),
        ("sampling", "from sagviz import guidance, traces"),
        (
            "sampling",
            (
                "import typing\nif typing.TYPE_CHECKING:\n    from PIL import Image\n    import"
                " sagviz.cli"
            ),
        ),
        ("mini.world", "from PIL import Image\nfrom sagviz.mini import WEIGHTS"),
        ("mini.evaluate", "from sagviz import trace\nimport matplotlib.figure"),
        ("models", "from diffusers import DiffusionPipeline\nfrom sagviz.mini import WEIGHTS"),
        (
            "traces",
            "class Trace:\n    def to_html(self, path):\n        from sagviz.player import page",
        ),
        (
            "widgets.grid",
            "import ipywidgets\nfrom sagviz.widgets import parts\nfrom .parts import slider",
        ),
        ("plot", "from matplotlib.figure import Figure\nfrom PIL import Image"),
        ("plot.strip", "from sagviz.plot import page\nfrom sagviz.measure import coverage"),
        ("reports", "import papermill\nfrom sagviz.widgets import Grid"),
        ("cli", "from sagviz import __version__, reports"),
        ("", "from sagviz import cli"),
    ],
)
def test_good_import_is_left_alone(module: str, source: str) -> None:
    assert list(faults(module, source, KNOWN)) == []


def test_planted_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "widgets").mkdir()
    (tmp_path / "__init__.py").write_text("import importlib")
    (tmp_path / "sampling.py").write_text("")
    (tmp_path / "widgets" / "__init__.py").write_text("from .. import sampling\nfrom . import grid")
    (tmp_path / "widgets" / "grid.py").write_text(
        "from ..sampling import steps\nfrom sagviz.widgets import Grid"
    )
    assert package_faults(tmp_path) == ["widgets.grid imports widgets, which is not below it"]


def test_planted_weight_is_found(tmp_path: Path) -> None:
    (tmp_path / "sagviz.py").write_text("import torch")
    (tmp_path / "torch.py").write_text("")  # stands in for the real one
    assert loaded("import sagviz", tmp_path) == ["torch"]
