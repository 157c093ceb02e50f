"""The command line: the same names as in Python, one sentence for a fault, exit status 2."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import sagviz as sv
from sagviz import CFG, PAG, SAG, SEG, Rescale
from sagviz.cli import main
from sagviz.guidance import Guidance


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


def test_several_images_use_the_next_seeds(tmp_path: Path) -> None:
    assert (
        main(["generate", "a fox", "--steps", "2", "--images", "2", "-o", str(tmp_path / "a.png")])
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-0.png", "a-1.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--model", "no/such-folder"],
        ["generate", "--model", "/no/such/folder"],
        ["generate", "--steps", "0"],
        ["generate", "--steps", "5000"],
        ["generate", "--cfg-scale", "nan"],
        ["generate", "--sag-scale", "inf"],
        ["generate", "--scheduler", "dream"],
        ["generate", "-o", "no/such/folder.png"],
        ["report", "no/such/folder.html"],
        ["report", "--steps", "0"],
        ["report", "--blur-sigma", "-1"],
        ["estimate", "/no/such/folder"],
        ["estimate", "--size", "33", "32"],
        ["estimate", "--dtype", "int8"],
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


@pytest.mark.parametrize(
    "arguments",
    [["generate", "--seed", "seven"], ["report", "--nosuch", "1"], ["nosuch"], []],
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
    "arguments",
    [["--help"], ["generate", "--help"], ["report", "--help"], ["estimate", "--help"]],
    ids=" ".join,
)
def test_help_is_everywhere(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 0
    assert "sagviz" in capsys.readouterr().out


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


def test_the_command_line_adds_terms(tmp_path: Path) -> None:
    out = tmp_path / "fox.png"
    flags = ["--pag-scale", "1.5", "--seg-scale", "0.5", "--rescale", "0.7", "--sag-scale", "0"]
    assert main(["generate", "a fox", "--seed", "3", "--steps", "2", *flags, "-o", str(out)]) == 0
    wanted = CFG(3.0) + SAG(0.0) + PAG(1.5) + SEG(0.5) + Rescale(0.7)
    expected = sv.trace(sv.load(), "a fox", seed=3, steps=2, guidance=wanted, progress=False)
    with Image.open(out) as picture:
        assert picture.tobytes() == expected.image.tobytes()
        assert Guidance.from_json(json.loads(picture.info["sagviz"])["guidance"]) == wanted


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


def test_importing_the_command_line_is_light() -> None:
    code = "import sys, sagviz.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_python_m_sagviz() -> None:
    command = [sys.executable, "-m", "sagviz", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "generate | report | sweep | show | estimate" in done.stdout
