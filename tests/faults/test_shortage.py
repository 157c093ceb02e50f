"""Out of memory, for real: the system gives no more than a budget."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from faults.works import BOTH
from limits import budget
from tiny import is_one_sentence, residue

import sagviz as sv
from sagviz.errors import OutOfMemoryError
from sagviz.image import as_mask, as_stencil

MIB = 2**20
SIZE = (2048, 2048)  # pixels: of 48 MiB, a latent of 16, and activations of hundreds
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


PICTURE = torch.zeros(3, *SIZE)
MASK = np.zeros((8192, 8192), dtype=np.uint8)  # 64 MiB
WORKS: dict[str, Callable[[sv.Model], object]] = {
    "trace": lambda model: sv.trace(
        model, "a fox", steps=1, guidance=BOTH, size=SIZE, progress=False
    ),
    "steps": lambda model: next(sv.steps(model, "a fox", steps=1, size=SIZE)),
    "encode": lambda model: model.encode(PICTURE),
    "mask": lambda _: as_mask(MASK),
    "stencil": lambda _: as_stencil(MASK),
}


@pytest.mark.slow
@pytest.mark.parametrize("amount", [2 * MIB, 12 * MIB, 40 * MIB])
@pytest.mark.parametrize("name", WORKS)
def test_a_real_shortage_says_what_to_lower_and_leaves_the_model_as_it_was(
    model: sv.Model, name: str, amount: int
) -> None:
    """Wherever the budget is at its end: in the noise, a pass, the records or the picture."""
    before = residue(model.unet)
    whole = sv.trace(model, "a fox", steps=1, guidance=BOTH, progress=False)
    with budget(amount), pytest.raises(OutOfMemoryError, match=r"lower|smaller") as error:
        WORKS[name](model)
    assert is_one_sentence(error.value)
    assert residue(model.unet) == before
    again = sv.trace(model, "a fox", steps=1, guidance=BOTH, progress=False)
    assert torch.equal(again.latents, whole.latents)
