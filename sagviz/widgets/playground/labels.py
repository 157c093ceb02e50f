"""What the settings of the form are called: one name for a thing."""

from __future__ import annotations

from typing import Any

from sagviz.guidance import SAG, Term
from sagviz.widgets.microscope.controls import scale_label
from sagviz.widgets.microscope.settings import scale_name

TITLES = {
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "steps": "Steps",
    "cfg_scale": "CFG scale",
    "sag_scale": "SAG scale",
    "seed": "Seed",
    "images": "Seeds in a run",
    "height": "Height",
    "width": "Width",
    "scheduler": "Scheduler",
    "eta": "Eta",
    "threshold": f"SAG {SAG.field_titles['threshold']}",
    "blur_sigma": f"SAG {SAG.field_titles['blur_sigma']}",
    "strength": "Strength",
}


def title_of(name: str) -> str:
    """Of a setting, those of the terms too."""
    scales = {scale_name(kind): scale_label(kind) for kind in Term.kinds.values()}
    return TITLES.get(name) or scales[name]


def in_words(values: dict[str, Any]) -> str:
    """Some settings, in words."""
    return ", ".join(f"{title_of(name)} {value}" for name, value in values.items())
