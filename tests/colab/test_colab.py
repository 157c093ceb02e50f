"""The wheel among Colab's versions, in an environment of its own: `make test-colab`."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat
import papermill
import pytest
from packaging.requirements import Requirement

HERE = Path(__file__).parent
NOTEBOOK = HERE.parents[1] / "notebooks" / "report.ipynb"
LINES = [line.split("#")[0].strip() for line in (HERE / "constraints.txt").read_text().splitlines()]


def python(code: str, cwd: Path) -> str:
    """What a fresh interpreter prints, away from the repository so that only the installed package
    is in reach.
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("pin", [line for line in LINES if line])
def test_versions_are_colabs(pin: str) -> None:
    wanted = Requirement(pin)
    assert wanted.specifier.contains(version(wanted.name))  # 2.13.0+cpu is a 2.13.0


def test_package_is_the_wheel_and_brings_the_notebook_and_its_types(tmp_path: Path) -> None:
    folder = Path(python("import sagviz; print(sagviz.__path__[0])", tmp_path))
    assert "site-packages" in folder.parts
    assert (folder / "report.ipynb").read_bytes() == NOTEBOOK.read_bytes()
    assert (folder / "py.typed").exists()


def test_import_stays_light(tmp_path: Path) -> None:
    heavy = ("torch", "diffusers", "transformers", "matplotlib")
    assert python(f"import sagviz, sys; print(*set({heavy}) & set(sys.modules))", tmp_path) == ""


def test_papermill_runs_the_report(tmp_path: Path) -> None:
    """With parameters as Colab's user would pass them, on the bundled miniature; every picture is
    in the notebook.
    """
    out = tmp_path / "out.ipynb"
    papermill.execute_notebook(
        str(NOTEBOOK),
        str(out),
        parameters={"prompt": "a fox on a blue background", "seed": 7, "steps": 3},
        kernel_name="python3",
        progress_bar=False,
        cwd=str(tmp_path),
    )
    notebook = nbformat.read(out, as_version=4)
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    shown = [output.data for output in outputs if "data" in output]
    assert any("image/png" in data or "data:image" in data.get("text/html", "") for data in shown)


WIDGETS = """
import torch
torch.set_num_threads(1)
import ipywidgets, sagviz as sv
from IPython.core.formatters import DisplayFormatter

model = sv.load()
pair = sv.compare(model, "a fox", seed=7, steps=3, progress=False)
MAKE = {
    "Playground": lambda: sv.Playground(model, prompt="a fox", seed=7, steps=3),
    "Preference": lambda: sv.Preference([pair]),
    "Scrubber": lambda: sv.Scrubber(pair[1]),
    "Microscope": lambda: sv.Microscope(model, pair[1]),
    "Grid": lambda: sv.Grid(
        sv.sweep(model, ["a fox", "a cat"], seeds=[1, 2], steps=[1, 2], progress=False),
        measure="sharpness",
    ),
}

def parts(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)

NUMBERS = ("IntSlider", "FloatSlider", "BoundedIntText")

def move(part):
    if isinstance(part, tuple(getattr(ipywidgets, name) for name in NUMBERS)):
        old, part.value = part.value, min(part.max, part.value + part.step)
        part.value = old
    elif isinstance(part, ipywidgets.Checkbox):
        part.value = not part.value
        part.value = not part.value
    elif isinstance(part, ipywidgets.Dropdown):
        part.index, part.index = len(part.options) - 1, part.index

widget = MAKE[NAME]()
data, _ = DisplayFormatter().format(widget)
assert {"application/vnd.jupyter.widget-view+json", "text/html"} <= set(data), data
for part in list(parts(widget)):
    if isinstance(part, ipywidgets.Accordion):
        for number in range(len(part.children)):
            part.selected_index = number
for part in list(parts(widget)):
    move(part)
if NAME == "Playground":
    widget.buttons["run"].click()
    assert widget.notice.value == "", widget.notice.value
    assert [trace.pictures for trace in widget.traces] == [trace.pictures for trace in pair]
    widget.load_files({"fox.png": {"content": widget.history.runs[0].pictures[1]}})
    assert "Run makes it again" in widget.notice.value
if NAME == "Preference":
    widget.typed.value = "l"
    assert "was preferred" in widget.end.value
widget.close()
print(ipywidgets.__version__)
"""


@pytest.mark.parametrize("name", ["Playground", "Preference", "Scrubber", "Microscope", "Grid"])
def test_widgets_are_built_shown_and_moved(name: str, tmp_path: Path) -> None:
    assert python(f"NAME = {name!r}\n{WIDGETS}", tmp_path).splitlines()[-1] == "7.7.1"
