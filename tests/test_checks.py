"""Slips of the first hour, and numbers as NumPy and torch have them."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from tiny import is_one_sentence
from toys import Brighten

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.checks import check_number, check_size, check_whole, names_arguments
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance

Call = Callable[..., Any]
LOOSE: Any = sv  # what is called wrongly on purpose


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return sv.trace(model, "a fox", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)


def refusal(call: Call, *args: Any, **options: Any) -> str:
    with pytest.raises(ArgumentError) as error:
        call(*args, **options)
    assert is_one_sentence(error.value)
    return str(error.value)


# Names that people bring along.


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("num_inference_steps", "give steps=50"),
        ("guidance_scale", "give guidance=CFG(7.5)"),
        ("cfg_scale", "give guidance=CFG(7.5)"),
        ("sag_scale", "give guidance=CFG(3.0) + SAG(1.0)"),
        ("generator", "give seed=7"),
        ("num_images_per_prompt", "give images=4"),
        ("height", "give size=(height, width)"),
        ("latents", "give noise=latents"),
        ("mask_image", "give paint=mask"),
        ("callback_on_step_end", "sv.steps yields each step as soon as it is made"),
        ("sede", "did you mean seed?"),
    ],
)
def test_another_programs_name_is_answered_with_ours(
    model: sv.Model, theirs: str, ours: str
) -> None:
    for call in (sv.trace, sv.steps, sv.estimate):
        said = refusal(call, model, "a fox", **{theirs: 3})
        assert said == f"{call.__name__} has no argument {theirs!r}; {ours}"


@pytest.mark.parametrize(
    ("call", "ours"),
    [
        (sv.compare, "give cfg=7.5"),
        (sv.sweep, "give guidance=CFG(7.5)"),
        (sv.report, "give cfg_scale=7.5"),
        (sv.Playground, "give cfg_scale=7.5"),
    ],
)
def test_each_call_offers_its_own_name(model: sv.Model, call: Call, ours: str) -> None:
    first = "page.html" if call is sv.report else model
    assert refusal(call, first, guidance_scale=3).endswith(f"no argument 'guidance_scale'; {ours}")


def test_no_call_loses_its_named_arguments() -> None:
    for call in (sv.trace, sv.steps, sv.compare, sv.sweep, sv.what_if, sv.branch, sv.load, sv.CFG):
        names = inspect.signature(call).parameters
        assert len(names) > 2
        assert not {"args", "kwargs"} & set(names)


@pytest.mark.parametrize(
    ("call", "slip", "ours"),
    [
        (sv.SAG, "sag_scale", "give scale=1.0"),
        (sv.CFG, "guidance_scale", "give scale=7.5"),
        (sv.CFG, "w", "give scale=3.0"),
        (sv.SAG, "psi", "give threshold=1.0"),
        (sv.PAG, "pag_applied_layers", "give layers='mid'"),
        (sv.SAG, "layers", "give layer='mid'"),
        (sv.NAG, "nag_scale", "give phi=5.0"),
        (Brighten, "strength", "give scale=3.0"),
        (Brighten, "colour", "it takes scale, start, stop"),
        (sv.Capture, "layer", "give layers='mid'"),
        (sv.Capture, "wat", "did you mean what?"),
    ],
)
def test_a_term_and_a_capture_answer_with_our_name(call: Call, slip: str, ours: str) -> None:
    """A term of a notebook cell too."""
    assert refusal(call, **{slip: 1}) == f"{call.__name__} has no argument {slip!r}; {ours}"


def test_a_term_is_called_as_its_help_says() -> None:
    assert refusal(sv.CFG).startswith("CFG: missing a required argument: 'scale'; it takes")
    assert "too many positional arguments" in refusal(Brighten, 1.0, 2.0)
    assert str(inspect.signature(Brighten)) == (
        "(scale: 'Scale', *, start: 'float' = 0.0, stop: 'float' = 1.0) -> None"
    )
    assert pickle.loads(pickle.dumps(sv.CFG(3.0))) == copy.deepcopy(sv.CFG(3.0)) == sv.CFG(3.0)


def test_what_does_not_fit_the_places_is_refused_with_the_call(model: sv.Model) -> None:
    assert refusal(sv.trace).startswith("trace: missing a required argument: 'model'; it takes")
    said = refusal(sv.trace, model, "a fox", 7)
    assert "too many positional arguments; it takes, in this order, model, prompt, and by" in said


def test_an_error_inside_a_checked_call_stays_what_it_is() -> None:
    @names_arguments()
    def call(number: int) -> int:
        return number + "1"  # type: ignore[operator]

    with pytest.raises(TypeError, match="unsupported operand"):
        call(1)


# What stands in another's place.


def test_a_pipeline_in_the_models_place_is_loaded(
    model: sv.Model, pipe: StableDiffusionPipeline
) -> None:
    usual = sv.trace(model, "a fox", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
    own = LOOSE.trace(pipe, "a fox", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False)
    assert torch.equal(own.latents, usual.latents)


@pytest.mark.slow
def test_a_pipeline_is_taken_by_every_public_call(pipe: Any) -> None:
    options: dict[str, Any] = {"steps": 2, "progress": False}
    made = sv.compare(pipe, "a fox", **options)[1]
    assert sv.what_if(pipe, made, 0, guidance=CFG(5.0)).forwards == 0
    assert len(sv.branch(pipe, made, 1, guidance=CFG(5.0), progress=False)) == 2
    assert sv.attend(pipe, made, 0, (1, 1)).row is not None
    assert len(list(sv.steps(pipe, "a fox", steps=1))) == 1
    assert sv.estimate(pipe).images == 1
    assert sv.vocabulary(pipe) is None
    sweep = sv.sweep(pipe, "a fox", steps=1, progress=False)
    assert repr(sweep) == "<Sweep of 1 cells: 1 done>"
    for widget in (
        sv.Playground(pipe, steps=1),
        sv.Microscope(pipe, made),
        sv.Grid(sweep, model=pipe),
    ):
        widget.close()


@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (
            lambda _m, _t: LOOSE.trace("a fox"),
            r"model is 'a fox'; give what sv.load\(\) returned, or a",
        ),
        (lambda m, _: LOOSE.compare("a fox", m), "model is 'a fox'; give what sv.load"),
        (lambda m, _: LOOSE.sweep("a fox", m), "model is 'a fox'; give what sv.load"),
        (lambda m, t: LOOSE.Microscope(t, m), "model is <Trace of 2/2.*; give what sv.load"),
        (lambda m, t: LOOSE.what_if(t, m, 0), "model is <Trace of 2/2.*; give what sv.load"),
        (lambda m, _: LOOSE.what_if(m, "fox.sagtrace", 0), r"trace is .*; sv.Trace.load\(path\)"),
        (lambda m, _: LOOSE.Microscope(m, "fox.sagtrace"), "trace is .*; give what sv.trace"),
        (lambda _m, _t: LOOSE.Scrubber("fox.sagtrace"), r"trace is .*; sv.Trace.load\(path\)"),
        (lambda m, _: LOOSE.Scrubber(m), "trace is <Model"),
        (lambda _m, _t: LOOSE.Grid("runs"), r"sweep is 'runs'; .*sv.Sweep.open\('runs'\)"),
        (lambda _m, _t: LOOSE.Playground("a fox"), "model is 'a fox'; give what sv.load"),
        (
            lambda m, _: LOOSE.trace(m, ["a fox", "an owl"]),
            r"; sv.sweep\(model, prompts=\[...\]\) r",
        ),
        (lambda m, t: LOOSE.what_if(m, t, 0.5), "index is 0.5; this trace has steps 0 to 1"),
        (lambda _, t: LOOSE.Preference(t.image), "pairs is empty; give pairs of traces"),
        (lambda m, t: LOOSE.plot.step_panel(m, t), "trace is <Model.*; give what sv.trace"),
        (lambda _, t: LOOSE.plot.schematic(t[0], 0), "trace is Step.*; give what sv.trace"),
        (lambda _, t: LOOSE.plot.step_panel(t, 9), "index is 9; this trace has steps 0 to 1"),
        (lambda _, t: LOOSE.plot.guidance_curves([t]), r"trace is \[<Trace.*; give what sv.trace"),
        (lambda _, t: LOOSE.plot.triptych(t[0]), "a trace is Step.*; give what sv.trace"),
        (lambda _, t: LOOSE.plot.formula(t), r"step is <Trace.*; give a step .* trace\[3\]"),
        (lambda _, t: LOOSE.measure.of_step(t), r"step is <Trace.*; give a step"),
        (lambda m, _: LOOSE.measure.of_run(m), "steps is <Model.*; give what sv.trace"),
        (lambda _m, _t: LOOSE.measure.of_run(), "of_run: missing .*; it takes, in this order, st"),
        (lambda _, t: LOOSE.plot.film_strip(t, num=3), "film_strip has no argument 'num'"),
        (lambda m, _: LOOSE.plot.contact_sheet(m), "sweep is <Model.*; give what sv.sweep"),
        (lambda _, t: LOOSE.plot.word_bars(t, (8, 8)), "found is <Trace.*; give what sv.attend"),
        (lambda _, t: t.save(None), "the path is None; give the name of a file"),
        (lambda m, _: LOOSE.report(m), "the path is <Model.*; give the name of a file"),
        (lambda _m, _t: LOOSE.Capture(1), "layers is .*; give 'mid', 'all', or dotted paths"),
        (lambda _m, _t: LOOSE.Capture(max_bytes="1 GB"), "max_bytes is '1 GB'; give a number"),
        (lambda _, t: t.to_html("a.html", max_bytes="1 MB"), "max_bytes is '1 MB'; give a number"),
        (lambda _m, _t: LOOSE.vocabulary(), "vocabulary: missing .*; it takes, in this order, mo"),
        (
            lambda m, _: LOOSE.trace(m, scheduler=DDIMScheduler),
            "scheduler is the class DDIMScheduler; give one of it",
        ),
        (lambda _, t: LOOSE.plot.film_strip(t, count=2.5), "count is 2.5; give a whole number"),
        (lambda _m, _t: LOOSE.plot.difference(1, 2), "one is 1; give what sv.trace returned"),
        (lambda _m, _t: LOOSE.plot.lines([], {"a": []}, "s", "size"), "x is empty; give the"),
        (
            lambda _m, _t: LOOSE.measure.iou(torch.ones(1), torch.ones(2)),
            r"the masks are \(1,\) and \(2,\)",
        ),
        (lambda _m, _t: LOOSE.measure.frechet("abc", "abc"), "real is 'abc'; give features"),
        (lambda m, _: m.decode(torch.ones(1, 7, 3, 3)), "have 7 channels, and those of .* 4"),
        (
            lambda _, t: LOOSE.Preference([(t, t)], names=("one",)),
            r"names is \('one',\); give two texts",
        ),
        (lambda _, t: LOOSE.Preference([(t, t)], names=("a", "tie")), "give two texts"),
        (lambda m, _: LOOSE.Playground(m, prompt=3), "prompt is 3; give a text"),
        (lambda m, _: setattr(LOOSE.Playground(m), "prompt", 3), "prompt is 3; give a text"),
        (
            lambda m, _: LOOSE.Playground(m).settings.set({"bogus": 1}),
            "there is no setting bogus; give .*cfg_scale,",
        ),
        (lambda _, t: t.of_image(1), "image is 1; give a whole number from 0 to 0"),
        (lambda _, t: t[0].of_image(-1), "image is -1; give a whole number from 0 to 0"),
    ],
)
def test_a_slip_is_answered_with_what_belongs_there(
    model: sv.Model, trace: sv.Trace, slip: Call, words: str
) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        slip(model, trace)
    assert is_one_sentence(error.value)


def test_a_model_may_be_loaded_again(model: sv.Model) -> None:
    assert sv.load(model) is model


# Numbers of NumPy and torch.


@pytest.mark.parametrize("value", [np.float32(3), np.int64(3), torch.tensor(3.0), np.array(3)])
def test_a_number_of_numpy_or_torch_is_pythons_own(value: Any) -> None:
    assert repr(LOOSE.CFG(value)) == "CFG(3.0)"
    assert type(CFG(value).scale) in (int, float)
    assert check_number("a number", value, 0, 10) == 3
    assert repr(SAG(value, threshold=value, blur_sigma=value)) == repr(SAG(3.0, 3.0, 3.0)).replace(
        "3.0", str(SAG(value).scale)
    ).replace(f"SAG({SAG(value).scale}", "SAG(3.0")


def test_a_whole_number_is_taken_and_a_fraction_is_not() -> None:
    assert [check_whole("n", n, 0, 9) for n in (np.int64(3), torch.tensor(3), np.uint8(3))] == [
        3
    ] * 3
    for value in (np.float64(3.0), np.bool_(True), np.array([3]), torch.tensor(10)):
        assert "give a whole number from 0 to 9" in refusal(check_whole, "n", value, 0, 9)


def test_heads_may_be_an_array_and_are_counted_from_0() -> None:
    assert LOOSE.SAG(1.0, heads=np.array([0, 2])) == SAG(1.0, heads=(0, 2))
    for heads in ((-1,), (), np.array([0.5]), "0"):
        assert "give whole numbers from 0 on" in refusal(LOOSE.SAG, 1.0, heads=heads)


@pytest.mark.parametrize(
    "size", [np.array([32, 48]), torch.tensor([32, 48]), [np.int64(32), 48], (32, 48)], ids=str
)
def test_a_size_may_be_an_array(size: Any) -> None:
    assert check_size(size, 8, (64, 64)) == (32, 48)


def test_a_run_of_numpys_numbers_is_that_of_pythons(model: sv.Model) -> None:
    plain = sv.trace(
        model, "a fox", steps=2, seed=3, size=(32, 48), guidance=CFG(3.0), progress=False, keep=[1]
    )
    numpys: dict[str, Any] = {
        "steps": np.int32(2),
        "seed": torch.tensor(3),
        "size": np.array([32, 48]),
        "images": np.int64(1),
        "eta": np.float32(0),
        "guidance": LOOSE.CFG(np.float32(3)),
        "keep": np.array([1]),
    }
    made = sv.trace(model, "a fox", progress=False, **numpys)
    assert (made.settings, len(made)) == (plain.settings, 1)
    assert torch.equal(made.latents, plain.latents)
    assert sv.Trace.from_bytes(made.to_bytes()).settings == plain.settings


def test_the_axes_of_a_sweep_may_be_arrays(model: sv.Model) -> None:
    made = LOOSE.sweep(
        model,
        "a fox",
        seeds=torch.arange(2),
        steps=np.array(1),
        guidance=[LOOSE.CFG(w) for w in np.arange(1, 3)],
        keep=np.int64(1),
        progress=False,
    )
    assert made.plan.seeds == (0, 1)
    assert made.plan.steps == (1,)
    assert made.plan.guidance == tuple(Guidance((CFG(float(w)),)) for w in (1, 2))
    assert made.plan.keep == 1


def test_a_step_may_be_named_by_a_number_of_numpys(trace: sv.Trace) -> None:
    panels = LOOSE.plot.step_panel(trace, np.int64(1)).panels
    assert [each.words for each in panels] == [
        each.words for each in sv.plot.step_panel(trace, trace[1]).panels
    ]
    assert "step 2" in LOOSE.plot.schematic(trace, torch.tensor(-1)).words


def test_noise_may_be_numpys(model: sv.Model) -> None:
    noise = np.random.default_rng(0).normal(size=(1, 4, 16, 16)).astype(np.float32)
    own = LOOSE.trace(model, steps=1, noise=noise, progress=False)
    usual = sv.trace(model, steps=1, noise=torch.from_numpy(noise), progress=False)
    assert torch.equal(own.latents, usual.latents)


def test_settings_of_widgets_may_be_numpys(model: sv.Model) -> None:
    playground = sv.Playground(model, steps=np.int64(2), cfg_scale=np.float32(3.5))
    assert (playground.steps, playground.cfg_scale) == (2, 3.5)
    assert type(playground.steps) is int
    playground.close()


# Masks.


def test_a_mask_is_taken_as_people_have_it(model: sv.Model, trace: sv.Trace) -> None:
    """Painting the attention's own mask changes nothing, in whatever form it comes."""
    step = trace[1]
    assert step.mask is not None
    assert step.attention is not None
    above = step.attention > 1.0
    own = step.mask[0, 0]
    picture = sv.plot.display.Image.fromarray((own.numpy() * 255).astype(np.uint8))
    for mask in (above, above.numpy(), own.bool(), own.numpy(), own.tolist(), picture, step.mask):
        again = sv.what_if(model, trace, 1, mask=mask)
        assert again.forwards == 0
        assert torch.equal(again.eps, step.eps)
        assert sv.measure.iou(mask, mask) == 1


@pytest.mark.parametrize(
    "mask", ["mask", np.full((16, 16), 0.5), np.ones((3, 3)), np.ones((2, 16, 16)), 1.0], ids=str
)
def test_what_is_no_mask_is_refused(model: sv.Model, trace: sv.Trace, mask: Any) -> None:
    assert "mask" in refusal(sv.what_if, model, trace, 1, mask=mask)


def test_the_microscope_takes_such_a_mask(model: sv.Model, trace: sv.Trace) -> None:
    assert trace[1].attention is not None
    scope = sv.Microscope(model, trace, index=np.int64(1), mask=trace[1].attention[0].numpy() > 1.0)
    assert torch.equal(scope.step.eps, trace[1].eps)
    scope.close()


def test_terms_can_be_summed() -> None:
    assert sum([CFG(3.0), SAG(1.0)]) == CFG(3.0) + SAG(1.0)
    assert sum([CFG(3.0) + SAG(1.0)]) == CFG(3.0) + SAG(1.0)
    with pytest.raises(TypeError):
        _ = 1 + LOOSE.CFG(3.0)
