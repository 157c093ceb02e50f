"""The form of the Playground: what is typed above the pictures, and what is set beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from html import escape
from typing import Any

import ipywidgets as W

from sagviz.checks.texts import whole
from sagviz.models import Model
from sagviz.sweeps import Sweep
from sagviz.widgets.common.controls import action_button, control, css_class, labelled
from sagviz.widgets.common.layout import flow, stack
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import live
from sagviz.widgets.common.worker import Later
from sagviz.widgets.microscope.settings import scale_name
from sagviz.widgets.playground import terms
from sagviz.widgets.playground.cross import Cross
from sagviz.widgets.playground.examples import Example
from sagviz.widgets.playground.labels import TITLES, in_words, title_of
from sagviz.widgets.playground.settings import FormSettings
from sagviz.widgets.playground.start import StartPicture
from sagviz.widgets.playground.steps import steps
from sagviz.widgets.playground.words import known_words

PURPOSE = (
    "The same prompt and the same noise twice: with text guidance (CFG), and with self-attention"
    " guidance (SAG) added."
)
WITHOUT_TEXT = (
    "The same noise twice: as the model draws it, and with self-attention guidance (SAG)."
)
WITHOUT_PROMPT = (
    "This model was trained without text: it reads no prompt, the seed decides, and there is no"
    " text guidance."
)


def heading(model: Model) -> W.Widget:
    """What this is, and on which device."""
    purpose = PURPOSE if model.reads_text else WITHOUT_TEXT
    said = f"<span class='sag-quiet'>{escape(repr(model).strip('<>'))}.</span>"
    return W.HTML(f"<h3>Playground</h3><p>{purpose} {said}</p>")


def texts(settings: FormSettings, notice: Notice, run: Callable[[], None]) -> W.Widget:
    """Prompt, negative prompt, examples, and the words that the model knows; a model that reads no
    prompt has a sentence in their place.

    Args:
        notice: where errors are shown.
        run: what Enter in a prompt does.
    """
    chips = examples(settings, notice)
    if not settings.model.reads_text:
        return stack(W.HTML(f"<p>{WITHOUT_PROMPT}</p>"), chips)
    prompts = [_text(settings, name, run) for name in ("prompt", "negative_prompt")]
    prompts[0].add_class("sag-first")
    return stack(prompts[0], chips, *known_words(settings), prompts[1])


def beside(
    settings: FormSettings, notice: Notice, cross: Callable[[Sweep, str, str], None]
) -> W.Widget:
    """The settings beside the pictures.

    Args:
        notice: where errors are shown.
        cross: what to do with a sweep, and the settings that are in its columns and rows.
    """
    others: dict[str, Callable[[], W.Widget]] = {
        "More settings": partial(advanced, settings),
        "More guidance": partial(guidance, settings),
        "Start from a picture": partial(StartPicture, settings, notice),
        "X/Y: two settings in a grid": partial(Cross, settings, notice, cross),
    }
    return stack(controls(settings, notice), folded(others), gap="8px")


def controls(settings: FormSettings, notice: Notice) -> W.Widget:
    """The numbers that everyone needs, in one column."""
    make = partial(_control, settings)
    return stack(
        steps(settings),
        *([make("cfg_scale", 0.1)] if settings.model.reads_text else []),
        make("sag_scale", 0.05),
        flow(_seed(settings, notice), control(settings, "randomize", "randomize")),
        make("images"),
    )


def advanced(settings: FormSettings) -> W.Widget:
    """The other settings of a run."""
    make, unit = partial(_control, settings), settings.model.size_unit
    return stack(
        make("height", unit, slider=False),
        make("width", unit, slider=False),
        make("scheduler", names={"": "the model's own"}),
        make("eta", 0.05),
        make("threshold", 0.05),
        make("blur_sigma", 0.1),
    )


def guidance(settings: FormSettings) -> W.Widget:
    """A scale for each term beside CFG and SAG that the model takes, and what else one needs."""
    rows: list[W.Widget] = []
    for kind in settings.kinds:
        rows.append(_control(settings, scale_name(kind), kind.scale_step))
        rows[-1].add_class("sag-term")
        for need in kind.needed():
            rows.append(control(settings, terms.need_of(kind, need), f"{kind.title} {need}"))
    words = "These act in the picture on the right, beside SAG; at 0 the run is without them."
    return stack(W.HTML(f"<p class='sag-quiet'>{words}</p>"), *rows)


def folded(parts: Mapping[str, Callable[[], W.Widget]]) -> W.Accordion:
    """Parts of the form by their titles, folded away; the first is made now, the others when they
    are opened.
    """
    made = W.Accordion([W.VBox() for _ in parts], selected_index=None)
    makers = [*parts.values()]
    for number, title in enumerate(parts):
        made.set_title(number, title)

    def fill(number: int | None) -> None:
        if number is not None and not made.children[number].children:
            made.children[number].children = (makers[number](),)

    fill(0)
    made.observe(lambda change: fill(change.new), "selected_index")
    made.add_class("sag-folds")
    return made


def examples(settings: FormSettings, notice: Notice) -> W.Widget:
    """The examples: a click on one fills the form."""
    return live(
        flow(*(_example(settings, notice, each) for each in settings.examples), name="sag-examples")
    )


def _control(settings: FormSettings, name: str, step: float = 1, **more: Any) -> W.Widget:
    return control(settings, name, title_of(name), step, **more)


def _example(settings: FormSettings, notice: Notice, example: Example) -> W.Widget:
    values = {**settings.initial, "randomize": False, **example}
    others = {name: value for name, value in example.items() if name != "prompt"}
    said = in_words(others) or "the usual settings"
    label = values["prompt"] or ("(no prompt)" if settings.model.reads_text else said)
    fill = partial(settings.set, values)
    made = action_button(notice, label, f"fill the form with it: {said}", fill)
    made.add_class("sag-chip")
    return made


def _text(settings: FormSettings, name: str, run: Callable[[], None]) -> W.Widget:
    made, later = control(settings, name, TITLES[name]), Later()

    def submit(_: object, message: dict[str, Any], __: object) -> None:
        if message.get("event") == "submit":
            later.do(run)  # a page sends the words that Enter ended after it

    made.on_msg(submit)
    return made


def _seed(settings: FormSettings, notice: Notice) -> W.Widget:
    """In digits, because a page's numbers are whole up to 2**53 only. A seed that is typed is
    meant: no other is drawn.
    """
    made = W.Text(description=TITLES["seed"], value=str(settings.seed), continuous_update=False)

    def show(_: object = None) -> None:
        made.value = str(settings.seed)

    def take(change: Any) -> None:
        if change.new != str(settings.seed):
            values = {"seed": change.new, "randomize": False}  # what is none is refused as it is
            with suppress(ValueError):
                values["seed"] = whole(change.new)
            notice.attempt(lambda: settings.set(values))
            show()

    def keep(_: object, message: dict[str, Any], __: object) -> None:
        if message.get("event") == "submit":  # Enter means the seed that is shown, too
            settings.randomize = False

    settings.observe(show, "seed")
    made.observe(take, "value")
    made.on_msg(keep)
    made.add_class(css_class("seed"))
    made = labelled(made, settings.traits()["seed"].help, "auto")
    made.layout.flex, made.layout.min_width, made.layout.max_width = "1 1 200px", "0", "260px"
    return made
