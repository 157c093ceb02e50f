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
        unfinished: how many of them have not voted on every pair.
        by_pair: for each pair its votes for the first name, for the second, and ties.

    Example:
        >>> from sagviz.measure.merged_votes import merge
        >>> from sagviz.measure.preference import Votes
        >>> one = Votes(("CFG", "CFG + SAG"), "0f", pairs=2, seed=7).add("right").add("right")
        >>> print(merge([one, one, one.undo()]))
        3 people, 1 of them unfinished: CFG 0, CFG + SAG 5, tie 0. CFG + SAG was preferred in \
100 % of the choices (95 % interval 33 to 100 %). 50 % is inside: it may be chance.
    """

    people: int = 0
    unfinished: int = 0
    by_pair: tuple[tuple[int, int, int], ...] = ()

    def __str__(self) -> str:
        people = f"{self.people} {'person' if self.people == 1 else 'people'}"
        unfinished = f", {self.unfinished} of them unfinished" if self.unfinished else ""
        return f"{people}{unfinished}: {super().__str__()}"


def merge(votes: Sequence[Votes]) -> MergedResult:
    """Count the votes of several people on the same pairs together.

    Wilson's interval and the binomial test are at the number of independent votes that would tell
    as much (see `independent_votes`). For one person this is `Votes.result`.

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
    unfinished = sum(not each.done for each in votes)
    known = MergedResult(
        first.names, wins, ties, people=len(votes), unfinished=unfinished, by_pair=by_pair
    )
    if not sum(wins):
        return known
    share, number = wins[1] / sum(wins), independent_votes(counts[:, 1], counts[:, :2].sum(1))
    p_value = float(binomtest(round(share * number), max(round(number), 1)).pvalue)
    return replace(known, share=share, interval=wilson(share, number), p_value=p_value)


def independent_votes(wins: np.ndarray, votes: np.ndarray) -> float:
    """How many independent votes tell as much as these, `wins` of `votes` for each pair.

    The votes there are over the design effect: the variance of a share over clusters, sum over
    pairs of (wins - share * votes)**2 over the square of all votes (Cochran, Sampling Techniques,
    1977, eq. 11.30), over that of independent ones, share (1 - share) / votes; at least 1.

    Few pairs, or few votes against, say little of how far people agree on a pair. As Agresti and
    Coull (The American Statistician 52, 1998) add two successes and two failures to a share, two
    pairs that all win and two that all lose are added to this effect, with the size of the pair
    where the mean vote is. Where all votes agree, equal pairs count as one vote each, and a vote
    against never makes it surer that the share is high.

    Example:
        >>> import numpy as np
        >>> from sagviz.measure.merged_votes import independent_votes
        >>> votes = np.full(12, 30)
        >>> [round(independent_votes(np.array([wins] * 12), votes)) for wins in (30, 29, 20, 15)]
        [12, 15, 42, 48]
    """
    number = float(votes.sum())
    size = (votes**2).sum() / number
    wins, votes = np.append(wins, [size, size, 0, 0]), np.append(votes, [size] * 4)
    share = wins.sum() / votes.sum()
    effect = ((wins - share * votes) ** 2).sum() / (share * (1 - share) * votes.sum())
    return number / max(float(effect), 1.0)


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
