"""Tokenizers that nobody else sets meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any
from weakref import WeakKeyDictionary

_known: WeakKeyDictionary[Any, tuple[object, Any]] = WeakKeyDictionary()


def unshared(tokenizer: Any) -> Any:
    """The same tokenizer with a backend of its own: a fast one keeps padding and truncation as its
    state, which a pipeline sets that is called in another thread, and is set by us.

    The vocabulary is copied once, and again when words are added to it. It is one for all threads
    of ours: hold the lock.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # one that is written in Python has no such state
        return tokenizer
    sign = backend, *added(tokenizer)
    known = _known.get(tokenizer)
    if known is None or known[0] != sign:
        known = _known[tokenizer] = sign, type(backend).from_str(backend.to_str())
    made = copy.copy(tokenizer)  # with its settings as they are now
    made._tokenizer = known[1]
    return made


def added(tokenizer: Any) -> Collection[str]:
    """The tokens beside its vocabulary: those of textual inversion, and the special ones."""
    found: Collection[str] = getattr(tokenizer, "added_tokens_encoder", {})
    return found
