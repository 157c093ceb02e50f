"""The form of the Playground: controls of its settings, and the table of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.widgets.common.controls import action_button, control, css_class, labelled
from sagviz.widgets.common.layout import flow, stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import live
from sagviz.widgets.common.worker import Later
from sagviz.widgets.playground.settings import FormSettings

WITHOUT_PROMPT = (
    "This model was trained without text: it reads no prompt, the seed decides, and there is no"
    " text guidance."
)


def controls(settings: FormSettings, notice: Notice, run: Callable[[], None]) -> W.Widget:
    """The settings that everyone needs, in one column; a model that reads no prompt has a sentence
    in its place.

    Args:
        notice: where errors are shown.
        run: what Enter in the prompt does.
    """
    reads, make = settings.model.reads_text, partial(control, settings)
    return stack(
        _prompt(settings, run) if reads else W.HTML(f"<p>{WITHOUT_PROMPT}</p>"),
        make("steps", "Steps"),
        *([make("cfg_scale", "Text guidance", 0.1)] if reads else []),
        make("sag_scale", "SAG scale", 0.05),
        flow(_seed(settings, notice), make("randomize", "randomize")),
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
    return live(made)


def _prompt(settings: FormSettings, run: Callable[[], None]) -> W.Widget:
    made, later = control(settings, "prompt", "Prompt"), Later()

    def submit(_: object, message: dict[str, Any], __: object) -> None:
        if message.get("event") == "submit":
            later.do(run)  # a page sends the words that Enter ended after it

    made.on_msg(submit)
    return made


def _seed(settings: FormSettings, notice: Notice) -> W.Widget:
    """In digits, because a page's numbers are whole up to 2**53 only. A seed that is typed is
    meant: no other is drawn.
    """
    made = W.Text(description="Seed", value=str(settings.seed), continuous_update=False)

    def show(_: object = None) -> None:
        made.value = str(settings.seed)

    def take(change: Any) -> None:
        if change.new != str(settings.seed):
            values = {"seed": whole(change.new), "randomize": False}
            notice.attempt(lambda: settings.set(values))
            show()

    settings.observe(show, "seed")
    made.observe(take, "value")
    made.add_class(css_class("seed"))
    return labelled(made, settings.traits()["seed"].help, "310px")


def whole(text: str) -> int | str:
    """The whole number that a text says, "5e9" too; other texts as they are."""
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return text
    sensible = number.is_finite() and number.adjusted() < 30
    return int(number) if sensible and number == number.to_integral_value() else text


def _row(head: W.Widget, rest: Sequence[str]) -> W.Widget:
    head.layout.flex = "1 1 200px"
    cells = "".join(f"<span>{escape(cell)}</span>" for cell in rest)
    return W.HBox([head, W.HTML(f'<div class="sag-cells">{cells}</div>')])
