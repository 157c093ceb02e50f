"""What a step derives from what it stores, and the file that a trace becomes."""

from __future__ import annotations

import gc
import json
import math
import os
from base64 import b64encode
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import save_file
from tiny import difference, is_one_sentence, noise, same

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.diffusion.blur import gaussian_blur
from sagviz.errors import TraceError
from sagviz.guidance import Guidance
from sagviz.records import strict
from sagviz.records.settings import Settings
from sagviz.sampling.collect import collect
from sagviz.sampling.prepare import resume

BOTH = CFG(3.0) + SAG(1.0)


def run(model: sv.Model, guidance: Any = BOTH, **settings: Any) -> sv.Trace:
    return sv.trace(
        model,
        **{"prompt": "a fox", "steps": 4, "guidance": guidance, "progress": False, **settings},
    )


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> sv.Trace:
    return run(model)


@pytest.fixture
def saved(trace: sv.Trace, tmp_path: Path) -> Path:
    return trace.save(tmp_path / "fox.sagtrace")


def assert_same(a: sv.Trace, b: sv.Trace) -> None:
    assert (a.settings, a.evaluations, a.pictures) == (b.settings, b.evaluations, b.pictures)
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert same(one, other)
        assert (one.guidance, one.forwards, one.samples) == (
            other.guidance,
            other.forwards,
            other.samples,
        )
    assert (a.latent_rgb is None) == (b.latent_rgb is None)
    assert a.latent_rgb is None or torch.equal(a.latent_rgb, b.latent_rgb)


# Steps: the method as properties of what is stored.


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_the_noise_form_is_the_clean_form(
    model: sv.Model, v_model: sv.Model, kind: str, scheduler: str
) -> None:
    """-sigma (eps - eps_degraded) = alpha (degraded x0 - D(x_degraded)): the form of other
    implementations is the paper's.
    """
    for record in run(model if kind == "epsilon" else v_model, scheduler=scheduler):
        step = record.map(torch.Tensor.double)
        for term in step.guidance.terms:
            factor = -step.sigma / step.alpha
            assert (
                difference(term.in_output(step), step.level.slope * factor * term.in_noise(step))
                < 1e-9
            ), (term.name, step.index)
        assert difference(step.x0_guided, (step.x_t - step.sigma * step.eps) / step.alpha) < 1e-9
        assert difference(step.level.x0(step.x_t, step.output), step.x0_guided) < 1e-9


def test_the_guided_noise_is_the_sum_of_the_scaled_terms(trace: sv.Trace) -> None:
    for step in trace:
        terms = step.terms
        assert set(terms) == {"cfg", "sag"}
        assert torch.equal(step.eps, step.eps_base + 3.0 * terms["cfg"] + 1.0 * terms["sag"])
        assert torch.equal(step.eps_base, step.eps_uncond)


def test_the_degraded_latent_is_exact_outside_the_mask(trace: sv.Trace) -> None:
    for step in trace:
        inside = step.mask.expand_as(step.x_t) > 0
        assert 0 < inside.float().mean() < 1
        assert torch.equal(step.x_degraded[~inside], step.x_t[~inside])
        assert (step.x_degraded[inside] != step.x_t[inside]).float().mean() > 0.99


def test_a_threshold_below_zero_is_blur_guidance(model: sv.Model) -> None:
    """The whole latent is blurred, with the same noise put back."""
    for step in run(model, CFG(3.0) + SAG(1.0, threshold=-1.0)):
        assert torch.equal(step.mask, torch.ones_like(step.mask))
        expected = step.alpha * gaussian_blur(step.x0_hat, 1.0) + step.sigma * step.eps_uncond
        torch.testing.assert_close(step.x_degraded, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("guidance", "prompt", "absent"),
    [
        (BOTH, "a fox", set()),
        (CFG(3.0), "a fox", {"attention", "mask", "x0_blurred", "x_degraded", "eps_degraded"}),
        (SAG(1.0), "a fox", {"eps_uncond"}),
        (SAG(1.0), "", {"eps_cond"}),
        (
            None,
            "a fox",
            {"eps_uncond", "attention", "mask", "x0_blurred", "x_degraded", "eps_degraded"},
        ),
        (None, "", {"eps_cond", "attention", "mask", "x0_blurred", "x_degraded", "eps_degraded"}),
    ],
)
def test_a_field_is_none_where_the_guidance_does_not_need_it(
    model: sv.Model, guidance: Any, prompt: str, absent: set[str]
) -> None:
    step = run(model, guidance, prompt=prompt, steps=1)[0]
    for name in (
        "eps_uncond",
        "eps_cond",
        "attention",
        "mask",
        "x0_blurred",
        "x_degraded",
        "eps_degraded",
    ):
        assert (getattr(step, name) is None) == (name in absent), name
    assert set(step.terms) == {term.name for term in step.guidance.terms}
    if not step.terms:
        assert torch.equal(step.eps, step.eps_base)


def test_records_are_float32_on_the_cpu(trace: sv.Trace) -> None:
    for step in trace:
        for name, value in step.tensors.items():
            found = value.dtype, value.device.type, value.requires_grad
            assert found == (torch.float32, "cpu", False), name


def test_a_trace_is_a_sequence_of_its_steps(trace: sv.Trace) -> None:
    assert len(trace) == trace.evaluations == 4
    assert [step.index for step in trace] == [0, 1, 2, 3]
    assert trace[-1] is trace[3]
    assert trace[3] in trace
    assert list(trace[1:3]) == [trace[1], trace[2]]
    with pytest.raises(IndexError):
        trace[4]
    assert torch.equal(trace.latents, trace[-1].x_next)
    assert all(torch.equal(a.x_next, b.x_t) for a, b in pairwise(trace))


def test_the_pictures_are_the_decoded_latents(model: sv.Model, trace: sv.Trace) -> None:
    (expected,) = model.decode(trace.latents)
    assert trace.image.tobytes() == expected.tobytes()
    assert trace.image.size == (32, 32)
    assert b64encode(trace.pictures[0]).decode() in trace._repr_html_()
    assert 'alt="Step 4, the last of 4' in trace._repr_html_()


# The file.


@pytest.mark.parametrize(
    ("guidance", "settings"),
    [
        (BOTH, {}),
        (None, {"prompt": ""}),
        (
            CFG(3.0) + SAG(-0.1, threshold=math.inf, heads=(0, 2), start=0.3, stop=0.8),
            {"images": 2},
        ),
        (SAG(1.0, threshold=-math.inf), {"keep": 3, "size": (32, 48)}),
        (BOTH, {"keep": [1]}),
        (BOTH, {"scheduler": "euler", "seed": 2**63 - 4097}),
        (BOTH, {"scheduler": "pndm", "negative_prompt": 'Ä 树 "\n'}),
        (CFG(1.0), {"eta": 0.5, "noise": noise()}),
    ],
)
def test_load_gives_back_what_was_saved(
    model: sv.Model, tmp_path: Path, guidance: Any, settings: dict[str, Any]
) -> None:
    """Bit for bit, with settings, pictures and counts."""
    trace = run(model, guidance, **settings)
    path = trace.save(str(tmp_path / "fox.sagtrace"))
    assert_same(sv.Trace.load(path), trace)
    assert os.listdir(tmp_path) == ["fox.sagtrace"]


def test_a_v_models_trace_comes_back_with_its_own_outputs(
    v_model: sv.Model, tmp_path: Path
) -> None:
    trace = run(v_model)
    loaded = sv.Trace.load(trace.save(tmp_path / "v.sagtrace"))
    assert_same(loaded, trace)
    assert loaded[0].level.prediction == "v_prediction"
    assert torch.equal(loaded[1].x0_guided, trace[1].x0_guided)


def test_saving_over_a_loaded_trace_leaves_it_as_it_was(
    model: sv.Model, trace: sv.Trace, saved: Path
) -> None:
    loaded = sv.Trace.load(saved)
    run(model, seed=5).save(saved)
    assert_same(loaded, trace)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    content = saved.read_bytes()
    for length in (0, 1, 7, 8, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:length])
        with pytest.raises(TraceError, match=r"fox\.sagtrace") as error:
            sv.Trace.load(saved)
        assert is_one_sentence(error.value)


@pytest.mark.slow
def test_a_flipped_byte_is_refused(model: sv.Model, tmp_path: Path) -> None:
    """Wherever it is: in every third byte of the header, in its keys, in the tensors; each time
    another bit.
    """
    saved = run(model, SAG(1.0), steps=1).save(tmp_path / "fox.sagtrace")
    content = saved.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    keys = [content.index(key) for key in (b"meta", b"format", b"sha256", b"sagviz-trace")]
    for number, place in enumerate(
        [*range(0, header, 3), *keys, *range(header, len(content), 97), len(content) - 1]
    ):
        damaged = bytearray(content)
        damaged[place] ^= 1 << number % 8
        saved.write_bytes(damaged)
        with pytest.raises(TraceError) as error:
            sv.Trace.load(saved)
        assert is_one_sentence(error.value)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    text, other, folder, marked = (
        tmp_path / name for name in ("a.txt", "b.safetensors", "c", "d.safetensors")
    )
    text.write_text("not a trace")
    save_file({"weight": torch.ones(3)}, other)
    folder.mkdir()
    save_file({"weight": torch.ones(3)}, marked, {"format": "pt"})
    for path in (text, other, folder, marked, tmp_path / "missing.sagtrace"):
        with pytest.raises(TraceError, match=path.name) as error:
            sv.Trace.load(path)
        assert is_one_sentence(error.value)


class Foreign(Settings):
    """Settings that write another record of themselves, as another version would."""

    change: ClassVar[Callable[[dict[str, Any]], object]]

    def to_json(self) -> dict[str, Any]:
        content = super().to_json()
        type(self).change(content)
        return content


OF_OTHER_VERSIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "flavour": lambda noted: noted.update(flavour=1),
    "fingerprint": lambda noted: noted.pop("fingerprint"),
    "steps": lambda noted: noted.update(steps="four"),
    "scheduler": lambda noted: noted.update(scheduler={"class": "StableDiffusionPipeline"}),
    "nope": lambda noted: noted["guidance"].append({"kind": "nope", "scale": 1.0}),
    "taste": lambda noted: noted["guidance"][1].update(taste=1),
    "scale": lambda noted: noted["guidance"][1].pop("scale"),
    "guidance": lambda noted: noted.update(guidance=None),
    "size": lambda noted: noted.update(size=[64]),
    "prompt": lambda noted: noted.update(prompt="\ud800"),
    "lacks 'model'": lambda noted: noted.update(before={}),
}


@pytest.mark.parametrize("change", OF_OTHER_VERSIONS)
def test_a_trace_of_another_version_is_refused(
    trace: sv.Trace, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checksum is right, and one sentence names what is not known."""
    monkeypatch.setattr(Foreign, "change", OF_OTHER_VERSIONS[change], raising=False)
    given = {each.name: getattr(trace.settings, each.name) for each in fields(Settings)}
    path = replace(trace, settings=Foreign(**given)).save(tmp_path / "fox.sagtrace")
    with pytest.raises(TraceError, match=rf"fox\.sagtrace cannot be read.*{change}") as error:
        sv.Trace.load(path)
    assert is_one_sentence(error.value)


def first(trace: sv.Trace, **changes: Any) -> sv.Trace:
    return replace(trace, steps=(replace(trace[0], **changes), *trace.steps[1:]))


def level(trace: sv.Trace, **changes: Any) -> sv.Trace:
    return first(trace, level=replace(trace[0].level, **changes))


OF_NO_RUN: dict[str, Callable[[sv.Trace], sv.Trace]] = {
    "evaluations is -1": lambda trace: replace(trace, evaluations=-1),
    "index of a step is 99": lambda trace: first(trace, index=99),
    "forwards of step 0 is 'two'": lambda trace: first(trace, forwards="two"),
    "alpha of step 0 is 'half'": lambda trace: level(trace, alpha="half"),
    "step 0 predicts 'tomorrow'": lambda trace: level(trace, prediction="tomorrow"),
    "CFG scale of step 0 is a curve": lambda trace: first(trace, guidance=CFG([3, 1]) + SAG(1.0)),
    "step 0 has the shape": lambda trace: first(trace, x_t=torch.zeros(3)),
    "of finite numbers": lambda trace: first(trace, x_t=trace[0].x_t * float("nan")),
    "2 pictures of 1 images": lambda trace: replace(trace, pictures=trace.pictures * 2),
    "not the beginning of a PNG": lambda trace: replace(trace, pictures=(b"no picture",)),
    "latents have the shape": lambda trace: replace(trace, latent_rgb=torch.zeros(2, 2)),
}


@pytest.mark.parametrize("words", OF_NO_RUN)
def test_a_file_that_no_run_leaves_is_refused(trace: sv.Trace, tmp_path: Path, words: str) -> None:
    path = OF_NO_RUN[words](trace).save(tmp_path / "fox.sagtrace")
    with pytest.raises(TraceError, match=words) as error:
        sv.Trace.load(path)
    assert is_one_sentence(error.value)


@pytest.mark.slow
def test_one_image_of_a_batch_has_the_settings_that_make_it(model: sv.Model) -> None:
    batch = run(model, images=3)
    alone = batch.of_image(2).settings
    assert (alone.seed, alone.images) == (batch.settings.seed + 2, 1)
    (made,) = collect([resume(model, alone)])
    assert difference(made.latents, batch.latents[2:]) < 1e-4


@pytest.mark.parametrize("place", ["no/such/folder/fox.sagtrace", "a.txt/fox.sagtrace", "taken"])
def test_a_path_that_cannot_be_written_is_refused(
    trace: sv.Trace, tmp_path: Path, place: str
) -> None:
    """In one sentence, and nothing is left behind."""
    (tmp_path / "a.txt").write_text("a file, not a folder")
    (tmp_path / "taken").mkdir()
    with pytest.raises(TraceError, match="cannot write") as error:
        trace.save(tmp_path / place)
    assert is_one_sentence(error.value)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "taken"]


def test_a_trace_without_its_end_says_so(trace: sv.Trace) -> None:
    stopped = sv.Trace(trace.settings, trace.steps[:2], trace.evaluations)
    assert torch.equal(stopped.latents, trace[2].x_t)
    for missing in (lambda: stopped.image, lambda: sv.Trace(trace.settings, (), 4).latents):
        with pytest.raises(TraceError) as error:
            missing()
        assert is_one_sentence(error.value)


def test_an_empty_trace_has_a_file_too(trace: sv.Trace, tmp_path: Path) -> None:
    empty = sv.Trace(trace.settings, (), trace.evaluations)
    assert_same(sv.Trace.load(empty.save(tmp_path / "empty.sagtrace")), empty)


def test_a_loaded_step_acts_as_its_window_says(model: sv.Model, tmp_path: Path) -> None:
    trace = run(model, CFG(3.0) + SAG(1.0, start=0.5))
    loaded = sv.Trace.load(trace.save(tmp_path / "half.sagtrace"))
    assert [bool(step.guidance.get(SAG)) for step in loaded] == [False, False, True, True]
    assert loaded.settings.guidance == trace.settings.guidance != Guidance()


@pytest.mark.slow
def test_saving_leaves_nothing_behind(trace: sv.Trace) -> None:
    """Of no length of a picture."""

    def save(length: int) -> None:
        replace(trace, pictures=(bytes(length),)).to_bytes()

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    save(1)
    before = objects()
    for length in range(100, 150):
        save(length)
    assert objects() - before < 50


def test_the_header_is_json_for_every_program(model: sv.Model) -> None:
    """And a header of Python's own json, with -Infinity in it, is read as before."""
    endless = SAG(1.0, threshold=math.inf)
    trace = sv.trace(
        model, "a fox", guidance=endless, steps=2, scheduler="dpm++ 2m", progress=False
    )
    content = trace.to_bytes()
    length = int.from_bytes(content[:8], "little")
    meta = json.loads(content[8 : 8 + length])["__metadata__"]
    text = next(each for each in meta.values() if each.startswith("{"))
    json.loads(text, parse_constant=pytest.fail)
    assert sv.Trace.from_bytes(content).settings == trace.settings
    noted = trace.settings.to_json()
    assert strict.loads(json.dumps(noted)) == strict.loads(strict.dumps(noted))


@pytest.mark.parametrize("text", ['{"float": []}', '{"float": "1"}', '{"float": "inf", "a": 1}'])
def test_what_only_looks_like_an_infinity_stays(text: str) -> None:
    assert strict.loads(text) == json.loads(text)
