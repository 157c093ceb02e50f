"""The live page's engine, in a browser without a network, beside the package itself."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from driver import FLAGS, launched
from pairs import pairs
from playwright.sync_api import Browser, Error, Page
from sources import PACKAGE

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.attention.words import padded
from sagviz.diffusion.noise_level import noise_levels
from sagviz.diffusion.seeds import generator, normal
from sagviz.guidance import Guidance, Term
from sagviz.guidance.sag import MASK_SOURCES
from sagviz.guidance.sag_mask import random_scores
from sagviz.models.vocabulary import unknown_words
from sagviz.player.live.parts import config

NEAR = 1e-3  # relative, of final latents; and of a cell's margin, below which its mask may differ
SEEDS = (0, 7, 2**32 - 1, 2**32, 2**40 + 5, 2**63 - 4097)
ODD = (  # letters, marks, joiners, spaces and words that tokenizers have stumbled over
    *("fox", "a ", "<|endoftext|>", "<|startoftext|", "'s", "'ll", "constructor", "Straw berry"),
    *map(chr, (*range(0x250), *range(0x300, 0x330), *range(0x370, 0x400), 0x130, 0x1E9E)),
    *map(chr, (0xFEFF, 0x200D, 0x2028, 0x3000, 0x1F98A, 0x1F468, 0x4E2D, 0xAC00, 0x1100, 0x1161)),
)
REACH = """
window.ready = new Promise((ready) => {
    window.Worker = class extends Worker {
        constructor(...given) {
            super(...given);
            window.engine = this;
            this.addEventListener("message", ({ data }) => data.ready && ready(true));
        }
    };
});
// told hears what comes before the last answer
window.ask = (message, told = () => {}) => new Promise((done, fail) => {
    const id = `test ${Math.random()}`;
    const hear = ({ data }) => {
        if (data.id !== id) return;
        if (data.unknown || (message.do === "run" && data.step)) return told(data);
        engine.removeEventListener("message", hear);
        if (data.error) fail(new Error(data.error));
        else done(data);
    };
    engine.addEventListener("message", hear);
    engine.postMessage({ ...message, id });
});
"""
PLAIN = """const plain = (step) => Object.fromEntries(Object.entries(step).map(
    ([name, value]) => [name, ArrayBuffer.isView(value) ? Array.from(value) : value]));"""
RUN = f"""async (settings) => {{
    {PLAIN}
    const steps = [], told = ({{ step }}) => step && steps.push(plain(step));
    const {{ x0, image }} = await ask({{ do: "run", settings }}, told);
    return {{ x0: Array.from(x0), rgba: Array.from(image.rgba), steps }};
}}"""
AGAIN = f"""async ([settings, index, others]) => {{
    {PLAIN}
    const steps = [], told = ({{ step }}) => step && steps.push(step);
    await ask({{ do: "run", settings }}, told);
    const record = steps[index];
    const asked = others.map((settings) => ask({{ do: "again", record, settings }}));
    return (await Promise.all(asked)).map(({{ step }}) => plain(step));
}}"""
# a graphics card in software: right and slow
SOFTWARE = FLAGS.replace("--disable-gpu", "") + (
    " --enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan"
)
# more script at the worker's end, where all that it has is there
PLANTED = """(() => {{
    const own = URL.createObjectURL;
    URL.createObjectURL = (blob) => own(
        blob.type === "text/javascript" ? new Blob([blob, `{}`], {{ type: blob.type }}) : blob);
}})();"""
FASTER = "timeOf = async (networks, unet) => (unet === networks.loaded.unet ? 2 : 1);"
PATIENT = "within = (ms, answer) => answer;"
# the processor's build as a graphics card, which can be right, wrong, or break
CARD = """Object.defineProperty(navigator, "gpu", { value: { requestAdapter: async () => ({}) } });
    cardOf = async ({ wasm, unet }) => opened(await started("wasm", { wasm }), "wasm", unet);"""
WRONG = (
    "const right = apartFromTorch; apartFromTorch = async (...it) => 0.02 + (await right(...it));"
)
SLOWER = "timeOf = async (networks, unet) => (unet === networks.loaded.unet ? 60 : 90);"
LOST = """const judge = refusal; refusal = async (networks, card) => {
    const why = await judge(networks, card);
    card.session.run = async () => { throw new Error("device lost"); };
    return why;
};"""
BROKEN = """Object.defineProperty(navigator, "gpu", {
    value: { requestAdapter: async () => { throw new Error("no driver"); } } });"""
CANCEL = """async (settings) => {
    let steps = 0;
    const told = ({ id, step }) =>
        step && ++steps === 2 && engine.postMessage({ do: "cancel", id });
    return [(await ask({ do: "run", settings }, told)).cancelled, steps];
}"""


@pytest.fixture(scope="module")
def miniature() -> sv.Model:
    return sv.load()


@pytest.fixture(scope="module")
def engine(browser: Browser, live_file: Path) -> Page:
    """The live page, opened from the disk without a network, its worker within reach."""
    page = browser.new_context(offline=True).new_page()
    page.add_init_script(REACH)
    page.goto(live_file.as_uri())
    assert page.evaluate("ready")
    return page


def _script(name: str) -> str:
    return (PACKAGE / f"player/{name}.js").read_text()


def guidance_of(settings: dict[str, Any]) -> Guidance:
    """The sum that the engine makes of its settings."""
    cfg, sag = settings["cfg"], settings["sag"]
    terms: list[Term] = [] if cfg is None else [CFG(cfg)]
    if sag is not None:
        psi, sigma, mask = (settings[name] for name in ("psi", "sigma", "mask"))
        terms += [SAG(sag, threshold=psi, blur_sigma=sigma, mask_source=mask)]
    return Guidance(tuple(terms))


def trace_of(model: sv.Model, settings: dict[str, Any]) -> sv.Trace:
    guidance = guidance_of(settings)
    negative = settings["negative"] if guidance.reads_negative_prompt else ""
    given = {name: settings[name] for name in ("prompt", "seed", "steps")}
    return sv.trace(model, **given, negative_prompt=negative, guidance=guidance, progress=False)


def cases() -> list[dict[str, Any]]:
    """Twenty runs or more: any two values of different settings meet in one of them."""
    prompts = (
        "a fox on a blue background",
        "",
        "A red Apple left of a car",
        "a small owl under the moon",
    )
    names = ("prompt", "negative", "cfg", "sag", "psi", "sigma", "mask")
    met = pairs(
        prompts,
        ("", "a house"),
        (3.0, None, -1.0, 7.5),
        (1.0, -0.5, None),
        (1.0, 1.2),
        (1.0, 3.0, 0.0),
        MASK_SOURCES,
    )
    return [
        {**dict(zip(names, case, strict=True)), "seed": 1000 * number, "steps": 20}
        for number, case in enumerate(met)
    ]


@pytest.mark.slow
def test_runs_are_those_of_the_package(engine: Page, miniature: sv.Model) -> None:
    for settings in cases():
        trace = trace_of(miniature, settings)
        found = engine.evaluate(RUN, settings)
        assert close(found["x0"], trace.latents), settings
        pixels = np.array(found["rgba"]).reshape(64, 64, 4)[..., :3]
        assert np.abs(pixels - np.asarray(trace.image, dtype=int)).max() <= 2, settings
        for step, own in zip(trace, found["steps"], strict=True):
            assert same_mask(step, own["mask"]), (settings, step.index)


def same_mask(step: sv.Step, cells: list[float] | None) -> bool:
    """Whether the masks are equal, but in cells whose margin is next to nothing."""
    if step.mask is None or cells is None:
        return step.mask is None and cells is None
    clear = (step.attention - step.guidance.get(SAG).threshold).abs() > NEAR
    clear = clear.repeat_interleave(2, 1).repeat_interleave(2, 2)
    return torch.equal(step.mask[0][clear], torch.tensor(cells).view(1, 16, 16)[clear])


def of_scripts(browser: Browser, names: tuple[str, ...], expression: str, given: Any) -> Any:
    """What an expression of `given` is where these scripts of the engine are."""
    page = browser.new_page()
    scripts = "".join(_script(f"live/{name}") for name in names)
    found = page.evaluate(f"(given) => {{ {scripts}; return {expression} }}", given)
    page.close()
    return found


def test_noise_of_a_seed_is_torch_s(browser: Browser) -> None:
    draws = [(str(seed), size) for seed in SEEDS for size in (16, 17, 31, 100, 1024, 4096)]
    found = of_scripts(
        browser, ("random",), "given.map(([seed, size]) => Array.from(normal(seed, size)))", draws
    )
    for (seed, size), numbers in zip(draws, found, strict=True):
        expected = normal((size,), generator(int(seed)))
        assert torch.allclose(torch.tensor(numbers), expected, rtol=0, atol=1e-6), (seed, size)


def test_random_masks_are_the_package_s(browser: Browser) -> None:
    draws = [(str(seed), index) for seed in SEEDS for index in (0, 19, 99)]
    expression = "given.map(([seed, i]) => Array.from(uniform(twister(mixed(seed, i, 1)), 64)))"
    found = of_scripts(browser, ("random",), expression, draws)
    for (seed, index), numbers in zip(draws, found, strict=True):
        expected = random_scores(torch.zeros(1, 8, 8), int(seed), index)
        assert torch.equal(torch.tensor(numbers), expected.flatten()), (seed, index)


def test_prompts_are_read_as_the_package_reads_them(browser: Browser, miniature: sv.Model) -> None:
    draw = Random(0)
    texts = ["", "A FOX " * 20, "x" * 500, "foxx, elefant and ünicorns 🦊🦊!"]
    texts += ["".join(draw.choices(ODD, k=draw.randint(1, 40))) for _ in range(1000)]
    expression = """given[0].map((text) =>
        [encode(given[1].tokenizer, text), unknownWords(given[1].vocabulary, text)])"""
    found = of_scripts(browser, ("tokens",), expression, [texts, config(miniature)])
    for text, (ids, unknown) in zip(texts, found, strict=True):
        assert ids == padded(miniature.tokenizer, text).input_ids, text
        assert {each["word"]: each["near"] for each in unknown} == unknown_words(miniature, text)


def test_schedules_are_the_scheduler_s(browser: Browser, miniature: sv.Model) -> None:
    settings = config(miniature)
    expression = "Array.from({ length: given.most }, (_, i) => schedule(given.scheduler, i + 1))"
    for number, found in enumerate(of_scripts(browser, ("method",), expression, settings)):
        scheduler = type(miniature.scheduler).from_config(miniature.scheduler.config)
        scheduler.set_timesteps(number + 1)
        expected = [(level.t, level.alpha, level.sigma) for level in noise_levels(scheduler)]
        assert [(at["t"], at["alpha"], at["sigma"]) for at in found] == expected


def test_a_step_under_other_settings(engine: Page, miniature: sv.Model) -> None:
    """Another threshold and blur, a painted mask, another kind of guidance."""
    settings = {**cases()[0], "cfg": 3.0, "sag": 1.0, "mask": "attention", "steps": 4}
    cells = torch.zeros(8, 8)
    cells[2:5, 3:] = 1
    painted = {"painted": cells.flatten().int().tolist()}
    changes = ({"psi": 1.3, "sigma": 2.0}, painted, {"cfg": None}, {"cfg": -2.0, "sag": None})
    others = [{**settings, **change} for change in changes]
    found = engine.evaluate(AGAIN, [settings, 2, others])
    trace = trace_of(miniature, settings)
    for other, step in zip(others, found, strict=True):
        mask = cells if "painted" in other else None
        expected = sv.what_if(miniature, trace, 2, guidance=guidance_of(other), mask=mask)
        assert close(step["x_next"], expected.x_next)
        assert close(step["x0_guided"], expected.x0_guided)
        assert step["terms"].keys() == expected.pushes.keys()
        for name, push in expected.pushes.items():
            assert close(step["terms"][name], push), (other, name)


def close(found: list[float], expected: torch.Tensor) -> bool:
    apart = torch.tensor(found) - expected.flatten()
    return bool(apart.norm() < NEAR * expected.norm())


def test_a_run_is_cancelled_between_steps(engine: Page) -> None:
    cancelled, steps = engine.evaluate(CANCEL, cases()[0])
    assert cancelled
    assert 2 <= steps < 20


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 101}, "steps is 101; give a whole number from 1 to 100"),
        ({"seed": -1}, "the seed is -1; give a whole number from 0"),
        ({"sigma": 9}, "the blur σ is 9; give a number from 0 to 3.75"),
        ({"mask": "all"}, "the mask's source is all; give one of attention, none, random"),
    ],
)
def test_settings_that_no_run_has_are_refused(
    engine: Page, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(Error, match=re.escape(sentence)):
        engine.evaluate(RUN, {**cases()[0], **change})


def opened(browser: Browser, file: Path, planted: str) -> tuple[Page, str]:
    """The page with more script in its worker, and what it says when it is ready."""
    page = browser.new_context(offline=True).new_page()
    page.add_init_script(REACH + PLANTED.format(planted))
    page.goto(file.as_uri())
    status = page.locator(".status", has_text=re.compile("^(Ready|The model does)"))
    status.wait_for(timeout=300_000)
    return page, status.inner_text().strip()


@pytest.mark.slow(60)
def test_a_graphics_card_gives_the_same_numbers(browser: Browser, live_file: Path) -> None:
    """As torch answered when the page was made."""
    other = launched(browser.browser_type, SOFTWARE)
    _, said = opened(other, live_file, PATIENT + FASTER)
    other.close()
    assert "It computes on the graphics card (WebGPU; its numbers were checked)" in said


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        (CARD + WRONG, "WebGPU computes wrong numbers here, 2.0% away."),
        (CARD + SLOWER, "WebGPU gives the same numbers, but takes 90 ms a call in place of 60 ms."),
        (BROKEN, "WebGPU does not work here: no driver."),
    ],
)
def test_a_graphics_card_is_left_alone_and_why(
    browser: Browser, live_file: Path, planted: str, why: str
) -> None:
    page, said = opened(browser, live_file, planted)
    assert "It computes on the processor (WebAssembly), loaded in" in said
    assert said.endswith(why)
    page.close()


def test_the_processor_goes_on_where_a_graphics_card_is_lost(
    browser: Browser, live_file: Path, miniature: sv.Model
) -> None:
    page, said = opened(browser, live_file, CARD + FASTER + LOST)
    assert "It computes on the graphics card" in said
    settings = {**cases()[0], "cfg": 3.0, "sag": 1.0, "mask": "attention", "steps": 2}
    assert close(page.evaluate(RUN, settings)["x0"], trace_of(miniature, settings).latents)
    page.close()
