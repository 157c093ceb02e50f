"""Settings that show a model well: rows of the article's table, as chips under the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sagviz.mini.examples import EXAMPLES as MINIATURE
from sagviz.models import Model
from sagviz.models.vocabulary import vocabulary

Example = Mapping[str, Any]  # names and values of settings

ANY_MODEL: tuple[Example, ...] = (
    {"prompt": "a photograph of an astronaut riding a horse", "seed": 7},
    {"prompt": "a corgi in a field of sunflowers, oil painting", "seed": 11},
    {"prompt": "a bowl of fruit on a wooden table, studio light", "seed": 3, "cfg_scale": 5.0},
    {"prompt": "portrait of an old fisherman, film photograph", "seed": 5, "sag_scale": 0.5},
    {"prompt": "", "seed": 21},
)
PIXELS: tuple[Example, ...] = (
    {"seed": 7},
    {"seed": 11},
    {"seed": 3, "sag_scale": 0.5},
    {"seed": 5, "steps": 100},
)
BEST: Example = {"cfg_scale": 10.0, "sag_scale": 1.0, "steps": 200}


def examples_of(model: Model) -> tuple[Example, ...]:
    """Settings that show a model well."""
    return MINIATURE if vocabulary(model) else ANY_MODEL if model.reads_text else PIXELS
