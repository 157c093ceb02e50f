"""What people give to be measured."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from sagviz.checks import shown
from sagviz.errors import ArgumentError
from sagviz.image import as_tensor

Numbers = Tensor | np.ndarray


def as_numbers(name: str, value: object, words: str, *, dims: int = 0) -> Tensor:
    """Numbers of torch or NumPy, in float64.

    Args:
        name: of the argument; `words`: what it is to be, for the sentence.
        dims: how many dimensions it has at least.

    Raises:
        ArgumentError: it is nothing of the kind.
    """
    found = as_tensor(value)
    real = isinstance(found, Tensor) and not found.is_complex()
    if not real or found.dim() < dims or not found.numel():
        given = f"of the shape {tuple(found.shape)}" if hasattr(found, "shape") else shown(value)
        raise ArgumentError(f"{name} is {given}; give {words}, of torch or NumPy")
    return found.double()
