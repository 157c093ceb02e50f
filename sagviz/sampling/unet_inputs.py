"""What a step still lacks of the U-Net's outputs, as rows of a call, and the step with them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.attention.captured import captured_of
from sagviz.attention.perturb import Perturbation
from sagviz.attention.read import Reading
from sagviz.diffusion.noise_level import scaled_input
from sagviz.records.settings import Text
from sagviz.records.step import LATENTS, Step
from sagviz.sampling.prepare import Run


@dataclass(frozen=True, eq=False)
class UNetInput:
    """Rows of a U-Net call, (B, C, H, W) at time `t` under a text, or in equal parts under several.
    Equal keys mean equal results.

    Attributes:
        embeddings: those of the run, of which `texts` may name some.
        readings: what is read of the attention of these rows.
        perturbation: what is done to the network for them.
    """

    key: Hashable
    x: Tensor
    t: Tensor
    texts: tuple[Text, ...]
    embeddings: Mapping[str, Tensor]
    readings: frozenset[Reading] = frozenset()
    perturbation: Perturbation | None = None


@dataclass(eq=False)
class UNetResult:
    """What came of such rows. The first step that takes it bears its cost, others have it free."""

    output: Tensor
    forwards: int
    samples: int
    maps: dict[Reading, Tensor] = field(default_factory=dict)

    def take_cost(self) -> tuple[int, int]:
        """U-Net calls and batch rows, once."""
        cost = self.forwards, self.samples
        self.forwards = self.samples = 0
        return cost


def first_pass(run: Run, step: Step) -> dict[str, UNetInput]:
    """Both branches under CFG, else the single one, and what terms request beside them; the
    attention is read where guidance starts from, that to words under the prompt.
    """
    requests = _requests(run, step, second_pass=False)
    if not step.lacks_prediction:
        return requests
    t, texts = run.device_times[step.index], run.settings.texts(step.guidance)
    x = scaled_input(run.scheduler, step.x_t, run.times[step.index])
    base, *_, conditional = (*texts, *texts)
    read: dict[str, set[Reading]] = {name: set() for name in texts}
    read[base].update(_of_terms(step).values(), _captured(run, step, words=False))
    read[conditional].update(_captured(run, step, words=True))
    embeddings = run.inputs.embeddings
    branches = {
        name: UNetInput(
            (name, id(step.x_t), step.level, text), x, t, (text,), embeddings, frozenset(read[name])
        )
        for name, text in texts.items()
    }
    return branches | requests


def second_pass(run: Run, step: Step) -> dict[str, UNetInput]:
    """What terms request when the outputs of the first pass are known."""
    return _requests(run, step, second_pass=True)


def filled(
    run: Run, step: Step, inputs: Mapping[str, UNetInput], results: Mapping[Hashable, UNetResult]
) -> Step:
    """The step with the results of its inputs, and their cost."""
    if not inputs:
        return step
    found = {name: results[each.key] for name, each in inputs.items()}
    # Its own maps: other steps may read more of these rows.
    read = {r: found[name].maps[r] for name, each in inputs.items() for r in each.readings}
    maps = {name: read[reading] for name, reading in _of_terms(step).items() if reading in read}
    captured = {
        r: read[r] for way in (False, True) for r in _captured(run, step, words=way) if read
    }
    costs = [result.take_cost() for result in found.values()]
    outputs = {name: result.output[: len(step.x_t)] for name, result in found.items()}
    latents: dict[str, Any] = {n: output for n, output in outputs.items() if n in LATENTS}
    return replace(
        step,
        kept={**step.kept, **maps, **{n: o for n, o in outputs.items() if n not in LATENTS}},
        captured=captured_of(captured, run.words) if read else step.captured,
        forwards=step.forwards + sum(calls for calls, _ in costs),
        samples=step.samples + sum(rows for _, rows in costs),
        **latents,
    )


def _of_terms(step: Step) -> dict[str, Reading]:
    """What the terms read of the attention, by the name that it is kept under."""
    return {name: read for term in step.guidance.terms for name, read in term.reads.items()}


def _captured(run: Run, step: Step, *, words: bool) -> tuple[Reading, ...]:
    """What the run's capture reads in this step, of the branch that guidance starts from or of the
    one with the prompt.
    """
    if run.capture is None or not run.capture.acts(step.index):
        return ()
    return run.capture.readings(words=words)


def _requests(run: Run, step: Step, *, second_pass: bool) -> dict[str, UNetInput]:
    """What the terms request in one of the passes, by the name that it is kept under."""
    terms = [term for term in step.guidance.terms if term.second_pass == second_pass]
    texts, t = list(run.settings.texts(step.guidance).values()), run.device_times[step.index]
    found = {}
    for request in filter(None, (term.request(step) for term in terms)):
        own: tuple[Text, ...] = (texts[-1 if request.conditional else 0],)
        own += (run.settings.negative_text,) * request.with_negative
        x = scaled_input(run.scheduler, request.x, run.times[step.index])
        key = (request.name, id(step.x_t), step.level, own, request.key)
        rows = torch.cat([x] * len(own))
        found[request.name] = UNetInput(
            key, rows, t, own, run.inputs.embeddings, perturbation=request.perturbation
        )
    return found
