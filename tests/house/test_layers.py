"""The layers of the package: a file imports only from rows below its own package, nothing goes in
circles, each big library has its owners, and no room is too full.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from layers import (
    MAX_NAMES,
    ROWS,
    arrows,
    between_packages,
    body_lines,
    circle,
    faults,
    loaded,
    long_files,
    package_faults,
    package_of,
    read_rows,
    top_names,
)
from sources import PACKAGE, modules


@pytest.mark.slow
def test_every_import_goes_down() -> None:
    assert package_faults(PACKAGE) == []


@pytest.mark.slow
def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle(arrows(PACKAGE)) == ""


@pytest.mark.slow
def test_no_packages_import_each_other_in_a_circle() -> None:
    assert circle(between_packages(arrows(PACKAGE))) == ""


def test_the_top_is_surveyable() -> None:
    assert len(top_names(PACKAGE)) <= MAX_NAMES, sorted(top_names(PACKAGE))


def test_every_row_is_a_package_that_exists() -> None:
    assert {name.removeprefix("sagviz") for name in ROWS} <= modules(PACKAGE).keys()


def test_no_file_is_long() -> None:
    assert long_files(PACKAGE) == {}


def test_the_loop_reads_aloud() -> None:
    """One run and many are one loop: it and what it calls in its file have 15 lines at most."""
    found = body_lines(PACKAGE / "sampling" / "lockstep.py")
    assert "lockstep" in found
    assert {name: lines for name, lines in found.items() if lines > 15} == {}


def test_import_stays_light() -> None:
    assert loaded("import sagviz", PACKAGE.parent) == []


@pytest.mark.slow
def test_the_first_picture_does_not_wait_for_matplotlib() -> None:
    code = "from sagviz.widgets import Playground"
    assert loaded(code, PACKAGE.parent, ("matplotlib",)) == []


# The rules themselves, tried on planted modules: a rule that nothing can break protects nothing.

FILES = {"", "cli", "guidance.sag", "mini.world", "mini.training.fit", "plot.montage"}
KNOWN = FILES | {"sampling.loop", "widgets.grid.grid"} | {name for name in ROWS if name != "sagviz"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffusion.blur", "from sagviz.sampling.loop import steps"),
        ("diffusion.blur", "from sagviz import sampling"),
        ("diffusion.blur", "import sagviz.sampling.loop as s"),
        ("diffusion.blur", "from ..sampling import steps"),
        ("diffusion.blur", "from .. import sampling"),
        ("diffusion.blur", "from sagviz import CFG"),
        ("diffusion.blur", "import sagviz"),
        ("diffusion.blur", "from importlib import import_module\nimport_module('sagviz.sampling')"),
        ("diffusion.blur", "import importlib as i\ni.import_module('sagviz.sampling.loop')"),
        ("diffusion.blur", "from sagviz.guidance import SAG"),
        ("mini.world", "from sagviz.models import Model"),
        ("mini", "from sagviz.mini.training.fit import fit"),
        ("mini.training.fit", "from sagviz.mini.evaluation import card"),
        ("mini.training.fit", "from sagviz import CFG"),
        ("measure", "from sagviz.describe import story"),
        ("sampling", "def late():\n    from sagviz.cli import main"),
        ("records.trace", "from sagviz import player"),
        (
            "records.trace",
            "class Trace:\n    def to_html(self):\n        from sagviz import player",
        ),
        ("records.trace", "if TYPE_CHECKING:\n    from sagviz.models import Model"),
        ("records", "import typing\nif typing.TYPE_CHECKING:\n    import sagviz.cli"),
        ("records", "if TYPE_CHECKING:\n    pass\nelse:\n    import sagviz.cli"),
        ("plot.montage", "from sagviz import player"),
        ("player", "from sagviz.plot.montage import strip"),
        ("checks", "from sagviz.files import save"),
        ("cli", "from sagviz import __version__"),
        ("cli", "from sagviz.__main__ import main"),
        ("reports", "if typing.TYPE_CHECKING:\n    pass\nelse:\n    import diffusers"),
        ("", "from sagviz.mini.evaluation import card"),
        ("sampling", "import diffusers"),
        ("sampling", "from transformers import CLIPTextModel"),
        ("sampling", "if TYPE_CHECKING:\n    import sagviz.cli\nelse:\n    import numpy"),
        ("plot", "import ipywidgets as w"),
        ("cli", "def report():\n    import papermill"),
        ("player", "from PIL import Image"),
        ("mini.world", "from matplotlib.figure import Figure"),
        ("plot", "import matplotlib.pyplot as plt"),
        ("plot.montage", "from matplotlib import pyplot"),
        ("plot", "def late():\n    from matplotlib.pyplot import figure"),
        ("mini.evaluation.evaluate", "import matplotlib.pyplot"),
        ("describe", "if not TYPE_CHECKING:\n    import PIL"),
        ("unheard_of", ""),
    ],
)
def test_planted_fault_is_found(module: str, source: str) -> None:
    assert len(list(faults(module, source, KNOWN))) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("diffusion.blur", "import torch\nfrom sagviz.errors import SagvizError"),
        ("guidance", "from __future__ import annotations\nimport math"),
        ("guidance.sag", "from .base import Term\nfrom sagviz.guidance.sag_mask import mask"),
        ("sampling", "from sagviz import guidance, records"),
        ("sampling", "if TYPE_CHECKING:\n    from PIL import Image\n    import sagviz.models"),
        ("mini.world", "from PIL import Image\nfrom sagviz.mini import WEIGHTS"),
        ("mini.training.fit", "import diffusers\nfrom sagviz.mini.world import caption"),
        ("mini.training.curves", "from matplotlib.figure import Figure"),
        ("mini.evaluation.evaluate", "from sagviz import trace\nimport matplotlib.figure"),
        ("models", "from diffusers import DiffusionPipeline\nfrom sagviz.mini import WEIGHTS"),
        ("widgets.grid.grid", "import ipywidgets\nfrom . import table\nfrom ..common import a"),
        ("plot", "from matplotlib.figure import Figure\nfrom PIL import Image"),
        ("plot.montage", "from sagviz.plot import page\nfrom sagviz.measure import coverage"),
        ("reports", "import papermill\nfrom sagviz.widgets import Grid"),
        ("cli", "from sagviz import reports"),
        ("", "from sagviz import cli"),
    ],
)
def test_good_import_is_left_alone(module: str, source: str) -> None:
    assert list(faults(module, source, KNOWN)) == []


def write(folder: Path, **files: str) -> Path:
    """A source tree: `a__b="..."` is a/b.py."""
    for name, source in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        (path.parent / "__init__.py").touch()
    return folder


def test_planted_file_is_found(tmp_path: Path) -> None:
    write(
        tmp_path,
        sampling__loop="from .keep import kept",
        sampling__keep="from ..widgets.grid import Grid",
        widgets__grid="from ..sampling import loop\nfrom . import table",
        widgets__table="",
    )
    found = ["sampling.keep imports widgets.grid, which is not below it"]
    assert package_faults(tmp_path) == found


@pytest.mark.parametrize(
    "last", ["from sagviz.guidance.a import A", "if TYPE_CHECKING:\n    from .a import A"]
)
def test_planted_circle_of_files_is_found(last: str, tmp_path: Path) -> None:
    """Three files of one package, whose rows say nothing about it."""
    imports = {
        "guidance__a": "from .b import B",
        "guidance__b": "def late():\n    from . import c",
        "guidance__c": last,
    }
    write(tmp_path, **imports)
    assert package_faults(tmp_path) == []
    assert circle(arrows(tmp_path)).count(" imports ") == 3
    assert circle(arrows(write(tmp_path, guidance__c=""))) == ""


def test_planted_circle_of_packages_is_found(tmp_path: Path) -> None:
    """No two of these files import each other."""
    write(
        tmp_path,
        records__step="from sagviz.image import picture",
        image="from sagviz.guidance.cfg import CFG",
        guidance__cfg="",
        guidance__sag="from sagviz.records import trace",
        records__trace="",
    )
    assert circle(arrows(tmp_path)) == ""
    assert circle(between_packages(arrows(tmp_path))).count(" imports ") == 3


def test_planted_23rd_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").touch()
    for number in range(MAX_NAMES):
        write(tmp_path, **{f"m{number}" if number % 2 else f"p{number}__inner": ""})
    assert len(top_names(tmp_path)) == MAX_NAMES
    assert len(top_names(write(tmp_path, one_more=""))) == MAX_NAMES + 1


def test_planted_long_file_is_found(tmp_path: Path) -> None:
    write(tmp_path, right="a = 1\n" * 260, records__long="a = 1\n" * 261)
    assert long_files(tmp_path) == {"records.long": 261}


def test_planted_weight_is_found(tmp_path: Path) -> None:
    (tmp_path / "sagviz.py").write_text("import torch")
    (tmp_path / "torch.py").write_text("")  # stands in for the real one
    assert loaded("import sagviz", tmp_path) == ["torch"]


def test_rows_are_read_from_the_highest_to_the_lowest() -> None:
    text = "words\n```rows\nsagviz  the door\nplot player  two\nmini.training  a\nmini  b\n```\n"
    rows = read_rows(text)
    assert rows == {"mini": 0, "mini.training": 1, "plot": 2, "player": 2, "sagviz": 3}
    assert package_of("mini.training.fit", rows) == "mini.training"
    assert package_of("mini.trainings", rows) == "mini"
    assert package_of("plotting", rows) is None
    with pytest.raises(AssertionError, match="twice"):
        read_rows("```rows\na b  x\nb  y\n```\n")
