"""A blind vote on pairs of pictures: the sides, what was voted, what follows from it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Resampling
from scipy.stats import binomtest

from sagviz.checks import MAX_SEED, check_kind, check_whole
from sagviz.errors import ArgumentError
from sagviz.files import check_place, expanded, save

if TYPE_CHECKING:
    from PIL.Image import Image

LEFT, RIGHT, TIE = "left", "right", "tie"
FORMAT = "sagviz-votes-2"
CELLS = 16  # a fingerprint's means of a picture, a side
ROUNDING = 2  # levels of 255 by which computers may differ in one of them


@dataclass(frozen=True)
class Result:
    """Votes counted. Ties stand apart: share, interval and p-value are of the votes that chose.

    Attributes:
        names: of the two kinds of picture.
        wins: votes for each of them.
        ties: votes for neither.
        share: of the second name among those who chose, 0..1; `None` where nobody did.
        interval: its Wilson interval at 95 %.
        p_value: how probable a count at least as uneven is if both are equally good (two-sided
            binomial test).

    Example:
        >>> from sagviz.measure.preference import Result
        >>> counted = Result(("CFG", "CFG + SAG"), (2, 8), 1, 0.8, (0.49, 0.94), 0.11)
        >>> print(*str(counted).split(". "), sep=chr(10))
        CFG 2, CFG + SAG 8, tie 1
        CFG + SAG was preferred in 80 % of the choices (95 % interval 49 to 94 %)
        50 % is inside: it may be chance.
    """

    names: tuple[str, str]
    wins: tuple[int, int]
    ties: int
    share: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None

    def __str__(self) -> str:
        counts = f"{self.names[0]} {self.wins[0]}, {self.names[1]} {self.wins[1]}, tie {self.ties}."
        if self.share is None or self.interval is None:
            return f"{counts} Nobody chose, so there is no share."
        low, high = self.interval
        inside = low <= 0.5 <= high
        chance = "inside: it may be chance" if inside else "outside: more than chance"
        share = (
            f"{percent(self.share)} % of the choices (95 % interval {percent(low)} to"
            f" {percent(high)} %)"
        )
        return f"{counts} {self.names[1]} was preferred in {share}. 50 % is {chance}."


@dataclass(frozen=True)
class Votes:
    """Votes on pairs of pictures, each a side or a tie, in the order of the pairs.

    Attributes:
        names: of the two kinds of picture, hidden from who votes.
        fingerprint: of all the pictures, so that votes are never counted for others (see
            `fingerprint`).
        pairs: how many there are.
        seed: decides which kind stands on which side.
        given: the votes so far.
        ballot: by chance another for each person, so that a copy is not counted; "" where unknown.

    Example:
        >>> from sagviz.measure.preference import Votes
        >>> votes = Votes(("CFG", "CFG + SAG"), fingerprint="0f", pairs=3, seed=7)
        >>> votes.swapped
        [False, False, False]
        >>> votes = votes.add("right").add("tie").add("left").undo()
        >>> votes.choices(), votes.done, votes.result().wins
        (['CFG + SAG', 'tie'], False, (0, 1))
    """

    names: tuple[str, str]
    fingerprint: str
    pairs: int
    seed: int
    given: tuple[str, ...] = ()
    ballot: str = ""

    @property
    def swapped(self) -> list[bool]:
        """Whether the second kind stands on the left, for each pair."""
        return (np.random.default_rng(self.seed).random(self.pairs) < 0.5).tolist()

    @property
    def done(self) -> bool:
        """Whether every pair has its vote."""
        return len(self.given) == self.pairs

    def add(self, vote: str) -> Votes:
        """One more vote.

        Raises:
            ArgumentError: it is none of left, right and tie, or all pairs have theirs.
        """
        if vote not in (LEFT, RIGHT, TIE):
            raise ArgumentError(f"a vote is {vote!r}; give 'left', 'right' or 'tie'")
        if self.done:
            raise ArgumentError(
                f"all {self.pairs} pairs have their votes; undo the last one to change it"
            )
        return replace(self, given=(*self.given, vote))

    def undo(self) -> Votes:
        """Without the last vote."""
        return replace(self, given=self.given[:-1])

    def choices(self) -> list[str]:
        """Each vote as the name that it went to, or "tie"."""
        return [
            TIE if vote == TIE else self.names[(vote == LEFT) == swapped]
            for vote, swapped in zip(self.given, self.swapped, strict=False)
        ]

    def result(self) -> Result:
        """What the votes so far say."""
        choices = self.choices()
        wins = (choices.count(self.names[0]), choices.count(self.names[1]))
        ties = choices.count(TIE)
        if not sum(wins):
            return Result(self.names, wins, ties)
        test = binomtest(wins[1], sum(wins))
        low, high = test.proportion_ci(method="wilson")
        return Result(self.names, wins, ties, test.statistic, (low, high), test.pvalue)

    def save(self, path: str | Path) -> Path:
        """Write JSON; the file is the old one or the new one, whatever happens.

        Raises:
            ArgumentError: the file cannot be written.
        """
        content = {"format": FORMAT, **asdict(self), "choices": self.choices()}
        return save(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, path: str | Path) -> Votes:
        """The votes that `save` wrote.

        Raises:
            ArgumentError: the file cannot be read as votes.
        """
        path = expanded(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
            first, second = content["names"]
            for text in (first, second, content["fingerprint"], content["ballot"]):
                check_kind("a name, fingerprint or ballot", text, str, "a text")
            bytes.fromhex(content["fingerprint"])
            pairs = check_whole("pairs", content["pairs"], 1, 10**6)
            seed = check_whole("seed", content["seed"], 0, MAX_SEED)
            votes = cls((first, second), content["fingerprint"], pairs, seed, (), content["ballot"])
            for vote in content["given"]:
                votes = votes.add(vote)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArgumentError(
                f"{path} cannot be read as votes of this version; give another path, or move that"
                " file away"
            ) from error
        return votes

    def resume(self, path: str | Path) -> Votes:
        """The votes in a file, where there is one, which must be on these very pairs.

        Raises:
            ArgumentError: the file is damaged, its votes are on other pictures, or there can be
                none.
        """
        path = expanded(path)
        if not os.path.exists(path):
            check_place(path)
            return self
        stored = Votes.load(path)
        if not stored.same_pairs(self):
            raise ArgumentError(
                f"{path} holds votes on other pictures; give another path, or the pairs that it was"
                " made with"
            )
        return stored

    def same_pairs(self, other: Votes) -> bool:
        """Whether both are votes on the same pictures, but for rounding, under the same names."""
        ours, theirs = (
            np.frombuffer(bytes.fromhex(each.fingerprint), np.uint8).astype(int)
            for each in (self, other)
        )
        if (self.names, self.pairs, ours.shape) != (other.names, other.pairs, theirs.shape):
            return False
        return bool((abs(ours - theirs) <= ROUNDING).all())


def percent(share: float) -> int:
    """Rounded, but 0 and 100 are said of none and all only.

    Example:
        >>> from sagviz.measure.preference import percent
        >>> [percent(wins / 360) for wins in (0, 1, 240, 359, 360)]
        [0, 1, 67, 99, 100]
    """
    whole = round(share, 9)  # an interval's end is 1 but for rounding
    return round(100 * share) if whole in (0, 1) else min(max(round(100 * share), 1), 99)


def fingerprint(pairs: Sequence[Sequence[Image]]) -> str:
    """The mean colours of 16 x 16 cells of each picture, in order, as a text.

    No hash: processors round a picture differently, by a level here and there, and
    `Votes.same_pairs` compares these means within two levels of 255.

    Example:
        >>> from PIL import Image
        >>> from sagviz.measure.preference import fingerprint
        >>> red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
        >>> fingerprint([(red, blue)]) == fingerprint([(blue, red)])
        False
    """
    return "".join(
        picture.convert("RGB").resize((CELLS, CELLS), Resampling.BOX).tobytes().hex()
        for pair in pairs
        for picture in pair
    )
