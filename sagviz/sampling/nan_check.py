"""NaN and infinity stop a run at the step where they arise, with the likely cause and a way out."""

from __future__ import annotations

import torch
from torch import Tensor

from sagviz.errors import NotFiniteError
from sagviz.models.unfit import network_word
from sagviz.records.step import Step
from sagviz.sampling.prepare import Run

LARGEST_HALF = 65504  # of float16
GROWN = 30.0  # times the noise level: latents so large come from too much guidance
HUGE = 1e15  # of a prediction, so that a step may leave what float32 holds


def not_finite_error(run: Run, step: Step) -> NotFiniteError:
    """The error for a step, on the CPU, which holds NaN or infinity: it names the first tensor that
    does; the step is its attribute `step`.
    """
    name, value = next(each for each in step.tensors.items() if not each[1].isfinite().all())
    error = NotFiniteError(_sentence(run, step, name.removeprefix("kept."), value))
    error.step = step
    return error


def _sentence(run: Run, step: Step, name: str, value: Tensor) -> str:
    bad = int((~value.isfinite()).sum())
    return (
        f"stopped at step {step.number} of {run.evaluations} (t = {step.t:g}, alpha ="
        f" {step.alpha:.4g}, sigma = {step.sigma:.4g}): {name} holds NaN or infinity in {bad} of"
        f" {value.numel()} numbers; {_cause(run, step, name)}"
    )


def _cause(run: Run, step: Step, name: str) -> str:
    """The likely cause, and a way out."""
    level, model = step.level, run.model
    if name == "x_t":
        return "it was so before the step: give a finite noise=, or go on from an earlier step"
    scales = ", ".join(f"{type(term).__name__} {term.scale:g}" for term in step.guidance.terms)
    grown = float(step.x_t.square().mean().sqrt()) / level.norm
    if name == "x_next" and float(step.eps.abs().max()) < HUGE:
        kind = type(run.scheduler).__name__
        return (
            f"the {kind} made it of a finite latent and a finite prediction: give another"
            " scheduler= such as 'ddim', or more or fewer steps"
        )
    if scales and (grown > GROWN or name == "x_next"):
        return (
            f"too much guidance drives the latent, {grown:.3g} times its noise level, out of"
            f" bounds: lower the scale of {scales}"
        )
    broken, word = _not_finite(model.network), network_word(model.NETWORK)
    if broken:
        return f"the {word}'s weight {broken} is not finite itself: fetch the model again"
    if model.dtype == torch.float16:
        return (
            f"float16 ends at {LARGEST_HALF}, and a layer of the {word} went beyond: load the model"
            " with dtype='bfloat16', or 'float32' where the GPU does not know that"
        )
    return (
        f"the {word} made it of a finite latent: try another seed or scheduler, and the model in"
        " float32 if it is not"
    )


def _not_finite(network: torch.nn.Module) -> str:
    """The name of a weight that is not finite, or nothing."""
    found = (
        name
        for name, weight in network.named_parameters()
        if not weight.is_meta and not weight.isfinite().all()
    )
    return next(found, "")
