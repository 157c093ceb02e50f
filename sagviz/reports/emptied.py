"""Called in a warm kernel between two notebooks."""

from __future__ import annotations

import ctypes
import gc
import linecache
from contextlib import suppress


def empty() -> None:
    """Forget all names, count cells from 1 again, and give the system the memory back."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    assert shell is not None, "a kernel has one"
    assert shell.history_manager is not None, "a shell has one, though none is kept"
    shell.reset(new_session=True)
    shell.history_manager.db_input_cache.clear()  # which grows where no history is kept
    linecache.clearcache()  # of the cells' source
    gc.collect()
    with suppress(OSError, TypeError, AttributeError):  # glibc alone keeps gaps, and can close them
        ctypes.CDLL(None).malloc_trim(0)
