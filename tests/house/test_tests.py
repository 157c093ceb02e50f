"""Tests are read one by one: none leans on another, none reaches behind the public names."""

from __future__ import annotations

import ast
from collections.abc import Callable

import pytest
from sources import ROOT, imports

TESTS = sorted((ROOT / "tests").rglob("*.py"))
THEIRS = {  # of Python, notebooks and libraries, which have no other names for what a test must see
    "_repr_html_",
    "_repr_mimebundle_",
    "_backward_hooks",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_python_dispatch",
    "_pytree",
    "_cdata",  # torch
    "_to_copy",
    "_local_scalar_dense",
    "_internal_dict",
    "_get_add_time_ids",  # diffusers
    "_dom_classes",
    "_instances",  # ipywidgets
    "_processes",  # concurrent.futures
    "_exit",  # os
    "_replace",  # of named tuples
}


def imported_tests(source: str) -> list[str]:
    """Tests that a file imports."""
    parts = [part for name in imports(source) for part in name.split(".")]
    return [part for part in parts if part.startswith("test_")]


def private_names(source: str) -> list[str]:
    """Private names that a file imports, or takes from something that is not itself."""
    parts = [part for name in imports(source, types=True) for part in name.split(".")]
    parts += [
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls")
    ]
    return [
        part
        for part in parts
        if part.startswith("_") and not part.startswith("__") and part not in THEIRS
    ]


def found(finder: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """What a finder finds, by file."""
    names = {str(path.relative_to(ROOT)): finder(path.read_text()) for path in TESTS}
    return {path: sorted(set(given)) for path, given in names.items() if given}


@pytest.mark.slow
def test_no_test_imports_another() -> None:
    assert found(imported_tests) == {}


@pytest.mark.slow
def test_no_test_reaches_for_a_private_name() -> None:
    assert found(private_names) == {}


@pytest.mark.parametrize(
    "source",
    [
        "from test_other import helper",
        "from models.test_load import helper",
        "def late():\n    import models.test_load as other",
        "if TYPE_CHECKING:\n    from test_other import Kind",
    ],
)
def test_planted_import_of_a_test_is_found(source: str) -> None:
    assert len(imported_tests(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "from sagviz.models.load import _own",
        "import sagviz._core",
        "from sagviz.sweeps import tasks\ntasks._kept.clear()",
        "scope.controls._cost.value = 1",
        "class Faced(Board):\n    def show(self):\n        return self.board._rows",
    ],
)
def test_planted_private_name_is_found(source: str) -> None:
    assert len(private_names(source)) == 1


def test_what_is_public_or_ones_own_is_left_alone() -> None:
    source = "from sagviz import plot\nclass A:\n    def b(self):\n        return self._c.__doc__"
    assert imported_tests(source) == private_names(source) == []
