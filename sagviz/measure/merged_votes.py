"""The votes of several people on the same pairs, as one result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from scipy.stats import binomtest, norm

from sagviz.errors import ArgumentError
from sagviz.measure.preference import TIE, Result, Votes


@dataclass(frozen=True)
class MergedResult(Result):
    """A `Result` of several people.

    People who look at one pair tend to agree, so that thirty votes on it say less than one vote on
    each of thirty pairs: interval and p-value take the pairs as clusters.

    Attributes:
        people: how many have voted.
        by_pair: for each pair its votes for the first name, for the second, and ties.

    Example:
        >>> from sagviz.measure.merged_votes import merge
        >>> from sagviz.measure.preference import Votes
        >>> one = Votes(("CFG", "CFG + SAG"), "0f", pairs=2, seed=7).add("right").add("right")
        >>> print(merge([one, one, one.undo()]))
        3 people: CFG 0, CFG + SAG 5, tie 0. CFG + SAG was preferred in 100 % of the choices \
(95 % interval 34 to 100 %). 50 % is inside: it may be chance.
    """

    people: int = 0
    by_pair: tuple[tuple[int, int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.people} {'person' if self.people == 1 else 'people'}: {super().__str__()}"


def merge(votes: Sequence[Votes]) -> MergedResult:
    """Count the votes of several people on the same pairs together.

    The share's variance is that of a ratio over clusters (Cochran, Sampling Techniques, 1977, eq.
    11.30, large samples): sum over pairs of (wins - share * votes)**2, over the square of all
    votes. share (1 - share) over it is the number of independent votes that would tell as much, at
    most those that there are; where all agree, the pairs. Wilson's interval and the binomial test
    are at that number. For one person this is `Votes.result`.

    Args:
        votes: each person's; ties stand apart as there.

    Raises:
        ArgumentError: there are none, or they are on different pictures.
    """
    if not votes:
        raise ArgumentError("there are no votes to merge; give those of at least one person")
    first = votes[0]
    if not all(first.same_pairs(each) for each in votes):
        raise ArgumentError("these votes are on different pictures; merge those of one class only")
    names = (*first.names, TIE)
    counts = np.zeros((first.pairs, 3), int)
    for each in votes:
        for pair, choice in enumerate(each.choices()):
            counts[pair, names.index(choice)] += 1
    by_pair = tuple((int(one), int(other), int(ties)) for one, other, ties in counts)
    wins, ties = (int(counts[:, 0].sum()), int(counts[:, 1].sum())), int(counts[:, 2].sum())
    known = MergedResult(first.names, wins, ties, people=len(votes), by_pair=by_pair)
    if not sum(wins):
        return known
    share, number = wins[1] / sum(wins), independent_votes(counts[:, 1], counts[:, :2].sum(1))
    p_value = float(binomtest(round(share * number), max(round(number), 1)).pvalue)
    return replace(known, share=share, interval=wilson(share, number), p_value=p_value)


def independent_votes(wins: np.ndarray, votes: np.ndarray) -> float:
    """How many independent votes tell as much as these, wins of votes for each pair."""
    share = wins.sum() / votes.sum()
    variance = float(((wins - share * votes) ** 2).sum() / votes.sum() ** 2)
    number = share * (1 - share) / variance if variance else float((votes > 0).sum())
    return min(number, float(votes.sum()))


def wilson(share: float, number: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of `number` votes, which need not be whole.

    Example:
        >>> from sagviz.measure.merged_votes import wilson
        >>> [round(end, 2) for end in wilson(0.8, 10)]
        [0.49, 0.94]
    """
    z = float(norm.ppf((1 + confidence) / 2))
    middle = share + z**2 / (2 * number)
    half = z * sqrt(share * (1 - share) / number + z**2 / (4 * number**2))
    low, high = ((middle + sign * half) / (1 + z**2 / number) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)
