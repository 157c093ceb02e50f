"""The report: parameters are checked before anything runs; the page needs nothing but itself."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest
import torch
from driver import chromium
from playwright.sync_api import Page
from scipy import stats
from tiny import is_one_sentence
from torch import Tensor

import sagviz as sv
from sagviz import CFG, PAG, SEG, schedule
from sagviz.checks import MAX_SEED
from sagviz.guidance import Term, as_guidance
from sagviz.guidance.views import StepView
from sagviz.reports import Parameters
from sagviz.reports.page import markdown_with_math
from sagviz.reports.report import NOTEBOOK
from sagviz.reports.summary import command, summary

SIZE = 0.125  # a global of this module that a class uses


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of four steps on the bundled miniature."""
    return sv.report(
        tmp_path_factory.mktemp("report") / "fox.html",
        prompt="a fox & an owl <b> $5",
        steps=4,
        seed=1,
        seeds=2,
    )


@pytest.fixture
def page() -> Iterator[Page]:
    """A page in Chromium whose network is off."""
    with chromium() as browser:
        yield browser.new_context(offline=True).new_page()


@dataclass(frozen=True, repr=False)
class Ramp(Term):
    """A direction that grows from left to right."""

    name = "ramp"
    title = "Ramp of one\u2019s own"
    lean: float = 1.0

    def in_noise(self, step: StepView) -> Tensor:
        return SIZE * self.lean * torch.linspace(0, 1, step.x_t.shape[-1]).expand_as(step.x_t)


def injected(**extra: object) -> dict[str, object]:
    """A notebook's globals after papermill has put its parameters in."""
    return {
        **asdict(Parameters()),
        "In": [""],
        "Out": {},
        "_ih": [],
        "__name__": "__main__",
        **extra,
    }


def test_the_notebooks_parameters_are_the_codes() -> None:
    """As papermill reads them, who cannot read `float | None` and takes what it cannot read for
    unknown.
    """
    seen = papermill.inspect_notebook(str(NOTEBOOK))
    written = {
        name: (found["inferred_type_name"], ast.literal_eval(found["default"]))
        for name, found in seen.items()
    }
    types = {"float | None": "None", "list[dict[str, Any]]": "list"}
    types["float | Schedule | dict[str, Any]"] = "float"
    assert written == {
        field.name: (types.get(str(field.type), field.type), getattr(Parameters(), field.name))
        for field in fields(Parameters)
    }


def test_a_scale_may_be_a_curve(model: sv.Model) -> None:
    curve = sv.schedule("cosine", 1, 7)
    given = Parameters(cfg_scale=curve, sag_scale={"shape": "steps", "values": [0, 1]})
    assert Parameters(**json.loads(json.dumps(asdict(given)))) == given
    settings = given.settings(model)
    assert settings["cfg"] == CFG(curve)
    assert settings["sag"].scale == sv.schedule([0, 1])


def test_shift_tab_shows_each_parameter() -> None:
    shown = inspect.signature(sv.report).parameters
    own = {field.name: getattr(Parameters(), field.name) for field in fields(Parameters)}
    assert list(shown) == ["out", "progress", *own]
    assert {name: shown[name].default for name in own} == {**own, "terms": None}
    assert all(each.kind is not each.VAR_KEYWORD for each in shown.values())


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"sag_scal": 1.0}, "sag_scale"),
        ({"zzz": 1}, "model, prompt"),
        ({"seed": "seven"}, "of type int"),
        ({"steps": 50.0}, "of type int"),
        ({"prompt": 3}, "of type str"),
        ({"cfg_scale": True}, "of type float"),
        ({"cfg_scale": float("nan")}, "cfg scale"),
        ({"steps": 0}, "from 1 to 999"),
        ({"steps": 5000}, "from 1 to 999"),
        ({"blur_sigma": -1.0}, "blur_sigma"),
        ({"explain_at": 2.0}, "from 0 to 1"),
        ({"seed": -1}, "seed"),
        ({"seeds": -1}, "seeds"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    given: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    with pytest.raises(sv.SagvizError, match=re.escape(hint)) as error:
        sv.report(tmp_path / "a.html", **given)
    assert is_one_sentence(error.value)
    with pytest.raises(sv.SagvizError, match=re.escape(hint)):
        Parameters.from_namespace(injected(**given))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"terms": [3]}, "terms"),
        ({"terms": [{"scale": 1.0}]}, "terms"),
        ({"terms": [{"kind": "nosuch", "scale": 1.0}]}, "nosuch"),
        ({"terms": [{"kind": "sag", "scale": 1.0}]}, "a term twice"),
    ],
)
def test_the_notebook_refuses_what_the_signature_would(given: dict[str, object], hint: str) -> None:
    with pytest.raises(sv.SagvizError, match=re.escape(hint)) as error:
        Parameters.from_namespace(injected(**given))
    assert is_one_sentence(error.value)


def test_terms_are_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(sv.SagvizError, match="give None"):
        sv.report(tmp_path / "a.html", terms="pag")  # type: ignore[arg-type]


def test_terms_come_as_papermill_hands_them_over() -> None:
    sum_ = PAG(2.0, layers=("mid",)) + Ramp(0.5)
    given = json.loads(json.dumps(sum_.to_json()))
    assert Parameters.from_namespace(injected(terms=given)).others == sum_


@pytest.mark.slow
def test_a_term_of_ones_own_reaches_the_page(tmp_path: Path) -> None:
    """Its class is in this file, which the report's kernel cannot import."""
    page = sv.report(tmp_path / "ramp.html", steps=6, seeds=0, terms=PAG(1.0) + Ramp(0.5))
    html, notebook = page.read_text(), page.with_suffix(".ipynb").read_text()
    assert "CFG 3 + SAG 1 + PAG 1 + Ramp of one\u2019s own 0.5" in html
    assert "Ramp(0.5)" in html
    assert tempfile.gettempdir() not in notebook
    assert "terms.pkl" not in notebook
    assert str(tmp_path) not in notebook


def test_a_class_that_cannot_be_handed_over_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ramp, "lock", threading.Lock(), raising=False)
    with pytest.raises(sv.SagvizError, match="Ramp cannot be handed") as error:
        sv.report(tmp_path / "a.html", steps=2, terms=Ramp(0.5))
    assert is_one_sentence(error.value)
    assert not list(tmp_path.iterdir())


def test_a_seed_is_as_large_as_in_any_run() -> None:
    assert Parameters.from_namespace(injected(seed=MAX_SEED)).seed == MAX_SEED
    with pytest.raises(sv.SagvizError, match="seed is"):
        Parameters.from_namespace(injected(seed=MAX_SEED + 1))


def test_a_whole_number_may_stand_for_a_float() -> None:
    assert Parameters.from_namespace(injected(sag_scale=2)).sag_scale == 2


@pytest.mark.parametrize(
    "out", ["no/folder/a.html", "a.txt", ".", "taken.html", "a" * 251 + ".html"]
)
def test_an_unwritable_place_is_refused_before_anything_runs(out: str, tmp_path: Path) -> None:
    (tmp_path / "taken.ipynb").mkdir()
    with pytest.raises(sv.SagvizError) as error:
        sv.report(tmp_path / out)
    assert is_one_sentence(error.value)


@pytest.mark.slow
def test_what_stops_the_run_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(sv.SagvizError, match="no-such-model"):
        sv.report(tmp_path / "a.html", model=str(tmp_path / "no-such-model"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_kernel_that_dies_is_one_sentence(tmp_path: Path) -> None:
    @dataclass(frozen=True, repr=False)
    class Deadly(Term):
        """Ends its process at once, as the system does where memory runs out."""

        name = "deadly"

        def in_noise(self, step: StepView) -> Tensor:
            os.kill(os.getpid(), signal.SIGKILL)
            return step.x_t

    try:
        with pytest.raises(sv.SagvizError, match="kernel that made the report died") as error:
            sv.report(tmp_path / "a.html", steps=1, terms=Deadly(1.0))
    finally:
        del Term.kinds[Deadly.name]  # no other test is to meet this one
    assert is_one_sentence(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals and permissions are of POSIX")
def test_reports_at_once_from_one_folder(tmp_path: Path) -> None:
    """In a folder that nobody may write to, and with the user's own kernel of another Python. Each
    tells of its cells and steps, of which nothing stays in the notebook.
    """
    spec = tmp_path / "data" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "x", "language": "python"}))
    here = tmp_path / "here"
    here.mkdir(0o500)
    outs = [tmp_path / f"{number}.html" for number in range(2)]
    command = [sys.executable, "-m", "sagviz", "report", "--steps", "3", "--seeds", "0"]
    environment = {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    going = [
        subprocess.Popen(
            [*command, str(out)], cwd=here, env=environment, stderr=subprocess.PIPE, text=True
        )
        for out in outs
    ]
    for process, out in zip(going, outs, strict=True):
        _, said = process.communicate()
        assert process.returncode == 0, said
        assert "report: cell 8 of 28, step 3 of 3" in said
        assert " left" in said
        assert out.exists()
        assert "sagviz step" not in out.with_suffix(".ipynb").read_text()
    assert not list(here.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("full", ["out", "everything"])
def test_finished_work_is_kept_where_the_disk_is_full(
    full: str, page_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's temporary folder, if that has room; what was there before stays whole."""
    notebook = nbformat.read(page_file.with_suffix(".ipynb"), 4)
    monkeypatch.setattr("sagviz.reports.report.run", lambda *_: notebook)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    out, before = tmp_path / "out" / "a.html", "an older page"
    for folder in (out.parent, tmp_path / "temporary"):
        folder.mkdir()
    out.write_text(before)

    def write(path: Path, content: bytes) -> Path:
        if full == "everything" or path.parent == out.parent:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path.write_bytes(content)
        return path

    monkeypatch.setattr("sagviz.files.write_whole", write)
    with pytest.raises(sv.SagvizError, match="No space left") as error:
        sv.report(out, prompt="a fox")
    assert is_one_sentence(error.value)
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.read_text() == before
    kept = sorted(path.name for path in (tmp_path / "temporary").glob("*/*"))
    assert kept == (["report.html", "report.ipynb"] if full == "out" else [])
    assert ("is kept in" in str(error.value)) == (full == "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [(["-p", "steps", "2"], 0, ""), (["-p", "nosuch", "1"], 1, "no argument 'nosuch'")],
)
def test_plain_papermill_works_and_refuses_too(
    extra: list[str], code: int, said: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.ipynb"
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOK),
        str(out),
        "--no-progress-bar",
        "-p",
        "prompt",
        "a cat",
        *extra,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    pictures = [
        o
        for cell in nbformat.read(out, 4).cells
        for o in cell.get("outputs", [])
        if "<img" in str(o)
    ]
    assert bool(pictures) == (code == 0), "something ran in spite of the wrong parameter"


class Links(HTMLParser):
    """Collects what a page would fetch, and its pictures' words."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.fetched += [
            values[key] for key in ("src", "srcset", "data", "poster") if key in values
        ]
        self.fetched += [values.get("href", "")] if tag == "link" else []
        self.alts += [values.get("alt", "")] if tag == "img" else []
        assert tag != "iframe"


@pytest.mark.slow
def test_the_page_holds_all_that_it_shows(page_file: Path) -> None:
    html = page_file.read_text()
    links = Links()
    links.feed(html)
    # triptych, difference, three seeds, strip, schematic, player of two runs
    assert len(links.alts) == 3 + 3 + 3 * 2 + 4 * 5 + 1 + 2 * 5
    assert all(links.alts), "a picture without words"
    assert all(address.startswith("data:") for address in links.fetched)
    assert "@import" not in html
    assert "url(http" not in html
    made = nbformat.read(page_file.with_suffix(".ipynb"), 4).cells
    written = "".join(cell.source for cell in made if cell.cell_type == "markdown")
    written += "".join(
        output.data.get("text/markdown", "")
        for cell in made
        for output in cell.get("outputs", [])
        if "data" in output
    )
    assert html.count("<math") == len(re.findall(r"\$\$?.+?\$\$?", written)) > 10
    assert "a fox &amp; an owl &lt;b&gt; $5" in html
    assert "<td>miniature on cpu, float32</td>" in html
    assert page_file.with_suffix(".ipynb").exists()
    assert len(html) < 2_000_000


@pytest.mark.slow
def test_a_warning_is_a_sentence_without_code(page_file: Path) -> None:
    html, notebook = page_file.read_text(), page_file.with_suffix(".ipynb").read_text()
    assert '<p class="said" role="note">miniature was not taught \'b\'' in html
    for words in ("ipykernel", "SagvizWarning", "sv.compare("):
        assert words not in html
    outputs = [o for c in nbformat.reads(notebook, 4).cells for o in c.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "ipykernel" not in str(outputs)


@pytest.mark.slow
def test_the_page_states_what_it_found(page_file: Path) -> None:
    """Its numbers are those of the runs: of the pixels, and Student's interval of three seeds."""
    options: dict[str, Any] = {"steps": 4, "progress": False}
    first, more = (  # the further seeds run together, where rounding may move a pixel by a level
        sv.compare(sv.load(), "a fox & an owl <b> $5", seed=seed, images=images, **options)
        for seed, images in ((1, 1), (2, 2))
    )
    pairs = [pair for runs in (first, more) for pair in zip(*(r.images for r in runs), strict=True)]
    pixels = [np.asarray(picture, dtype=float) for picture in pairs[0]]
    apart = np.abs(pixels[0] - pixels[1]).mean() / 255
    sharp = np.array([[1000 * sv.measure.sharpness(picture) for picture in pair] for pair in pairs])
    gains = sharp[:, 1] - sharp[:, 0]
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    html = page_file.read_text()
    assert f"this picture changes by {apart:.1%} of a pixel" in html
    assert f"goes from {sharp[0, 0]:.2f} to {sharp[0, 1]:.2f}" in html
    assert f"by {gains.mean():+.2f} (95 % interval {low:+.2f} to {high:+.2f})" in html
    numbers = re.findall(r"<b>Figure (\d)\.</b>", html)
    assert numbers == [str(n) for n in range(1, 7)]


def test_the_table_has_the_negative_prompt_where_there_is_one(model: sv.Model) -> None:
    for words in ("", "a dog"):
        runs = sv.compare(model, "a fox", negative_prompt=words, steps=1, progress=False)
        given = Parameters(prompt="a fox", negative_prompt=words, steps=1)
        assert dict(summary(runs, model, given).rows).get("negative prompt", "") == words


def test_the_command_makes_the_same_parameters() -> None:
    """What it calls is called with what the report had."""
    terms = (PAG(2.0) + SEG(schedule("cosine", 1, 2))).to_json()
    given = Parameters(prompt="it's PAG(x=inf)", steps=9, threshold=math.inf, terms=terms)
    seen: dict[str, Any] = {}
    report = lambda _, **more: seen.update(more)  # noqa: E731
    names = {"sv": SimpleNamespace(report=report, guidance=sv.guidance)}
    exec(command(given), names)
    assert as_guidance(seen.pop("terms")) == given.others
    assert Parameters(**seen, terms=given.terms) == given


def test_formulas_become_mathml_and_text_stays() -> None:
    html = markdown_with_math("If $a < b_1$ then\n\n$$x = \\frac{a}{b}$$\n\nand **bold**.")
    assert html.count("<math") == 2
    assert "<mo>&#x0003C;</mo>" in html
    assert "<mfrac>" in html
    assert "<strong>bold</strong>" in html
    assert "$" not in html


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_opens_offline_and_is_readable(page_file: Path, page: Page, width: int) -> None:
    failures: list[str] = []
    page.on(
        "console",
        lambda message: failures.append(message.text) if message.type == "error" else None,
    )
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("requestfailed", lambda request: failures.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(page_file.as_uri())
    page.locator(".sagviz-player").wait_for()
    # the one that is taken apart
    page.locator(".sagviz-player .readout", has_text="Step 2 of 4").wait_for()
    assert not failures
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, (
        "the page scrolls sideways"
    )
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('p,td,figcaption,figcaption+img+div')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 13
    narrow = page.evaluate(
        "Math.min(...[...document.images].filter(i => i.offsetParent)"
        ".map(i => i.getBoundingClientRect().width))"
    )
    assert narrow >= 70, "a picture too small to see"
    page.locator(".sagviz-player .step").focus()
    page.keyboard.press("End")
    # else the player is dead
    page.locator(".sagviz-player .caption", has_text="Step 4, the last of 4").first.wait_for()


@pytest.mark.browser
def test_a_prompt_without_a_space_wraps(tmp_path: Path, page: Page) -> None:
    """It stands in the title of the player, in a warning, under pictures and in the table."""
    made = sv.report(tmp_path / "long.html", prompt="x" * 400, steps=1, seeds=0)
    page.set_viewport_size({"width": 390, "height": 900})
    page.goto(made.as_uri())
    page.locator(".sagviz-player").wait_for()
    page.locator(".said", has_text="was not taught").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_the_page_prints_whole(page_file: Path, page: Page) -> None:
    """On A4, 794 pixels wide with margins of 48: nothing is cut at its edge, no word is broken, and
    the swatches of legends are printed.
    """
    page.set_viewport_size({"width": 698, "height": 1000})
    page.goto(page_file.as_uri())
    page.locator(".sagviz-player").wait_for()
    page.emulate_media(media="print")
    assert page.evaluate("""() => [...document.querySelectorAll('.output_area img')].every(
        (image) => image.getBoundingClientRect().right <= innerWidth)""")
    assert page.evaluate("""() => [...document.querySelectorAll('main > * th')].every((head) => {
        const words = document.createRange();
        words.selectNodeContents(head);
        return words.getClientRects().length === 1;
    })""")
    for swatch in (".strip", ".of"):
        adjusted = page.locator(f".sagviz-player {swatch}").first.evaluate(
            "node => getComputedStyle(node, '::before').printColorAdjust"
        )
        assert adjusted == "exact"
