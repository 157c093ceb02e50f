"""The form of the Playground: controls of its settings, and the table of examples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import ipywidgets as W

from sagviz.widgets.common.controls import action_button, control
from sagviz.widgets.common.layout import flow, stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.playground.settings import FormSettings

WITHOUT_PROMPT = (
    "This model was trained without text: it reads no prompt, the seed decides, and there is no"
    " text guidance."
)


def controls(settings: FormSettings) -> W.Widget:
    """The settings that everyone needs, in one column; a model that reads no prompt has a sentence
    in its place.
    """
    reads, make = settings.model.reads_text, partial(control, settings)
    return stack(
        make("prompt", "Prompt") if reads else W.HTML(f"<p>{WITHOUT_PROMPT}</p>"),
        make("steps", "Steps"),
        *([make("cfg_scale", "Text guidance", 0.1)] if reads else []),
        make("sag_scale", "SAG scale", 0.05),
        flow(make("seed", "Seed", slider=False), make("randomize", "randomize")),
    )


def advanced(settings: FormSettings) -> W.Widget:
    """The other settings, folded away."""
    unit, make = settings.model.size_unit, partial(control, settings)
    parts = stack(
        *([make("negative_prompt", "Not to draw")] if settings.model.reads_text else []),
        make("height", "Height", unit, slider=False),
        make("width", "Width", unit, slider=False),
        make("scheduler", "Scheduler", names={"": "the model's own"}),
        make("eta", "Eta", 0.05),
        make("threshold", "SAG threshold", 0.05),
        make("blur_sigma", "SAG blur", 0.1),
    )
    folded = W.Accordion([parts], selected_index=None)
    folded.set_title(0, "More settings")
    return folded


def examples(settings: FormSettings, notice: Notice) -> W.Widget:
    """The table of examples: a click on a row's prompt fills the form."""
    reads = settings.model.reads_text
    heads = {
        "seed": "seed",
        "steps": "steps",
        **({"cfg_scale": "text guidance"} if reads else {}),
        "sag_scale": "SAG scale",
    }
    title = W.HTML(f"<b>{'Example prompt' if reads else 'Example'}</b>")
    rows = [_row(title, [*heads.values()])]
    for example in settings.examples:
        values = {**settings.initial, "randomize": False, **example}
        choose = action_button(
            notice,
            values["prompt"] or "(no prompt: the seed decides)",
            "fill the form with this row",
            partial(settings.set, values),
        )
        rows.append(_row(choose, [f"{values[name]:g}" for name in heads]))
    made = W.VBox(rows)
    made.add_class("sag-examples")
    return made


def _row(head: W.Widget, rest: Sequence[str]) -> W.Widget:
    head.layout.flex = "1 1 200px"
    cells = "".join(f"<span>{escape(cell)}</span>" for cell in rest)
    return W.HBox([head, W.HTML(f'<div class="sag-cells">{cells}</div>')])
