"""`View`, the base of the widgets: settings that are visible to Shift-Tab, errors under the widget,
a static face, and `close` for all that it is made of.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as W
import traitlets
from traitlets import Bunch

from sagviz.widgets.common.layout import close_all, text
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.settings import WidgetSettings

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


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
        notice: the line for errors under the widget.
    """

    settings_type: ClassVar[type[WidgetSettings]]
    settings: WidgetSettings
    __signature__ = Signature()
    # ipywidgets 7 shows itself by a method that hides the MIME bundle; both versions use the bundle
    # when it is None.
    _ipython_display_ = None

    def __init__(self, *inputs: object, layout: W.Layout | None = None, **options: Any) -> None:
        given = {name: value for name, value in options.items() if value is not ...}
        self.settings = self.settings_type(*inputs, **given)
        super().__init__(**({} if layout is None else {"layout": layout}))
        traits, names = self.settings.traits(), self.settings.options()
        self.add_traits(**{name: Forwarded(help=traits[name].help) for name in names})
        self.settings.observe(lambda change: self.notify_change(Bunch(change, owner=self)), names)
        self.notice = Notice()
        self.add_class("sag-view")

    @classmethod
    def options(cls) -> list[str]:
        """Names of the settings that a user may give by keyword, or set later."""
        return cls.settings_type.options()

    def fill(self, *children: W.Widget) -> None:
        """Set what the widget is made of; the style sheet comes first, the notice last."""
        self.children = (text("sag-style", f"<style>{STYLE}</style>"), *children, self.notice)

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
