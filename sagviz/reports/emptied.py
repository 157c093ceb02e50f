"""Called in a warm kernel between two notebooks."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def empty() -> None:
    """Forget all names, count cells from 1 again, and give the system the memory back."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    assert shell is not None, "a kernel has one"
    shell.reset(new_session=True)
    gc.collect()
    with suppress(OSError, TypeError, AttributeError):  # glibc alone keeps gaps, and can close them
        ctypes.CDLL(None).malloc_trim(0)
