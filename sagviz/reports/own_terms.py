"""The user's own classes of guidance terms, handed to a kernel that cannot import them: those of a
notebook or a script.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sagviz.errors import ReportError
from sagviz.guidance import Guidance, Term


def own_kinds(terms: Guidance) -> list[type[Term]]:
    """The classes that do not come with the package."""
    kinds = [type(term) for term in terms.terms]
    return [kind for kind in kinds if not kind.__module__.startswith("sagviz.")]


def pickled(kinds: Sequence[type[Term]]) -> bytes:
    """The classes by value, whatever module they are of, for `define`.

    Raises:
        ReportError: cloudpickle is missing, or a class holds what cannot leave this process.
    """
    try:
        import cloudpickle
    except ImportError as error:
        raise ReportError(
            "a report with terms of your own needs cloudpickle; install it with pip install"
            " 'sagviz[report]'"
        ) from error

    class Pickler(cloudpickle.Pickler):
        def persistent_id(self, value: Any) -> str | None:
            """All classes that are known, which every class of a term leads to, stay here."""
            return "kinds" if value is Term.kinds else None

    content = io.BytesIO()
    with _by_value({kind.__module__ for kind in kinds}):
        try:
            Pickler(content).dump(list(kinds))
        except Exception as error:  # whatever an object of the user's module raises
            names = ", ".join(kind.__name__ for kind in kinds)
            raise ReportError(
                f"the class of {names} cannot be handed to the report's kernel: {error}; define it"
                " without open files, locks or models"
            ) from error
    return content.getvalue()


def define(path: str) -> None:
    """Make known, in the kernel, the classes that `pickled` left in a file; why that failed is left
    beside it, because a kernel that starts has nobody to tell.
    """
    try:
        with Path(path).open("rb") as file:
            for kind in _Unpickler(file).load():
                Term.kinds[kind.name] = kind
    except Exception as error:  # whatever the user's class needs and the kernel has not
        words = f"the kernel cannot use the classes of its guidance terms: {error!r}"
        reason(Path(path)).write_text(words, encoding="utf-8")


def reason(path: Path) -> Path:
    """The file that says why `define` failed, if it did."""
    return path.with_suffix(".txt")


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, name: str) -> Any:
        del name  # there is one
        return Term.kinds


@contextmanager
def _by_value(modules: set[str]) -> Iterator[None]:
    """cloudpickle takes what these modules define by value, as it does with `__main__`."""
    import cloudpickle

    new = modules - {"__main__"} - cloudpickle.list_registry_pickle_by_value()
    found = [sys.modules[name] for name in new if name in sys.modules]
    for module in found:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in found:
            cloudpickle.unregister_pickle_by_value(module)
