"""What the pictures of a cell start from: picture i of all cells of a kind from the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sagviz.mini.evaluation.prompts import one_object_prompts, two_object_prompts
from sagviz.mini.scenes import SIZE, Scene, scene
from sagviz.mini.study.cells import COUNTS
from sagviz.mini.world import caption

SCENE_SEED = 7  # no other set of renders has it
CELL = 4  # pixels on a side of a latent cell


@cache
def render(number: int) -> Scene:
    """The scene that picture `number` of the cells "scenes" starts from."""
    return scene(np.random.default_rng((SCENE_SEED, number)))


def true_mask(drawn: Scene) -> Tensor:
    """Where its objects are, in cells of the latent, (1, 1, 16, 16): 1 where they cover more than
    half of a cell.
    """
    covered = torch.from_numpy(np.asarray(drawn.mask, dtype=np.float32) / 255)
    return (F.avg_pool2d(covered.view(1, 1, SIZE, SIZE), CELL) > 0.5).float()


@cache
def wanted() -> list[tuple[tuple[str, ...], str]]:
    """Objects and prompt of each picture of the cells "prompts": one object and two, in turn."""
    half = COUNTS["prompts"] // 2
    one = [((name,), caption((name,), None, on)) for name, on in one_object_prompts(half)]
    two = [(each[0], caption(*each)) for each in two_object_prompts(half)]
    return [each for pair in zip(one, two, strict=True) for each in pair]
