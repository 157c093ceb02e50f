"""`Origin`: what `load` was given, so that another process can load the same model again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sagviz.checks import format_dtype


@dataclass(frozen=True)
class Origin:
    """The arguments of `load`, as small values that can be sent: `load(**asdict(origin))`. What was
    left open stays open, so that each process takes the best device that it has.

    Attributes:
        source: the absolute path of a folder, a hub name, or `None` for the miniature.
        device, dtype: by name; offload: as in `load`.
    """

    source: str | None
    device: str | None
    dtype: str | None
    offload: bool

    @staticmethod
    def of(
        source: str | Path | None, device: str | torch.device | None, dtype: object, offload: bool
    ) -> Origin:
        """From what `load` takes. A process elsewhere has another current folder, but not another
        root.
        """
        place = None if source is None else str(source)
        if source is not None and Path(source).is_dir():
            place = str(Path(source).resolve())
        kind = None if dtype is None else format_dtype(dtype)
        return Origin(place, None if device is None else str(device), kind, offload)
