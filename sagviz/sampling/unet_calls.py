"""The U-Net calls that steps need, for one run or for many in lockstep: what several need alike is
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from sagviz.attention.compiled import is_compiled, uncompiled
from sagviz.attention.perturb import Perturbation, perturb
from sagviz.attention.read import Reading, capture
from sagviz.guidance import Term
from sagviz.models import Conditioning, Model
from sagviz.records.settings import Text
from sagviz.records.step import Step
from sagviz.sampling.inputs import conditioning
from sagviz.sampling.prepare import Run
from sagviz.sampling.unet_inputs import UNetInput, UNetResult, filled, first_pass, second_pass

Inputs = dict[str, UNetInput]


class UNetCalls:
    """Completes steps of several runs by joint calls of one model. Texts are embedded once.

    Args:
        model: the model of all the runs.
        max_rows: batch rows in one U-Net call at most; `None` is no bound.
    """

    def __init__(self, model: Model, max_rows: int | None = None) -> None:
        self.model, self.max_rows = model, max_rows
        self._embeddings: dict[tuple[Text, int, int], Conditioning] = {}

    # A network takes a while to say either.
    @cached_property
    def _compiled(self) -> bool:
        return is_compiled(self.model.network)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return self.model.dtype

    @torch.no_grad()
    def complete(self, runs: Sequence[Run], steps: Sequence[Step]) -> list[Step]:
        """The steps with all predictions that their guidance needs; those that they have already
        cost nothing.

        There are two rounds of joint calls: the branches at x_t with all that terms request beside
        them, and then what depends on their outputs, such as SAG's degraded latents.
        """
        return self._computed(self._round(second_pass, runs, self._round(first_pass, runs, steps)))

    def _computed(self, steps: Sequence[Step]) -> list[Step]:
        """The steps with what terms need that is not the U-Net's; for steps that need the same it
        is computed once.
        """
        known: dict[Hashable, dict[str, Tensor]] = {}
        done = []
        for step in steps:
            for term in step.guidance.terms:
                if type(term).compute is Term.compute:
                    continue
                lacks = tuple(name for name in term.keeps if name not in step.kept)
                key = (term.without_scale, id(step.x_t), step.level, lacks)
                if key not in known:
                    with self.model.at_work():
                        known[key] = term.compute(step, self.model)
                step = replace(step, kept={**step.kept, **known[key]}) if known[key] else step
            done.append(step)
        return done

    def _round(
        self, inputs_of: Callable[[Run, Step], Inputs], runs: Sequence[Run], steps: Sequence[Step]
    ) -> list[Step]:
        inputs = [inputs_of(run, step) for run, step in zip(runs, steps, strict=True)]
        results: dict[Hashable, UNetResult] = {}
        for group in self._groups(_merged([one for each in inputs for one in each.values()])):
            results |= self._call(group)
        return [filled(*each, results) for each in zip(runs, steps, inputs, strict=True)]

    def _groups(self, inputs: Sequence[UNetInput]) -> Iterator[list[UNetInput]]:
        """The inputs in their order, as many together as a call may hold."""
        group: list[UNetInput] = []
        for each in inputs:
            rows = sum(len(other.x) for other in (*group, each))
            if group and self.max_rows is not None and rows > self.max_rows:
                yield group
                group = []
            group.append(each)
        if group:
            yield group

    def _call(self, group: Sequence[UNetInput]) -> dict[Hashable, UNetResult]:
        """One U-Net call, and what is read of the rows of each input."""
        sizes = [len(each.x) for each in group]
        ends = list(accumulate(sizes))
        x = torch.cat([each.x for each in group])
        t = torch.cat([each.t.expand(len(each.x)) for each in group])
        height, width = x.shape[2:]
        texts = [
            self._embed(text, each.embeddings, height, width).expand(len(each.x) // len(each.texts))
            for each in group
            for text in each.texts
        ]
        wanted, changed = dict[Reading, list[int]](), dict[Perturbation, list[int]]()
        for each, size, end in zip(group, sizes, ends, strict=True):
            rows = range(end - size, end)
            for reading in each.readings:
                wanted.setdefault(reading, []).extend(rows)
            if each.perturbation is not None:
                changed.setdefault(each.perturbation, []).extend(rows)
        network, cells = self.model.network, (height, width)
        hooked = self._compiled and (wanted or changed)
        with (
            self.model.at_work(),
            perturb(network, changed, cells),
            capture(network, wanted, cells) as read,
            uncompiled() if hooked else nullcontext(),
        ):
            predicted = self.model.predict(x, t, Conditioning.joined(texts), self._dtype)
        outputs = predicted.split(sizes)
        results = {
            each.key: UNetResult(output, int(place == 0), len(output))
            for place, (each, output) in enumerate(zip(group, outputs, strict=True))
        }
        for reading, maps in read.items():
            readers = [each for each in group if reading in each.readings]
            parts = maps.split([len(each.x) for each in readers])
            for each, part in zip(readers, parts, strict=True):
                results[each.key].maps[reading] = part
        return results

    def _embed(
        self, text: Text, embeddings: Mapping[str, Tensor], height: int, width: int
    ) -> Conditioning:
        """The conditioning of a text, for a latent of that size."""
        key, cell = (text, height, width), self.model.pixels_per_cell
        if key not in self._embeddings:
            size = (height * cell, width * cell)
            self._embeddings[key] = conditioning(self.model, text, embeddings, size)
        return self._embeddings[key]


def _merged(inputs: Sequence[UNetInput]) -> list[UNetInput]:
    """Each input once, with all that anyone wants to read."""
    unique: dict[Hashable, UNetInput] = {}
    for each in inputs:
        known = unique.get(each.key, each)
        unique[each.key] = replace(known, readings=known.readings | each.readings)
    return list(unique.values())
