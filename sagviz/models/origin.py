"""`Origin`: what `load` was given, so that another process can load the same model again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from sagviz.checks import format_dtype
from sagviz.errors import ModelError
from sagviz.files import expanded

T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """The arguments of `load`, as small values that can be sent: `load(**asdict(origin))`. What was
    left open stays open, so that each process takes the best device that it has.

    Attributes:
        source: the absolute path of a folder, a hub name, or `None` for the miniature.
        device, dtype: by name; offload, config, variant, revision: as in `load`.
    """

    source: str | None
    device: str | None
    dtype: str | None
    offload: bool
    config: str | None = None
    variant: str | None = None
    revision: str | None = None

    @staticmethod
    def of(
        source: str | Path | None,
        device: str | torch.device | None,
        dtype: object,
        offload: bool,
        config: str | Path | None = None,
        variant: str | None = None,
        revision: str | None = None,
    ) -> Origin:
        """From what `load` takes. A process elsewhere has another current folder, but not another
        root.
        """
        place, kind = _absolute(source), None if dtype is None else format_dtype(dtype)
        where = None if device is None else str(device)
        return Origin(place, where, kind, offload, _absolute(config), variant, revision)


def can_be_reopened(name: str, reopen: Callable[[], T] | None) -> Callable[[], T]:
    """What opens a model again in another process.

    Raises:
        ModelError: nothing can.
    """
    if reopen is None:
        raise ModelError(
            f"{name} has parts from the memory of this process and cannot be pickled; write it with"
            " pipe.save_pretrained(folder) and give sv.load(folder), without classifier="
        )
    return reopen


def _absolute(place: str | Path | None) -> str | None:
    """A path that exists as an absolute one; a name of the hub as it is."""
    if place is None:
        return None
    path = expanded(place)
    return str(path.resolve() if os.path.exists(path) else place)
