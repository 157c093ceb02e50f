"""The U-Net passes that steps still need, for one run or for many in lockstep: what several ask
alike is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sagviz.attention.captured import captured_of
from sagviz.attention.perturb import Perturbation, perturb
from sagviz.attention.read import Reading, capture
from sagviz.models import Conditioning, Model
from sagviz.records.step import Step
from sagviz.sampling.prepare import Run


@dataclass(frozen=True, eq=False)
class Question:
    """Rows that a step wants from the U-Net, (B, C, H, W) at time `t` under a text. The same key
    means the same answer.

    Their self-attention is disturbed where `change` says so.
    """

    key: Hashable
    x: Tensor
    t: Tensor
    text: str | None
    readings: frozenset[Reading] = frozenset()
    change: Perturbation | None = None


@dataclass(eq=False)
class Answer:
    """What came back. The first step that takes it bears its cost; to those that share it, it is
    free.
    """

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
        self._embeddings: dict[tuple[str | None, int, int], Conditioning] = {}

    @torch.no_grad()
    def complete(self, runs: Sequence[Run], steps: Sequence[Step]) -> list[Step]:
        """The steps with all predictions that their guidance needs; those that they have already
        cost nothing.

        There are two rounds of joint calls: the branches at x_t with all that terms ask beside
        them, and then what depends on their outputs, such as SAG's degraded latents.
        """
        return self._beside(self._round(_of_terms, runs, self._round(_of_branches, runs, steps)))

    def _beside(self, steps: Sequence[Step]) -> list[Step]:
        """The steps with what terms need that is not the U-Net's; for steps that need the same it
        is computed once.
        """
        known: dict[Hashable, dict[str, Any]] = {}
        done = []
        for step in steps:
            for term in step.guidance.terms:
                lacks = tuple(name for name in term.stored if getattr(step, name) is None)
                key = (term.silent, id(step.x_t), step.level, lacks)
                if key not in known:
                    with self.model.lock:
                        known[key] = term.beside(step, self.model)
                step = replace(step, **known[key]) if known[key] else step
            done.append(step)
        return done

    def _round(
        self,
        ask: Callable[[Run, Step], dict[str, Question]],
        runs: Sequence[Run],
        steps: Sequence[Step],
    ) -> list[Step]:
        asked = [ask(run, step) for run, step in zip(runs, steps, strict=True)]
        answers: dict[Hashable, Answer] = {}
        for group in self._groups(
            _merged([question for each in asked for question in each.values()])
        ):
            answers |= self._call(group)
        return [
            _filled(run, step, questions, answers)
            for run, step, questions in zip(runs, steps, asked, strict=True)
        ]

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
        """One U-Net call, and what it is to read of the rows of each question."""
        sizes = [len(question.x) for question in group]
        x = torch.cat([question.x for question in group])
        t = torch.cat(
            [question.t.expand(rows) for question, rows in zip(group, sizes, strict=True)]
        )
        height, width = x.shape[2:]
        told = [
            self._embed(question.text, height, width).expand(rows)
            for question, rows in zip(group, sizes, strict=True)
        ]
        rows = dict(zip(group, torch.arange(len(x)).split(sizes), strict=True))
        readers: dict[Reading, list[Question]] = {}
        for question in group:
            for reading in question.readings:
                readers.setdefault(reading, []).append(question)
        wanted = {
            reading: torch.cat([rows[each] for each in asking]).tolist()
            for reading, asking in readers.items()
        }
        changed: dict[Perturbation, list[int]] = {}
        for question in group:
            if question.change is not None:
                changed.setdefault(question.change, []).extend(rows[question].tolist())
        unet = self.model.unet
        with (
            self.model.lock,
            perturb(unet, changed, (height, width)),
            capture(unet, wanted, (height, width)) as read,
        ):
            outputs = self.model.predict(x, t, Conditioning.joined(told)).split(sizes)
        maps: dict[Question, dict[Reading, Tensor]] = {question: {} for question in group}
        for reading, asking in readers.items():
            for question, part in zip(
                asking, read[reading].split([len(each.x) for each in asking]), strict=True
            ):
                maps[question][reading] = part
        return {
            question.key: Answer(output, maps[question], int(place == 0), len(output))
            for place, (question, output) in enumerate(zip(group, outputs, strict=True))
        }

    def _embed(self, text: str | None, height: int, width: int) -> Conditioning:
        """What the U-Net is told of a text, for a latent of that size."""
        key, cell = (text, height, width), self.model.pixels_per_cell
        if key not in self._embeddings:
            self._embeddings[key] = self.model.embed(text, size=(height * cell, width * cell))
        return self._embeddings[key]


def _of_branches(run: Run, step: Step) -> dict[str, Question]:
    """Both branches under CFG, else the single one; the attention is read where guidance starts
    from.
    """
    beside = _of_terms(run, step, late=False)
    if not step.lacks_prediction:
        return beside
    t, texts = run.device_times[step.index], run.settings.texts(step.guidance)
    x = run.scheduler.scale_model_input(step.x_t, run.times[step.index])
    base, told = next(iter(texts)), list(texts)[-1]
    own, words = (_captures(run, step, words=words) for words in (False, True))
    read = {
        name: [*_sags(step), *own] * (name == base) + [*words] * (name == told) for name in texts
    }
    branches = {
        name: Question((name, id(step.x_t), step.level, text), x, t, text, frozenset(read[name]))
        for name, text in texts.items()
    }
    return branches | beside


def _sags(step: Step) -> list[Reading]:
    """The map that SAG reads, where guidance starts from."""
    sag = step.guidance.sag
    return [] if sag is None else [sag.reading]


def _captures(run: Run, step: Step, *, words: bool) -> tuple[Reading, ...]:
    """What the run's capture reads in this step, of the branch that guidance starts from or of the
    one with the prompt.
    """
    return (
        run.capture.readings(words=words)
        if run.capture is not None and run.capture.acts(step.index)
        else ()
    )


def _of_terms(run: Run, step: Step, *, late: bool = True) -> dict[str, Question]:
    """What the terms ask beside the branches: with them, or `late`, when their outputs are known."""
    asks = [
        ask
        for term in step.guidance.terms
        if term.late == late and (ask := term.ask(step)) is not None
    ]
    texts, t = list(run.settings.texts(step.guidance).values()), run.device_times[step.index]
    questions = {}
    for ask in asks:
        text, x = (
            texts[-1 if ask.told else 0],
            run.scheduler.scale_model_input(ask.x, run.times[step.index]),
        )
        key = (ask.field, id(step.x_t), step.level, text, ask.key)
        questions[ask.field] = Question(key, x, t, text, change=ask.change)
    return questions


def _merged(questions: Sequence[Question]) -> list[Question]:
    """Each question once, with all that anyone wants to read."""
    unique: dict[Hashable, Question] = {}
    for question in questions:
        known = unique.get(question.key, question)
        unique[question.key] = replace(known, readings=known.readings | question.readings)
    return list(unique.values())


def _filled(
    run: Run, step: Step, questions: dict[str, Question], answers: dict[Hashable, Answer]
) -> Step:
    """The step with the answers to its questions, and their cost."""
    forwards, samples, fields, read = (
        step.forwards,
        step.samples,
        dict[str, Any](),
        dict[Reading, Tensor](),
    )
    for name, question in questions.items():
        answer = answers[question.key]
        fields[name] = answer.output
        # its own: others may read more of these rows
        read |= {reading: answer.maps[reading] for reading in question.readings}
        calls, rows = answer.cost()
        forwards, samples = forwards + calls, samples + rows
    if not fields:
        return step
    if read:
        own = (*_captures(run, step, words=False), *_captures(run, step, words=True))
        fields["captured"] = captured_of({reading: read[reading] for reading in own}, run.words)
        fields["attention"] = next((read[reading] for reading in _sags(step)), None)
    return replace(step, forwards=forwards, samples=samples, **fields)
