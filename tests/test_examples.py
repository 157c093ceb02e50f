"""Every public name has an example in its docstring, and each example does what it says."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest
from public import public_names

PUBLIC = public_names()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples(name: str, thing: object) -> list[doctest.DocTest]:
    """The examples of a function, or of a class and its methods; each begins with nothing."""
    module = sys.modules[getattr(thing, "__module__", "sagviz")]
    found = doctest.DocTestFinder(exclude_empty=True).find(thing, name, module=module, globs={})
    return [test for test in found if test.examples]


def faults(test: doctest.DocTest) -> str:
    """What an example gives in place of what it says."""
    said: list[str] = []
    doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(test, out=said.append)
    return "".join(said)


def test_every_public_name_has_an_example() -> None:
    missing = [name for name, thing in PUBLIC.items() if not examples(name, thing)]
    assert not missing, f"{len(missing)} of {len(PUBLIC)}: {', '.join(missing)}"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PUBLIC if examples(name, PUBLIC[name])])
def test_the_example_does_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert [fault for test in examples(name, PUBLIC[name]) if (fault := faults(test))] == []


def right() -> None:
    """One and one.

    Example:
        >>> 1 + 1
        2
    """


def wrong() -> None:
    """One and one.

    Example:
        >>> 1 + 1
        3
    """


def bare() -> None:
    """No example."""


def test_a_planted_fault_is_found() -> None:
    assert [len(examples(thing.__name__, thing)) for thing in (right, wrong, bare)] == [1, 1, 0]
    assert faults(examples("right", right)[0]) == ""
    assert "Expected:\n    3\nGot:\n    2" in faults(examples("wrong", wrong)[0])
