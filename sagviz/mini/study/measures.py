"""What is measured of a cell, as statistics of any of its pictures' rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from sagviz.measure import frechet
from sagviz.mini.evaluation.intervals import Statistic, reach, resampled
from sagviz.mini.evaluation.settings import CONFIDENT
from sagviz.mini.study.cells import Cell
from sagviz.mini.study.pictures import Numbers
from sagviz.mini.study.starts import render, wanted
from sagviz.mini.world import NAMES

NEIGHBOURS = 3  # as in `precision_recall`
POWER = 1 + 0.84 / 1.96  # reaches between 0 and a difference that is seen in 80 % of studies


@dataclass(frozen=True, eq=False)
class Sampled:
    """A number of n pictures, and the same of resampled ones.

    Two of them with equal n were resampled alike, so that the spread of their difference is that
    of pairs.
    """

    n: int
    value: float
    drawn: np.ndarray

    def __sub__(self, other: Sampled) -> Sampled:
        return Sampled(self.n, self.value - other.value, self.drawn - other.drawn)

    def share_of(self, whole: Sampled) -> Sampled:
        """As a percentage of another, whose spread counts as well (the delta method)."""
        share = self.value / whole.value
        spread = (self.drawn - share * whole.drawn) / whole.value
        return Sampled(self.n, 100 * share, 100 * spread)

    @property
    def interval(self) -> tuple[float, float]:
        """95 %."""
        far = reach(self.drawn)
        return self.value - far, self.value + far


def statistics(cell: Cell, numbers: Numbers, real: np.ndarray) -> dict[str, Statistic]:
    """The measures that a cell has, by name.

    clear: percent of pictures with an object that the judge is sure of; named: percent in which
    its likeliest objects are those that were asked for, or that the scene had; confidence: of the
    likeliest object, percent; sharpness: in thousandths; frechet and recall: by the judge's
    features, against those of renders, `real`; variety: how many objects, were all as frequent, had
    the likeliest objects' entropy; rows: of the U-Net a step; coverage, overlap: of SAG's mask,
    percent.
    """
    sure, first = confidence(numbers), numbers.objects.argmax(axis=1)
    columns = {
        "clear": 100 * (sure >= CONFIDENT),
        "confidence": 100 * sure,
        "sharpness": 1000 * numbers.sharpness,
        "rows": numbers.rows,
        "coverage": 100 * numbers.coverage,
        "overlap": 100 * numbers.overlap,
    }
    if cell.kind != "empty":
        columns["named"] = 100 * named(cell, numbers)
    found = {name: _mean(values) for name, values in columns.items() if np.isfinite(values).all()}
    features = numbers.features
    return found | {
        "frechet": lambda some: frechet(real, features[some]),
        "recall": recall(real, features),
        "variety": lambda some: variety(first[some]),
    }


def confidence(numbers: Numbers) -> np.ndarray:
    """The judge's in the likeliest object of each picture, 0..1, (N,)."""
    return 1 / (1 + np.exp(-numbers.objects.astype(np.float64).max(axis=1)))


def summary(cell: Cell, numbers: Numbers, count: int) -> pd.DataFrame:
    """The first pictures of a cell, a row each."""
    columns = {
        "cell": cell.name,
        "picture": range(len(numbers)),
        "object": [NAMES[index] for index in numbers.objects.argmax(axis=1)],
        "confidence": confidence(numbers),
        "sharpness": numbers.sharpness,
        "rows": numbers.rows,
    }
    return pd.DataFrame(columns).head(count)


def named(cell: Cell, numbers: Numbers) -> np.ndarray:
    """In which pictures the likeliest objects are the right ones, (N,)."""
    right = [_objects(cell, i) for i in range(len(numbers))]
    order = (-numbers.objects).argsort(axis=1, kind="stable")
    rows = zip(order, right, strict=True)
    return np.array([{NAMES[i] for i in row[: len(names)]} == set(names) for row, names in rows])


def _objects(cell: Cell, number: int) -> tuple[str, ...]:
    return render(number).objects if cell.kind == "scenes" else wanted()[number][0]


def recall(real: np.ndarray, made: np.ndarray) -> Statistic:
    """The recall of any of the made ones' rows, see `sagviz.measure.precision_recall`, percent.
    Distances are taken once.
    """
    given = torch.from_numpy(made.astype(np.float64))
    between, among = (
        torch.cdist(points, given, compute_mode="donot_use_mm_for_euclid_dist").numpy()
        for points in (torch.from_numpy(real.astype(np.float64)), given)
    )

    def of(some: np.ndarray) -> float:
        radii = np.partition(among[np.ix_(some, some)], NEIGHBOURS, axis=1)[:, NEIGHBOURS]
        return 100 * float((between[:, some] <= radii).any(axis=1).mean())

    return of


def variety(labels: np.ndarray) -> float:
    """exp of the entropy of the labels' frequencies."""
    shares = np.array(list(Counter(labels.tolist()).values())) / len(labels)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _mean(values: np.ndarray) -> Statistic:
    return lambda some: float(values[some].mean())


def sampled(name: str, statistic: Statistic, count: int) -> Sampled:
    """A measure of the first `count` pictures."""
    everyone = np.arange(count)
    halves = name == "recall"  # to repeated rows the neighbours would be themselves
    drawn = resampled(everyone, statistic, halves=halves)
    return Sampled(count, statistic(everyone), drawn)


def pictures_needed(difference: float, low: float, high: float, n: int) -> int:
    """How many pictures a cell would need for a difference to be told from none, in 80 % of
    studies at the 5 % level.

    Args:
        difference: the one to be told, in units of the measure.
        low, high: a 95 % interval of such a difference, from n pictures.
    """
    return round(n * (POWER * (high - low) / 2 / difference) ** 2)
