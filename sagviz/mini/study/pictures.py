"""Makes the pictures of a cell, and keeps of each the numbers from which any figure can be made
later without making a picture again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from sagviz.guidance import SAG
from sagviz.measure import iou, sharpness
from sagviz.mini.study.cells import CHUNK, Cell
from sagviz.mini.study.starts import render, true_mask, wanted
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.judge import Judge, look
from sagviz.models import Model
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.collect import collect
from sagviz.sampling.lockstep import begin
from sagviz.sampling.prepare import Run, prepare

TOGETHER = 10  # pictures in one U-Net call of a CPU
SCENES_FROM = 18  # the evaluation of 50 that the noisy renders begin with: t = 621


@dataclass(frozen=True, eq=False)
class Numbers:
    """What is known of N pictures, one row each.

    Attributes:
        objects: the judge's logits, (N, 48).
        features: the judge's, (N, 96).
        sharpness: (N,).
        rows: rows of the U-Net's calls a step, (N,).
        coverage: the share of the latent that SAG's mask took, mean of the steps, (N,); NaN where
            there is none.
        overlap: of SAG's mask with the true objects, intersection over union, mean of the steps,
            (N,); NaN where there are none.
    """

    objects: np.ndarray
    features: np.ndarray
    sharpness: np.ndarray
    rows: np.ndarray
    coverage: np.ndarray
    overlap: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def joined(parts: Sequence[Numbers]) -> Numbers:
        """Those of several sets, one after the other."""
        names = [each.name for each in fields(Numbers)]
        return Numbers(**{n: np.concatenate([getattr(p, n) for p in parts]) for n in names})


def chunk(model: Model, judge: Judge, cell: Cell, first: int) -> Numbers:
    """The chunk of a cell that begins with picture `first`."""
    together = TOGETHER if model.device.type == "cpu" else CHUNK
    starts = range(first, first + CHUNK, together)
    return Numbers.joined(
        [make(model, judge, cell, range(start, start + together)) for start in starts]
    )


def make(model: Model, judge: Judge, cell: Cell, numbers: range) -> Numbers:
    """Some pictures of a cell, made together."""
    runs, firsts = _runs(model, cell, numbers)
    traces = collect(runs, firsts=firsts)
    pictures = [picture for trace in traces for picture in trace.images]
    seen = look(judge, to_tensor(np.stack([np.asarray(p.convert("RGB")) for p in pictures])))
    samples = sum(step.samples for trace in traces for step in trace)
    masks = [_masks(trace) for trace in traces]
    return Numbers(
        objects=seen.objects.numpy(),
        features=seen.features.numpy(),
        sharpness=np.array([sharpness(picture) for picture in pictures]),
        rows=np.full(len(numbers), samples / len(traces[0]) / len(numbers)),
        coverage=np.concatenate([_mean(mask.mean(dim=(2, 3, 4))) for mask in masks]),
        overlap=_overlaps(cell, masks[0], numbers),
    )


def _runs(model: Model, cell: Cell, numbers: range) -> tuple[list[Run], list[Step] | None]:
    """The runs that make these pictures, and the steps that they begin with where that is not the
    first.
    """
    laid_out = partial(prepare, model, guidance=cell.guidance, steps=cell.steps)
    if cell.kind == "prompts":
        return [laid_out(wanted()[i][1], seed=i) for i in numbers], None
    run = laid_out(seed=numbers[0], images=len(numbers))
    if cell.kind == "empty":
        return [run], None
    drawn = [render(i) for i in numbers]
    if cell.mask:
        objects = torch.cat([true_mask(each) for each in drawn])
        run = replace(run, hand_mask=objects if cell.mask == "objects" else 1 - objects)
    latents = model.encode([each.image for each in drawn])
    return [run], [begin(run, SCENES_FROM, run.levels[SCENES_FROM].mix(latents, run.start))]


def _masks(trace: Trace) -> Tensor:
    """SAG's masks, (steps, B, 1, H, W); of no step where there are none."""
    masks = [step.mask for step in trace if step.guidance.get(SAG) and step.mask is not None]
    return torch.stack(masks) if masks else trace[0].x_t.new_empty(0, *trace[0].x_t[:, :1].shape)


def _mean(values: Tensor) -> np.ndarray:
    """Over the steps, (steps, B) to (B,): NaN where there is no step."""
    return values.mean(dim=0).numpy()


def _overlaps(cell: Cell, masks: Tensor, numbers: range) -> np.ndarray:
    if cell.kind != "scenes":
        return np.full(len(numbers), np.nan)
    objects = [true_mask(render(i)) for i in numbers]
    rows = [[iou(mask[i, None], truth) for i, truth in enumerate(objects)] for mask in masks]
    return _mean(torch.tensor(rows).view(len(rows), len(numbers)))
