"""The settings of a widget: an object of traits, which views show and change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import traitlets

from sagviz.checks import refuse_unknown
from sagviz.errors import ArgumentError


class WidgetSettings(traitlets.HasTraits):
    """Base of all settings objects. A subclass declares traits with a `help` that says unit and
    default; each may be given by keyword, set later and observed.

    Attributes:
        revision: counts the changes; those made `together` count as one, those of `uncounted`
            settings not at all.
        widget: what the widget is called, in errors.
        derived: settings whose default depends on what the widget is made of; `...` stands for it.
    """

    widget: ClassVar[str]
    derived: ClassVar[tuple[str, ...]] = ()
    uncounted: ClassVar[tuple[str, ...]] = ()

    revision = traitlets.Int(0)
    large = traitlets.Bool(False, help="for a projector: text of 18 px, pictures of 480 px (no)")

    def __init__(self, **options: Any) -> None:
        refuse_unknown(self.widget, options, self.options())
        try:
            super().__init__(**options)
        except traitlets.TraitError as error:
            raise ArgumentError(f"{error}; see help({self.widget})") from error
        self._depth = 0
        counted = [name for name in self.options() if name not in (*self.uncounted, "large")]
        if counted:  # no names would mean all
            self.observe(self._changed, counted)

    @classmethod
    def options(cls) -> list[str]:
        """Names of the settings."""
        return sorted(name for name, trait in cls.class_traits().items() if trait.help)

    @contextmanager
    def together(self) -> Iterator[None]:
        """The changes in this block count as one."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if not self._depth:
            self.revision += 1

    def adjust(self, name: str, before: Any) -> None:
        """Change what follows from a change of the setting `name`, which was `before`."""

    def _changed(self, change: Any) -> None:
        with self.together():
            self.adjust(change.name, change.old)
