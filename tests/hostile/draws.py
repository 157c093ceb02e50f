"""What hostile input is drawn from: junk of all kinds, texts that mean something somewhere, and
whole records with a part of them replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

INJECTIONS = (
    '"><script>alert(1)</script>',
    "</script><script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "'><svg onload=alert(1)>",
    "</textarea></style><svg/onload=alert(1)>",
    '" autofocus onfocus=alert(1) x="',
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!--<script>alert(1)//-->",
    "${alert(1)} {{alert(1)}} `${alert(1)}`",
    "](javascript:alert(1)) ![x](x) $\\href{javascript:alert(1)}{x}$",
    "\u2028\u2029</p><img src=x onerror=alert(1)>&lt;script&gt;",
)
WORDS = ("", " ", "\0", "\n", "a\r\nb", "../../x", "~", "nan", "1e400", "0x10", "None", "🦊" * 9)
texts: SearchStrategy[str] = st.one_of(
    st.text(max_size=40), st.sampled_from(INJECTIONS), st.sampled_from(WORDS), st.just("a" * 5000)
)
numbers: SearchStrategy[Any] = st.one_of(
    st.integers(-5, 1),
    st.sampled_from([10**30, -(10**30), 2**63, 2**64, 10**400, 0.5, -0.0, 1e-320, 1e308]),
    st.floats(),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
)
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects: SearchStrategy[Any] = st.one_of(
    st.builds(object),
    st.sampled_from(
        [
            b"bytes",
            1j,
            Decimal("0.5"),
            Fraction(1, 3),
            Path("x"),
            dict,
            print,
            ...,
            np.float32(0.5),
            np.int64(1),
            np.array(1),
            np.zeros((3, 2)),
            np.full((4, 4), np.nan),
            np.array(["a", "b"]),
            np.array([object()]),
            torch.tensor(1),
            torch.zeros(2, 3),
            torch.full((1, 4, 16, 16), float("nan")),
            torch.zeros(0),
            torch.zeros(3, dtype=torch.complex64),
            range(3),
            {1, 2},
        ]
    ),
)
junk: SearchStrategy[Any] = json_values | objects


def changed(record: Any) -> SearchStrategy[Any]:
    """A record of JSON in which one place, wherever it is, has another value, is gone, or has
    something beside it.
    """
    return st.builds(
        _changed,
        st.just(record),
        st.sampled_from(list(places(record))),
        json_values,
        st.sampled_from(["set", "remove", "add"]),
    )


def places(record: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where in a record of JSON there is something."""
    if isinstance(record, Mapping):
        inner = list(record.items())
    else:
        inner = list(enumerate(record)) if isinstance(record, list | tuple) else []
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def _changed(record: Any, path: tuple[Any, ...], value: Any, how: str) -> Any:
    if not path:
        return value
    made = copy.deepcopy(record)
    owner = made
    for key in path[:-1]:
        owner = owner[key]
    if how == "set":
        owner[path[-1]] = value
    elif how == "remove":
        del owner[path[-1]]
    elif isinstance(owner, dict):
        owner[str(value)] = value
    else:
        owner.append(value)
    return made


def with_some(
    usual: Mapping[str, Any], hostile: Mapping[str, SearchStrategy[Any]], most: int = 2
) -> SearchStrategy[dict[str, Any]]:
    """Usual arguments, of which a few have a hostile value."""
    some = st.lists(st.sampled_from(sorted(hostile)), min_size=1, max_size=most, unique=True)
    return some.flatmap(
        lambda names: st.fixed_dictionaries(
            {
                **{name: st.just(value) for name, value in usual.items()},
                **{name: hostile[name] for name in names},
            }
        )
    )
