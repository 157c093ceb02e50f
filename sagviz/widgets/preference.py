"""`Preference`: a blind vote on pairs of pictures; names are shown, and counted, only after the
last vote.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as W

from sagviz.checks import check_whole, shown
from sagviz.errors import ArgumentError
from sagviz.image import PictureLike, as_image, to_png
from sagviz.measure.preference import LEFT, RIGHT, TIE, Result, Votes, fingerprint
from sagviz.records.trace import Trace
from sagviz.widgets.common.controls import action_button, labelled, progress_bar
from sagviz.widgets.common.layout import flow, heading, heading_html
from sagviz.widgets.common.picture import Picture, image_tag
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.still import live
from sagviz.widgets.common.view import View

if TYPE_CHECKING:
    from PIL.Image import Image

KEYS = {"l": LEFT, "r": RIGHT, "t": TIE}
LOOK = 0.3  # seconds in which nobody has looked at a pair: that is a double click
PAPER = (
    "Hong et al. (2023) asked the same of Stable Diffusion's pictures: their raters preferred those"
    " with self-attention guidance 84 % of the time. Yours is a small sample of another model: mind"
    " the interval."
)


class PreferenceSettings(WidgetSettings):
    """None but its size: a vote that could be set would be no blind vote."""

    widget = "Preference"


class Preference(View):
    """Vote on pairs without knowing which is which: by the buttons, or by the keys L, R and T.

    Example:
        >>> import sagviz as sv
        >>> model = sv.load()
        >>> pairs = [sv.compare(model, "a fox", seed=i, steps=2, progress=False) for i in (0, 1)]
        >>> vote = sv.Preference(pairs)
        >>> vote.vote("left")
        >>> vote.votes.given
        ('left',)
        >>> vote.close()

    Args:
        pairs: of traces or of pictures, such as `compare` gives: the same prompt and noise under
            two guidances.
        names: of the first and the second of each pair; shown after the last vote.
        seed: decides which of a pair stands on the left.
        path: a JSON file that is written after every vote; where it exists already, the vote goes
            on from there.

    Attributes:
        votes: those given so far.
        large: for a projector: text of 18 px, pictures of 480 px (False).

    Raises:
        ArgumentError: no pairs, or the file is about other pictures or cannot be written.
    """

    settings_type = PreferenceSettings

    def __init__(
        self,
        pairs: Sequence[Sequence[Trace | PictureLike]],
        *,
        names: tuple[str, str] = ("CFG", "CFG + SAG"),
        seed: int = 0,
        path: str | Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        pictures = [_pictures(pair) for pair in pairs] if isinstance(pairs, Iterable) else []
        if not pictures:
            raise ArgumentError(
                "pairs is empty; give pairs of traces, e.g. [sv.compare(model, prompt, seed=i) for"
                " i in range(10)]"
            )
        self.path = path
        two = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
        if not two or len({*names, TIE}) != 3:
            raise ArgumentError(
                f"names is {shown(names)}; give two texts, such as ('CFG', 'CFG + SAG')"
            )
        seed = check_whole("seed", seed, 0, 2**63 - 1)
        ballot = secrets.token_hex(8)
        looks, number = fingerprint(pictures), len(pictures)
        self.votes = Votes((names[0], names[1]), looks, number, seed, ballot=ballot)
        if path is not None:
            self.votes = self.votes.resume(path)
        self.shown = [tuple(to_png(picture) for picture in pair) for pair in pictures]
        width, height = pictures[0][0].size
        self.sides = [Picture(side, 320, height / width) for side in ("Left", "Right")]
        self.heading, self.end = heading("Preference"), W.HTML()
        self.bar = progress_bar("100%", "10px", len(pictures))
        self.typed = live(W.Text(description="Keys", placeholder="L, R, T or U"))
        words = "vote by keys: L for left, R for right, T for a tie, U to undo"
        self.typed.add_class("sag-keys")
        labelled(self.typed, f"Put the cursor here and {words}", "230px")
        self.typed.style.description_width = "50px"
        self.typed.observe(self._key, "value")
        labels = {
            LEFT: ("Left is better", "vote for the left picture: key L", "primary"),
            TIE: ("No difference", "vote for neither: key T", ""),
            RIGHT: ("Right is better", "vote for the right picture: key R", "primary"),
            "undo": ("Undo", "take the last vote back: key U", ""),
        }
        self.buttons = {
            name: action_button(self.notice, label, words, partial(self._press, name), look)
            for name, (label, words, look) in labels.items()
        }
        for name, made in self.buttons.items():
            made.add_class(f"sag-{name}")
        controls = flow(*self.buttons.values(), self.typed)
        sides = flow(*self.sides, name="sag-sides")
        pair = W.VBox([sides, controls, self.notice], layout=W.Layout(grid_gap="10px"))
        self.fill(self.heading, self.bar, pair, self.end, notice=False)
        self._show()

    def vote(self, side: str) -> None:
        """Vote "left", "right" or "tie" on the pair that is shown; saved before the next is."""
        self._set(self.votes.add(side))

    def undo(self) -> None:
        """Take the last vote back."""
        self._set(self.votes.undo())

    @property
    def result(self) -> Result:
        """The count so far. Looking at it before the last vote spoils the vote."""
        return self.votes.result()

    def _set(self, votes: Votes) -> None:
        if self.path is not None:
            votes.save(self.path)
        self.votes = votes
        self._show()

    def _act(self, name: str) -> None:
        self.undo() if name == "undo" else self.vote(name)

    def _press(self, name: str) -> None:
        if name == "undo" or time.monotonic() - self._shown_at >= LOOK:
            self._act(name)

    def _key(self, change: Any) -> None:
        """The last key only: what was typed before has been counted, even where the box was not
        emptied in time.
        """
        key = change["new"][-1:].lower()
        self.typed.value = ""
        if key == "u" or key in KEYS:
            self.notice.attempt(partial(self._act, KEYS.get(key, "undo")))

    def _show(self) -> None:
        """The next pair, or after the last one the result."""
        number, total, done = len(self.votes.given), self.votes.pairs, self.votes.done
        self.bar.value = number
        asked = f"Which picture is better? Pair {number + 1} of {total}."
        self.heading.value = heading_html("Preference", "The vote is over." if done else asked)
        self.end.value = self._ending() if done else ""
        for side in self.sides:
            side.layout.display = "none" if done else None
        for name in (LEFT, TIE, RIGHT):
            self.buttons[name].layout.display = "none" if done else None
        self.buttons["undo"].disabled = not number
        self._shown_at = time.monotonic()
        if not done:
            for side, content in zip(self.sides, self._sides(number), strict=True):
                side.show(content, f"picture of pair {number + 1}")

    def _sides(self, number: int) -> tuple[bytes, ...]:
        pair = self.shown[number]
        return pair[::-1] if self.votes.swapped[number] else pair

    def _ending(self) -> str:
        """The result, the paper's, and every pair with its names and vote."""
        rows = [self._row(number, choice) for number, choice in enumerate(self.votes.choices())]
        return (
            f"<p><b>{escape(str(self.result))}</b></p><p>{PAPER}</p><div"
            f" class='sag-pairs'>{''.join(rows)}</div>"
        )

    def _row(self, number: int, choice: str) -> str:
        figures = ""
        for name, content in zip(self.votes.names, self.shown[number], strict=True):
            words = f"<b>{escape(name)}, chosen</b>" if name == choice else escape(name)
            image = image_tag(content, f"{name}, pair {number + 1}", "width:96px")
            figures += f"<figure>{image}<figcaption>{words}</figcaption></figure>"
        return f'<div class="sag-pair">{figures}</div>'


def _pictures(pair: Sequence[Trace | PictureLike]) -> list[Image]:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise ArgumentError(
            f"a pair is {pair!r:.80}; give two traces or two pictures, such as sv.compare makes"
        )
    return [one.image if isinstance(one, Trace) else as_image(one) for one in pair]
