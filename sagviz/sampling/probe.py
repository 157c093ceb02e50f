"""One step looked at from all sides: every term at the same x_t, every layer and head in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sagviz.attention.layers import layers
from sagviz.checks import check_whole
from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, PAG, SAG, Guidance, Term
from sagviz.models import Model
from sagviz.records.step import Step
from sagviz.records.trace import Trace
from sagviz.sampling.lockstep import begin, lockstep, to_host
from sagviz.sampling.prepare import Run, prepare, resume
from sagviz.sampling.unet_calls import UNetCalls

MAX_ROWS = 16  # in one U-Net call
Head = tuple[str, int | None]  # a layer's path and a head, `None` for all of them


def all_terms(
    model: Model, given: Guidance, index: int | None, options: dict[str, Any]
) -> tuple[Run, Step, dict[str, str]]:
    """Step `index` (the middle one where `None`) of a run under the given sum, with every term
    there; the terms that are left out, and why.

    Args:
        options: other arguments of `prepare`.

    Raises:
        ArgumentError: there is no such step, or a setting is not allowed.
    """
    total, left_out = every_term(model, given)
    run = prepare(model, guidance=given, **options)
    last = run.evaluations - 1
    index = check_whole("step", (last + 1) // 2 if index is None else index, 0, last)
    whole = replace(run, settings=replace(run.settings, guidance=total))
    before = next(step for (step,) in lockstep([run]) if step and step.index == index)
    (found,) = at_once(whole, before, [total])
    return whole, found, left_out


def every_term(model: Model, given: Guidance) -> tuple[Guidance, dict[str, str]]:
    """The given terms, and of each other kind that this model allows one at its defaults; and why
    those that are left out are so, by name.
    """
    terms, left_out = list(given.terms), dict[str, str]()
    for name, kind in Term.kinds.items():
        if given.get(name):
            continue
        reason = _unfit(model, kind, Guidance(tuple(terms)))
        if reason:
            left_out[name] = reason
        else:
            terms.append(kind(1.0))
    return Guidance(tuple(terms)), left_out


def _unfit(model: Model, kind: type[Term], others: Guidance) -> str:
    """Why a term has no place beside others in a sum for this model; nothing where it has one."""
    if needed := kind.needed():
        return f"it needs {', '.join(needed)}; give it in guidance="
    if kind.needs_both_branches and not model.reads_text:
        return f"{model.name} reads no prompt"
    try:
        kind(1.0).check(model, others, model.latent_shape(model.default_size))
    except ArgumentError as error:
        return str(error)
    return ""


def at_once(run: Run, step: Step, sums: Sequence[Guidance]) -> list[Step]:
    """A step under each of several sums, by joint U-Net calls: from the same x_t, with nothing
    that earlier steps would carry over.
    """
    progress = step.index / run.evaluations
    plain = replace(begin(run, step.index, step.x_t), seed=step.seed)
    begun = [
        replace(plain, guidance=Guidance(tuple(t.at(progress) for t in each.terms)).applicable)
        for each in sums
    ]
    with run.model.undisturbed():
        x_t = step.x_t.to(run.model.device)  # one object, by which the calls recognize it
        done = UNetCalls(run.model, MAX_ROWS).complete(
            [run] * len(sums), [replace(each, x_t=x_t, kept={}) for each in begun]
        )
        return [to_host(run, each, step.x_t) for each in done]


def by_head(model: Model, trace: Trace, position: int) -> tuple[Step, dict[Head, Step]]:
    """A step with SAG as the run has it, or by default; and for each self-attention layer, and each
    of its heads, the step with SAG's map read there and PAG's identity map made there.
    """
    step = trace[position]
    run = resume(model, trace.settings, trace.inputs)
    sag = replace(step.guidance.get(SAG) or model.sag(), scale=1.0, start=0.0, stop=1.0)
    branches = (CFG(1.0),) if step.guidance.needs_both_branches else ()
    places = list(_heads(model, step))
    sums = [Guidance((*branches, sag))]
    for layer, head in places:
        heads = None if head is None else (head,)
        here = replace(sag, layer=layer, heads=heads)
        sums.append(Guidance((*branches, here, PAG(1.0, layers=layer, heads=heads))))
    own, *others = at_once(run, step, sums)
    return own, dict(zip(places, others, strict=True))


def _heads(model: Model, step: Step) -> Iterable[Head]:
    height, width = step.x_t.shape[2:]
    for name, layer in layers(model.network, (height, width)).items():
        yield name, None
        yield from ((name, head) for head in range(layer.heads))
