"""What all visitors share: the model, the queue, the runs to look at, the result of the votes."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sagviz.errors import SagvizError
from sagviz.files import save
from sagviz.measure.merged_votes import MergedResult, merge
from sagviz.measure.preference import Votes
from sagviz.models import Model
from sagviz.records.trace import Trace
from sagviz.widgets.app.limits import Limits
from sagviz.widgets.app.turns import Turns


class Classroom:
    """One model in memory, and those who work with it.

    Args:
        model: from `load`.
        pairs: two runs each, of the same prompt and noise, to vote on; the second of the first
            pair is the one under the Microscope.
        limits: of a run, and of the class.
        votes: folder for a file of each visitor's votes; their common result is the file of the
            same name that ends in .json.

    Attributes:
        turns: the queue of runs.
        present: how many pages are open.
    """

    def __init__(
        self, model: Model, pairs: Sequence[tuple[Trace, ...]], limits: Limits, votes: Path
    ) -> None:
        self.model, self.pairs, self.limits, self.folder = model, pairs, limits, votes
        self.turns = Turns()
        self.present = 0
        self._numbers = itertools.count(1)
        self._votes: dict[int, Votes] = {}
        self._lock = threading.Lock()

    def enter(self) -> int:
        """A new visitor: which number.

        Raises:
            SagvizError: the class is full.
        """
        with self._lock:
            if self.present >= self.limits.visitors:
                raise SagvizError(
                    f"the class is full: {self.limits.visitors} pages are open; wait until one is"
                    " closed, then reload"
                )
            self.present += 1
            return next(self._numbers)

    def leave(self) -> None:
        """A visitor has gone; the votes stay."""
        with self._lock:
            self.present -= 1

    def votes_path(self, number: int) -> Path:
        """The file of a visitor's votes."""
        return self.folder / f"votes-{number:03}.json"

    @property
    def result(self) -> MergedResult | None:
        """All votes so far; `None` before the first."""
        given = [votes for votes in self._votes.values() if votes.given]
        return merge(given) if given else None

    def count(self, number: int, votes: Votes) -> None:
        """Note a visitor's votes; where they are new, save the common result and, after the last
        pair, tell the host.
        """
        with self._lock:
            if self._votes.get(number) == votes or not (votes.given or number in self._votes):
                return
            self._votes[number] = votes
            result = self.result
            if result is not None:
                content = json.dumps(asdict(result), indent=1).encode()
                save(self.folder.with_name(f"{self.folder.name}.json"), content)
        if votes.done:
            print(f"{self.present} visitors. {result}", flush=True)
