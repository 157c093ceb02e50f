"""What-if and branches: exact, and not a U-Net call more than the change needs."""

from __future__ import annotations

import copy
import shutil
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from tiny import counted, is_one_sentence, same

import sagviz as sv
from sagviz import CFG, NAG, PAG, SAG, SEG
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.models import SCHEDULERS
from sagviz.sampling.lockstep import begin
from sagviz.sampling.prepare import resume
from sagviz.sampling.unet_calls import UNetCalls

BOTH = CFG(3.0) + SAG(1.0)
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    """CFG + SAG, two images."""
    return sv.trace(model, "a fox", guidance=BOTH, steps=5, seed=3, images=2, progress=False)


def anew(model: sv.Model, trace: sv.Trace, index: int, guidance: Any) -> sv.Step:
    """The step computed from its x_t and nothing else."""
    run = resume(model, replace(trace.settings, guidance=as_guidance(guidance)))
    return UNetCalls(model).complete([run], [begin(run, index, trace[index].x_t)])[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "rows"),
    [
        (CFG(5.0) + SAG(0.5), []),
        (CFG(0.0) + SAG(-2.0), []),
        (CFG(1.0), []),
        (None, []),
        (CFG(3.0) + SAG(1.0, threshold=1.02), [2]),
        (CFG(3.0) + SAG(1.0, threshold=float("inf")), [2]),
        (CFG(3.0) + SAG(1.0, blur_sigma=2.0), [2]),
        (CFG(3.0) + SAG(1.0, blur_kernel=5), [2]),
        (CFG(3.0) + SAG(1.0, blur_kernel=9), []),  # the same blur, spelled out
        (CFG(3.0) + SAG(1.0, heads=(0,)), [4, 2]),
        (CFG(3.0) + SAG(1.0, layer=LAYER), [4, 2]),
        (SAG(1.0), [2, 2]),
    ],
    ids=repr,
)
def test_a_change_costs_what_it_needs_and_is_exact(
    model: sv.Model, trace: sv.Trace, guidance: Any, rows: list[int]
) -> None:
    with counted(model.unet) as calls:
        step = sv.what_if(model, trace, 2, guidance=guidance)
    assert calls == rows
    assert (step.forwards, step.samples) == (len(rows), sum(rows))
    fresh = anew(model, trace, 2, guidance)
    torch.testing.assert_close(step.eps, fresh.eps, rtol=0, atol=1e-4 if guidance is None else 0)
    assert set(step.terms) == set(fresh.terms)


def test_the_empty_prompt_is_not_taken_for_the_negative_one(model: sv.Model) -> None:
    """Without CFG an empty prompt is all that guidance starts from; with it, the negative prompt
    is.
    """
    trace = sv.trace(
        model, "", negative_prompt="a fox", guidance=CFG(3.0), steps=3, seed=3, progress=False
    )
    with counted(model.unet) as calls:
        step = sv.what_if(model, trace, 1, guidance=None)
    assert calls == [1]
    assert torch.equal(step.eps, anew(model, trace, 1, None).eps)
    back = sv.what_if(model, replace(trace, steps=(trace[0], step, trace[2])), 1, guidance=CFG(3.0))
    torch.testing.assert_close(back.eps, trace[1].eps, rtol=0, atol=1e-5)


@pytest.mark.parametrize("term", [PAG(2.0), SEG(2.0), NAG(2.0)], ids=repr)
@pytest.mark.parametrize("comes", [True, False], ids=["CFG comes", "CFG goes"])
def test_a_disturbed_row_without_a_prompt_is_under_its_branchs_text(
    model: sv.Model, term: Term, comes: bool
) -> None:
    """A single branch reads nothing, CFG's the empty prompt, of which `clip_skip` takes others."""
    first, then = (Guidance((term,)), CFG(3.0) + term)[:: 1 if comes else -1]
    own: dict[str, Any] = {"clip_skip": 1, "steps": 3, "seed": 4, "progress": False}
    trace = sv.trace(model, "", guidance=first, **own)
    branch = sv.branch(model, trace, 0, guidance=then, progress=False)
    fresh = sv.trace(model, "", guidance=then, **own)
    torch.testing.assert_close(branch.latents, fresh.latents, rtol=0, atol=1e-4)


def test_a_term_that_the_trace_lacks_costs_its_passes(model: sv.Model) -> None:
    plain = sv.trace(model, "a fox", steps=3, seed=3, progress=False)
    with counted(model.unet) as calls:
        assert set(sv.what_if(model, plain, 1, guidance=BOTH).terms) == {"cfg", "sag"}
    assert calls == [2, 1]


def test_nothing_changed_is_the_step_itself(model: sv.Model, trace: sv.Trace) -> None:
    with counted(model.unet) as calls:
        assert all(
            same(replace(sv.what_if(model, trace, i), forwards=0), replace(trace[i], forwards=0))
            for i in range(5)
        )
    assert not calls


RUNS: list[dict[str, Any]] = [
    {"scheduler": "ddim", "eta": 0.7},
    *({"scheduler": name} for name in SCHEDULERS),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "index"),
    [*((settings, 3) for settings in RUNS), (RUNS[0], 0), (RUNS[0], -1), (RUNS[2], -1)],
    ids=str,
)
def test_a_branch_with_unchanged_settings_is_the_trace(
    model: sv.Model, settings: dict[str, Any], index: int
) -> None:
    old = sv.trace(model, "a fox", guidance=BOTH, steps=6, seed=5, progress=False, **settings)
    with counted(model.unet) as calls:
        new = sv.branch(model, old, index, progress=False)
    assert torch.equal(new.latents, old.latents)
    assert new.pictures == old.pictures
    assert len(new) == len(old)
    assert len(calls) == 2 * (len(old) - 1 - index % len(old)), "its first step is known already"


@pytest.mark.slow
@pytest.mark.parametrize("settings", RUNS, ids=str)
def test_a_branch_from_the_start_is_a_run_of_its_own(
    model: sv.Model, settings: dict[str, Any]
) -> None:
    old = sv.trace(model, "a fox", guidance=BOTH, steps=4, seed=5, progress=False, **settings)
    other = CFG(5.0) + SAG(0.3, threshold=0.99, blur_sigma=1.5)
    fresh = sv.trace(model, "a fox", guidance=other, steps=4, seed=5, progress=False, **settings)
    assert torch.equal(
        sv.branch(model, old, 0, guidance=other, progress=False).latents, fresh.latents
    )


def test_nothing_changed_in_a_branch_is_the_step_as_it_ran(
    model: sv.Model, trace: sv.Trace
) -> None:
    """Before the branch under the guidance of the run that it left, and so it goes on."""
    left = sv.branch(model, trace, 3, guidance=CFG(6.0), progress=False)
    for i in range(5):
        again = sv.what_if(model, left, i)
        assert again.guidance == left[i].guidance
        assert torch.equal(again.x_next, left[i].x_next)
    assert torch.equal(sv.branch(model, left, 2, progress=False).latents, trace.latents)
    assert torch.equal(sv.branch(model, left, 3, progress=False).latents, left.latents)


def test_a_branch_leaves_at_its_step_and_says_so(
    model: sv.Model, trace: sv.Trace, tmp_path: Path
) -> None:
    new = sv.branch(model, trace, 3, guidance=CFG(6.0), progress=False)
    assert [new[i] is trace[i] for i in range(5)] == [True, True, True, False, False]
    assert torch.equal(new[3].x_t, trace[3].x_t)
    assert not torch.equal(new.latents, trace.latents)
    assert (new.settings.before, new.settings.branched_at) == (trace.settings, 3)
    loaded = sv.Trace.load(new.save(tmp_path / "a.sagtrace"))
    assert loaded.settings == new.settings
    assert all(same(a, b) and a.guidance == b.guidance for a, b in zip(loaded, new, strict=True))


@pytest.mark.parametrize("starts", [(), (4,), (4, 2), (2, 4), (2, 2), (4, 0), (0, 3), (1, 4, 3)])
def test_the_stretches_are_what_guided_each_step(
    model: sv.Model, trace: sv.Trace, starts: tuple[int, ...]
) -> None:
    """One of branches that left each other at these steps, in this order."""
    for number, start in enumerate(starts):
        trace = sv.branch(model, trace, start, guidance=CFG(5.0 + number), progress=False)
    stretches = trace.settings.stretches
    assert [*stretches] == sorted({0, *stretches})
    acted = [stretches[max(start for start in stretches if start <= i)] for i in range(len(trace))]
    assert acted == [trace.settings.guidance_at(step.index) for step in trace]
    assert set(stretches.values()) == set(acted), "each of them acted"


def test_a_hand_made_mask_takes_the_place_of_the_attentions(
    model: sv.Model, trace: sv.Trace
) -> None:
    height, width = trace[2].x_t.shape[2:]
    painted = torch.zeros(height, width)
    painted[2:5, 1:4] = 1
    with counted(model.unet) as calls:
        step = sv.what_if(model, trace, 2, mask=painted)
    assert calls == [2]
    assert step.mask is not None
    assert step.x_degraded is not None
    assert torch.equal(step.mask, painted.expand(2, 1, -1, -1))
    outside = (step.mask == 0).expand_as(step.x_t)
    assert torch.equal(step.x_degraded[outside], step.x_t[outside])
    assert not torch.equal(step.eps, trace[2].eps)

    new = sv.branch(model, trace, 2, mask=painted, progress=False)
    assert all(
        torch.equal(step.mask, painted.expand(2, 1, -1, -1))
        for step in new[2:]
        if step.mask is not None
    )
    back = sv.branch(model, new, 2, mask=None, progress=False)
    assert torch.equal(back.latents, trace.latents)


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_a_mask_where_sag_does_not_act_is_warned_of(
    model: sv.Model, trace: sv.Trace, start: float
) -> None:
    """It waits for SAG in a branch that comes to it."""
    some = CFG(3.0) + SAG(1.0, start=start, stop=start + 0.5)
    painted, index = torch.ones(*trace[0].x_t.shape[2:]), 3 if start == 0 else 1
    with pytest.warns(sv.SagvizWarning, match=f"does nothing at step {index + 1}"):
        step = sv.what_if(model, trace, index, guidance=some, mask=painted)
    assert step.mask is None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sv.branch(model, trace, index, guidance=some, mask=painted, progress=False)
    assert ["from step 4 on" in str(each.message) for each in said] == [True] * (start == 0)


def test_painting_the_attentions_own_mask_changes_nothing(model: sv.Model, trace: sv.Trace) -> None:
    with counted(model.unet) as calls:
        step = sv.what_if(model, trace, 1, mask=trace[1].mask)
    assert not calls
    assert torch.equal(step.eps, trace[1].eps)


@pytest.mark.slow
def test_a_thinned_trace_answers_where_the_scheduler_has_no_memory(model: sv.Model) -> None:
    for name in ("ddim", "euler"):
        whole = sv.trace(model, "a fox", guidance=BOTH, steps=6, scheduler=name, progress=False)
        thin = sv.trace(
            model, "a fox", guidance=BOTH, steps=6, scheduler=name, keep=[0, 4], progress=False
        )
        assert torch.equal(sv.branch(model, thin, 1, progress=False).latents, whole.latents)
    thin = sv.trace(
        model, "a fox", guidance=BOTH, steps=6, scheduler="dpm++ 2m", keep=[0, 4], progress=False
    )
    with pytest.raises(sv.SagvizError, match="without keep=") as error:
        sv.what_if(model, thin, 1)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"index": 9}, "0 to 4"),
        ({"mask": torch.ones(3, 3)}, "latent cells"),
        ({"mask": torch.full((16, 16), 0.5)}, "0 and 1"),
        ({"mask": torch.ones(16, 16), "guidance": CFG(3.0)}, "without SAG"),
        ({"guidance": "cfg"}, "CFG"),
        ({"guidance": SAG(1.0, layer="nowhere")}, "no self-attention layer"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_what_cannot_be_asked_is_refused(
    model: sv.Model, trace: sv.Trace, change: dict[str, Any], hint: str
) -> None:
    with pytest.raises(sv.SagvizError, match=hint) as error:
        sv.what_if(model, trace, **{"index": 2, **change})
    assert is_one_sentence(error.value)


def test_another_models_trace_is_refused(
    v_model: sv.Model, model: sv.Model, trace: sv.Trace
) -> None:
    """Whatever it is called."""
    alike = copy.copy(v_model)
    alike.name = model.name
    for other in (v_model, alike):
        with pytest.raises(sv.SagvizError, match="was made by") as error:
            sv.what_if(other, trace, 0)
        assert is_one_sentence(error.value)
        with pytest.raises(sv.SagvizError, match="was made by"):
            sv.attend(other, trace, 0, (0, 0))
        with pytest.raises(sv.SagvizError, match="was made by"):
            sv.Microscope(other, trace)


@pytest.mark.slow
def test_a_trace_of_another_machine_is_asked_and_followed(
    folder: Path, trace: sv.Trace, tmp_path: Path
) -> None:
    """The same files at another place, and a pipeline of them, are the same model."""
    moved = shutil.copytree(folder, tmp_path / "moved")
    theirs = sv.Trace.load(trace.save(tmp_path / "theirs.sagtrace"))
    there = sv.load(moved)
    for other in (there, sv.load(StableDiffusionPipeline.from_pretrained(moved))):
        assert other.name != theirs.settings.model
        assert sv.what_if(other, theirs, 2).eps.equal(trace[2].eps)
    made = sv.branch(there, theirs, 3, progress=False)
    assert made.latents.equal(trace.latents)
    scope = sv.Microscope(there, theirs, index=2)
    scope.branch_tab.start(here=True)
    assert scope.branched is not None
    assert scope.branched.latents.equal(trace.latents)
    scope.close()


def test_a_branch_reads_the_attention_that_it_is_asked_for(model: sv.Model) -> None:
    read = sv.Capture(LAYER, ("mass",))
    trace = sv.trace(model, "a fox", guidance=BOTH, steps=4, capture=read, progress=False)
    given: dict[str, Any] = {"guidance": CFG(4.0) + SAG(1.0), "progress": False}
    without = sv.branch(model, trace, 2, **given)
    assert [len(step.captured) for step in without] == [1, 1, 1, 0], "the step of before the change"
    found = sv.branch(model, trace, 2, capture=read, **given)
    assert [len(step.captured) for step in found] == [1, 1, 1, 1]
    assert found.latents.equal(without.latents)
