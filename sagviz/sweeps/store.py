"""`Store`: the place where the runs of a sweep are kept, one trace or failure for each key.

`address` is what other processes find it by, `None` where they cannot. A status is "done",
"running" (some process works on it), "failed" or "pending". `look` has the status of every key that
is not pending, from one listing; `whole` and `measures` go through many keys, in their order, as
fast as the place allows. `claim` gives the sole right to make a run, until the end of the block;
`None` while another process has it.
"""

from __future__ import annotations

from sagviz.sweeps.folder_store import Folder
from sagviz.sweeps.fsspec_store import Remote
from sagviz.sweeps.memory_store import Memory

Store = Folder | Memory | Remote
