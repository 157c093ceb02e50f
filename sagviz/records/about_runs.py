"""Calls about runs and steps, such as a plot's: what is none is refused with a sentence."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from sagviz.attention.captured import Captured
from sagviz.checks import check_call, check_kind
from sagviz.records.step import Step
from sagviz.records.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])

A_TRACE = "what sv.trace returned; sv.Trace.load(path) reads one from a file"
WANTED: Mapping[str, tuple[type, str]] = {  # of an argument, by how it is annotated
    "Trace": (Trace, A_TRACE),
    "Step": (Step, "a step of a trace, such as trace[3]"),
    "Captured": (Captured, "what sv.attend returned"),
    "Iterable[Step]": (Iterable, f"{A_TRACE}, or a list of its steps"),
}


def about_runs(function: F) -> F:
    """A decorator: a call that does not fit the function's arguments, or gives something else than
    a trace or a step where it takes one, is refused.
    """
    signature = inspect.signature(function)
    wanted = {
        each.name: WANTED[each.annotation]
        for each in signature.parameters.values()
        if each.annotation in WANTED
    }

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_call(function.__name__, signature, args, kwargs, {})
        given = signature.bind(*args, **kwargs).arguments
        for name, (kind, words) in wanted.items():
            check_kind(name, given[name], kind, words)
        return function(*args, **kwargs)

    return cast(F, checked)


def as_traces(traces: object) -> list[Trace]:
    """One trace or several, as a list.

    Raises:
        ArgumentError: something among them is none.
    """
    several = isinstance(traces, Iterable) and not isinstance(traces, Trace | str)
    found: list[Any] = list(traces) if several else [traces]  # type: ignore[call-overload]
    for trace in found:
        check_kind("a trace", trace, Trace, A_TRACE)
    return found
