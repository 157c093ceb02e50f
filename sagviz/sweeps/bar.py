"""The progress bar of a sweep: in cells, and it moves at every joint step of those under way."""

from __future__ import annotations

from tqdm.auto import tqdm

FORMAT = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} cells [{elapsed}, {remaining} left]"


class Bar:
    """A bar over `total` cells, if it is `shown`."""

    def __init__(self, total: int, shown: bool) -> None:
        self._ended = 0
        # a steady estimate: the cells of a batch end together
        self._bar = tqdm(total=total, smoothing=0, disable=not shown, bar_format=FORMAT)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def start(self, there: int) -> None:
        """The work begins; so many cells were there before, which took no time."""
        self._ended = self._bar.n = self._bar.initial = there
        self._bar.unpause()
        self._bar.refresh()

    def add(self, cells: float) -> None:
        """A joint step was made, worth that many cells."""
        self._bar.update(max(0.0, min(cells, self._bar.total - self._bar.n)))

    def end(self) -> None:
        """A cell has ended."""
        self._ended += 1
        self._bar.update(max(0.0, self._ended - self._bar.n))
