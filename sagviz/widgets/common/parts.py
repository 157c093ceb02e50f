"""What the widgets are built of: traits that refuse with a sentence, labelled controls, pictures
with words, and `View`.

All are plain ipywidgets that work from 7.7.1 (Colab's) on.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as W
import traitlets

from sagviz.checks import check_number, check_whole
from sagviz.errors import ArgumentError, SagvizError, SagvizWarning
from sagviz.image import data_uri

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
NOTHING: Mapping[Any, str] = {}
# of numbers in controls: a slider of the page makes 0.9999999999999998 of 1 as soon as it is shown
DECIMALS = 6
LABEL = "110px"  # width of the words before a control, so that controls in a column stand in line


class Amount(traitlets.Float):
    """A number from `min` to `max`, to six decimals; anything else raises an ArgumentError that
    says so.
    """

    def validate(self, _obj: Any, value: Any) -> float:
        check_number(str(self.name), value, self.min, self.max)
        # as its control rounds it, which would else set it a second time
        return round(float(value), DECIMALS)


class Whole(traitlets.Int):
    """A whole number from `min` to `max`; anything else raises an ArgumentError that says so."""

    def validate(self, _obj: Any, value: Any) -> int:
        check_whole(str(self.name), value, self.min, self.max)
        return int(value)


class Choice(traitlets.Enum):
    """One of a few values; anything else raises an ArgumentError that lists them."""

    def validate(self, _obj: Any, value: Any) -> Any:
        allowed = self.values or ()
        if value not in allowed:
            raise ArgumentError(
                f"{self.name} is {value!r}; give one of {', '.join(map(repr, allowed))}"
            )
        return value


def tip(widget: W.DOMWidget, words: str) -> W.DOMWidget:
    """Give a widget a tooltip; ipywidgets 7 has another name for it."""
    setattr(widget, "tooltip" if widget.has_trait("tooltip") else "description_tooltip", words)
    return widget


def labelled(widget: W.DOMWidget, words: str, width: str = "100%") -> W.DOMWidget:
    """Tooltip and size of a control whose label is its description."""
    widget.style.description_width = LABEL
    widget.layout.width, widget.layout.max_width = width, "100%"
    widget.layout.margin = "0"
    return tip(widget, words)


class Number(W.HBox):
    """A number box with its label, and beside it a slider that is kept equal.

    ipywidgets' sliders have no accessible name; the box has one, and takes any value that the
    slider takes.
    """

    value = traitlets.Union(
        [traitlets.Int(), traitlets.Float()], help="the number, in the unit that the tooltip says"
    )

    def __init__(
        self,
        label: str,
        value: float,
        low: float,
        high: float,
        step: float = 1,
        *,
        words: str = "",
        slider: bool = True,
    ) -> None:
        whole = isinstance(value, int) and isinstance(step, int)
        limits = {"min": low, "max": high, "step": step, "value": value}
        self.box = (W.BoundedIntText if whole else W.BoundedFloatText)(description=label, **limits)
        labelled(self.box, words, "210px").layout.flex = "0 0 auto"
        parts = [self.box]
        if slider:
            room = W.Layout(
                flex="1 1 100px", min_width="100px", max_width="300px", width="auto", margin="0"
            )
            self.slider = (W.IntSlider if whole else W.FloatSlider)(
                readout=False, layout=room, **limits
            )
            parts.append(tip(self.slider, f"{label}: {words}"))
        super().__init__(
            parts,
            value=value,
            layout=W.Layout(flex_flow="row wrap", width="100%" if slider else "auto", margin="0"),
        )
        for part in parts:
            traitlets.link((self, "value"), (part, "value"))
        self.add_class("sag-number")

    @traitlets.validate("value")
    def _rounded(self, proposal: Any) -> float:
        """Without the last bits that a page adds."""
        return round(proposal.value, DECIMALS)


def button(label: str, words: str, look: str = "") -> W.Button:
    """A button with words on it; `look` is ipywidgets' button_style."""
    made = W.Button(description=label, tooltip=words, button_style=look)
    made.layout.width, made.layout.margin = "auto", "0"
    return made


def flow(*children: W.Widget, name: str = "") -> W.Box:
    """Children side by side, as many in a row as the page is wide."""
    box = W.Box(
        children,
        layout=W.Layout(display="flex", flex_flow="row wrap", width="100%", overflow="visible"),
    )
    for style_class in ("sag-flow", *filter(None, [name])):
        box.add_class(style_class)
    return box


def column(*children: W.Widget, width: str = "100%") -> W.VBox:
    """Children one under the other, in a column that takes `width` in a `flow` and shrinks on
    narrow pages.
    """
    made = W.VBox(
        children,
        layout=W.Layout(flex=f"1 1 {width}", width="auto", max_width="100%", grid_gap="8px"),
    )
    made.layout.overflow = "visible"
    made.layout.min_width = f"min({width}, 100%)"
    return made


def image_tag(content: bytes, alt: str, style: str = "") -> str:
    """An `<img>` that holds its picture and is painted at once, without a blank frame between two."""
    return (
        f'<img src="{data_uri(content)}" alt="{escape(alt, quote=True)}" decoding="sync"'
        f' style="{escape(style, quote=True)}">'
    )


class Picture(W.HTML):
    """A picture of fixed width with a title and an alt text; nothing around it moves when the
    picture changes.

    Args:
        title: shown above; part of the alt text.
        width: in CSS pixels; narrow pages shrink it.
        ratio: height over width, so that the place is kept before there is a picture.
        sharp: whether enlarged pixels stay squares, as maps and masks need it.
    """

    def __init__(
        self, title: str = "", width: int = 256, ratio: float = 1.0, sharp: bool = False
    ) -> None:
        super().__init__(layout=W.Layout(width=f"{width}px", max_width="100%", margin="0"))
        self.title, self.ratio = title, ratio
        for name in ("sag-picture", *(["sag-sharp"] if sharp else [])):
            self.add_class(name)
        self.clear()

    @property
    def size(self) -> str:
        return f"width:100%;aspect-ratio:1/{self.ratio:g}"

    def show(self, content: bytes, alt: str) -> None:
        """Put an encoded picture (JPEG live, PNG where it must be exact) in its place; `alt` says
        what is to be seen.
        """
        words = ": ".join(filter(None, [self.title, alt]))
        self._fill(image_tag(content, words, self.size))

    def clear(self, words: str = "") -> None:
        """An empty place of the same size."""
        style = (
            f"{self.size};display:flex;align-items:center;justify-content:center;text-align:center"
        )
        self._fill(f'<div class="sag-blank" style="{style}">{escape(words)}</div>')

    def _fill(self, content: str) -> None:
        title = f"<figcaption>{escape(self.title)}</figcaption>" if self.title else ""
        self.value = f"<figure>{title}{content}</figure>"


class Notice(W.HTML):
    """A line for errors, warnings and news, which screen readers say aloud."""

    def __init__(self) -> None:
        super().__init__(layout=W.Layout(width="100%", margin="0"))
        self.add_class("sag-notice")

    def say(self, words: str) -> None:
        """News, in plain text."""
        self.value = f'<div role="status">{escape(words)}</div>'

    def warn(self, *words: str) -> None:
        """Something was ignored or cut off."""
        self.value = (
            f'<div class="sag-warning" role="status">{"<br>".join(map(escape, words))}</div>'
        )

    def fail(self, error: BaseException) -> None:
        """What went wrong: our own errors as the sentence that they are, others with their trace
        folded in.
        """
        if isinstance(error, SagvizError):
            content = escape(str(error))
        else:
            lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            summary = escape(f"{type(error).__name__}: {error}")
            content = f"<details><summary>{summary}</summary><pre>{escape(lines)}</pre></details>"
        self.value = f'<div class="sag-error" role="alert">{content}</div>'

    def clear(self) -> None:
        self.value = ""


class View(W.VBox):
    """Base of the widgets: documented traits, errors under the widget, a static face, and `close`
    for all that it is made of.

    A subclass declares its traits (`Amount`, `Whole`, `Choice` or traitlets' own) with a `help`
    that says unit and default, calls `super().__init__(**options)` first, and sets its children
    with `fill`.
    """

    # ipywidgets 7 shows itself by a method that hides the MIME bundle; both versions use the bundle
    # when it is None.
    _ipython_display_ = None

    def __init__(self, **options: Any) -> None:
        unknown = sorted(set(options) - set(self.options()) - {"layout"})
        if unknown:
            raise ArgumentError(
                f"{type(self).__name__} has no {', '.join(unknown)}; it takes"
                f" {', '.join(self.options())}"
            )
        try:
            super().__init__(**options)
        except traitlets.TraitError as error:
            raise ArgumentError(f"{error}; see help({type(self).__name__})") from error
        self.notice = Notice()
        self.add_class("sag-view")

    @classmethod
    def options(cls) -> list[str]:
        """Names of the traits that a user may set, by keyword or later."""
        return sorted(
            name
            for name in set(cls.class_trait_names()) - set(W.VBox.class_trait_names())
            if name[0] != "_"
        )

    def fill(self, *children: W.Widget) -> None:
        """Set what the widget is made of; the style sheet comes first, the notice last."""
        style = W.HTML(f"<style>{STYLE}</style>")
        style.add_class("sag-style")
        self.children = (style, *children, self.notice)

    def control(
        self,
        name: str,
        label: str,
        step: float = 1,
        *,
        slider: bool = True,
        names: Mapping[Any, str] = NOTHING,
    ) -> W.DOMWidget:
        """The control of one trait, linked both ways: its help is the tooltip, its class on the
        page is `sag-NAME`.

        Args:
            label: a word or two.
            step: of a number.
            slider: whether a number has one beside its box.
            names: what the values of a choice are called, where they do not speak for themselves.
        """
        trait, value = self.traits()[name], getattr(self, name)
        if isinstance(trait, Amount | Whole):
            made: W.DOMWidget = Number(
                label, value, trait.min, trait.max, step, words=trait.help, slider=slider
            )
        elif isinstance(trait, Choice):
            options = [(names.get(each, str(each)), each) for each in trait.values or ()]
            made = labelled(W.Dropdown(description=label, options=options, value=value), trait.help)
        elif isinstance(trait, traitlets.Bool):
            made = tip(W.Checkbox(description=label, value=value, indent=False), trait.help)
            made.layout.width, made.layout.margin = "auto", "0"
        else:
            made = labelled(
                W.Text(description=label, value=value, continuous_update=False), trait.help
            )
        traitlets.link((self, name), (made, "value"))
        made.add_class(f"sag-{name.replace('_', '-')}")
        return made

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Around what a control sets off: an error is shown under the widget, which stays usable;
        so are our warnings.
        """
        self.notice.clear()
        try:
            with self.heard():
                yield
        except Exception as error:
            self.notice.fail(error)

    def _button(self, label: str, words: str, deed: Callable[[], None], look: str = "") -> W.Button:
        """A button that does something; errors are shown under the widget."""
        made = button(label, words, look)
        made.on_click(lambda _: self._try(deed))
        return made

    def _try(self, deed: Callable[[], None]) -> None:
        with self.guarded():
            deed()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Show our warnings under the widget. Keep it short in a thread: what warns elsewhere
        meanwhile is heard as well.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SagvizWarning)
            yield
        ours = [each for each in caught if issubclass(each.category, SagvizWarning)]
        for each in caught:
            if each not in ours:
                warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        if ours:
            self.notice.warn(*dict.fromkeys(str(each.message) for each in ours))

    def static_html(self) -> str:
        """What the widget shows where there are no widgets: reopened, exported and untrusted
        notebooks.
        """
        return ""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        bundle = {
            "text/plain": f"<{type(self).__name__}>",
            "application/vnd.jupyter.widget-view+json": view,
        }
        static = self.static_html()
        return {**bundle, "text/html": static} if static else bundle

    def close(self) -> None:
        """Free the widget and all that it is made of: ipywidgets keeps every widget in memory until
        it is closed.
        """
        close_all(self.children)
        self.layout.close()
        super().close()

    def __del__(self) -> None:
        if self.children:  # a constructor that refused has built nothing that could be closed
            super().__del__()


def close_all(widgets: Sequence[W.Widget]) -> None:
    """Close widgets with their children, layouts and styles."""
    for widget in widgets:
        close_all(getattr(widget, "children", ()))
        for part in ("layout", "style"):
            if isinstance(getattr(widget, part, None), W.Widget):
                getattr(widget, part).close()
        widget.close()
