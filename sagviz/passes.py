"""The U-Net passes that steps still need, for one run or for many in lockstep: what several ask alike is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.attention import capture
from sagviz.models import Model
from sagviz.records import Step
from sagviz.runs import Run

Reading = tuple[str, tuple[int, ...] | None]  # an attention map: its layer, its heads


@dataclass(frozen=True, eq=False)
class Question:
    """Rows that a step wants from the U-Net, (B, C, H, W) at time `t` under a text. The same key means the same answer."""

    key: Hashable
    x: Tensor
    t: Tensor
    text: str
    readings: frozenset[Reading] = frozenset()


@dataclass(eq=False)
class Answer:
    """What came back. The first step that takes it bears its cost; to those that share it, it is free."""

    output: Tensor
    maps: dict[Reading, Tensor]
    forwards: int
    samples: int

    def cost(self) -> tuple[int, int]:
        """U-Net calls and batch rows, told once."""
        told = self.forwards, self.samples
        self.forwards = self.samples = 0
        return told


class Passes:
    """The U-Net of one model, asked for several runs at once. Texts are embedded once.

    Args:
        model: the model of all the runs.
        max_rows: batch rows in one U-Net call at most; `None` is no bound.
    """

    def __init__(self, model: Model, max_rows: int | None = None) -> None:
        self.model, self.max_rows = model, max_rows
        self._embeddings: dict[str, Tensor] = {}

    @torch.no_grad()
    def complete(self, runs: Sequence[Run], steps: Sequence[Step]) -> list[Step]:
        """The steps with all predictions that their guidance needs; those that they have already cost nothing.

        There are two rounds of joint calls: the branches at x_t, and then SAG's degraded latents.
        """
        return self._round(_of_degraded, runs, self._round(_of_branches, runs, steps))

    def _round(self, ask: Callable[[Run, Step], dict[str, Question]], runs: Sequence[Run], steps: Sequence[Step]) -> list[Step]:
        asked = [ask(run, step) for run, step in zip(runs, steps, strict=True)]
        answers: dict[Hashable, Answer] = {}
        for group in self._groups(_merged([question for each in asked for question in each.values()])):
            answers |= self._call(group)
        return [_filled(step, questions, answers) for step, questions in zip(steps, asked, strict=True)]

    def _groups(self, questions: Sequence[Question]) -> Iterator[list[Question]]:
        """The questions in their order, as many together as a call may hold."""
        group: list[Question] = []
        for question in questions:
            rows = sum(len(other.x) for other in (*group, question))
            if group and self.max_rows is not None and rows > self.max_rows:
                yield group
                group = []
            group.append(question)
        if group:
            yield group

    def _call(self, group: Sequence[Question]) -> dict[Hashable, Answer]:
        """One U-Net call. The questions that read attention stand first, so that their rows are the leading ones."""
        sizes = [len(question.x) for question in group]
        leading = [len(question.x) for question in group if question.readings]
        x = torch.cat([question.x for question in group])
        t = torch.cat([question.t.expand(rows) for question, rows in zip(group, sizes, strict=True)])
        texts = torch.cat([self._embed(question.text).expand(rows, -1, -1) for question, rows in zip(group, sizes, strict=True)])
        height, width = x.shape[2:]
        with self.model.lock, ExitStack() as hooks:
            read = {
                reading: hooks.enter_context(capture(self.model.unet, reading[0], sum(leading), (height, width), reading[1]))
                for reading in {reading: None for question in group for reading in question.readings}
            }
            outputs = self.model.predict(x, t, texts).split(sizes)
        maps = {reading: found[0].split(leading) for reading, found in read.items()}
        return {
            question.key: Answer(
                output, {reading: maps[reading][place] for reading in question.readings}, int(place == 0), len(output)
            )
            for place, (question, output) in enumerate(zip(group, outputs, strict=True))
        }

    def _embed(self, text: str) -> Tensor:
        if text not in self._embeddings:
            self._embeddings[text] = self.model.embed(text)
        return self._embeddings[text]


def _of_branches(run: Run, step: Step) -> dict[str, Question]:
    """Both branches under CFG, else the single one; the attention is read where guidance starts from."""
    if not step.lacks_prediction:
        return {}
    sag, t = step.guidance.sag, run.device_times[step.index]
    x = run.scheduler.scale_model_input(step.x_t, run.times[step.index])
    read = frozenset([(sag.layer, sag.heads)] if sag is not None else [])
    return {
        name: Question((name, id(step.x_t), step.level, text), x, t, text, read if place == 0 else frozenset())
        for place, (name, text) in enumerate(_texts(run, step).items())
    }


def _of_degraded(run: Run, step: Step) -> dict[str, Question]:
    """SAG's own pass: the degraded latent, on the branch that guidance starts from."""
    sag, x_degraded = step.guidance.sag, step.x_degraded if step.out_degraded is None else None
    if sag is None or x_degraded is None:
        return {}
    text = next(iter(_texts(run, step).values()))
    x = run.scheduler.scale_model_input(x_degraded, run.times[step.index])
    degradation = replace(sag, scale=0.0, start=0.0, stop=1.0)  # what does not change the degraded latent left out
    key = ("out_degraded", id(step.x_t), step.level, text, degradation, id(step.painted), run.settings.seed)
    return {"out_degraded": Question(key, x, run.device_times[step.index], text)}


def _texts(run: Run, step: Step) -> dict[str, str]:
    """The prompts of the branches that a step has, the one that guidance starts from first."""
    prompt = run.settings.prompt
    if step.guidance.cfg is not None:
        return {"out_uncond": run.settings.negative_prompt, "out_cond": prompt}
    return {"out_cond" if prompt else "out_uncond": prompt}


def _merged(questions: Sequence[Question]) -> list[Question]:
    """Each question once, with all that anyone wants to read; those that read come first."""
    unique: dict[Hashable, Question] = {}
    for question in questions:
        known = unique.get(question.key, question)
        unique[question.key] = replace(known, readings=known.readings | question.readings)
    return sorted(unique.values(), key=lambda question: not question.readings)


def _filled(step: Step, questions: dict[str, Question], answers: dict[Hashable, Answer]) -> Step:
    """The step with the answers to its questions, and their cost."""
    forwards, samples, fields = step.forwards, step.samples, dict[str, Any]()
    for name, question in questions.items():
        answer = answers[question.key]
        fields[name] = answer.output
        for reading in question.readings:
            fields["attention"] = answer.maps[reading]
        calls, rows = answer.cost()
        forwards, samples = forwards + calls, samples + rows
    return replace(step, forwards=forwards, samples=samples, **fields) if fields else step
