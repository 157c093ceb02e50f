"""Settings that show the miniature well: rows of the article's table, as chips under a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EXAMPLES: tuple[Mapping[str, Any], ...] = (
    {"prompt": "a fox on a blue background", "seed": 7},
    {"prompt": "a penguin on a yellow background", "seed": 11},
    {"prompt": "a rocket on a black background", "seed": 3, "cfg_scale": 5.0},
    {"prompt": "a cat left of a cake on a pink background", "seed": 5, "sag_scale": 0.5},
    {"prompt": "", "seed": 21},
)
