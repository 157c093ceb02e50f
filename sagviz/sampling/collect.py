"""Running to the end, or until it is stopped, and keeping what there is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor
from tqdm.auto import tqdm

from sagviz.checks import shortened
from sagviz.errors import Unfinished, stopped
from sagviz.image import to_png
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.keep import Keep, kept_steps
from sagviz.sampling.lockstep import check_alike, lockstep
from sagviz.sampling.memory_check import check_memory
from sagviz.sampling.prepare import Run

Follow = Callable[[Sequence["Step | None"]], bool]
Progress = bool | Callable[[int, int], object]


@dataclass(eq=False)
class Kept:
    """What is kept of one run so far: the chosen steps, and the last one that was made."""

    run: Run
    indices: set[int]
    steps: list[Step] = field(default_factory=list)
    latest: Step | None = None

    @property
    def last(self) -> Tensor | None:
        """The latent that it has come to."""
        return None if self.latest is None else self.latest.x_next

    @property
    def ended(self) -> bool:
        return self.latest is not None and self.latest.index + 1 == self.run.evaluations

    def add(self, step: Step) -> None:
        """The next step of the run."""
        self.latest = step
        if step.index in self.indices:
            # A copy where the step before is not kept, whose memory x_t would hold.
            alone = step.index - 1 not in self.indices
            self.steps.append(replace(step, x_t=step.x_t.clone()) if alone else step)

    def trace(self) -> Trace:
        """With its pictures, if the run has ended; else with colours for its latents."""
        model = self.run.model
        if not self.ended or self.last is None:
            return replace(self.unfinished(), latent_rgb=model.latent_rgb)
        pictures = model.decode(self.last)
        rgb = model.colours(self.last, pictures)
        pngs = tuple(to_png(picture, quick=True) for picture in pictures)
        return replace(self.unfinished(), pictures=pngs, latent_rgb=rgb)

    def unfinished(self) -> Trace:
        """The steps alone, for which nothing has to be computed; before the end the latest, too,
        which says how far the run has come.
        """
        run = self.run
        # before the first step the picture may not be encoded yet, or be what stopped the run
        inputs = {} if self.last is None else run.inputs.tensors
        steps = self.steps
        if self.latest is not None and not (self.ended or self.latest.index in self.indices):
            steps = [*steps, self.latest]
        return Trace(run.settings, tuple(steps), run.evaluations, inputs=inputs)


def collect(
    runs: Sequence[Run],
    *,
    firsts: Sequence[Step] | None = None,
    keep: Keep | Callable[[int], set[int]] = None,
    max_rows: int | None = None,
    follow: Follow | None = None,
) -> list[Trace]:
    """Run several runs in lockstep, to their ends or until they are stopped, and keep the chosen
    steps of each.

    Args:
        runs, firsts, max_rows: as for `lockstep`.
        keep: which steps to keep: all (`None`), every k-th and the last (a number), these, or what
            a function makes of the number of evaluations.
        follow: called after each evaluation with one step a run (`None` for those that have ended);
            whether to go on. A run that is stopped has no picture.

    Raises:
        Interrupted: Ctrl-C; `traces` are the runs as far as they came.
        NotFiniteError, OutOfMemoryError, RunError: likewise; what is none of ours is the cause of a
            RunError.
    """
    check_alike(runs)
    wanted = keep if callable(keep) else partial(kept_steps, keep)
    kept = [Kept(run, wanted(run.evaluations)) for run in runs]
    check_memory(runs, [each.indices for each in kept])
    try:
        for steps in lockstep(runs, firsts=firsts, max_rows=max_rows):
            for own, step in zip(kept, steps, strict=True):
                if step is not None:
                    own.add(step)
            if follow is not None and not follow(steps):
                break
        return [own.trace() for own in kept]
    except (Exception, KeyboardInterrupt) as error:
        raised = stopped(error, "the run")
        if isinstance(raised, Unfinished):
            raised.traces = [own.unfinished() for own in kept]
        raise raised from (error.__cause__ if raised is error else error)


@contextmanager
def progress_bar(runs: Sequence[Run], shown: Progress) -> Iterator[Follow]:
    """A bar over the evaluations of these runs, as a `follow` that never stops them. `shown` is
    whether there is one, or a function that is told (done, total) in its place.
    """
    words = shortened(runs[0].settings.caption, 40) or "unconditional"
    total = max(run.evaluations for run in runs)
    with tqdm(total=total, desc=words, disable=shown is not True) as bar:
        done = 0

        def follow(_: object) -> bool:
            nonlocal done
            done += 1
            bar.update()
            if callable(shown):
                shown(done, total)
            return True

        yield follow
