"""pyproject.toml, environment.yml and the two sets of pins agree, and the package imports only what
it declares.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from sources import PACKAGE, ROOT, home, imports, modules

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest brings it where Python has none

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# of conda-forge's
PYPI_NAMES = {"matplotlib-base": "matplotlib", "nbconvert-core": "nbconvert", "pytorch": "torch"}
PIP_ONLY = {"compel", "latex2mathml"}  # small, pure Python: `pip install -e .` brings it
CARD = {
    "torch",
    "diffusers",
    "transformers",
    "ipywidgets",
    "matplotlib",
    "jupyterlab",
    "pillow",
    "papermill",
}
IMPORT_NAMES = {"PIL": "pillow"}


def floors(lines: list[str]) -> dict[str, SpecifierSet]:
    """Name to version specifier, without the project's own extras."""
    found = {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}
    return {name: specifier for name, specifier in found.items() if name != "sagviz"}


CORE = floors(PROJECT["dependencies"])
ON_COLAB = CORE | floors(
    [
        line
        for extra in ("cluster", "lab", "report", "train", "video", "weights")
        for line in EXTRAS[extra]
    ]
)
USED = ON_COLAB | floors([*EXTRAS["app"], *EXTRAS["live"]])  # by the package itself
ALL = USED | floors(EXTRAS["dev"])


def pins(path: Path) -> dict[str, str]:
    """Name to the one version that a constraints file allows."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    matches = [
        re.fullmatch(r"([\w.-]+)==([\w.+]+)(; python_version >= \"[\d.]+\")?", line)
        for line in lines
        if line
    ]
    assert all(matches), f"{path.name} holds a line that is no pin"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


@pytest.fixture(scope="module")
def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text())


@pytest.fixture(scope="module")
def conda_floors(conda: dict) -> dict[str, SpecifierSet]:
    """The packages of environment.yml under PyPI's names; conda's `python=3.12` is pip's
    `==3.12.*`.
    """
    lines = [
        re.sub(r"^([\w-]+)=([\d.]+)$", r"\1==\2.*", entry)
        for entry in conda["dependencies"]
        if isinstance(entry, str)
    ]
    names = floors(lines)
    return {PYPI_NAMES.get(name, name): specifier for name, specifier in names.items()}


def test_conda_takes_packages_from_conda_forge_alone(conda: dict) -> None:
    assert conda["name"] == "sagviz"
    assert conda["channels"] == ["conda-forge", "nodefaults"]


def test_conda_floors_are_those_of_pyproject(conda_floors: dict[str, SpecifierSet]) -> None:
    packages = {
        name: specifier for name, specifier in conda_floors.items() if name not in ("python", "pip")
    }
    assert packages == {name: specifier for name, specifier in USED.items() if name not in PIP_ONLY}
    assert packages.keys() >= CARD


def test_conda_python_is_supported(conda_floors: dict[str, SpecifierSet]) -> None:
    (python,) = conda_floors["python"]
    assert SpecifierSet(PROJECT["requires-python"]).contains(python.version.removesuffix(".*"))


def test_conda_ends_with_the_package_itself(conda: dict) -> None:
    assert "pip" in conda["dependencies"]
    assert [entry for entry in conda["dependencies"] if isinstance(entry, dict)] == [
        {"pip": ["-e .[dev]"]}
    ]


@pytest.mark.parametrize("file", ["constraints.txt", "tests/colab/constraints.txt"])
def test_pins_satisfy_the_floors(file: str) -> None:
    # Nobody develops there, its notebook is older, and no class reaches it.
    needed = ON_COLAB if "colab" in file else ALL
    too_old = {
        n: v for n, v in pins(ROOT / file).items() if n in needed and not needed[n].contains(v)
    }
    assert not too_old


def test_every_direct_dependency_is_pinned() -> None:
    assert ALL.keys() <= pins(ROOT / "constraints.txt").keys()


@pytest.mark.parametrize("file", ["constraints.txt", "tests/colab/constraints.txt"])
def test_torch_is_pinned_without_a_build(file: str) -> None:
    assert "+" not in pins(ROOT / file)["torch"]


def test_core_leaves_the_platform_alone() -> None:
    """Only floors, so that Colab's torch stays; no second Jupyter."""
    assert {specifier.operator for floor in CORE.values() for specifier in floor} == {">="}
    assert not CORE.keys() & {"jupyterlab", "notebook", "papermill", "nbconvert"}


def test_dev_holds_every_other_extra() -> None:
    (own,) = [Requirement(line) for line in EXTRAS["dev"] if line.startswith("sagviz")]
    assert own.extras == EXTRAS.keys() - {"dev"}


@pytest.mark.slow
def test_imports_are_declared() -> None:
    """What another package happens to bring along today may be gone tomorrow."""
    names = {
        name.split(".")[0]
        for module, path in modules(PACKAGE).items()
        for name in imports(path.read_text(), home(module, path.name == "__init__.py"))
    }
    third_party = names - sys.stdlib_module_names - {"sagviz"}
    assert {canonicalize_name(IMPORT_NAMES.get(name, name)) for name in third_party} <= USED.keys()


def test_a_commit_runs_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    (recipe,) = re.findall(
        r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert hooks == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]


@pytest.mark.parametrize(("user", "flags"), [("0", ["--allow-root"]), ("1000", [])])
def test_make_lab_starts_for_root_too(tmp_path: Path, user: str, flags: list[str]) -> None:
    (tmp_path / "id").write_text(f"#!/bin/sh\necho {user}\n")
    (tmp_path / "id").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "-C", str(ROOT), "-n", "lab"]
    told = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=True)
    (line,) = [each for each in told.stdout.splitlines() if "jupyter lab" in each]
    assert [word for word in line.split() if "root" in word] == flags


def test_make_help_has_each_target() -> None:
    text = (ROOT / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    told = re.findall(r"^# make (\S+) ", text.split("\n\n")[0], re.MULTILINE)
    assert set(told) == set(targets.split()) - {"chromium", "test-colab"}  # of `make test`
