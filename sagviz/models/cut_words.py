"""The words of a prompt that a text encoder has no room for."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from sagviz.checks import shortened
from sagviz.errors import warn

SHOWN = 200  # letters of the words that were cut
ALONE = "\u3040-\u30ff\u3400-\u9fff"  # Chinese and Japanese, which put no spaces between words
WORD = re.compile(rf"[{ALONE}]|[^\s{ALONE}]+")


def warn_of_cut_words(prompt: str, length: int, count: Callable[[str], int]) -> None:
    """Warn of a prompt that is too long, with the words that are cut.

    Args:
        length: how many tokens there is room for, special ones included.
        count: how many a text has, with them.
    """
    if count(prompt) > length:
        starts = [word.start() for word in WORD.finditer(prompt)]
        # the first word that does not fit as a whole
        place = bisect_right(starts, length, key=lambda start: count(prompt[:start])) - 1
        cut = shortened(prompt[starts[place] :], SHOWN)
        warn(f"the prompt is longer than {length - count('')} tokens; these words were cut: {cut}")
