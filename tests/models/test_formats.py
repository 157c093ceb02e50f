"""Number formats: weights stored in one and computed with in another, `torch.autocast` around a
run, and other defaults of torch than float32 on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Family
from diffusers.hooks import apply_layerwise_casting
from PIL import Image
from tiny import FAMILIES, build_pipe, difference, noise, same
from torch import Tensor
from torch.nn import functional as F

import sagviz as sv
from sagviz import CFG, SAG, image
from sagviz.guidance import APG, PAG, SEG, Guidance, Term
from sagviz.models import SCHEDULERS, Model
from sagviz.player.planes import planes

Open = Callable[[str], Family]
F8 = torch.float8_e4m3fn
EVERY = SAG(1.0, mask_source="random") + SEG(1.0, blur_sigma=2.0) + PAG(1.0)
READ = sv.Capture("all", ("mass", "row", "maps"), place=(3, 4))


def all_terms(model: Model) -> Guidance:
    return CFG(3.0) + EVERY if model.reads_text else EVERY


def final(pipe: Any, **settings: Any) -> Tensor:
    """The last latents of diffusers' pipeline, with the settings of `traced`."""
    made = pipe(
        "a fox", num_inference_steps=3, guidance_scale=3.0, output_type="latent", **settings
    )
    latents: Tensor = made.images
    return latents


def traced(model: Model, **changes: Any) -> sv.Trace:
    settings: dict[str, Any] = {"steps": 3, "progress": False, "guidance": all_terms(model)}
    return sv.trace(model, "a fox" if model.reads_text else "", **{**settings, **changes})


# Stored in one format, computed with in another.


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parts"),
    [("sd1", ("unet",)), ("sd2", ("text_encoder",)), ("sdxl", ("unet", "text_encoder", "vae"))],
)
def test_weights_stored_in_eight_bits_run_as_the_same_numbers_do(
    tmp_path: Path, name: str, parts: tuple[str, ...]
) -> None:
    """diffusers' pipeline on weights that were rounded to eight bits is the oracle: with an encoder
    that stores them so, it breaks.
    """
    pipe, rounded = FAMILIES[name](tmp_path / "a"), FAMILIES[name](tmp_path / "b")
    for part in parts:
        apply_layerwise_casting(getattr(pipe, part), F8, torch.float32)
        for own, stored in zip(
            *(getattr(p, part).parameters() for p in (rounded, pipe)), strict=True
        ):
            own.data = stored.data.float()
    model = sv.load(pipe)
    before = [p.dtype for p in getattr(pipe, parts[0]).parameters()]
    assert F8 in before
    assert model.dtype == torch.float32
    own = traced(model, guidance=CFG(3.0), noise=noise())
    assert difference(own.latents, final(rounded, latents=noise())) < 1e-5
    guided, expected = (traced(m, capture=READ) for m in (model, sv.load(rounded)))
    assert all(same(a, b) for a, b in zip(guided, expected, strict=True))
    assert guided.images == expected.images
    assert [p.dtype for p in getattr(pipe, parts[0]).parameters()] == before


@pytest.mark.slow
@pytest.mark.parametrize("encoder", [torch.float64, torch.bfloat16])
def test_a_text_encoder_may_have_a_format_of_its_own(tmp_path: Path, encoder: torch.dtype) -> None:
    pipe = build_pipe(tmp_path)
    expected = traced(sv.load(pipe)).latents
    pipe.text_encoder.to(encoder)
    assert difference(traced(sv.load(pipe)).latents, expected) < 0.1


def test_a_vae_of_two_formats_keeps_both(tmp_path: Path) -> None:
    """Also where it computes in float16, in which others are put in float32 for a while."""
    pipe = build_pipe(tmp_path)
    pipe.vae.half()
    apply_layerwise_casting(pipe.vae, F8, torch.float16)
    pipe.vae.register_to_config(force_upcast=True, _use_default_values=[])
    before = [p.dtype for p in pipe.vae.parameters()]
    assert set(before) == {F8, torch.float16}
    sv.load(pipe).decode(noise())
    assert [p.dtype for p in pipe.vae.parameters()] == before


# torch.autocast around a run.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd1", "pixels"])
def test_guidance_map_and_mask_stay_in_float32_under_autocast(families: Open, name: str) -> None:
    """The network works in bfloat16, as the user wants it; all else is what it is without."""
    model = families(name).model
    with torch.autocast("cpu", torch.bfloat16):
        trace = traced(model, capture=READ)
        inside = [(s.x0_blurred, s.x_degraded, s.output, s.mask) for s in trace]
        (row, _) = (read := next(iter(trace[1].captured.values()))).row, read
        shown = image.preview(trace.latents, trace.latent_rgb), planes(trace, trace.latent_rgb)
    outside = [(s.x0_blurred, s.x_degraded, s.output, s.mask) for s in trace]
    for a, b in zip(inside, outside, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(a, b, strict=True))
    for step in trace:
        assert {part.dtype for part in step.tensors.values()} == {torch.float32}
        assert torch.allclose(step.attention.mean(), torch.tensor(1.0), atol=1e-6)
    assert torch.allclose(row.sum(), torch.tensor(1.0), atol=1e-6)
    assert shown[0] == image.preview(trace.latents, trace.latent_rgb)
    for name, plane in planes(trace, trace.latent_rgb).items():
        assert all(torch.equal(shown[1][name].values[i], v) for i, v in plane.values.items())


def test_the_blur_under_autocast_is_that_in_float64(model: Model) -> None:
    step = traced(model)[1]
    with torch.autocast("cpu", torch.bfloat16):
        blurred = step.x0_blurred
    x = step.x0_hat.double()
    taps = torch.exp(-0.5 * torch.arange(-4.0, 5.0).double() ** 2)
    kernel = (taps[:, None] * taps / taps.sum() ** 2).expand(4, 1, 9, 9)
    exact = F.conv2d(F.pad(x, (4,) * 4, mode="reflect"), kernel, groups=4)
    assert float((blurred - exact).abs().max()) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["unipc", "dpm++ 2m", "ddim"])
def test_the_scheduler_takes_its_step_in_float32_under_autocast(
    model: Model, scheduler: str
) -> None:
    """Replayed from the stored outputs without autocast, the run is the same to the bit."""
    with torch.autocast("cpu", torch.bfloat16):
        trace = traced(model, scheduler=scheduler, steps=5, guidance=CFG(3.0))
    for index in range(5):
        step = sv.what_if(model, trace, index)
        assert step.forwards == 0
        assert torch.equal(step.x_next, trace[index].x_next)


def test_under_autocast_a_run_is_the_pipelines(families: Open) -> None:
    both = families("sd1")
    with torch.autocast("cpu", torch.bfloat16):
        own = traced(both.model, guidance=CFG(3.0), noise=noise())
        theirs = final(both.pipe, latents=noise())
    usual = final(both.pipe, latents=noise())
    assert difference(own.latents, theirs) < 3e-2
    assert difference(usual, theirs.float()) > 1e-4, "autocast does act"


# Other defaults.


@contextmanager
def default(kind: torch.dtype | str) -> Iterator[None]:
    """torch's default number format, or device, for a while."""
    if isinstance(kind, str):
        with torch.device(kind):
            yield
        return
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


KINDS = [torch.float64, torch.bfloat16, "meta"]  # the last as a GPU that is not there


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("sd1", "meta"), *zip(FAMILIES, cycle(KINDS), strict=False)], ids=str
)
def test_a_run_does_not_depend_on_torchs_defaults(
    families: Open, tmp_path: Path, name: str, kind: Any
) -> None:
    """To the bit, with its page, what-if, and a model that is loaded so."""
    opened = families(name)
    model, expected = opened.model, traced(opened.model, capture=READ)
    guidance: Guidance | Term = APG(3.0) + SAG(0.5) if model.reads_text else SAG(0.5)
    picture = Image.new("RGB", model.default_size, "white")
    with default(kind):
        trace = traced(sv.load(opened.folder, device="cpu", dtype="float32"), capture=READ)
        again = sv.what_if(model, trace, 1, guidance=guidance)
        trace.to_html(tmp_path / "run.html")
        encoded = model.encode(picture)
    assert all(same(a, b) for a, b in zip(trace, expected, strict=True))
    assert trace.images == expected.images
    assert torch.equal(trace.latent_rgb, expected.latent_rgb)
    assert same(again, sv.what_if(model, expected, 1, guidance=guidance))
    assert torch.equal(encoded, model.encode(picture))


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "kind"), [*zip(SCHEDULERS, cycle(KINDS))], ids=str)
def test_no_scheduler_depends_on_torchs_defaults(model: Model, scheduler: str, kind: Any) -> None:
    settings: dict[str, Any] = {"scheduler": scheduler, "guidance": None}
    expected = traced(model, **settings)
    with default(kind):
        trace = traced(model, **settings)
    assert all(same(a, b) for a, b in zip(trace, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_classifiers_guidance_does_not_depend_on_them(kind: Any) -> None:
    model, guidance = sv.load(), sv.CG(5.0, "fox")
    expected = traced(model, steps=1, guidance=guidance)
    with default(kind):
        assert same(traced(model, steps=1, guidance=guidance)[0], expected[0])


@pytest.mark.slow
def test_a_run_in_inference_mode_is_any_other() -> None:
    """CG's slope too, though nothing can be differentiated there; and its model is of use after."""
    guidance = sv.CG(5.0, "fox") + CFG(3.0) + SAG(1.0)
    with torch.inference_mode():
        model = sv.load()
        inside = traced(model, steps=2, guidance=guidance)
        changed = sv.what_if(model, inside, 1, guidance=sv.CG(2.0, "dog") + CFG(3.0))
    assert not changed.eps.requires_grad
    outside = traced(model, steps=2, guidance=guidance)
    assert all(same(a, b) for a, b in zip(inside, outside, strict=True))
