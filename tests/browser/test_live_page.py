"""The live page in a browser without a network: one file, opened once, used as a reader would."""

from __future__ import annotations

import json
import math
import re
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driver import serious_faults
from playwright.sync_api import Browser, BrowserContext, Page

import sagviz as sv
from sagviz import CFG, SAG, describe, measure
from sagviz.checks import MAX_SEED
from sagviz.guidance import Guidance
from sagviz.image import from_png, preview
from sagviz.player.live import page as live
from sagviz.player.pack import pack

STEPS = 4
EVIL = "fox </p><img src=x onerror=alert(1)> zzz"
WATCH = """
    window.seen = [];
    const note = (what) => {
        if (window.seen.every(([known]) => known !== what)) window.seen.push([what, Date.now()]);
    };
    new MutationObserver(() => {
        if (document.querySelector('.sagviz-player .pane.x0_hat canvas')) note('run');
        if (/^Ready/.test(document.querySelector('.status')?.textContent ?? '')) note('ready');
    }).observe(document, { childList: true, subtree: true, characterData: true });
"""


class Reader:
    """The page, open without a network, and what it complained about."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(120_000)
        self.faults: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda said: self._note(said.text if said.type == "error" else ""))
        self.page.on("request", lambda asked: self._note(self._outside(asked.url, address)))
        self.page.add_init_script(WATCH)
        self.page.goto(address)

    def _note(self, fault: str) -> None:
        if fault:
            self.faults.append(fault)

    @staticmethod
    def _outside(asked: str, address: str) -> str:
        file = address.partition("#")[0]
        return "" if asked.startswith((file, "data:", "blob:")) else f"a request to {asked}"

    def until(self, words: str) -> str:
        """Wait for the status; all of it."""
        self.page.locator(".status", has_text=re.compile(words)).wait_for()
        return self.text(".status")

    def text(self, selector: str) -> str:
        self.page.wait_for_function("() => !document.querySelector('.sagviz-player[data-telling]')")
        return self.page.locator(selector).last.inner_text()

    def fill(self, **fields: Any) -> None:
        for name, value in fields.items():
            self.set(f"[name={name}]", value)

    def set(self, selector: str, value: Any) -> None:
        """Type into a field, or move a slider, wherever it is folded away."""
        self.page.locator(selector).last.evaluate(
            """(input, value) => {
                if (input.type === 'checkbox') input.checked = value;
                else input.value = value;
                input.dispatchEvent(new Event('input', { bubbles: true }));
            }""",
            value,
        )

    def run(self, **fields: Any) -> None:
        """Press Reset, fill in, press Enter, wait for the end."""
        self.page.locator(".reset").click()
        self.fill(**{"steps": STEPS, **fields})
        self.page.locator("[name=prompt]").press("Enter")
        self.until("^Done")

    def go(self, step: int) -> None:
        self.set(".step", step - 1)

    def pixels(self, selector: str) -> np.ndarray:
        address = self.page.locator(selector).last.evaluate("it => it.toDataURL('image/png')")
        return np.asarray(from_png(b64decode(address.partition(",")[2])).convert("RGB"), dtype=int)


def canvas(pane: str) -> str:
    """Of the last run; behind it stands the one for the difference."""
    return f".pane.{pane} .frame:nth-last-child(2) canvas"


@pytest.fixture(scope="module")
def file(live_file: Path) -> Path:
    return live_file


@pytest.fixture(scope="module")
def offline(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(
        offline=True, viewport={"width": 1280, "height": 900}, accept_downloads=True
    )
    yield context
    context.close()


@pytest.fixture(scope="module")
def shown(file: Path, offline: BrowserContext) -> Iterator[Reader]:
    """The page, for all tests of this file; without complaints at the end."""
    reader = Reader(offline, file.as_uri())
    yield reader
    assert not reader.faults


def record(step: sv.Step) -> dict[str, Any]:
    """A step as the engine tells it, with lists for arrays."""
    names = "x_t eps_uncond eps_cond attention mask x0_hat x0_blurred x_degraded".split()
    found = {name: getattr(step, name) for name in names}
    sag = step.guidance.get(SAG)
    by_hand = sag is None or step.hand_mask is not None
    return {
        **{
            name: None if value is None else value.flatten().tolist()
            for name, value in found.items()
        },
        "terms": {name: push.flatten().tolist() for name, push in step.pushes.items()},
        "grid": list(step.attention.shape[1:]),
        "threshold": None if by_hand else sag.threshold,
        **{name: getattr(step, name) for name in ("index", "t", "alpha", "sigma")},
    }


AS_STEP = """({ record, settings, known }) => {
    const typed = (it) => Array.isArray(it) ? Float32Array.from(it) : it;
    const pairs = (of) => Object.entries(of).map(([name, it]) => [name, typed(it)]);
    const each = (of) => Object.fromEntries(pairs(of));
    const step = stepOf({ ...each(record), terms: each(record.terms) }, settings, known);
    const { caption, words, measures, at } = step;
    const { x0_hat, x_degraded } = at;
    const planes = { x0_hat: [...x0_hat.values], degraded: [...x_degraded.values] };
    return { caption, words, measures, ...planes };
}"""


@pytest.mark.parametrize(
    ("prompt", "steps", "guidance"),
    [
        ("a fox", 3, CFG(3.0) + SAG(1.0)),
        ("a fox", 3, CFG(0.0) + SAG(-0.5, 1.3, 2.0)),
        ("a fox", 3, CFG(7.0) + SAG(0.0, mask_source="random")),
        ("a fox", 3, CFG(3.0) + SAG(1.0, threshold=99.0)),
        ("a fox", 1, CFG(3.0) + SAG(1.0)),
        ("", 3, CFG(3.0) + SAG(1.0)),
    ],
)
def test_a_step_is_told_as_python_tells_it(
    model: sv.Model, offline: BrowserContext, prompt: str, steps: int, guidance: Guidance
) -> None:
    """Captions, words below the pictures, measures and colours; a hand-made mask, too."""
    trace = sv.trace(model, prompt, steps=steps, guidance=guidance, progress=False)
    by_hand = sv.what_if(model, trace, steps // 2, mask=trace[steps // 2].attention[0] < 1)
    page, cfg, sag = offline.new_page(), guidance.get(CFG), guidance.get(SAG)
    assert cfg is not None
    assert sag is not None
    page.add_script_tag(content=live.script())
    known = {
        "latent": list(trace[0].x_t.shape[1:]),
        "latent_rgb": trace.latent_rgb.tolist(),
        "words": live.words(pack([trace], 10**6)),
    }
    for step in (*trace, by_hand):
        settings = {"cfg": cfg.scale, "sag": sag.scale, "psi": sag.threshold, "steps": steps}
        settings |= {"sigma": sag.blur_sigma, "mask": sag.mask_source}
        asked = {"record": record(step), "settings": settings, "known": known}
        told = page.evaluate(AS_STEP, json.loads(json.dumps(asked)))
        assert told["caption"] == describe.of_step(step, steps)
        assert told["words"] == describe.of_panes(step)
        if step.mask is not None and not step.mask.any():
            assert "SAG's push is 0 here: it adds nothing." in told["caption"]
        numbers = measure.of_step(step)
        # there is no direction of what is only rounding
        assert ("cosine" in told["measures"]) is math.isfinite(numbers["cosine"])
        for name, value in told["measures"].items():
            assert value == pytest.approx(numbers[name], abs=1e-4)
        for name, latents in (("x0_hat", step.x0_hat), ("degraded", step.x_degraded)):
            colours = np.reshape(told[name], (3, *latents.shape[2:])).clip(-1, 1)
            wanted = np.asarray(preview(latents, trace.latent_rgb)[0], dtype=float)
            assert np.abs(127.5 * (colours.transpose(1, 2, 0) + 1) - wanted).max() <= 0.51
    page.close()


def test_a_recorded_run_is_there_before_the_model(file: Path, shown: Reader) -> None:
    assert file.stat().st_size <= 35_000_000
    assert shown.text(".run-title") == "Recorded run: no prompt, seed 26"
    assert shown.page.locator(".finished figcaption").all_inner_texts() == ["plain", "SAG 1"]
    shown.until("^Ready")
    assert [what for what, _ in shown.page.evaluate("window.seen")] == ["run", "ready"]
    assert shown.page.locator(".sagviz-file").count() == 0  # megabytes of text, not needed any more


def test_the_recorded_run_is_no_run_of_the_form(shown: Reader) -> None:
    """It says so, and the form takes its settings where one asks for it."""
    fields = {
        name: shown.page.locator(f"[name={name}]") for name in ("prompt", "seed", "steps", "sigma")
    }
    usual = [str(live.DEFAULTS[name]) for name in fields]
    assert [field.input_value() for field in fields.values()] == [*usual[:3], "1"]
    assert "the form above is set for another run" in shown.text(".about-recorded")
    assert shown.page.get_by_label("Blur σ at this step as a number").input_value() == "3"
    shown.page.get_by_role("button", name="Set the form for this one").click()
    assert [field.input_value() for field in fields.values()] == ["", "26", "20", "3"]
    assert shown.page.locator("[name=beside]").is_checked()
    assert shown.page.locator(".run").evaluate("it => it === document.activeElement")
    with shown.page.expect_download() as saved:
        shown.page.get_by_role("button", name="Save settings").click()
    assert saved.value.suggested_filename == "no-prompt-seed26.json"
    runs = json.loads(Path(saved.value.path()).read_text())["runs"]
    assert [run["guidance"] for run in runs] == ["None", "SAG(1, blur_sigma=3)"]


def test_enter_runs_what_is_typed(shown: Reader) -> None:
    shown.run(prompt="a penguin on a yellow background", seed=11, cfg=4)
    assert shown.text(".run-title") == "Your run: “a penguin on a yellow background”, seed 11"
    assert shown.text(".readout") == f"Step {STEPS} of {STEPS}"
    assert shown.text(".formula") == "ε̃ = ε(xₜ) + 4 · ΔCFG + 1 · ΔSAG"
    assert "prompt=a+penguin+on+a+yellow+background&seed=11&steps=4&cfg=4" in shown.page.url
    assert np.array_equal(shown.pixels(".finished canvas"), shown.pixels(canvas("image")))
    assert not shown.page.locator(".about-recorded").is_visible()
    assert shown.page.locator(".pane.cfg").is_visible()  # which the recorded run had not
    charts = shown.page.locator(".chart .key").all_inner_texts()
    assert [chart.split(" ")[0] for chart in charts] == ["CFG's", "cosine", "cells"]


def test_seeds_arrive_digit_by_digit(shown: Reader) -> None:
    """Those of Python to the last one; from the form, from an address, into a file."""
    shown.run(prompt="", seed=str(MAX_SEED), steps=1)
    assert shown.text(".run-title") == f"Your run: no prompt, seed {MAX_SEED}"
    guidance = CFG(3.0) + SAG(1.0)
    trace = sv.trace(sv.load(), seed=MAX_SEED, steps=1, guidance=guidance, progress=False)
    assert np.abs(shown.pixels(".finished canvas") - np.asarray(trace.image, dtype=int)).max() <= 2
    with shown.page.expect_download() as saved:
        shown.page.get_by_role("button", name="Save settings").click()
    (run,) = json.loads(Path(saved.value.path()).read_text())["runs"]
    assert run["seed"] == MAX_SEED
    shown.page.evaluate("location.hash = 'prompt=&steps=1&seed=9007199254740993'")
    shown.page.get_by_text("Your run: no prompt, seed 9007199254740993").wait_for()
    shown.until("^Done")
    assert "seed=9007199254740993" in shown.page.url
    shown.page.evaluate("location.hash = 'prompt=&steps=1&seed=1e3'")
    sentence = f"Seed is 1e3; give a whole number from 0 to {MAX_SEED}."
    assert fault(shown, "seed", sentence) == sentence


def fault(shown: Reader, name: str, sentence: str) -> str:
    """What stands at a field, which has the focus, as a screen reader has it."""
    field = shown.page.locator(f"[name={name}]")
    shown.page.locator(".fault", has_text=sentence).wait_for()
    assert field.get_attribute("aria-invalid") == "true"
    assert field.evaluate("it => it === document.activeElement && it.checkVisibility()")
    return shown.page.locator(f"#{field.get_attribute('aria-describedby')}").inner_text()


def test_unknown_words_are_named(shown: Reader) -> None:
    shown.run(prompt=EVIL)
    notice = shown.text(".notice")
    assert "was not taught" in notice
    assert "“zzz”" in notice
    assert "“fox”" not in notice
    assert EVIL in shown.text(".run-title")  # words, not HTML
    shown.run()
    assert not shown.page.locator(".notice").is_visible()


def test_what_cannot_be_run_is_said(shown: Reader) -> None:
    title = shown.text(".run-title")
    shown.fill(cfg=99)
    shown.page.locator(".run").click()
    assert shown.text(".status") == "CFG scale is 99; give a number from 0 to 10."
    assert shown.text(".run-title") == title
    assert fault(shown, "cfg", "CFG scale") == shown.text(".status")
    shown.set("[name=cfg]", 9)
    assert shown.page.locator(".fault, [aria-invalid]").count() == 0
    shown.fill(seed="seven", sigma="")  # one of them folded away
    shown.page.locator(".run").click()
    assert fault(shown, "seed", "Seed is seven").startswith("Seed is seven; give a whole number")
    assert shown.page.locator(".fault").count() == 2
    shown.fill(seed=7)
    shown.page.locator(".run").click()
    sentence = "Blur σ is empty; give a number from 0 to 3."
    assert fault(shown, "sigma", "Blur") == sentence
    shown.page.locator(".reset").click()
    assert shown.page.locator(".fault, [aria-invalid]").count() == 0


def test_examples_and_words_fill_the_prompt(shown: Reader) -> None:
    field = shown.page.locator("[name=prompt]")
    shown.page.get_by_role("button", name="a rocket on a black background").click()
    assert (field.input_value(), shown.page.locator("[name=cfg]").input_value()) == (
        "a rocket on a black background",
        "5",
    )
    shown.page.get_by_text("Words that this model knows").click()
    shown.page.get_by_role("button", name="tiny", exact=True).click()
    assert field.input_value() == "a rocket on a black background tiny"
    shown.page.get_by_text("Words that this model knows").click()


def test_cancel_keeps_the_steps_that_there_are(shown: Reader) -> None:
    shown.fill(steps=100)
    shown.page.locator(".run").click()
    shown.until(r"^Step \d+ of 100, about \d+ s left")
    shown.page.locator(".cancel").click()
    shown.until("^Cancelled")
    assert shown.page.locator(".run").evaluate("it => it === document.activeElement")
    assert re.fullmatch(r"Step \d+ of 100", shown.text(".readout"))
    shown.page.keyboard.press("Enter")  # starts another one
    shown.until(r"^Step \d+ of 100")
    shown.page.locator(".cancel").click()
    shown.until("^Cancelled")


def test_after_cancel_steps_stand_where_they_were(shown: Reader) -> None:
    """Thumb, cursor and curves, and the step beside one of a run that came further."""
    shown.page.locator(".reset").click()
    shown.fill(steps=100)
    shown.page.locator(".run").click()
    shown.until(r"^Step \d+ of 100")
    shown.page.locator(".cancel").click()
    shown.until("^Cancelled")
    last = int(re.search(r"\d+", shown.text(".readout"))[0])
    drawn = "it => Number([...it.getAttribute('d').matchAll(/[ML]([\\d.]+)/g)].at(-1)[1])"
    end = shown.page.locator("path.coverage").evaluate(drawn)
    assert end == pytest.approx(1000 * (last - 1) / 99, abs=0.06)
    assert shown.page.locator(".step").evaluate("it => [it.value, it.max]") == [f"{last - 1}", "99"]
    cursor, chart = (
        shown.page.locator(part).first.bounding_box() for part in (".cursor", ".chart svg")
    )
    assert cursor is not None
    assert chart is not None
    assert cursor["x"] == pytest.approx(chart["x"] + chart["width"] * (last - 1) / 99, abs=1)
    shown.page.get_by_role("button", name="Go on from here").click()
    further = f"() => parseInt(document.querySelector('.status').innerText.slice(5)) >= {last + 3}"
    shown.page.wait_for_function(further)
    shown.page.locator(".cancel").click()
    shown.until("^Cancelled")
    for step in (1, last):
        shown.go(step)
        assert shown.text(".readout") == f"Step {step} of 100"
        told = shown.page.locator(".caption").all_inner_texts()
        assert [re.search(r"Step (\d+)", words)[1] for words in told] == [str(step)] * 2
    shown.page.locator(".step").press("End")
    assert int(re.search(r"\d+", shown.text(".readout"))[0]) >= last + 3


def test_a_scale_makes_the_guided_picture_anew_at_once(shown: Reader) -> None:
    shown.run()
    shown.go(2)
    shown.page.get_by_text("Choose pictures").click()
    shown.page.get_by_label("decoded pictures").uncheck()
    before = shown.pixels(canvas("x0_guided"))
    taken = shown.page.locator(".sagviz-player .knob.sag input[type=range]").evaluate("""slide => {
        const times = [2, 0.5, 1.5].map((value) => {
            const began = performance.now();
            slide.value = value;
            slide.dispatchEvent(new Event('input', { bubbles: true }));
            return performance.now() - began;
        });
        return Math.min(...times);
    }""")
    assert taken < 50
    assert not np.array_equal(shown.pixels(canvas("x0_guided")), before)
    for term in ("cfg", "sag"):
        shown.set(f".sagviz-player .knob.{term} input[type=number]", 0)
    assert shown.text(".caption").startswith(f"As it ran: Step 2 of {STEPS}")
    plain = shown.pixels(canvas("x0_hat"))
    assert np.array_equal(shown.pixels(canvas("x0_guided")), plain)
    shown.set(".sagviz-player .knob.sag input[type=number]", -0.5)
    assert shown.text(".formula").endswith("+ (−0.5) · ΔSAG")
    shown.page.get_by_role("button", name="As it ran", exact=True).click()
    assert shown.text(".caption").startswith(f"Step 2 of {STEPS}")
    assert np.array_equal(shown.pixels(canvas("x0_guided")), before)
    shown.page.get_by_label("decoded pictures").check()
    shown.page.get_by_text("Choose pictures").click()


def test_threshold_and_blur_cost_one_pass(shown: Reader) -> None:
    shown.run()
    shown.go(2)
    before = shown.text(".caption")
    box = shown.page.locator("[data-pane=x0_blurred] input")
    box.evaluate("it => it.click()")
    shown.set(".tries .knob input[type=range]", 3)  # the last one: blur
    shown.page.locator(".tries .note", has_text="Step 2 as tried: one pass").wait_for()
    assert shown.text(".pane.x0_blurred .words") == "the prediction blurred by 3 latent pixels"
    shown.set(".tries .knob:nth-child(1) input[type=number]", 0)
    shown.page.get_by_text("The mask covers 100% of the cells").wait_for()
    box_of_psi = shown.page.locator(".tries .knob input[type=number]").first
    box_of_psi.fill("9")
    box_of_psi.press("Tab")
    sentence = "Threshold ψ is 9; give a number from 0 to 3."
    assert shown.page.locator(".tries .fault").inner_text() == sentence
    shown.page.get_by_role("button", name="Mask and blur as they ran").click()
    assert shown.page.locator(".tries .fault").count() == 0
    assert shown.text(".caption") == before
    box.evaluate("it => it.click()")


def test_the_mask_is_predicted_revealed_and_used(shown: Reader) -> None:
    shown.run()
    shown.go(3)
    shown.page.get_by_role("button", name="Paint a mask").click()
    dialog = shown.page.get_by_role("dialog")
    cells = dialog.locator(".cells button")
    for key in ("Space", "ArrowRight", "Space", "ArrowDown", "Space"):
        shown.page.keyboard.press(key)
    painted = dialog.locator(".cells button[aria-pressed=true]")
    assert painted.evaluate_all("all => all.map(it => it.dataset.cell)") == ["0", "1", "9"]
    first, last = (cells.nth(i).bounding_box() for i in (56, 63))
    shown.page.mouse.move(first["x"] + 9, first["y"] + 9)
    shown.page.mouse.down()
    shown.page.mouse.move(last["x"] + 9, last["y"] + 9, steps=20)
    shown.page.mouse.up()
    assert painted.count() == 11
    dialog.get_by_role("button", name="Reveal").click()
    inside = dialog.locator(".inside")
    both = dialog.locator(".inside[aria-pressed=true]").count()
    iou = both / (11 + inside.count() - both)
    said = dialog.locator(".said").inner_text()
    assert f"You painted 11 cells, SAG's mask has {inside.count()}" in said
    assert f"IoU {iou:.2f}" in said
    covers = re.search(r"covers (\d+)%", shown.text(".caption"))
    assert int(covers[1]) == pytest.approx(100 * inside.count() / 64, abs=1)
    dialog.get_by_role("button", name="Use my mask").click()
    shown.page.get_by_text("The hand-made mask covers 17% of the cells.").wait_for()
    shown.page.get_by_role("button", name="Paint a mask").click()  # SAG's is still SAG's
    dialog.get_by_role("button", name="Reveal").click()
    assert dialog.locator(".said").inner_text() == said
    shown.page.keyboard.press("Escape")


def test_going_on_keeps_the_steps_before(shown: Reader) -> None:
    shown.run()
    shown.go(3)
    shown.set(".sagviz-player .knob.cfg input[type=number]", 8)
    shown.page.get_by_role("button", name="Go on from here").click()
    shown.until("^Done")
    labels = shown.page.locator(".pane.x0_hat .label").all_inner_texts()[:2]
    assert labels == ["A: CFG 3 + SAG 1", "B: CFG 8 + SAG 1, from step 3 on"]
    for step, same in ((3, True), (4, False)):
        shown.go(step)
        a, b = (shown.pixels(f".pane.x_t .frame:nth-child({i}) canvas") for i in (1, 2))
        assert np.array_equal(a, b) is same


def test_steps_before_going_on_are_shown_as_they_ran(shown: Reader) -> None:
    """With the scales, the threshold and the blur that they ran with: pictures, also decoded ones,
    and words; the steps after them with the new ones.
    """
    shown.run()
    shown.go(3)
    shown.set(".tries .knob:nth-child(1) input[type=number]", 1.3)
    shown.page.locator(".tries .note", has_text="Step 3 as tried: one pass").wait_for()
    for name, scale in (("cfg", 8), ("sag", 0)):
        shown.set(f".sagviz-player .knob.{name} input[type=number]", scale)
    shown.page.get_by_role("button", name="Go on from here").click()
    shown.until("^Done")
    guidance = "CFG(3) + SAG(1); from step 3 on CFG(8) + SAG(0, threshold=1.3)"
    table = shown.page.locator(".settings table").last
    assert table.locator("tr", has_text="guidance").locator("td").text_content() == guidance
    panes = ("x0_guided", "cfg", "sag")
    for decoded in (True, False):
        for step, same in ((2, True), (4, False)):
            shown.go(step)
            shown.page.wait_for_timeout(300)  # until a hand counts as resting
            if decoded:  # by now or soon
                frames = ".pane.x0_guided .frame:not([hidden]) canvas.decoded"
                shown.page.wait_for_function(f"document.querySelectorAll('{frames}').length == 2")
            for pane in panes:
                a, b = (shown.pixels(f".pane.{pane} .frame:nth-child({i}) canvas") for i in (1, 2))
                assert np.array_equal(a, b) is same, (pane, step, decoded)
            words = shown.page.locator(".caption").all_inner_texts()
            told = [caption.partition(". ")[2] for caption in words]
            assert (told[0] == told[1]) is same
        shown.page.locator("label", has_text="decoded pictures").locator("input").evaluate(
            "it => it.click()"
        )
    assert "as tried" not in shown.text(".tries .note")


def test_going_on_takes_nothing_from_the_form(shown: Reader) -> None:
    """Which may be filled in for the next run already."""
    shown.run(prompt="a koala", negative="red")
    shown.go(2)
    shown.fill(prompt="a whale on a blue background", negative="blue", mask="random", seed=9)
    shown.page.get_by_role("button", name="Go on from here").click()
    shown.until("^Done")
    pictures = [shown.page.locator(".finished canvas").nth(i) for i in (0, 1)]
    a, b = (picture.evaluate("it => it.toDataURL('image/png')") for picture in pictures)
    assert a == b
    assert shown.text(".run-title") == "Your run: “a koala”, seed 7"
    assert "prompt=a+koala&negative=red&seed=7" in shown.page.url


def test_a_link_asks_for_both_though_the_first_was_cancelled(shown: Reader) -> None:
    shown.page.locator(".reset").click()
    shown.fill(steps=100, beside=True, sag=0.7)
    shown.page.locator(".run").click()
    shown.until(r"^Step \d+ of 100")
    shown.page.locator(".cancel").click()
    shown.until("^Cancelled")
    assert shown.page.locator(".pane.x0_hat .frame:visible").count() == 1  # CFG alone
    assert "steps=100&sag=0.7&beside=true" in shown.page.url
    assert "null" not in shown.page.url


def test_cfg_stands_beside_both(shown: Reader) -> None:
    """From the same noise: the first latent is one."""
    shown.run(beside=True)
    labels = shown.page.locator(".pane.x0_hat .label").all_inner_texts()[:2]
    assert labels == ["A: CFG 3", "B: CFG 3 + SAG 1"]
    assert shown.page.locator(".finished canvas").count() == 2
    shown.go(1)
    first, second = (shown.pixels(f".pane.x_t .frame:nth-child({i}) canvas") for i in (1, 2))
    assert np.array_equal(first, second)


def test_pictures_and_settings_are_saved(shown: Reader) -> None:
    with shown.page.expect_download() as saved:
        shown.page.get_by_role("button", name="Save picture").click()
    assert saved.value.suggested_filename == "a-fox-on-a-blue-background-seed7.png"
    whole = np.asarray(from_png(Path(saved.value.path()).read_bytes()).convert("RGB"), dtype=int)
    assert np.array_equal(whole[:, whole.shape[1] // 2 :], shown.pixels(".finished canvas"))
    with shown.page.expect_download() as saved:
        shown.page.get_by_role("button", name="Save settings").click()
    runs = json.loads(Path(saved.value.path()).read_text())["runs"]
    assert [run["guidance"] for run in runs] == ["CFG(3)", "CFG(3) + SAG(1)"]
    assert {run["seed"] for run in runs} == {7}


def test_the_tour_is_true_of_the_run(shown: Reader) -> None:
    """Eight stops by keyboard, each beside what it speaks of; Escape ends it."""
    shown.run()
    shown.page.locator(".tour-start").click()
    tour = shown.page.get_by_role("dialog")
    for stop in range(1, 9):
        assert tour.locator(".number").inner_text() == f"Stop {stop} of 8"
        assert tour.locator("h2").evaluate("it => it === document.activeElement")
        target = shown.page.locator(".toured")
        assert target.is_visible()
        box, own = target.bounding_box(), tour.bounding_box()
        assert own["y"] >= 0
        assert box["y"] < 900
        if stop == 6:
            covers = re.search(r"The mask covers \d+% of the cells", shown.text(".caption"))
            assert covers[0] in tour.inner_text()
        shown.page.keyboard.press("ArrowRight")
    assert "press Run" in tour.inner_text()
    shown.page.keyboard.press("Escape")
    assert tour.count() == 0
    assert shown.page.locator(".tour-start").evaluate("it => it === document.activeElement")
    assert not shown.page.locator(".pane.x_degraded").is_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_it_is_accessible_and_fits(shown: Reader, width: int) -> None:
    page = shown.page
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach(fold => fold.open = true)")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.locator(".tour-start").click()
        assert serious_faults(page, "body") == []
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Paint a mask").click()
        assert serious_faults(page, ".predict") == []
        page.keyboard.press("Escape")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = (
        "all => all.filter(it => it.innerText && parseFloat(getComputedStyle(it).fontSize) < 14)"
    )
    assert (
        page.locator("body *:visible").evaluate_all(f"{small.replace('filter', 'some')}") is False
    )


def test_a_link_runs_it_again(shown: Reader, offline: BrowserContext) -> None:
    """In another tab, with the view; what an address asks for beyond the limits is cut."""
    shown.page.emulate_media(color_scheme="light")
    shown.run(prompt="a koala", seed=5, sag=0.5)
    shown.go(2)
    shown.page.wait_for_function("() => location.hash.includes('step=2')")
    other = Reader(offline, shown.page.url)
    other.until("^Done")
    other.page.wait_for_function("() => location.hash.includes('step=2')")
    assert other.page.locator("[name=prompt]").input_value() == "a koala"
    assert other.text(".readout") == f"Step 2 of {STEPS}"
    for pane in ("x_t", "image"):
        assert np.array_equal(other.pixels(canvas(pane)), shown.pixels(canvas(pane)))
    other.page.evaluate("location.hash = 'prompt=&seed=-3&steps=2.2&sag=77'")
    other.page.get_by_text("Your run: no prompt, seed 0").wait_for()
    other.until("^Done")
    assert other.text(".formula") == "ε̃ = ε(xₜ) + 3 · ΔCFG + 2 · ΔSAG"
    assert not other.faults
    other.page.close()


def test_the_dialog_says_what_this_run_blurs(shown: Reader) -> None:
    """By the mask's source; and one cell is a cell."""
    shown.run(mask="random")
    shown.page.get_by_role("button", name="Paint a mask").click()
    dialog = shown.page.get_by_role("dialog")
    about = dialog.locator(".about").inner_text()
    assert about.startswith("This run blurs cells that are drawn at random, as many as get more")
    shown.page.keyboard.press("Space")
    dialog.get_by_role("button", name="Reveal").click()
    assert dialog.locator(".said").inner_text().startswith("You painted 1 cell, SAG's mask has ")
    shown.page.keyboard.press("Escape")
    shown.run()
    shown.page.get_by_role("button", name="Paint a mask").click()
    assert dialog.locator(".about").inner_text().startswith("SAG blurs the cells that get more")
    shown.page.keyboard.press("Escape")


def test_a_link_that_is_opened_during_a_run_takes_its_place(shown: Reader) -> None:
    """Form, picture and address are those of the newest link, whatever went on before."""
    page = shown.page
    page.locator(".reset").click()
    shown.fill(prompt="a fox", steps=100, beside=True)
    page.locator(".run").click()
    shown.until(r"^Step \d+ of 100")
    page.evaluate("location.hash = 'prompt=a+whale&seed=3&steps=90'")
    page.evaluate("location.hash = 'prompt=a+koala&seed=5&steps=4&step=2&panes=x_t,%25'")
    page.get_by_text("Your run: “a koala”, seed 5").wait_for()
    shown.until("^Done")
    page.wait_for_function("() => location.hash.includes('step=2')")
    assert page.locator("[name=prompt]").input_value() == "a koala"
    assert page.locator("[name=steps]").input_value() == "4"
    assert shown.text(".readout") == f"Step 2 of {STEPS}"
    assert page.locator("figure.pane:visible").count() == 1
    assert "prompt=a+koala&seed=5&steps=4" in page.url
    shown.run()


def test_a_copy_that_the_browser_saves_says_what_it_lacks(
    shown: Reader, offline: BrowserContext, tmp_path: Path
) -> None:
    """Its recorded run can be explored as before."""
    shown.run(prompt="a koala")
    copied = tmp_path / "copy.html"
    copied.write_text(shown.page.content(), encoding="utf-8")
    other = Reader(offline, copied.as_uri())
    sentence = "This copy of the page was saved without its model, which only the original file has"
    assert other.until("The recorded run below can still").startswith(sentence)
    assert other.text(".run-title") == "Recorded run: no prompt, seed 26"
    other.go(3)
    assert other.text(".readout") == "Step 3 of 20"
    assert other.pixels(canvas("x0_hat")).std() > 5
    for kind in (".predict", ".tour", ".sagviz-player"):
        assert other.page.locator(kind).count() == 1
    other.page.locator(".run").click()
    other.until("open that one to run the model.$")
    assert [fault for fault in other.faults if "inline style" not in fault] == []
    other.page.close()


@pytest.fixture(scope="module")
def phone(file: Path, browser: Browser) -> Iterator[Reader]:
    context = browser.new_context(
        offline=True, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True
    )
    reader = Reader(context, file.as_uri())
    reader.until("^Ready")
    yield reader
    assert not reader.faults
    context.close()


def swipe(reader: Reader, selector: str, across: int, down: int) -> tuple[float, float]:
    """A finger over the middle of an element: how far the page scrolled, and the value after it."""
    at = reader.page.locator(selector).first
    at.evaluate("it => it.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box, before = at.bounding_box(), reader.page.evaluate("scrollY")
    assert box is not None
    x, y = box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2
    send = reader.page.context.new_cdp_session(reader.page).send
    for i in range(11):
        points = [{"x": x + across * i / 10, "y": y + down * i / 10}]
        kind = "touchMove" if i else "touchStart"
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    reader.page.wait_for_timeout(300)
    return reader.page.evaluate("scrollY") - before, float(at.input_value())


@pytest.mark.parametrize("slider", [".ask .knob.cfg [type=range]", ".what-if .knob [type=range]"])
def test_a_finger_that_scrolls_leaves_sliders_alone(phone: Reader, slider: str) -> None:
    value = float(phone.page.locator(slider).first.input_value())
    moved, after = swipe(phone, slider, 0, -150)
    assert moved > 50
    assert after == value
    moved, after = swipe(phone, slider, 80, 0)  # across it still moves the slider
    assert abs(moved) < 20
    assert after != value
    phone.page.reload()
    phone.until("^Ready")


def test_what_comes_of_run_is_in_sight_on_a_phone(phone: Reader) -> None:
    """The button to cancel, the picture and how far it is, above the slider."""
    phone.run(prompt=EVIL)
    phone.page.evaluate("scrollTo(0, 0)")
    phone.page.locator("[name=prompt]").press("Enter")
    phone.until("^Step|^Done")
    slider = phone.page.locator(".control").bounding_box()
    boxes = [phone.page.locator(name).bounding_box() for name in (".cancel", ".result .status")]
    assert slider is not None
    assert all(box and 0 <= box["y"] <= slider["y"] - box["height"] for box in boxes)
    phone.until("^Done")


def test_going_on_keeps_the_view_on_a_phone(phone: Reader) -> None:
    """The button that was pressed stays where it is, with the focus, while the run grows."""
    phone.run()
    phone.go(2)
    button = phone.page.get_by_role("button", name="Go on from here")
    button.scroll_into_view_if_needed()
    before = button.bounding_box()
    button.tap()
    phone.until("^Done")
    after = button.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) < 4
    assert button.evaluate("it => it === document.activeElement")
