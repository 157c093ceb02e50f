"""The command line: the same names as in Python, one sentence for a fault, exit status 2."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from tiny import build_pixels, is_one_sentence
from warm import NEW

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Rescale
from sagviz.cli import main
from sagviz.cli.term_flags import TermFlag, term_flags
from sagviz.guidance import Term
from sagviz.records.settings import Settings
from sagviz.reports.parameters import Parameters

LONG = "n" * 300  # no file can be called so


@pytest.mark.slow
def test_generate_makes_the_picture_that_trace_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fox.png"
    assert (
        main(
            [
                "generate",
                "a fox",
                "--seed",
                "3",
                "--steps",
                "3",
                "--sag-scale",
                "0.5",
                "-o",
                str(out),
            ]
        )
        == 0
    )
    expected = sv.trace(
        sv.load(), "a fox", seed=3, steps=3, guidance=CFG(3.0) + SAG(0.5), progress=False
    )
    with Image.open(out) as picture:
        assert picture.tobytes() == expected.image.tobytes()
        settings = json.loads(picture.info["sagviz"])
    assert settings["seed"] == 3
    assert settings["guidance"][1]["scale"] == 0.5
    assert capsys.readouterr().out.strip() == str(out)


@pytest.mark.slow
def test_several_images_use_the_next_seeds(tmp_path: Path) -> None:
    assert (
        main(["generate", "a fox", "--steps", "2", "--images", "2", "-o", str(tmp_path / "a.png")])
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.png", "a-1.png"]


@pytest.mark.slow
def test_generate_and_sweep_take_a_schedule_of_ones_own(tmp_path: Path) -> None:
    out, store = tmp_path / "fox.png", tmp_path / "runs"
    flags = ["--clip-skip", "1", "--timesteps", "999", "500", "100"]
    assert main(["generate", "a fox", "--scheduler", "euler", "-o", str(out), *flags]) == 0
    with Image.open(out) as picture:
        noted = json.loads(picture.info["sagviz"])
    assert (noted["clip_skip"], noted["timesteps"]) == (1, [999, 500, 100])
    place = ["--schedulers", "euler", "--store", str(store)]
    assert main(["sweep", "--prompts", "a fox", "--seeds", "7", *place, *flags]) == 0
    (cell,) = sv.Sweep.open(store).plan.cells
    assert json.loads(json.dumps(cell.settings.to_json())) == noted


def test_generate_starts_from_a_picture(tmp_path: Path) -> None:
    """And paints a part of it: the rest is the picture, as the autoencoder gives it back. A
    photograph is turned as its camera noted.
    """
    image, paint, out = (tmp_path / name for name in ("fox.jpg", "mask.png", "out.sagtrace"))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (48, 64), "orange").save(image, exif=turned)
    Image.new("1", (64, 48)).save(paint)
    flags = ["--image", str(image), "--strength", "0.5", "--paint", str(paint), "--steps", "4"]
    assert main(["generate", "a fox", "-o", str(out), *flags]) == 0
    made = sv.Trace.load(out)
    assert (len(made), made.image.size, made.settings.strength) == (2, (64, 48), 0.5)
    assert made.latents.equal(made.inputs["image"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--image", "no/such.png"],
        ["generate", "--strength", "0.5"],
        ["generate", "--timesteps", "500", "999"],
        ["generate", "--clip-skip", "9"],
        ["generate", "--model", "no/such-folder"],
        ["generate", "--model", "/no/such/folder"],
        ["generate", "--steps", "0"],
        ["generate", "--steps", "5000"],
        ["generate", "--cfg-scale", "nan"],
        ["generate", "--sag-scale", "inf"],
        ["generate", "--scheduler", "dream"],
        ["generate", "-o", "no/such/folder.png"],
        ["generate", "-o", f"{LONG}.png"],
        ["generate", "-o", f"{LONG}/fox.png"],
        ["generate", "--model", LONG],
        ["report", f"{LONG}.html"],
        ["report", "no/such/folder.html"],
        ["report", "--steps", "0"],
        ["report", "--blur-sigma", "-1"],
        ["report", "a.html", "--out", "b.html"],
        ["report", "--workers", "2"],
        ["report", "a.html", "--batch", "jobs.csv"],
        ["report", "--force", "--batch", "jobs.csv"],
        ["generate", "--images", "3000000"],
        ["estimate", "/no/such/folder"],
        ["estimate", "--size", "33", "32"],
        ["estimate", "--dtype", "int8"],
        ["app", "--visitors", "0"],
        ["app", "--pairs", "0"],
        ["app", "--port", "70000"],
        ["votes", "merge", "no/such/votes.json"],
    ],
    ids=" ".join,
)
def test_what_goes_wrong_is_one_line_and_status_2(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("sagviz: ")
    assert said.err.count("\n") == 1
    assert not said.out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["a.html"], ["--out", "a.html"], []])
def test_a_reports_file_is_the_one_that_was_named(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def report(out: Path, **_: object) -> Path:
        made.append(out)
        return out

    monkeypatch.setattr("sagviz.reports.report.report", report)
    monkeypatch.chdir(tmp_path)
    assert not main(["report", *arguments])
    assert [path.name for path in made] == ["a.html" if arguments else "report.html"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--seed", "seven"],
        ["generate", "--seed", "1.5"],
        ["report", "--nosuch", "1"],
        ["nosuch"],
    ],
    ids=" ".join,
)
def test_unknown_flags_and_types_are_refused_by_the_parser(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("generate a red fox", "unrecognized arguments: red fox; put a text of several words in q"),
        ("generate --guidance-scale 3 fox", "give --cfg-scale 7.5"),
        ("generate fox --num-inference-steps=9", "give --steps 50"),
        ("generate fox --sede 9", "did you mean --seed?"),
        ("sweep --sede 9", "did you mean --seeds?"),
        ("show a.sagtrace --quickly", "--help lists what there is"),
        ("generate --prompt fox", "give the prompt alone, without --prompt"),
    ],
)
def test_another_programs_flag_is_answered_with_ours(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(line.split())
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("place", ["", ".", "/"])
@pytest.mark.parametrize("command", ["generate fox -o", "show", "report"])
def test_a_name_of_no_file_is_refused(
    command: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), place]) == 2
    assert is_one_sentence(capsys.readouterr().err.strip())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["generate", "--help"], ["report", "--help"], ["estimate", "--help"]],
    ids=" ".join,
)
def test_help_is_everywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "sagviz" in capsys.readouterr().out


def test_a_model_of_pixels_is_estimated_without_cfg_and_takes_no_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_pixels().save_pretrained(tmp_path / "pixels")
    assert main(["estimate", str(tmp_path / "pixels")]) == 0
    capsys.readouterr()
    given = ["--model", str(tmp_path / "pixels"), "-o", str(tmp_path / "a.png"), "--steps", "1"]
    assert main(["generate", Parameters.prompt, *given]) == 2
    assert "prompt" in capsys.readouterr().err
    assert main(["generate", *given]) == 0


@pytest.mark.slow
def test_an_estimate_is_that_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "estimate",
                "--images",
                "3",
                "--size",
                "128",
                "192",
                "--steps",
                "7",
                "--dtype",
                "float32",
            ]
        )
        == 0
    )
    model = sv.load(device="meta", dtype="float32")
    expected = sv.estimate(model, guidance=CFG(3.0) + SAG(1.0), images=3, size=(128, 192), steps=7)
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.slow
def test_a_long_prompt_warns_and_goes_on(tmp_path: Path) -> None:
    """As a user runs it: in a process of its own, with nothing from inside torch on the screen."""
    command = [
        sys.executable,
        "-m",
        "sagviz",
        "generate",
        "fox " * 500,
        "--steps",
        "1",
        "-o",
        str(tmp_path / "a.png"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "these words were cut: fox fox" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "a.png").exists()


@pytest.mark.slow
def test_the_command_line_adds_terms(tmp_path: Path) -> None:
    out = tmp_path / "fox.png"
    flags = ["--pag-scale", "1.5", "--seg-scale", "0.5", "--rescale", "0.7", "--sag-scale", "0"]
    assert main(["generate", "a fox", "--seed", "3", "--steps", "2", *flags, "-o", str(out)]) == 0
    wanted = CFG(3.0) + SAG(0.0) + PAG(1.5) + SEG(0.5) + Rescale(0.7)
    expected = sv.trace(sv.load(), "a fox", seed=3, steps=2, guidance=wanted, progress=False)
    with Image.open(out) as picture:
        assert picture.tobytes() == expected.image.tobytes()
        assert Settings.from_json(json.loads(picture.info["sagviz"])).guidance == wanted


def test_every_term_that_needs_a_scale_alone_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    """In both commands, and none where more is needed."""
    for command in ("generate", "report"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        shown = capsys.readouterr().out
        for name in ("cfg", "sag", "pag", "seg", "apg", "rescale"):
            assert shown.count(f"--{name}-scale {name.upper()}") <= 2
            assert f"--{name}-scale" in shown
        assert "--cg-scale" not in shown


def test_no_help_waits_for_a_heavy_import() -> None:
    """Nor does the version; what they all import takes a tenth of a second."""
    code = """
import sys
from sagviz.cli import main
from sagviz.cli.parser import COMMANDS
names = [command.__name__.rpartition(".")[2] for command in COMMANDS]
for argv in ([], ["--help"], ["--version"], *([name, "--help"] for name in names)):
    try:
        main(argv)
    except SystemExit as stop:
        assert not stop.code
heavy = ("torch", "numpy", "pandas", "PIL", "matplotlib", "diffusers", "tqdm", "IPython")
print("loaded:", *(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([NEW, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_the_flags_of_terms_are_those_of_their_classes() -> None:
    """The parser reads them from the sources."""
    wanted = set()
    for kind in Term.kinds.values():
        needed = [f for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]
        if kind.__module__.startswith("sagviz.guidance.") and len(needed) == 1:
            wanted.add(TermFlag(kind.name, kind.title, kind.scale_help))
    assert {term for term in wanted if term.name not in ("cfg", "sag")} == set(term_flags())


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "generate | report | sweep | show | estimate" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"sagviz {sv.__version__}\n"


def test_files_are_written_over_by_force_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused before anything runs, for every file that a command writes."""
    places = [tmp_path / name for name in ("a.png", "b-1.png", "c.ipynb", "d.html")]
    for place in places:
        place.write_text("old")
    picture, batch, notebook, shown = map(str, places)
    commands = [
        ["generate", "a fox", "--steps", "1", "-o", picture],
        ["generate", "--steps", "1", "--images", "2", "-o", batch.replace("b-1.png", "b.png")],
        ["report", notebook.replace("ipynb", "html")],
        ["show", shown.replace("html", "sagtrace")],
    ]
    for command, place in zip(commands, places, strict=True):
        assert main(command) == 2
        assert f"{place} exists" in capsys.readouterr().err
        assert place.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 4
    assert main([*commands[0], "--force"]) == 0
    with Image.open(picture) as made:
        assert made.size == (64, 64)


@pytest.mark.slow
def test_generate_writes_the_run_or_its_player(tmp_path: Path) -> None:
    command = ["generate", "a fox", "--seed", "3", "--steps", "2", "--images", "2", "-o"]
    assert main([*command, str(tmp_path / "fox.sagtrace")]) == 0
    assert main([*command, str(tmp_path / "fox.html")]) == 0
    names = ["fox-0.html", "fox-1.html", "fox.sagtrace"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    guidance = CFG(3.0) + SAG(1.0)
    expected = sv.trace(
        sv.load(), "a fox", seed=3, steps=2, images=2, guidance=guidance, progress=False
    )
    kept = sv.Trace.load(tmp_path / "fox.sagtrace")
    assert kept.settings == expected.settings
    assert kept.pictures == expected.pictures
    assert len(kept) == 2
    assert 'class="sagviz-data"' in (tmp_path / "fox-1.html").read_text()


def test_a_seed_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    out = tmp_path / "a.sagtrace"
    assert main(["generate", "a fox", "--seed", "1e12", "--steps", "1", "-o", str(out)]) == 0
    assert sv.Trace.load(out).settings.seed == 1_000_000_000_000


def test_home_is_expanded_and_any_terminal_can_show_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell itself leaves `--out=~/fox.png` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252"))
    assert main(["generate", "a fox", "--steps", "1", "--out=~/\N{FOX FACE}.png"]) == 0
    sys.stdout.flush()
    assert [path.name for path in tmp_path.iterdir()] == ["\N{FOX FACE}.png"]
    assert written.getvalue().strip().endswith(b"\\U0001f98a.png")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["generate", "report"])
def test_a_prompt_in_another_encoding_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python hands such bytes over as halves of characters."""
    out = str(tmp_path / ("a.png" if command == "generate" else "a.html"))
    flag = ["-o", out] if command == "generate" else [out, "--prompt"]
    arguments = [*flag, "caf\udce9"] if command == "report" else ["caf\udce9", *flag]
    assert main([command, *arguments]) == 2
    assert "another encoding" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_python_m_sagviz() -> None:
    command = [sys.executable, "-m", "sagviz", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "generate | report | sweep | show | estimate" in done.stdout


@pytest.mark.slow
def test_a_reader_that_ends_early_is_no_fault() -> None:
    """As `| head` does."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "sagviz", "estimate", "--steps", "2"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
