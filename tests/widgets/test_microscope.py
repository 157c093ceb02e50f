"""The Microscope without a page: traits set, records, pictures and words read."""

from __future__ import annotations

import gc
import html
import re
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import microscope
from tiny import DOWN_LAYER, counted, same
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG, Microscope, Trace, image, measure
from sagviz.errors import ArgumentError, SagvizError, TraceError
from sagviz.sampling.attend import attend
from sagviz.widgets.common import worker
from sagviz.widgets.microscope import surface

STEPS = 6


@pytest.fixture(scope="module")
def trace(model: sv.Model) -> Trace:
    return sv.trace(
        model, "a fox", guidance=CFG(3.0) + SAG(1.0), steps=STEPS, seed=3, images=2, progress=False
    )


@pytest.fixture
def scope(model: sv.Model, trace: Trace) -> Iterator[Microscope]:
    scope = Microscope(model, trace)
    yield scope
    scope.close()


def open_(model: sv.Model, trace: Trace, **options: Any) -> Microscope:
    scope = Microscope(model, trace, **options)
    assert not scope.notice.value
    return scope


def pictures(widget: Any) -> dict[str, bytes]:
    """The pictures on a page by their alt texts' first part."""
    found = re.findall(r'<img src="data:image/\w+;base64,([^"]+)" alt="([^"]*)"', widget.value)
    return {html.unescape(alt).partition(":")[0]: b64decode(content) for content, alt in found}


def cost(scope: Microscope) -> int:
    """The U-Net calls that are said under the controls."""
    said = re.search(r"<b>(\d+) U-Net call", scope.cost.value)
    assert said is not None
    return int(said[1])


def square(size: int = 16) -> Tensor:
    mask = torch.zeros(size, size)
    mask[3:9, 4:11] = 1
    return mask


@pytest.mark.slow
def test_begins_as_the_run_itself(scope: Microscope, trace: Trace) -> None:
    assert torch.equal(scope.step.eps, trace[STEPS // 2].eps)
    assert cost(scope) == 0
    assert all(again.disabled for again in scope.controls.resets.values())
    assert "no difference" in scope.results.value


@pytest.mark.parametrize("name", ["cfg_scale", "sag_scale"])
def test_scale_needs_no_call_and_obeys_the_formula(
    scope: Microscope, trace: Trace, name: str
) -> None:
    before = pictures(scope.results)
    with counted(scope.model.unet) as rows:
        setattr(scope, name, 1.7)
    after, own = pictures(scope.results), trace[scope.index]
    assert rows == []
    assert cost(scope) == 0
    scales = {"cfg_scale": (1.7, 1.0), "sag_scale": (3.0, 1.7)}[name]
    want = own.eps_base + scales[0] * own.terms["cfg"] + scales[1] * own.terms["sag"]
    assert torch.allclose(scope.step.eps, want, atol=1e-5)
    assert after["under these settings"] != before["under these settings"]
    assert after["the run's own guided x̂₀"] == before["the run's own guided x̂₀"]
    assert "1.7" in scope.formula.value


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "calls"),
    [
        ("threshold", 1.1, 1),
        ("blur_sigma", 0.6, 1),
        ("blur_kernel", 3, 1),
        ("layer", DOWN_LAYER, 2),
        ("heads", (1,), 2),
    ],
)
def test_what_is_said_to_cost_is_what_it_costs(
    scope: Microscope, name: str, value: Any, calls: int
) -> None:
    with counted(scope.model.unet) as rows:
        setattr(scope, name, value)
    assert len(rows) == calls == cost(scope)
    with counted(scope.model.unet) as rows:
        scope.cfg_scale = 4.2  # under the new settings, which are known by now
        scope.reset(name)
        setattr(scope, name, value)
    assert rows == []


def test_no_picture_is_decoded_twice(scope: Microscope) -> None:
    """A threshold moves neither the prediction nor its blur, and what was seen is known again."""
    before = scope.results.value, scope.panes.value
    with counted(scope.model.vae.decoder) as decoded:
        scope.threshold = 1.4
    assert len(decoded) == 1
    with counted(scope.model.vae.decoder) as decoded:
        scope.reset("threshold")
    assert decoded == []
    assert (scope.results.value, scope.panes.value) == before
    with counted(scope.model.vae.decoder) as decoded:
        scope.blur_sigma = 3.0
    assert len(decoded) == 2
    with counted(scope.model.vae.decoder) as decoded:
        scope.image = 1
    assert len(decoded) == 4  # the run's own, the guided, the prediction and its blur


def test_same_as_what_if(scope: Microscope, trace: Trace) -> None:
    scope.threshold, scope.sag_scale = 1.2, 1.5
    alone = sv.what_if(scope.model, trace, scope.index, guidance=CFG(3.0) + SAG(1.5, threshold=1.2))
    assert torch.equal(scope.step.eps, alone.eps)
    assert torch.equal(scope.step.mask, alone.mask)


@pytest.mark.slow
def test_controls_and_traits_are_one(scope: Microscope) -> None:
    box, slider, _ = find(scope, "sag-threshold").children
    slider.value = 25  # steps of 0.05
    assert scope.threshold == box.value == 1.25
    scope.threshold = 0.75
    assert slider.value == 15
    find(scope, "sag-layer").value = "down block 0, attention 0 / 0"
    assert scope.layer == DOWN_LAYER
    assert scope.step.guidance.get(SAG).layer == DOWN_LAYER
    find(scope, "sag-use-sag").value = False
    assert not scope.use_sag
    assert "sag" not in scope.step.terms


@pytest.mark.slow
def test_reset(scope: Microscope, trace: Trace) -> None:
    scope.threshold, scope.cfg_scale, scope.mask = 1.5, 7.0, square()
    again = scope.controls.resets["threshold"]
    assert not again.disabled
    again.click()
    assert scope.threshold == 1.0
    assert scope.cfg_scale == 7.0
    assert again.disabled
    find(scope, "sag-reset-all").click()
    assert torch.equal(scope.step.eps, trace[scope.index].eps)
    assert scope.mask is None
    assert scope.cfg_scale == 3.0


def test_another_step_keeps_what_was_changed(scope: Microscope, trace: Trace) -> None:
    scope.cfg_scale = 6.0
    scope.index = 1
    assert scope.cfg_scale == 6.0
    assert scope.step.index == 1
    assert torch.equal(scope.step.x_t, trace[1].x_t)


def test_images_of_a_batch(scope: Microscope, trace: Trace) -> None:
    first = pictures(scope.panes)
    scope.image = 1
    second = pictures(scope.panes)
    assert len(first) == len(second)
    assert all(first[name] != second[name] for name in first)
    assert torch.equal(scope.shown.x_t, trace[scope.index].x_t[1:])


def test_mask_by_hand(scope: Microscope) -> None:
    scope.mask = square().numpy()
    assert torch.equal(scope.step.mask[0, 0], square())
    assert cost(scope) == 1
    scope.mask = None
    assert cost(scope) == 0


def test_iou() -> None:
    mask = square()
    assert measure.iou(mask, mask) == 1
    assert measure.iou(mask, 1 - mask) == 0
    assert measure.iou(mask, torch.ones(16, 16)) == pytest.approx(42 / 256)
    assert np.isnan(measure.iou(mask * 0, mask * 0))


@pytest.mark.slow
def test_random_and_inverted_at_one_click(scope: Microscope) -> None:
    own = scope.attended
    assert own is not None
    for source in ("random", "inverted"):
        find(scope, f"sag-{source}").click()
        assert scope.mask is None
        assert scope.step.guidance.get(SAG).mask_source == source
        used = scope.shown.mask[0, 0]
        assert used.sum() == own.sum()
        assert measure.iou(used, own) < 0.7
        assert torch.equal(scope.attended, own)
    find(scope, "sag-mₜ-again").click()
    assert torch.equal(scope.shown.mask[0, 0], own)


def test_predict_then_reveal(scope: Microscope) -> None:
    plain, words = pictures(scope.panes), scope.words.value
    scope.hidden = True
    covered = pictures(scope.panes)
    for name in plain:
        telling = name.startswith(("attention", "mask", "blurred", "degraded", "SAG"))
        flat = len(set(image.from_png(covered[name]).convert("L").tobytes())) == 1
        assert flat == telling, name
    assert "covers" in words
    assert "covers" not in scope.words.value
    scope.mask_tab.cells = scope.attended
    find(scope, "sag-reveal").click()
    assert "<b>1.00</b>" in scope.mask_tab.words.value
    assert not scope.hidden
    assert pictures(scope.panes) == plain
    scope.mask_tab.cells = 1 - scope.attended
    assert "press Reveal" in scope.mask_tab.revealed.value  # another guess: the old score is gone
    scope.mask_tab.reveal()
    assert "<b>0.00</b>" in scope.mask_tab.words.value


def test_rectangles_paint_without_a_pointer(scope: Microscope) -> None:
    for box, number in zip(scope.mask_tab.boxes, (3, 4, 6, 7), strict=True):
        box.value = number
    find(scope, "sag-paint-rectangle").click()
    assert torch.equal(scope.mask_tab.cells, square())
    find(scope, "sag-use-what-is-painted").click()
    assert torch.equal(scope.mask, square())
    find(scope, "sag-erase-rectangle").click()
    assert scope.mask_tab.cells.sum() == 0


@pytest.mark.slow
def test_go_on(scope: Microscope, trace: Trace) -> None:
    scope.cfg_scale, scope.mask = 5.0, square()
    find(scope, "sag-go-on").click()
    want = sv.branch(
        scope.model, trace, scope.index, guidance=scope.guidance, mask=square(), progress=False
    )
    assert scope.branched is not None
    assert len(scope.branched) == STEPS
    assert all(map(same, scope.branched, want))
    assert scope.branched.pictures == want.pictures
    assert scope.branched.settings == want.settings
    assert len(pictures(scope.branch_tab.end)) == 1
    assert not scope.branch_tab.go.disabled


@pytest.mark.slow
def test_cancel_keeps_what_is_done(scope: Microscope) -> None:
    scope.index = 0
    scope.branch_tab.bar.observe(lambda _: scope.branch_tab.cancel.click(), "value")
    scope.branch_tab.start()
    assert scope.branched is not None
    assert 0 < len(scope.branched) < STEPS
    assert not scope.branched.pictures
    assert "stopped after step" in scope.branch_tab.words.value
    scope.branch_tab.bar.unobserve_all()
    scope.branch_tab.start()
    assert len(scope.branched) == STEPS
    open_(scope.model, scope.branched).close()


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [None, CFG(3.0), SAG(1.0)], ids=["plain", "cfg", "sag"])
def test_missing_terms_can_be_added(model: sv.Model, guidance: Any) -> None:
    trace = sv.trace(model, "a fox", guidance=guidance, steps=3, progress=False)
    scope = open_(model, trace)
    assert cost(scope) == 0
    with counted(model.unet) as rows:
        scope.use_cfg = scope.use_sag = True
    alone = sv.what_if(model, trace, scope.index, guidance=CFG(3.0) + SAG(1.0))
    assert torch.allclose(scope.step.eps, alone.eps, atol=1e-5)
    assert rows
    assert set(scope.step.terms) == {"cfg", "sag"}
    scope.use_cfg = scope.use_sag = False
    assert scope.step.terms == {}
    assert not scope.notice.value
    scope.close()


@pytest.mark.slow
def test_v_prediction(v_model: sv.Model) -> None:
    trace = sv.trace(v_model, "a fox", guidance=CFG(3.0) + SAG(1.0), steps=3, progress=False)
    scope = open_(v_model, trace)
    scope.cfg_scale = 5.0
    assert cost(scope) == 0
    scope.threshold = 1.1
    want = sv.what_if(v_model, trace, 1, guidance=CFG(5.0) + SAG(1.0, threshold=1.1))
    assert torch.equal(scope.step.x0_guided, want.x0_guided)
    scope.close()


@pytest.mark.slow
def test_branches_and_few_steps(model: sv.Model, trace: Trace) -> None:
    branch = sv.branch(model, trace, 3, guidance=CFG(8.0) + SAG(0.5), mask=square(), progress=False)
    scope = open_(model, branch)
    assert scope.cfg_scale == 8.0
    assert torch.equal(scope.mask, square())
    scope.index = 1
    assert scope.cfg_scale == 3.0
    assert scope.mask is None
    assert torch.equal(scope.step.eps, trace[1].eps)
    scope.close()
    few = sv.trace(
        model, "a fox", guidance=CFG(3.0) + SAG(1.0), steps=STEPS, keep=3, progress=False
    )
    scope = open_(model, few)
    assert scope.step.index == 3
    assert find(scope, "sag-index").high == len(few)
    scope.close()


def test_each_image_keeps_the_mask_that_its_branch_had(model: sv.Model, trace: Trace) -> None:
    masks = torch.stack([square(), 1 - square()])[:, None]
    branch = sv.branch(model, trace, 2, mask=masks, progress=False)
    scope = open_(model, branch, index=3, image=1)
    assert torch.equal(scope.mask, masks[1, 0])
    assert cost(scope) == 0
    scope.branch_tab.start(here=True)
    assert scope.branched is not None
    assert torch.equal(scope.branched.latents, branch.latents)
    scope.image = 0
    assert torch.equal(scope.mask, masks[0, 0])
    assert cost(scope) == 0
    scope.mask = square().T
    scope.image = 1
    assert torch.equal(scope.mask, square().T), "a mask of one's own stays"
    scope.close()


@pytest.mark.slow
def test_extreme_settings_of_a_run(model: sv.Model) -> None:
    wild = CFG(25.0) + SAG(5.0, threshold=float("inf"), start=0.4)
    trace = sv.trace(model, "a fox", guidance=wild, steps=5, progress=False)
    scope = open_(model, trace, index=4)
    assert scope.guidance == wild
    scale: Any = scope.settings.traits()["cfg_scale"]
    assert scale.max == 25.0
    scope.index = 0  # before SAG begins
    assert "sag" not in scope.step.terms
    assert not scope.notice.value
    scope.close()


@pytest.mark.slow
def test_a_constructor_that_refuses_leaves_nothing_to_close(
    model: sv.Model, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    for refused in (Trace(trace.settings, (), 6), trace):
        with pytest.raises(SagvizError):
            Microscope(model, refused, psi=1.0)
    gc.collect()
    assert not complaints


def test_a_change_is_looked_at_once(scope: Microscope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its decimals: no control sets the trait anew."""
    looks: list[float] = []
    monkeypatch.setattr(scope, "refresh", lambda: looks.append(scope.cfg_scale))
    scope.cfg_scale = 10 / 3
    assert looks == [scope.cfg_scale] == [10 / 3]


def test_errors(scope: Microscope, model: sv.Model, trace: Trace) -> None:
    with pytest.raises(ArgumentError, match="psi"):
        Microscope(model, trace, psi=1.0)
    with pytest.raises(ArgumentError, match="0 to 5"):
        Microscope(model, trace, index=99)
    for name, value in (
        ("index", 6),
        ("image", 2),
        ("threshold", 9.0),
        ("cfg_scale", "x"),
        ("mask", torch.ones(3, 3)),
        ("mask", torch.full((16, 16), 0.5)),
        ("place", (0, 16)),
    ):
        with pytest.raises(ArgumentError):
            setattr(scope, name, value)
    with pytest.raises(TraceError, match="no step"):
        Microscope(model, Trace(trace.settings, (), 6))
    scope.blur_kernel = 4
    assert "odd number" in scope.notice.value
    scope.blur_kernel = 5
    assert not scope.notice.value
    assert scope.step.guidance.get(SAG).blur_kernel == 5


def test_static_face(scope: Microscope) -> None:
    bundle = scope._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    found = re.findall(r"<img[^>]*>", bundle["text/html"])
    assert len(found) >= 11
    assert all('alt="' in each for each in found)
    assert "<script" not in bundle["text/html"]


def test_close_closes_all(model: sv.Model, trace: Trace) -> None:
    scope = Microscope(model, trace)
    inside = list(walk(scope))
    scope.close()
    assert len(inside) > 60
    assert all(each.comm is None for each in inside)


def test_without_anywidget(model: sv.Model, trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "anywidget", None)
    scope = open_(model, trace)
    before = scope.mask_tab.surface.value
    find(scope, "sag-paint-rectangle").click()
    assert "<img" in before
    assert scope.mask_tab.surface.value != before
    scope.close()


def test_every_number_has_a_box_with_unit_and_every_trait_a_help(scope: Microscope) -> None:
    assert all(scope.traits()[name].help for name in Microscope.options())
    for name in ("index", "cfg_scale", "sag_scale", "threshold", "blur_sigma"):
        box = find(scope, f"sag-{name.replace('_', '-')}").children[0]
        assert box.description
        assert box.tooltip


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def find(scope: Microscope, name: str) -> Any:
    """The widget of that class on the page."""
    (found,) = [each for each in walk(scope) if name in getattr(each, "_dom_classes", ())]
    return found


@pytest.mark.slow
def test_place(scope: Microscope, trace: Trace) -> None:
    with counted(scope.model.unet) as rows:
        scope.attention_tab.surface.place = [5, 9]  # as a click does
    assert scope.place == (5, 9)
    assert len(rows) == 1 == cost(scope)
    found = attend(scope.model, trace, scope.index, (5, 9))
    assert found.words is not None
    assert scope.attention_tab.found is not None
    assert torch.equal(scope.attention_tab.found.row, found.row)
    assert [box.value for box in scope.attention_tab.boxes] == [5, 9]
    # of the 8 x 8 grid's cell
    shares = dict(zip(found.names, found.words[0, :, 2, 4].tolist(), strict=True))
    assert f"{shares['fox']:.1%}" in scope.attention_tab.bars.value
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert len(pictures(scope.attention_tab.map)) == 1
    with counted(scope.model.unet) as rows:
        scope.image = 1  # known already
        scope.cfg_scale = 2.0
    assert rows == []
    scope.attention_tab.boxes[0].value = 6
    assert scope.place == (6, 9)
    scope.layer = DOWN_LAYER
    assert scope.attention_tab.found.row.shape[1:] == (16, 16)
    scope.place = ()
    assert "choose a place" in scope.attention_tab.map.value


@pytest.mark.alone
@pytest.mark.slow
def test_latency() -> None:
    """In this process's own time, which a busy machine lengthens less; the benchmark tells the
    rest. On an idle machine the ratio is between 1.5 and 3.
    """
    for found in microscope.measure(40):
        assert np.median(found.own) <= 5 * found.bare, found


def test_only_the_newest_wish_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "has_kernel", lambda: True)
    done: list[int] = []
    waiting = worker.Later()
    for number in range(5):
        waiting.do(partial(done.append, number))
        assert waiting.pending
    time.sleep(3 * worker.PAUSE)
    assert done == [4]
    assert not waiting.pending
    waiting.do(lambda: done.append(5))
    waiting.forget()
    time.sleep(2 * worker.PAUSE)
    assert done == [4]


def test_a_wish_waits_for_the_end_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at once would mix their settings, and the first would pay for the second's U-Net call."""
    monkeypatch.setattr(worker, "has_kernel", lambda: True)
    begun, go_on, done = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        go_on.wait()
        done.append("first")

    waiting = worker.Later()
    waiting.do(first)
    assert begun.wait(10)
    waiting.do(lambda: done.append("superseded"))
    time.sleep(3 * worker.PAUSE)
    waiting.do(lambda: done.append("newest"))
    assert waiting.pending
    time.sleep(3 * worker.PAUSE)
    assert done == []
    go_on.set()
    for _ in range(100):
        if done == ["first", "newest"]:
            break
        time.sleep(0.05)
    assert done == ["first", "newest"]
