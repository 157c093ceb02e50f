"""The player in a browser without a network: it shows what the records hold and makes the guided
prediction anew.
"""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from driver import serious_faults
from playwright.sync_api import Browser, Dialog, Page

import sagviz as sv
from sagviz import CFG, SAG, describe, measure
from sagviz.describe import QUANTITIES
from sagviz.image import MASK_COLOUR, MASK_TINT, from_file, from_png, heat_map, preview, to_webp
from sagviz.player import fragment, page
from sagviz.player.document import SCRIPT
from sagviz.sweeps import sweep
from sagviz.sweeps.layout import cross

EVIL = "</script><script>alert(1)</script> \"quoted\" 'too' <!-- & é"
BOTH = CFG(3.0) + SAG(1.0)


@pytest.fixture(scope="module")
def traces(model: sv.Model) -> tuple[sv.Trace, ...]:
    """CFG, and CFG + SAG."""
    return sv.compare(model, "a fox", steps=5, seed=3, progress=False)


class Reader:
    """A page that is open without a network, and what it complained about."""

    def __init__(
        self,
        browser: Browser,
        file: Path,
        width: int = 1280,
        dark: bool = False,
        player: bool = True,
    ) -> None:
        self.context = browser.new_context(
            offline=True,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        self.page: Page = self.context.new_page()
        self.file = file
        self.faults: list[str] = []
        self.page.on(
            "console",
            lambda message: self.faults.append(message.text) if message.type == "error" else None,
        )
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dismiss)
        self.page.on("request", lambda request: self._note(request.url, file))
        self.page.goto(file.as_uri())
        if player:
            self.page.locator(".sagviz-player").first.wait_for()

    def _dismiss(self, dialog: Dialog) -> None:
        self.faults.append("a dialog")
        dialog.dismiss()

    def _note(self, address: str, file: Path) -> None:
        if address != file.as_uri() and not address.startswith("data:"):
            self.faults.append(f"a request to {address}")

    def text(self, selector: str, number: int = 0) -> str:
        """What stands there, once the words have followed the pictures, which takes a frame of the
        screen.
        """
        self.page.wait_for_function("() => !document.querySelector('.sagviz-player[data-telling]')")
        return self.page.locator(selector).nth(number).inner_text()

    def show(self, *panes: str) -> None:
        """Only these pictures."""
        for box in self.page.locator("[data-pane] input").all():
            name = box.evaluate("box => box.parentElement.dataset.pane")
            box.evaluate("(box, on) => box.checked === on || box.click()", name in panes)

    def pixels(self, pane: str, number: int = 0) -> np.ndarray:
        """(h, w, 3) of a canvas."""
        address = (
            self.page.locator(f".pane.{pane} canvas")
            .nth(number)
            .evaluate("canvas => canvas.toDataURL('image/png')")
        )
        return np.asarray(from_png(b64decode(address.partition(",")[2])).convert("RGB"), dtype=int)

    def go(self, index: int) -> None:
        self._set(".step", index)

    def scale(self, term: str, value: float) -> None:
        self._set(f".knob.{term} input[type=number]", value)

    def _set(self, selector: str, value: float) -> None:
        self.page.locator(selector).first.evaluate(
            "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }",
            value,
        )


Opener = Callable[..., Reader]


@pytest.fixture
def reader(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    """reader(traces, **how): the player of these traces, opened at its first step; a page
    without complaints at the end.
    """
    opened: list[Reader] = []

    def open_(
        traces: Any, index: int | None = 0, model: sv.Model | None = None, **how: Any
    ) -> Reader:
        file = page(traces, tmp_path / f"{len(opened)}.html", index=index, model=model)
        opened.append(Reader(browser, file, **how))
        return opened[-1]

    yield open_
    for one in opened:
        one.context.close()
        assert not one.faults


def test_the_frame_that_answers_a_key_shows_the_step(
    traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    """All pictures are drawn before the key's handler ends: what the benchmark of latency takes for
    granted.
    """
    shown = reader(traces[1])
    shown.page.evaluate("""() => {
            const player = document.querySelector('.sagviz-player');
            const canvases = () => [...player.querySelectorAll('canvas')];
            const drawn = () => canvases().map((canvas) => canvas.toDataURL()).join();
            window.addEventListener('keydown', () => { window.before = drawn(); }, true);
            const compare = () => { window.changed = drawn() !== window.before; };
            player.addEventListener('keydown', compare);
        }""")
    shown.page.focus(".step")
    shown.page.keyboard.press("ArrowRight")
    assert shown.page.evaluate("window.changed")
    now = shown.pixels("x0_hat")
    shown.go(0)
    assert not np.array_equal(shown.pixels("x0_hat"), now)
    shown.go(1)
    assert np.array_equal(shown.pixels("x0_hat"), now)


@pytest.mark.parametrize("kind", ["sd", "v", "sd3", "flux"])
@pytest.mark.filterwarnings("ignore:.*distilled to its guidance")
def test_other_scales_are_recomputed_as_the_equations_say(
    kind: str, families: Callable[[str], Any], request: pytest.FixtureRequest, reader: Opener
) -> None:
    """From the noises at x_t and x̂_t, of networks that predict noise, v or a flow's velocity, by
    eq. 16 and x̂₀ = (xₜ − σ ε̃) / α.
    """
    fixtures = {"sd": "model", "v": "v_model"}
    model = request.getfixturevalue(fixtures[kind]) if kind in fixtures else families(kind).model
    trace = sv.trace(model, "a fox", steps=5, seed=3, guidance=BOTH, progress=False)
    # the random network's own would be almost grey
    channels = trace[0].x_t.shape[1]
    rgb = torch.randn((channels + 1, 3), generator=torch.Generator().manual_seed(0)) / channels**0.5
    trace = replace(trace, latent_rgb=rgb)
    shown = reader(trace)
    for index, step in enumerate(trace):
        if step.alpha < 1e-3:  # pure noise, where ε says nothing of the picture
            continue
        shown.go(index)
        for cfg, sag in ((3.0, 1.0), (0.0, 0.0), (7.5, -0.45), (10.0, 2.0)):
            shown.scale("cfg", cfg)
            shown.scale("sag", sag)
            eps = step.eps_uncond + cfg * (step.eps_cond - step.eps_uncond)
            eps = eps + sag * (step.eps_uncond - step.eps_degraded)
            clean = (step.x_t.double() - step.sigma * eps.double()) / step.alpha
            wanted = np.asarray(preview(clean, rgb)[0], dtype=int)
            assert np.abs(shown.pixels("x0_guided") - wanted).max() <= 1
            assert wanted.std() > 20
    assert shown.text(".formula") == "ε̃ = ε(xₜ) + 10 · ΔCFG + 2 · ΔSAG"
    shown.page.get_by_role("button", name="As it ran").click()
    assert (
        np.abs(
            shown.pixels("x0_guided") - np.asarray(preview(step.x0_guided, rgb)[0], dtype=int)
        ).max()
        <= 1
    )


def test_a_scale_that_cannot_be_is_told(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    """At its field, until the scale is another; the picture stays as it was."""
    shown = reader(traces[1])
    shown.show("x0_guided")
    box, fault = shown.page.locator(".knob.sag input[type=number]"), shown.page.locator(".fault")
    shown.scale("sag", 0.55)  # between the slider's steps
    seen = shown.pixels("x0_guided")
    box.fill("99")
    box.press("Tab")
    assert fault.inner_text() == "SAG scale is 99; give a number from -0.5 to 2."
    assert box.get_attribute("aria-describedby") == fault.get_attribute("id")
    assert np.array_equal(shown.pixels("x0_guided"), seen)
    shown.page.get_by_role("button", name="As it ran").click()
    assert not fault.count()
    assert box.input_value() == "1"
    box.fill("")
    box.press("Tab")
    assert fault.inner_text() == "SAG scale is empty; give a number from -0.5 to 2."
    shown.scale("sag", 1)
    assert not fault.count()


def test_each_picture_is_the_records(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    rgb = torch.randn((5, 3), generator=torch.Generator().manual_seed(0)) / 3
    trace = replace(traces[1], latent_rgb=rgb)
    step = trace[2]
    shown = reader(trace)
    shown.show(*QUANTITIES, "cfg", "sag")
    shown.go(2)
    for name in ("x_t", "x0_hat", "x0_blurred", "x_degraded"):
        assert (
            np.abs(
                shown.pixels(name) - np.asarray(preview(getattr(step, name), rgb)[0], dtype=int)
            ).max()
            <= 1
        ), name
    top = max(float(other.attention.max()) for other in trace)
    assert np.abs(shown.pixels("attention") - heat_map(step.attention[0], 0, top)).max() <= 3
    shown.page.get_by_text("Choose pictures").click()
    shown.page.get_by_label("pushes as sizes").uncheck()
    pushes = {name: shown.pixels(name) - 127.5 for name in ("cfg", "sag", "sum")}
    push = (replace(step, guidance=BOTH).x0_guided - step.x0_hat)[0].permute(1, 2, 0) @ rgb[:-1]
    assert np.abs(pushes["sum"] - 127.5 * push.clamp(-1, 1).numpy()).max() <= 1
    free = np.abs(pushes["sum"]) < 126  # not clipped
    assert np.abs(pushes["sum"] - pushes["cfg"] - pushes["sag"])[free].max() <= 2
    assert np.array_equal(shown.pixels("image"), np.asarray(trace.image))
    inside = step.mask[0, 0].bool().numpy()
    side = 256 // len(inside)
    middle = shown.pixels("mask")[side // 2 :: side, side // 2 :: side]
    clean = shown.pixels("x0_hat")
    assert np.array_equal(middle[~inside], clean[~inside])
    tinted = (1 - MASK_TINT) * clean + MASK_TINT * np.array(MASK_COLOUR)
    assert np.abs(middle - tinted)[inside].max() <= 1
    rim = shown.pixels("mask")[:, side // 2 :: side][::side].astype(int)  # tops of all cells
    below = inside[1:] & ~inside[:-1]
    assert (rim[1:][below] == MASK_COLOUR).all()
    assert not (rim[1:][~below & inside[1:]] == MASK_COLOUR).all(-1).any()


def test_predictions_are_decoded_until_the_scales_move(
    model: sv.Model, traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    """Then the guided one is a latent's preview again."""
    step, shown = traces[1][4], reader(traces[1], index=4, model=model)
    for name in ("x0_hat", "x0_guided"):
        stored = to_webp(model.decode(getattr(step, name))[0], 256)
        wanted = np.asarray(from_file(io.BytesIO(stored)).convert("RGB"), dtype=int)
        assert np.abs(shown.pixels(name) - wanted).mean() < 2
    shown.scale("sag", 0.5)
    assert shown.pixels("x0_guided").shape[:2] == tuple(step.x_t.shape[2:])
    assert shown.pixels("x0_hat").shape == wanted.shape
    shown.page.get_by_role("button", name="As it ran").click()
    assert shown.pixels("x0_guided").shape == wanted.shape


def test_the_margin_marks_the_cells_that_may_flip(
    traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    trace = traces[1]
    shown = reader(trace)
    shown.show("margin")
    for index, step in enumerate(trace):
        shown.go(index)
        centres = shown.pixels("margin")[16::32, 16::32]
        near = (step.attention[0] - 1).abs().numpy() <= describe.NEAR
        assert near.any()
        assert np.array_equal((centres == 0).all(-1), near)
        assert shown.text(".pane.margin .words").endswith(f" of it: {int(near.sum())}")


def test_words_and_numbers_follow_the_step(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    trace = traces[1]
    shown = reader(trace)
    for index, step in enumerate(trace):
        shown.go(index)
        assert shown.text(".caption") == describe.of_step(step, 5)
        assert f"{measure.of_step(step)['cfg']:.2f}" in shown.text(".key")
        place = shown.page.locator(".step").get_attribute("aria-valuetext")
        assert place == f"Step {step.number} of 5"
        line, chart = (
            shown.page.locator(part).first.bounding_box() for part in (".cursor", ".chart svg")
        )
        assert line["x"] == pytest.approx(chart["x"] + chart["width"] * index / 4, abs=1)
        for canvas in shown.page.locator("canvas:visible").all():
            assert re.match(r".+: .+", canvas.get_attribute("aria-label"))


def test_keys_move_play_and_stop(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    shown = reader(traces[1])
    shown.page.locator(".step").focus()
    for key, index in (
        ("ArrowRight", 1),
        ("End", 4),
        ("ArrowRight", 4),
        ("ArrowLeft", 3),
        ("Home", 0),
        ("PageUp", 4),
        ("PageDown", 0),
    ):
        shown.page.keyboard.press(key)
        assert shown.text(".readout") == f"Step {index + 1} of 5", key
    shown.page.keyboard.press("Space")
    assert "Pause" in shown.text(".play")
    shown.page.get_by_text("Step 5 of 5").first.wait_for()
    shown.page.get_by_role("button", name="Play").wait_for()
    place = shown.page.locator(".charts").bounding_box()
    shown.page.mouse.click(place["x"] + place["width"] / 2, place["y"] + 20)
    assert shown.text(".readout") == "Step 3 of 5"


def test_one_scale_of_colours_unless_the_reader_asks(
    traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    shown = reader(traces[1])
    legends = set()
    for index in range(5):
        shown.go(index)
        legends.add(shown.text(".pane.attention .legend"))
    assert len(legends) == 1
    shown.page.get_by_text("Choose pictures").click()
    shown.page.get_by_label("colour scale of this step alone").check()
    low, high = shown.text(".pane.attention .legend").split()
    assert (low, high) == ("0", f"{float(traces[1][4].attention.max()):.1f}")
    plain = shown.pixels("attention").shape
    shown.page.get_by_label("maps over the picture").check()
    assert shown.pixels("attention").shape > plain
    # each term has a scale of its own, whose end stands beside its bar
    own = [float(shown.text(f".pane.{name} .legend").split()[-1]) for name in ("cfg", "sag")]
    assert own[0] != own[1]
    assert all(shown.pixels(name).max() > 200 for name in ("cfg", "sag"))


def test_several_runs_stand_beside_each_other_flip_and_differ(
    traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    shown = reader([*traces, traces[0]])
    first, second = shown.pixels("image", 0), shown.pixels("image", 1)
    assert not np.array_equal(first, second)
    for name in ("attention", "mask", "sag"):
        empty = shown.page.locator(f".pane.{name} .frame").first
        assert empty.get_attribute("data-none") == "none: CFG 3 has no SAG"
    shown.page.locator(".step").focus()
    shown.page.keyboard.press("f")
    for label in ("A: CFG 3", "B: CFG 3 + SAG 1", "C: CFG 3", "A: CFG 3"):
        visible = [
            text
            for text in shown.page.locator(".pane.x0_hat .label:visible").all_inner_texts()
            if text
        ]
        assert visible == [label]
        shown.page.keyboard.press("f")
    shown.page.keyboard.press("d")  # B in front, against A
    pixels = shown.pixels("image", 3)
    apart = np.linalg.norm((first - second) / 127.5, axis=-1).clip(0, 1)
    assert np.abs(pixels - heat_map(torch.tensor(apart), 0, 1, "magma")).max() <= 4
    # the first step is shared
    assert np.abs(shown.pixels("x0_hat", 3) - heat_map(torch.zeros(1, 1), 0, 1, "magma")).max() <= 2
    shown.go(4)
    assert shown.pixels("x0_hat", 3).max() > 10


def test_pushes_differ_by_all_that_they_are_apart(model: sv.Model, reader: Opener) -> None:
    """Beyond what a screen can show of each, on the scale of their sizes."""
    rgb = torch.randn((5, 3), generator=torch.Generator().manual_seed(0))
    runs = [
        replace(
            sv.trace(model, "a fox", steps=3, seed=3, guidance=CFG(scale), progress=False),
            latent_rgb=rgb,
        )
        for scale in (6.0, 16.0)
    ]
    shown = reader(runs)
    shown.page.get_by_label("difference (D)").check()
    pushes = [scale * run[0].pushes["cfg"][0] for scale, run in zip((6, 16), runs, strict=True)]
    colours = [torch.einsum("chw,ck->khw", push, rgb[:-1]) for push in pushes]
    assert min(float(colour.abs().max()) for colour in colours) > 1  # more than a screen has
    apart = torch.linalg.vector_norm(colours[0] - colours[1], dim=0)
    for pane in ("cfg", "sum"):
        shown.show(pane)
        low, _, end = shown.text(f".pane.{pane} .legend").split()
        assert low == "0"
        assert float(end) > 1
        wanted = heat_map(apart, 0, float(end), "magma")
        assert np.abs(shown.pixels(pane, 2) - wanted).max() <= 12  # the legend's end is rounded


def test_pictures_of_other_shapes_have_no_difference(model: sv.Model, reader: Opener) -> None:
    """Though they have as many cells."""
    runs = [
        sv.trace(model, "a fox", steps=1, seed=3, size=size, progress=False)
        for size in ((64, 128), (128, 64))
    ]
    shown = reader(runs)
    shown.page.get_by_label("difference (D)").check()
    for pane in ("x0_hat", "image"):
        shown.show(pane)
        frame = shown.page.locator(f".pane.{pane} .frame:visible")
        assert frame.get_attribute("data-none") == "none at this step"


def test_any_pair_of_runs_is_compared(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    """Of three, pictures are large enough on a page as wide as a notebook's cell."""
    shown = reader([*traces, traces[0]], width=768)
    widths = shown.page.locator("canvas:visible").evaluate_all("all => all.map(c => c.clientWidth)")
    assert min(widths) >= 100
    pair = [
        shown.page.get_by_label(f"{name} run of the difference") for name in ("First", "Second")
    ]
    for first, second in ((0, 1), (2, 1), (0, 2)):
        pair[0].select_option(str(first))
        pair[1].select_option(str(second))
        shown.text(".caption")  # once it is told
        apart = shown.page.locator(".pane.image canvas:visible").get_attribute("aria-label")
        for run in (first, second):
            assert f"{'ABC'[run]}: CFG 3" in (apart or "")
        same = traces[first % 2] is traces[second % 2]
        assert bool(shown.pixels("image", 3).max() < 10) == same
    pair[0].select_option("2")  # the two change places
    assert [menu.input_value() for menu in pair] == ["2", "0"]


def test_a_link_restores_the_view(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    """What the reader chose goes to the address when the hand rests, and an address that is opened
    is shown; what no player can show is passed over.
    """
    shown = reader([*traces])
    first = shown.page.url
    shown.go(3)
    shown.show("x0_hat", "mask")
    shown.scale("sag", 0.25)
    shown.page.get_by_label("flip (F)").check()
    shown.page.wait_for_function("() => location.hash.includes('flip')")
    link = shown.page.url
    assert link.startswith(f"{first}#step=4&panes=x0_hat,mask&scales=cfg:3;cfg:3,sag:0.25")
    seen = shown.pixels("x0_hat")
    shown.page.goto("about:blank")
    shown.page.goto(link)
    shown.page.locator(".sagviz-player").wait_for()
    assert shown.text(".readout") == "Step 4 of 5"
    assert shown.page.locator("figure:visible").count() == 2
    assert shown.page.locator(".knob.sag input[type=number]").last.input_value() == "0.25"
    assert shown.page.get_by_label("flip (F)").is_checked()
    assert np.array_equal(shown.pixels("x0_hat"), seen)
    shown.page.evaluate("location.hash = 'step=2&panes=x_t,no&scales=cfg:NaN;sag:99&view=up'")
    shown.page.wait_for_function(
        "() => document.querySelectorAll('figure:not([hidden])').length == 1"
    )
    assert shown.text(".readout") == "Step 2 of 5"
    boxes = shown.page.locator(".knob input[type=number]")
    assert [box.input_value() for box in boxes.all()] == ["3", "3", "2"]


@pytest.mark.parametrize("mangled", ["panes=%", "panes=x_t%25,mask", "scales=%25:3;cfg:%", "%&%25"])
def test_a_mangled_link_opens_the_player(
    traces: tuple[sv.Trace, ...], reader: Opener, mangled: str
) -> None:
    """What of it can be read is shown."""
    shown = reader(traces[1])
    shown.page.goto("about:blank")
    shown.page.goto(f"{shown.file.as_uri()}#{mangled}&step=2")
    shown.page.locator(".sagviz-player").wait_for()
    assert shown.text(".readout") == "Step 2 of 5"
    assert shown.page.locator(".pane.mask").is_visible() == (not mangled.startswith("panes=%"))
    assert shown.page.locator(".knob.cfg input[type=number]").input_value() == "3"


def test_it_prints_as_a_story(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    """On paper the run stands in pictures and sentences below the step, and its settings."""
    shown = reader(traces[1], width=718)  # A4 between its margins
    story = shown.page.locator(".story img")
    assert not story.first.is_visible()
    shown.page.emulate_media(media="print")
    shown.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert story.count() == 6
    assert all(picture.is_visible() for picture in story.all())
    assert shown.page.get_by_role("cell", name="5, DDIMScheduler").is_visible()
    assert not shown.page.locator(".choices").is_visible()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 718


def test_a_term_lights_up_wherever_it_stands(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    """Its slider, its part of the formula, its picture, its curve; by pointer and by keyboard."""
    shown = reader(traces[1])
    lit = shown.page.locator(".lit")
    shown.page.locator(".pane.sag canvas").first.hover()
    kinds = lit.evaluate_all("all => all.map((node) => [node.dataset.term, node.tagName])")
    assert {term for term, _ in kinds} == {"sag"}
    assert sorted(tag.lower() for _, tag in kinds) == ["div", "figure", "path", "span", "span"]
    shown.page.mouse.move(1, 1)
    assert not lit.count()
    shown.page.locator(".knob.cfg input[type=range]").focus()
    assert lit.count() == 5
    assert lit.first.get_attribute("data-term") == "cfg"


def test_words_that_differ_stand_by_run(
    model: sv.Model, traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    """What is said of one run's picture is not said of another's."""
    guidance = CFG(3.0) + SAG(1.0, threshold=1.2)
    other = sv.trace(model, "a fox", steps=5, seed=3, guidance=guidance, progress=False)
    shown = reader([*traces, other, traces[1]])
    shown.go(2)
    shares = [describe.of_panes(run[2])["mask"] for run in (traces[1], other)]
    assert shares[0] != shares[1]
    assert shown.text(".pane.mask .words") == f"B, D: {shares[0]}\nC: {shares[1]}"
    assert shown.text(".pane.x0_hat .words") == describe.of_panes(other[2])["x0_hat"]
    shown.page.get_by_label("flip (F)").check()
    shown.page.get_by_role("button", name="Shown: A").click()
    assert shown.text(".pane.mask .words") == shares[0]


def test_numbers_are_rounded_before_they_are_written(model: sv.Model, reader: Opener) -> None:
    """Six digits of a scale, as Python writes it, and no sign before what is 0.00."""
    guidance = CFG(0.1 + 0.2) + SAG(-0.1 - 0.2)
    shown = reader(sv.trace(model, "a fox", steps=2, guidance=guidance, progress=False))
    assert shown.text(".formula") == "ε̃ = ε(xₜ) + 0.3 · ΔCFG + (−0.3) · ΔSAG"
    boxes = shown.page.locator(".knob input[type=number]").all()
    assert [box.input_value() for box in boxes] == ["0.3", "-0.3"]
    page = shown.context.new_page()
    page.add_script_tag(content=f"{SCRIPT}; window.rounded = rounded;", type="module")
    page.wait_for_function("() => window.rounded")  # a module runs when it likes
    written = [page.evaluate(f"rounded({number})") for number in (-0.004, -0.0, -0.006, 0.004)]
    assert written == ["0.00", "0.00", "-0.01", "0.00"]


@pytest.mark.parametrize(
    ("width", "order"),
    [
        (1280, ["bar", "what-if", "stage", "choices", "settings"]),
        (640, ["bar", "stage", "what-if", "choices", "settings"]),
        (390, ["stage", "bar", "what-if", "choices", "settings"]),
    ],
)
def test_tab_goes_the_way_of_the_eye(
    traces: tuple[sv.Trace, ...], reader: Opener, width: int, order: list[str]
) -> None:
    """On pages of any width, and when the width changes, where the focus stays."""
    shown = reader(list(traces), width=900)
    slider = shown.page.locator(".knob.sag input[type=range]")
    slider.focus()
    shown.page.set_viewport_size({"width": width, "height": 900})
    parts = "[...document.querySelector('.sagviz-player').children]"
    wanted = json.dumps(order)
    shown.page.wait_for_function(
        f"() => {wanted}.every((name, i) => {parts}[i].classList.contains(name))"
    )
    assert slider.evaluate("it => it === document.activeElement")
    tops = shown.page.evaluate(f"{parts}.map((part) => part.getBoundingClientRect().top)")
    assert tops == sorted(tops)
    shown.page.locator(".sagviz-player").focus()
    found = []
    for _ in range(30):
        shown.page.keyboard.press("Tab")
        found.append(
            shown.page.evaluate("document.activeElement.closest('.sagviz-player > *')?.className")
        )
    assert list(dict.fromkeys(filter(None, found))) == order


def test_runs_of_different_lengths_keep_step(
    model: sv.Model, traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    short = sv.trace(model, "a fox", steps=2, seed=3, progress=False)
    shown = reader([short, traces[1]])
    first = "Step 1, the first of 2"
    for index, words in ((0, first), (1, first), (4, "Step 2, the last of 2")):
        shown.go(index)
        assert words in shown.text(".caption")


def test_kept_steps_stand_where_they_were(
    model: sv.Model, traces: tuple[sv.Trace, ...], reader: Opener
) -> None:
    """Of a run that was stopped, and of one that keeps some steps only, beside a whole one and
    alone: pictures, curves, the cursor and the slider's thumb.
    """
    stopped = replace(traces[1], pictures=(), steps=traces[1].steps[:3])
    some = replace(traces[1], steps=(*traces[1].steps[:2], traces[1].steps[4]))
    more = sv.trace(model, "a fox", steps=20, seed=3, guidance=BOTH, progress=False)
    early = replace(more, pictures=(), steps=more.steps[:8])
    shown = reader([stopped, some, early, traces[1]])
    for index, wanted in ((1, (2, 2, 6, 2)), (2, (3, 2, 8, 3)), (4, (3, 5, 8, 5))):
        shown.go(index)
        captions = [shown.text(".caption", number) for number in range(4)]
        found = [int(re.search(r"Step (\d+)", words)[1]) for words in captions]
        assert tuple(found) == wanted
        whole = traces[1][index]
        assert shown.text(".readout") == f"Step {index + 1} of 5"
        assert shown.text(".times") == f"t = {round(whole.t)}, σ = {whole.sigma:.2f}"
    drawn = "all => all.map(line => [...line.getAttribute('d').matchAll(/[ML]([\\d.]+)/g)].at(-1))"
    ends = shown.page.locator("path.coverage").evaluate_all(drawn)
    assert [float(end[1]) for end in ends] == [500, 1000, 368.4, 1000]
    for trace, steps in ((stopped, (1, 3)), (some, (1, 2, 5))):
        shown = reader(trace)
        for step in steps:
            shown.page.locator(".step").focus()
            assert shown.text(".readout") == f"Step {step} of 5"
            line, chart = (
                shown.page.locator(part).first.bounding_box() for part in (".cursor", ".chart svg")
            )
            share = (step - 1) / 4
            assert line["x"] == pytest.approx(chart["x"] + chart["width"] * share, abs=1)
            assert shown.page.locator(".step").evaluate("it => it.value / it.max") == share
            shown.page.keyboard.press("ArrowRight" if trace is some else "End")
    place = shown.page.locator(".charts").bounding_box()
    shown.page.mouse.click(place["x"] + 0.4 * place["width"], place["y"] + 20)
    assert shown.text(".readout") == "Step 2 of 5"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_it_is_accessible_and_fits(
    traces: tuple[sv.Trace, ...], reader: Opener, width: int, dark: bool
) -> None:
    shown = reader(list(traces), width=width, dark=dark)
    shown.page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    assert serious_faults(shown.page, "body") == []
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    ground = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) is dark
    assert all(
        canvas.bounding_box()["width"] >= 70
        for canvas in shown.page.locator("canvas:visible").all()
    )
    if width < 600:  # a phone: a picture is whole above the bar
        picture, bar = (
            shown.page.locator(name).first.bounding_box() for name in ("canvas", ".control")
        )
        assert picture is not None
        assert bar is not None
        assert 0 < picture["y"] < picture["y"] + picture["height"] < bar["y"]
    shown.page.locator(".step").focus()
    shown.page.keyboard.press("End")
    assert shown.page.locator(".step").is_visible()


def test_evil_words_are_shown_as_words(traces: tuple[sv.Trace, ...], reader: Opener) -> None:
    settings = replace(traces[1].settings, prompt=EVIL, negative_prompt=EVIL, model=EVIL)
    shown = reader(replace(traces[1], settings=settings))
    assert EVIL in shown.text("h1")
    shown.page.get_by_text("Settings and keys").click()
    assert shown.page.get_by_role("cell", name=EVIL).count() == 3


def test_fragments_live_side_by_side(
    traces: tuple[sv.Trace, ...], browser: Browser, tmp_path: Path
) -> None:
    both = [traces[1]._repr_html_(), fragment(list(traces)), fragment(list(traces))]
    assert "<html" not in both[0]
    assert ' id="' not in both[0]
    file = tmp_path / "both.html"
    file.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">{"".join(both)}',
        encoding="utf-8",
    )
    shown = Reader(browser, file)
    players = shown.page.locator(".sagviz-player")
    players.nth(2).wait_for()
    assert players.count() == 3
    players.nth(1).get_by_label("difference (D)").check()
    players.nth(2).get_by_label("flip (F)").check()
    assert players.nth(1).get_by_label("difference (D)").is_checked()
    players.nth(2).locator(".step").focus()
    shown.page.keyboard.press("Home")
    assert [shown.text(".readout", number) for number in range(3)] == [
        "Step 3 of 5",
        "Step 3 of 5",
        "Step 1 of 5",
    ]
    assert not shown.faults
    shown.context.close()


@pytest.mark.parametrize("kind", ["page", "fragments", "sweep"])
def test_a_copy_that_the_browser_saves_starts_again(
    traces: tuple[sv.Trace, ...], model: sv.Model, kind: str, browser: Browser, tmp_path: Path
) -> None:
    """Saved is the document as it stands: with the players' parts, whose canvases are empty."""
    file = tmp_path / "first.html"
    if kind == "page":
        page(traces[1], file)
    elif kind == "fragments":
        both = f"{fragment(traces[1])}{fragment(list(traces))}"
        icon = '<link rel="icon" href="data:,">'
        file.write_text(f'<!DOCTYPE html><meta charset="utf-8">{icon}{both}', encoding="utf-8")
    else:
        made = sweep(model, "a fox", seeds=[1], steps=3, guidance=BOTH, keep=None, progress=False)
        made.to_html(file)
    copies, count = [Reader(browser, file, player=False)], 1 + (kind == "fragments")
    if kind == "sweep":
        copies[0].page.locator(".sagviz-grid button").click()
    for number in range(2):  # and a copy of the copy
        shown = copies[-1]
        shown.page.locator(".sagviz-player").nth(count - 1).wait_for()
        again = tmp_path / f"{number}.html"
        again.write_text(shown.page.content(), encoding="utf-8")
        copies.append(Reader(browser, again, player=False))
    first, last = copies[0], copies[-1]
    last.page.wait_for_function(f"""() => {{
        const shown = [...document.querySelectorAll('.x0_hat .frame:not([hidden]) canvas')];
        const drawn = (it) => it.getContext('2d').getImageData(0, 0, 1, 1).data[3] > 0;
        return shown.length >= {count} && shown.every(drawn);
    }}""")
    for selector in (".sagviz-player", ".story", ".story img", "canvas"):
        assert last.page.locator(selector).count() == first.page.locator(selector).count(), selector
    assert last.page.locator(".story img").count() == {"page": 6, "fragments": 18, "sweep": 0}[kind]
    last.page.locator(".step").last.focus()
    last.page.keyboard.press("Home")
    last.page.keyboard.press("ArrowRight")
    assert last.text(".readout", -1).startswith("Step 2 of ")
    for one in copies:  # whose policy refuses the styles that scripts had set in the old parts
        assert [fault for fault in one.faults if "inline style" not in fault] == []
        one.context.close()


@pytest.mark.parametrize(
    "what", ["interrupted", "unguided", "infinite threshold", "no mask at some steps", "one step"]
)
def test_unusual_traces_open(
    model: sv.Model, traces: tuple[sv.Trace, ...], what: str, reader: Opener
) -> None:
    changed = {
        "interrupted": lambda: replace(
            traces[1], pictures=(), latent_rgb=None, steps=traces[1].steps[:3]
        ),
        "unguided": lambda: sv.trace(model, "", steps=2, progress=False),
        "infinite threshold": lambda: sv.trace(
            model, "", steps=2, guidance=SAG(1, threshold=float("inf")), progress=False
        ),
        "no mask at some steps": lambda: sv.trace(
            model, "", steps=4, guidance=CFG(3) + SAG(1, stop=0.5), progress=False
        ),
        "one step": lambda: sv.trace(model, "", steps=4, keep=[2], progress=False),
    }
    trace = changed[what]()
    shown = reader(trace, index=None)
    assert shown.text(".readout").startswith(f"Step {trace[len(trace) // 2].number} of ")
    shown.show(*QUANTITIES, *(term.name for term in trace.settings.guidance.terms))
    for index, step in enumerate(trace):
        shown.go(index)
        assert shown.text(".caption") == describe.of_step(step, trace.evaluations)


def test_a_sweep_is_a_grid_whose_pictures_open_their_player(
    model: sv.Model, browser: Browser, tmp_path: Path
) -> None:
    made = sweep(
        model, EVIL, seeds=[1, 2], steps=3, guidance=[CFG(3.0), BOTH], keep=None, progress=False
    )
    file = made.to_html(tmp_path / "sweep.html", columns="seed")
    shown = Reader(browser, file, player=False)
    assert [head.inner_text() for head in shown.page.locator("th[scope=col]").all()] == [
        "seed 1",
        "seed 2",
    ]
    assert shown.page.locator("th[scope=row]").all_inner_texts() == ["no SAG", "SAG scale 1"]
    buttons = shown.page.locator(".sagviz-grid button")
    crossing = cross(made)
    captions = [crossing.words(cell) for cell in made.cells]
    for number, caption in ((0, captions[0]), (3, captions[3])):
        buttons.nth(number).click()
        shown.page.get_by_role("heading", name=caption, exact=True).wait_for()
        assert buttons.nth(number).get_attribute("aria-pressed") == "true"
    trace = made.trace(seed=2, guidance=BOTH)
    shown.page.locator(".pane.mask canvas").first.wait_for()
    shown.go(2)
    assert shown.text(".caption") == describe.of_step(trace[2], 3)
    assert serious_faults(shown.page, "body") == []
    assert not shown.faults
    shown.context.close()
