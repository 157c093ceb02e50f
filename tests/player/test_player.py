"""The player's file: how large it is, what is left without scripts, what is refused; and the words
of a step.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import is_one_sentence
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG, cli, describe, measure
from sagviz.diffusion.noise_level import NoiseLevel
from sagviz.errors import Interrupted
from sagviz.guidance import Guidance
from sagviz.image import preview, to_png
from sagviz.player import PAGE_BYTES, fragment, page
from sagviz.player.pack import pack
from sagviz.player.planes import cost
from sagviz.records.settings import Settings
from sagviz.records.step import Step
from sagviz.sweeps import sweep
from sagviz.sweeps.memory_store import Memory
from sagviz.sweeps.results import Sweep

BOTH = CFG(3.0) + SAG(1.0)


@pytest.fixture(scope="module")
def traces(model: sv.Model) -> tuple[sv.Trace, ...]:
    """CFG, and CFG + SAG."""
    return sv.compare(model, "a fox", steps=5, seed=3, progress=False)


def synthetic(steps: int, shape: tuple[int, int, int], grid: int = 8) -> sv.Trace:
    """A run of pure noise, which packs worst, with a picture of eight times the latent's size."""
    draw = torch.Generator().manual_seed(0)

    def noise() -> Tensor:
        return torch.randn((1, *shape), generator=draw)

    def step(index: int) -> Step:
        alpha = 0.07 + 0.9 * index / steps
        return Step(
            index=index,
            level=NoiseLevel(1000 * (1 - index / steps), alpha, (1 - alpha**2) ** 0.5),
            guidance=BOTH,
            x_t=noise(),
            out_uncond=noise(),
            out_cond=noise(),
            kept={
                "out_degraded": noise(),
                "attention": torch.rand((1, grid, grid), generator=draw) * 2,
            },
            x_next=noise(),
        )

    height, width = 8 * shape[1], 8 * shape[2]
    smooth = torch.nn.functional.interpolate(
        torch.rand((1, 3, 8, 8), generator=draw) * 2 - 1, (height, width), mode="bicubic"
    )
    picture = to_png(preview(smooth, torch.eye(4, 3))[0])
    settings = Settings(
        model="m",
        fingerprint="f",
        prompt="",
        negative_prompt="",
        guidance=BOTH,
        steps=steps,
        seed=0,
        images=1,
        size=(height, width),
        scheduler={"class": "DDIMScheduler"},
    )
    return sv.Trace(
        settings,
        tuple(map(step, range(steps))),
        steps,
        (picture,),
        torch.randn((5, 3), generator=draw) / 3,
    )


class Left(HTMLParser):
    """What a sanitizer leaves: pictures and words, no script, no style."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[str | None] = []
        self.words: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        if tag == "img":
            self.pictures.append(dict(attributes).get("alt"))

    def handle_endtag(self, _tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside not in ("script", "style") and data.strip():
            self.words.append(data.strip())


def test_without_scripts_a_contact_strip_is_left(traces: tuple[sv.Trace, ...]) -> None:
    left = Left()
    left.feed(fragment(traces[1]))
    sentences = [describe.of_step(step, 5) for step in traces[1]]
    assert left.pictures == [*sentences, "The finished picture."]
    assert left.words == [
        "“a fox”, seed 3",
        "CFG 3 + SAG 1: guided prediction",
        *sentences,
        "The finished picture.",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "limit", "kept"),
    [((4, 16, 16), 3_000_000, 50), ((4, 64, 64), 8_000_000, 50), ((4, 128, 128), 8_000_000, 12)],
)
def test_a_page_is_small_even_for_noise(
    shape: tuple[int, int, int], limit: int, kept: int, tmp_path: Path
) -> None:
    trace = synthetic(50, shape)
    assert page(trace, tmp_path / "a.html").stat().st_size <= limit
    steps = pack([trace], PAGE_BYTES)["runs"][0]["steps"]
    needed = kept * max(map(cost, trace))
    assert len(steps) == kept, (
        f"PAGE_BYTES has to be {needed}: a new plane takes room, step 4 of CONTRIBUTING.md's panes"
    )
    assert (steps[0]["index"], steps[-1]["index"]) == (0, 49)
    assert len(fragment(trace)) <= 1_400_000 + 300_000 * (shape[1] > 64)


def test_it_opens_at_the_middle_step_or_the_one_that_is_named(model: sv.Model) -> None:
    """Which is among those that are shown; of several runs the longest has the slider."""
    short, trace = (sv.trace(model, "a fox", steps=n, progress=False) for n in (4, 9))
    cases: list[tuple[list[sv.Trace], dict[str, Any], int]] = [
        ([trace], {}, 9),
        ([trace], {"max_steps": 3}, 3),
        ([short, trace], {"index": 6}, 9),
        ([trace], {"max_steps": 3, "index": 5}, 3),
        ([trace], {"max_steps": 3, "index": 8}, 3),
    ]
    for traces, how, steps in cases:
        data = pack(traces, PAGE_BYTES, **how)
        shown = [step["index"] for step in data["runs"][-1]["steps"]]
        assert len(shown) == steps
        assert shown[data["index"]] == how.get("index", 4)
    with pytest.raises(sv.SagvizError, match="from 0 to 8"):
        pack([trace], PAGE_BYTES, index=9)


@pytest.mark.slow
def test_calls_are_those_of_the_run_itself(model: sv.Model) -> None:
    """Whatever it shared with the runs beside it: alone, each step is a call or, with SAG, two."""
    alone = [
        sv.trace(model, "a fox", steps=3, guidance=guidance, progress=False)
        for guidance in (None, CFG(3.0), BOTH)
    ]
    joint = sv.compare(model, "a fox", steps=3, unguided=True, progress=False)
    for trace, shared, calls, predictions in zip(alone, joint, (3, 3, 6), (3, 6, 9), strict=True):
        ((said,), (other,)) = (
            [value for name, value in pack([each], 10**6)["runs"][0]["settings"] if "calls" in name]
            for each in (trace, shared)
        )
        assert said == f"{calls}, {predictions} predictions"
        assert other.startswith(said)


def told(trace: sv.Trace, **how: Any) -> dict[str, str]:
    """The table of settings under a run."""
    return dict(pack([trace], 10**6, **how)["runs"][0]["settings"])


def test_calls_say_of_which_steps_they_are(model: sv.Model) -> None:
    """They cost what the same steps cost in the whole run; a run that was stopped left none out."""
    whole, last = (
        sv.trace(model, "a fox", steps=4, guidance=BOTH, keep=keep, progress=False)
        for keep in (None, [3])
    )
    alone = f"{whole[3].forwards}, {whole[3].samples} predictions; of the kept steps alone, 1 of 4"
    assert told(last)["network calls"] == alone
    assert "kept" not in told(whole)["network calls"]
    assert "kept" not in told(stopped_after(2, model, guidance=BOTH))["network calls"]


def stopped_after(steps: int, model: sv.Model, **settings: Any) -> sv.Trace:
    """A run of 8 steps that Ctrl-C ends after some of them."""

    def stop(done: int, _: int) -> None:
        if done == steps:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        sv.trace(model, "a fox", steps=8, progress=stop, **settings)
    return stopped.value.trace


@pytest.mark.parametrize("keep", [None, 4, [6], []], ids=str)
def test_a_run_that_was_stopped_says_after_how_many_steps(model: sv.Model, keep: Any) -> None:
    for steps in (1, 5, 7):
        words = describe.of_run(stopped_after(steps, model, keep=keep))
        assert words.endswith(f", 8 steps, stopped after {steps}")


def test_a_branch_says_what_guided_which_of_its_steps(model: sv.Model) -> None:
    """A branch that was left before it began has left no mark."""
    trace = sv.trace(model, "a fox", steps=8, guidance=CFG(3.0), progress=False)
    late = sv.branch(model, trace, 5, guidance=CFG(5.0), progress=False)
    early = sv.branch(model, late, 3, guidance=CFG(8.0), progress=False)
    later = sv.branch(model, late, 6, guidance=None, progress=False)
    anew = sv.branch(model, late, 0, guidance=CFG(8.0), progress=False)
    for run, record, words in (
        (trace, "CFG(3.0)", "CFG 3"),
        (late, "CFG(3.0); from step 6 on CFG(5.0)", "CFG 3, from step 6 on CFG 5"),
        (early, "CFG(3.0); from step 4 on CFG(8.0)", "CFG 3, from step 4 on CFG 8"),
        (
            later,
            "CFG(3.0); from step 6 on CFG(5.0); from step 7 on None",
            "CFG 3, from step 6 on CFG 5, from step 7 on plain",
        ),
        (anew, "CFG(8.0)", "CFG 8"),
    ):
        assert told(run)["guidance"] == record
        assert describe.of_run(run) == f"a fox, seed {run.settings.seed}, {words}, 8 steps"


def test_noise_that_is_added_on_the_way_is_told(model: sv.Model) -> None:
    plain, noisy = (
        told(sv.trace(model, "a fox", steps=1, seed=3, eta=eta, progress=False))
        for eta in (0.0, 0.9)
    )
    assert noisy == plain | {"given": "eta 0.9"}


def test_the_heading_names_what_is_shown(model: sv.Model) -> None:
    """The image of the batch, by its seed; of several runs all."""
    batch = sv.trace(model, "a fox", images=3, seed=7, steps=1, progress=False)
    for image in range(3):
        seed = told(batch, image=image)["seed"]
        assert pack([batch], 10**6, image=image)["title"] == f"“a fox”, seed {seed}"
    owl = sv.trace(model, "an owl", seed=3, steps=1, progress=False)
    assert pack([batch, owl, batch], 10**6)["title"] == "“a fox”, seed 7; “an owl”, seed 3"


def test_a_files_name_says_what_the_run_was_given(traces: tuple[sv.Trace, ...]) -> None:
    settings = traces[0].settings
    given = replace(settings, prompt="", inputs={"prompt_embeds": ("0123456789abcdef",)})
    assert describe.file_stem(settings) == "a-fox-seed3-cfg3"
    assert describe.file_stem(given) == "given-embeddings-seed3-cfg3"
    assert describe.file_stem(replace(settings, prompt="")) == "no-prompt-seed3-cfg3"


def test_one_image_of_a_batch(model: sv.Model) -> None:
    batch = sv.trace(model, "a fox", steps=2, seed=3, images=2, guidance=BOTH, progress=False)
    alone = sv.trace(model, "a fox", steps=2, seed=4, guidance=BOTH, progress=False)
    shared = replace(alone, latent_rgb=batch.latent_rgb)
    chosen, single = (
        pack([trace], 10**6, image=image)["runs"][0]["steps"]
        for trace, image in ((batch, 1), (shared, 0))
    )
    assert [step["caption"] for step in chosen] == [step["caption"] for step in single]


@pytest.mark.parametrize(
    ("traces_", "path"), [([], "a.html"), (None, "a.txt"), (None, "no/such/folder/a.html")]
)
def test_what_cannot_be_shown_is_said(
    traces_: Any, path: str, traces: tuple[sv.Trace, ...], tmp_path: Path
) -> None:
    with pytest.raises(sv.SagvizError) as error:
        page(traces[0] if traces_ is None else traces_, tmp_path / path)
    assert is_one_sentence(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("image", [2, -1])
def test_a_missing_image_or_step_is_said(
    image: int, traces: tuple[sv.Trace, ...], tmp_path: Path
) -> None:
    with pytest.raises(sv.SagvizError, match="image is"):
        traces[0].to_html(tmp_path / "a.html", image=image)
    with pytest.raises(sv.SagvizError, match="no step"):
        replace(traces[0], steps=()).to_html(tmp_path / "a.html")
    assert "<img" in replace(traces[0], steps=())._repr_html_()


def test_the_shell_shows_saved_runs(
    traces: tuple[sv.Trace, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [
        str(trace.save(tmp_path / f"{number}.sagtrace")) for number, trace in enumerate(traces)
    ]
    assert cli.main(["show", *files]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "0.html")
    assert cli.main(["show", files[0], "-o", str(tmp_path / "b.html")]) == 0
    assert "“a fox”" in (tmp_path / "b.html").read_text(encoding="utf-8")
    assert cli.main(["show", str(tmp_path / "missing.sagtrace")]) == 2


def test_captions_carry_the_numbers_of_the_step(traces: tuple[sv.Trace, ...]) -> None:
    step = traces[1][2]
    numbers, words = measure.of_step(step), describe.of_step(step, 5)
    assert words.startswith("Step 3 of 5: noise is still ")
    assert f"{step.sigma**2:.0%} of the latent" in words
    assert f"covers {numbers['coverage']:.0%}" in words
    assert f"CFG's push is {numbers['cfg']:.0%}" in words
    assert f"(cosine\N{NO-BREAK SPACE}{numbers['cosine']:.2f})" in words
    first = describe.of_step(traces[1][0], 5)
    assert first.startswith("Step 1, the first of 5: the latent is pure noise; the schedule takes ")
    assert f"takes {traces[1][0].sigma ** 2:.0%} of its variance for noise." in first
    assert ", the last" in describe.of_step(traces[1][4], 5)


def test_what_begins_as_noise_is_noise_whatever_the_schedule_says(model: sv.Model) -> None:
    """One step has the schedule's last noise level, and the latent is noise alone all the same."""
    trace = sv.trace(model, "a fox", steps=1, progress=False)
    (run,) = pack([trace], PAGE_BYTES)["runs"]
    words = "Step 1, the last of 1: the latent is pure noise; the schedule takes"
    assert run["steps"][0]["caption"].startswith(f"{words} hardly any of its variance for noise.")
    faced = "what goes in: pure noise, which the schedule takes for noise of strength 0.0"
    assert run["words"]["x_t"].startswith(faced)
    again = sv.trace(model, "a fox", image=trace.image, strength=0.5, steps=4, progress=False)
    (run,) = pack([again], PAGE_BYTES)["runs"]
    assert run["steps"][0]["caption"].startswith("Step 1, the first of 2: noise is still ")
    assert run["words"]["x_t"].startswith("what goes in: noise of strength ")


def test_a_cosine_of_nothing_has_no_sign(traces: tuple[sv.Trace, ...]) -> None:
    """Of two pushes at right angles, but for rounding."""
    step = replace(traces[1][2], guidance=BOTH)
    base, cfg = step.eps_uncond, step.eps_cond - step.eps_uncond
    sag = torch.randn(cfg.shape, generator=torch.Generator().manual_seed(0))
    along = (sag * cfg).sum() / (cfg * cfg).sum()
    sag = sag - (along + 1e-4 * sag.norm() / cfg.norm()) * cfg
    assert -0.005 < float((sag * cfg).sum() / sag.norm() / cfg.norm()) < 0
    kept = {**step.kept, "out_degraded": base - 0.1 * sag}
    words = describe.of_step(replace(step, kept=kept), 5)
    assert "points elsewhere (cosine\N{NO-BREAK SPACE}0.00)" in words


@pytest.mark.parametrize(
    ("guidance", "words"),
    [
        (Guidance(), "No guidance acts here."),
        (Guidance((CFG(3.0),)), "CFG's push is "),
        (CFG(3.0) + SAG(0.0), "SAG's scale is 0: it adds nothing."),
        (CFG(0.0) + SAG(1.0), "of the prediction's length"),
    ],
)
def test_captions_say_what_acts(
    guidance: Guidance, words: str, traces: tuple[sv.Trace, ...]
) -> None:
    assert words in describe.of_step(replace(traces[1][2], guidance=guidance), 5)


def test_a_negative_scale_points_the_other_way(traces: tuple[sv.Trace, ...]) -> None:
    cosine = measure.of_step(traces[1][2])["cosine"]
    for sag in (1.0, -1.0):
        words = describe.of_step(replace(traces[1][2], guidance=CFG(3.0) + SAG(sag)), 5)
        assert f"(cosine\N{NO-BREAK SPACE}{sag * cosine:.2f})" in words


def test_shares_and_ways_are_in_order() -> None:
    assert [most for most, _ in describe.SHARES] == sorted(most for most, _ in describe.SHARES)
    assert [most for most, _ in describe.WAYS] == sorted(most for most, _ in describe.WAYS)


def test_a_sweeps_page_has_every_picture_in_words_for_people(
    model: sv.Model, tmp_path: Path
) -> None:
    sags = [SAG(0.5), SAG(0.5, threshold=1.2)]
    guidance = [Guidance((CFG(1.0),)), *(CFG(3.0) + sag for sag in sags)]
    made = sweep(model, "a fox", [3, 4], 2, guidance, images=2, progress=False)
    page = made.to_html(tmp_path / "a.html", columns="image").read_text(encoding="utf-8")
    assert page.count("<button") == 12
    table = page[page.index("sagviz-grid") : page.index("sagviz-chosen")]
    assert re.findall(r"<th[^>]*>(image \d)", table) == ["image 0", "image 1"]
    assert "seed 4, CFG scale 3, SAG scale 0.5" in table
    assert "no SAG" in table
    assert "None" not in table
    runs = re.search(r"sagviz-runs[^>]*>(.*?)</script>", page, re.DOTALL)
    assert runs is not None
    titles = [run["title"] for run in json.loads(runs[1])]
    assert titles[:4] == [f"“a fox”, seed {seed}" for seed in (3, 4, 3, 4)]


def test_a_sweep_that_cannot_be_shown_says_why(model: sv.Model, tmp_path: Path) -> None:
    done = sweep(model, steps=1, progress=False)
    assert done.to_html(tmp_path / "a.html").exists()
    empty = Sweep(done.plan, Memory())
    cases: list[tuple[Sweep, dict[str, Any], str]] = [
        (done, {"columns": "colour"}, "no setting 'colour'"),
        (done, {"max_bytes": "much"}, "max_bytes is 'much'"),
        (empty, {}, "no cell of this sweep is done"),
    ]
    for made, options, hint in cases:
        with pytest.raises(sv.SagvizError, match=hint) as error:
            made.to_html(tmp_path / "b.html", **options)
        assert is_one_sentence(error.value)
    assert not (tmp_path / "b.html").exists()
