"""`View`, the base of the widgets: settings that are visible to Shift-Tab, a place for errors,
a static face, and `close` for all that it is made of.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as W
import traitlets
from IPython import get_ipython
from IPython.display import display, update_display
from traitlets import Bunch

from sagviz.checks import check_call
from sagviz.widgets.common.layout import close_all, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.still import live, still, watch
from sagviz.widgets.common.worker import Later, has_kernel

STYLE, STILL = (
    (Path(__file__).parent / name).read_text(encoding="utf-8")
    for name in ("style.css", "still.css")
)
KEPT_AFTER = 1.0  # seconds without a change
NOTE = "<p>As it was seen last. To use it, run this notebook in Jupyter.</p>"


class Signature:
    """What `inspect.signature` says of a widget: its own arguments, then its settings by name."""

    def __get__(self, _: object, owner: type[View]) -> inspect.Signature:
        arguments = list(inspect.signature(owner.__init__).parameters.values())[1:]
        given = [each for each in arguments if each.kind is not each.VAR_KEYWORD]
        kind, traits = owner.settings_type, owner.settings_type.class_traits()
        defaults = {
            name: ... if name in kind.derived else traits[name].default() for name in kind.options()
        }
        settings = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in defaults.items()
        ]
        return inspect.Signature([*given, *settings])


class Forwarded(traitlets.TraitType):
    """A trait of a widget that stands for one of its settings."""

    def get(self, obj: Any, cls: Any = None) -> Any:
        del cls
        return getattr(obj.settings, str(self.name))

    def set(self, obj: Any, value: Any) -> None:
        setattr(obj.settings, str(self.name), value)


class View(W.VBox):
    """Base of the widgets. A subclass names the class of its settings, makes them by calling
    `super().__init__` first, and sets its children with `fill`.

    All settings are traits of the widget too: read, set, observed and linked as any other.

    Args:
        inputs: what the settings are of, such as a model.
        layout: ipywidgets' layout of the whole.
        options: settings by name; `...` is the default.

    Attributes:
        settings: the settings object.
        notice: the line for errors.
    """

    settings_type: ClassVar[type[WidgetSettings]]
    settings: WidgetSettings
    stays_alive: ClassVar[bool] = False  # whether the static face works by itself
    __signature__ = Signature()

    def __new__(cls, *inputs: object, **options: Any) -> View:
        """Refuse what does not fit the signature; unknown names are left to the settings."""
        signature = inspect.signature(cls)
        known = {name: options[name] for name in options if name in signature.parameters}
        check_call(cls.__name__, signature, inputs, known, {})
        return super().__new__(cls, *inputs, **options)

    def __init__(self, *inputs: object, layout: W.Layout | None = None, **options: Any) -> None:
        given = {name: value for name, value in options.items() if value is not ...}
        self.settings = self.settings_type(*inputs, **given)
        super().__init__(**({} if layout is None else {"layout": layout}))
        traits, names = self.settings.traits(), self.settings.options()
        self.add_traits(**{name: Forwarded(help=traits[name].help) for name in names})
        self.settings.observe(lambda change: self.notify_change(Bunch(change, owner=self)), names)
        self.notice = Notice()
        self._keeper = Later(KEPT_AFTER)
        self._was_shown = False  # whether it was ever shown
        self._kept: object = None  # the static face that the notebook's file has
        self._ahead: int | None = None  # the cell that has shown it ahead of its own end
        self.add_class("sag-view")
        self.settings.observe(lambda _: self._resize(), "large")
        self._resize()

    @classmethod
    def options(cls) -> list[str]:
        """Names of the settings that a user may give by keyword, or set later."""
        return cls.settings_type.options()

    def fill(self, *children: W.Widget, notice: bool = True) -> None:
        """Set what the widget is made of; the style sheet comes first.

        Args:
            notice: whether the notice comes last; else it stands among the children already, under
                the buttons that it speaks of.
        """
        end = [self.notice] if notice else []
        self.children = (live(text("sag-style", f"<style>{STYLE}</style>")), *children, *end)
        watch(self, self._face_changed)

    def static_html(self) -> str:
        """What the widget shows where there are no widgets: reopened, exported and untrusted
        notebooks.
        """
        return "".join(map(still, self.children))

    @property
    def _ipython_display_(self) -> Callable[[], None] | None:
        """In a kernel, what shows the widget; elsewhere the MIME bundle does, also in ipywidgets 7,
        which has a method of its own here that hides it.
        """
        return self._display if has_kernel() else None

    @_ipython_display_.setter
    def _ipython_display_(self, value: None) -> None:
        """ipywidgets 7 sets it to `None` when it closes a widget."""

    @contextmanager
    def shown_first(self) -> Iterator[None]:
        """Around work that holds a cell up: a widget that was never shown is shown before it, not
        after. Without a kernel, nothing.
        """
        if has_kernel() and not self._was_shown:
            self._display()
            self._ahead = get_ipython().execution_count
        try:
            yield
        finally:
            self._renew()

    def _resize(self) -> None:
        (self.add_class if self.settings.large else self.remove_class)("sag-large")

    def _display(self) -> None:
        """Two outputs: the live view, and the static face, which hides while that lives. Once in a
        cell that has shown it ahead of its work.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead != get_ipython().execution_count:
            if not self._was_shown:
                get_ipython().events.register("post_run_cell", self._cell_ended)
            self._was_shown = True
            display(self._bundle(""), raw=True)
            self._kept = self._still()
            display(self._kept, raw=True, display_id=self._model_id)

    def _face_changed(self) -> None:
        """Let the notebook's file have the present static face, once nothing newer comes: what is
        seen now is then seen again where the file is opened without this kernel.
        """
        if self._was_shown:
            self._keeper.do(self._renew)

    def _cell_ended(self, _: object = None) -> None:
        """Nothing waits beyond the end of a cell: a notebook that is run as a whole ends there."""
        if self._keeper.pending:
            self._keeper.forget()
            self._renew()

    def _renew(self) -> None:
        face = self._still()
        if self._was_shown and face != self._kept:
            self._kept = face
            update_display(face, raw=True, display_id=self._model_id)

    def _still(self) -> dict[str, str]:
        words, note = f"<{type(self).__name__}>", "" if self.stays_alive else NOTE
        look = f"sag-still{' sag-large' * self.settings.large}"
        content = f'<style>{STILL}</style><div class="{look}">{self.static_html()}{note}</div>'
        return {"text/html": content, "text/plain": words}

    def _bundle(self, static: str) -> dict[str, Any]:
        """The live view, and what is shown where there are no widgets."""
        view = {"version_major": 2, "version_minor": 0, "model_id": self._model_id}
        return {
            "text/plain": f"<{type(self).__name__}>",
            "application/vnd.jupyter.widget-view+json": view,
            "text/html": static,
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return self._bundle(self.static_html())

    def close(self) -> None:
        """Free the widget and all that it is made of: ipywidgets keeps every widget in memory until
        it is closed.
        """
        if self._was_shown:
            self._was_shown = False
            get_ipython().events.unregister("post_run_cell", self._cell_ended)
        self._keeper.forget()
        close_all(self.children)
        self.layout.close()
        super().close()

    def __del__(self) -> None:
        if self.children:  # a constructor that refused has built nothing that could be closed
            super().__del__()
