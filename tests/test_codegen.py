"""A step's code makes its pictures, and its formula has its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG, Step, Trace, image, measure
from sagviz.codegen import code, code_of_run
from sagviz.plot.formula import formula

GUIDANCE = CFG(3.0) + SAG(1.0)


def square() -> Tensor:
    mask = torch.zeros(16, 16)
    mask[3:9, 4:11] = 1
    return mask


def run(model: sv.Model, **changes: Any) -> Trace:
    return sv.trace(
        model, "a fox", progress=False, **{"guidance": GUIDANCE, "steps": 4, "seed": 5, **changes}
    )


def made(text: str) -> dict[str, Any]:
    """What the code leaves; it is run as it stands."""
    names: dict[str, Any] = {}
    exec(text, names)
    return names


def check(model: sv.Model, trace: Trace, step: Step, number: int = 0) -> str:
    """The code, after it was run and its pictures were compared bit for bit."""
    text = code(model, trace, step, image=number)
    names = made(text)
    rows = step.x0_guided[number : number + 1]
    colours = model.latent_rgb if trace.latent_rgb is None else trace.latent_rgb
    assert image.to_png(names["picture"]) == image.to_png(image.preview(rows, colours)[0])
    assert image.to_png(names["decoded"]) == image.to_png(model.decode(rows)[0])
    assert all(len(line) <= 130 for line in text.splitlines())
    return text


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "nothing": dict,
    "scales": lambda: {"guidance": CFG(5.5) + SAG(-0.25)},
    "threshold": lambda: {
        "guidance": CFG(3.0) + SAG(1.0, threshold=float("inf"), blur_kernel=5, heads=(1, 2))
    },
    "plain": lambda: {"guidance": None},
    "mask": lambda: {"mask": square()},
    "masks": lambda: {"mask": torch.stack([square(), 1 - square()])[:, None]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_code_of_a_change(model: sv.Model, name: str) -> None:
    trace = run(model, images=2)
    text = check(model, trace, sv.what_if(model, trace, 2, **CHANGES[name]()), number=1)
    assert ("step = trace[2]" in text) == (name == "nothing")
    assert len(text.splitlines()) <= 22


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": "dpm++ 2m"},
        {"scheduler": "euler a"},
        {"eta": 0.5},
        {"negative_prompt": "red"},
        {"size": (48, 32)},
        {"clip_skip": 1},
        {"timesteps": (999, 500, 100), "scheduler": "euler"},
        {"keep": [3]},
    ],
    ids=str,
)
def test_code_of_a_run(model: sv.Model, changes: dict[str, Any]) -> None:
    trace = run(model, **changes)
    text = check(model, trace, trace[-1])
    for name, value in changes.items():
        assert (f"{name}={value!r}" in text) == (name != "keep")


@pytest.mark.slow
def test_code_of_branches(model: sv.Model) -> None:
    trace = run(model)
    late = sv.branch(model, trace, 2, guidance=CFG(6.0) + SAG(1.0), mask=square(), progress=False)
    text = check(model, late, late[3])
    assert text.count("sv.branch(") == 1
    assert "mask=mask" in text
    check(model, late, late[1])
    check(model, late, sv.what_if(model, late, 3, mask=None))
    later = sv.branch(model, late, 3, guidance=CFG(1.0), mask=None, progress=False)
    assert check(model, later, later[3]).count("sv.branch(") == 2
    plain = sv.branch(model, late, 3, guidance=None, progress=False)  # has no use for the mask
    check(model, plain, plain[3])
    check(model, plain, sv.what_if(model, plain, 3, guidance=GUIDANCE))
    back = sv.branch(model, late, 3, mask=None, progress=False)  # to the attention's own
    assert "mask=None" in check(model, back, back[3])
    assert made(code_of_run(model, back))["trace"].latents.equal(back.latents)
    # leaves nothing of the late one
    early = sv.branch(model, late, 1, guidance=CFG(2.0), mask=None, progress=False)
    assert check(model, early, early[3]).count("sv.branch(") == 1


def test_code_of_a_mask_that_waits_for_sag(model: sv.Model) -> None:
    waiting = CFG(3.0) + SAG(1.0, start=0.5)
    trace = sv.branch(model, run(model), 0, guidance=waiting, mask=square(), progress=False)
    assert trace[0].mask is None
    assert measure.coverage(trace[3]) == float(square().mean())
    assert made(code_of_run(model, trace))["trace"].latents.equal(trace.latents)


@pytest.mark.slow
def test_code_of_a_scheduler_without_a_name(model: sv.Model) -> None:
    """Its settings, some of which are infinite."""
    config = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}
    scheduler = DPMSolverMultistepScheduler.from_config(model.scheduler.config, **config)
    trace = run(model, scheduler=scheduler)
    text = code_of_run(model, trace)
    assert "float('-inf')" in text
    assert made(text)["trace"].latents.equal(trace.latents)


@pytest.mark.slow
def test_code_of_a_run_that_was_stopped(model: sv.Model) -> None:
    whole = run(model)
    part = Trace(whole.settings, whole.steps[:2], whole.evaluations)
    check(model, part, part[1])


def test_code_of_a_run_with_its_own_noise(
    model: sv.Model, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = run(model, noise=torch.ones(1, 4, 16, 16))
    monkeypatch.chdir(tmp_path)
    trace.save("run.sagtrace")
    assert "sv.Trace.load" in check(model, trace, trace[1])


@pytest.mark.slow
def test_code_of_few_steps_of_a_run_with_its_own_noise(
    model: sv.Model, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has the kept steps alone: a place in it is no index of the run."""
    trace = run(model, noise=torch.ones(1, 4, 16, 16), steps=6, keep=2)
    monkeypatch.chdir(tmp_path)
    trace.save("run.sagtrace")
    assert [step.index for step in trace] == [0, 2, 4, 5]
    check(model, trace, trace[2])
    check(model, trace, sv.what_if(model, trace, 1, guidance=CFG(5.0)))


@pytest.mark.slow
def test_code_of_the_miniature() -> None:
    model = sv.load()
    trace = run(model, steps=2)
    assert "model = sv.load()\n" in check(model, trace, trace[0])


def test_code_of_the_miniature_in_another_number_format() -> None:
    model = sv.load(dtype="bfloat16")
    trace = run(model, steps=2)
    assert torch.equal(made(code_of_run(model, trace))["trace"].latents, trace.latents)


@pytest.mark.slow
def test_code_opens_the_same_files_of_a_model(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder with two kinds of weights, those that were asked for."""
    monkeypatch.chdir(tmp_path)
    pipe.save_pretrained("two")
    pipe.save_pretrained("two", variant="fp16")
    model = sv.load("two", variant="fp16")
    trace = run(model, steps=1)
    assert "variant='fp16'" in check(model, trace, trace[0])


@pytest.mark.slow
def test_code_of_a_pipeline(pipe: Any) -> None:
    model = sv.load(pipe)
    trace = run(model)
    text = code(model, trace, trace[0])
    assert "sv.load(pipe)" in text
    names: dict[str, Any] = {"pipe": pipe}
    exec(text, names)
    assert torch.equal(names["step"].eps, trace[0].eps)


@pytest.mark.slow
def test_formula_has_the_numbers(model: sv.Model) -> None:
    trace = run(model, images=2)
    step = sv.what_if(model, trace, 1, guidance=CFG(2.5) + SAG(-0.5))
    found = formula(step, image=1)
    base, cfg, sag = found.parts
    assert [part.name for part in found.parts] == ["unconditional", "cfg", "sag"]
    assert found.total == measure.rms(step.eps[1:])
    assert base.length == measure.rms(step.eps_base[1:])
    assert cfg.length == measure.rms(step.terms["cfg"][1:])
    assert sag.scaled == -0.5 * measure.rms(step.terms["sag"][1:])
    page = found._repr_html_()
    assert f"2.5 × {cfg.length:.3f} = {cfg.scaled:.3f}" in page
    assert "x<sub>t</sub>" in page
    assert re.findall(r">([=+−])</div>", page) == ["=", "+", "−"]  # a negative scale is taken away


@pytest.mark.parametrize(
    ("guidance", "symbols"),
    [
        (None, ["ε(x<sub>t</sub>, c)"]),
        (SAG(1.0), ["ε(x<sub>t</sub>, c)", "ε(x<sub>t</sub>, c) − ε(x̂<sub>t</sub>, c)"]),
        (CFG(2.0), ["ε(x<sub>t</sub>)", "ε(x<sub>t</sub>, c) − ε(x<sub>t</sub>)"]),
    ],
    ids=["plain", "sag", "cfg"],
)
def test_formula_names_the_branch(model: sv.Model, guidance: Any, symbols: list[str]) -> None:
    assert [
        part.symbol for part in formula(run(model, guidance=guidance, steps=2)[0]).parts
    ] == symbols
