"""A report: the notebook `report.ipynb`, run by papermill with checked parameters, and its
self-contained HTML page.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape, unescape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sagviz.checks import check_number, check_steps
from sagviz.errors import ReportError
from sagviz.files import write_whole
from sagviz.guidance import CFG, SAG
from sagviz.models import Model
from sagviz.models.load import load
from sagviz.records.trace import Trace

HERE = Path(__file__).parent
NOTEBOOK = next(
    (
        path
        for path in (HERE / "report.ipynb", HERE.parent / "notebooks" / "report.ipynb")
        if path.exists()
    ),
    HERE / "report.ipynb",
)
STYLE = HERE / "report.css"


@dataclass(frozen=True)
class Parameters:
    """What a report can be told. The notebook's parameters cell has the same names and defaults.

    Attributes:
        model: "miniature", a folder in diffusers' format or a hub name.
        prompt: may be empty.
        negative_prompt: in place of the empty prompt in CFG's unconditional branch.
        seed: of the start noise.
        steps: 1..999.
        cfg_scale: w; 0 ignores the prompt, 1 is the plain conditional prediction.
        sag_scale: the paper's s; 0 is off.
        threshold: psi, in units of the mean attention.
        blur_sigma: in latent pixels; `None` is what suits the model's family (`Model.sag`).
        scheduler: a name such as "ddim"; "" is the model's own.
        explain_at: which step is taken apart, as a fraction of the run, 0..1.
    """

    model: str = "miniature"
    prompt: str = "a fox on a blue background"
    negative_prompt: str = ""
    seed: int = 7
    steps: int = 50
    cfg_scale: float = 3.0
    sag_scale: float = 1.0
    threshold: float = 1.0
    blur_sigma: float | None = None
    scheduler: str = ""
    explain_at: float = 0.4

    def __post_init__(self) -> None:
        allowed: dict[str, Any] = {
            "str": str,
            "int": int,
            "float": (int, float),
            "float | None": (int, float, type(None)),
        }
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, allowed[str(field.type)]):
                raise ReportError(
                    f"the report parameter {field.name} is {value!r}; it is of type {field.type},"
                    f" e.g. {field.default!r}"
                )
        check_steps(self.steps)
        check_number("explain_at", self.explain_at, 0, 1)
        check_number("seed", self.seed, 0, 2**62)
        # they check their own numbers
        _ = CFG(self.cfg_scale) + SAG(self.sag_scale, **self._of_sag)

    @property
    def _of_sag(self) -> dict[str, Any]:
        """What SAG is told beside its scale."""
        return {
            "threshold": self.threshold,
            **({} if self.blur_sigma is None else {"blur_sigma": self.blur_sigma}),
        }

    def settings(self, model: Model) -> dict[str, Any]:
        """What `compare` is given beside the model.

        A model that reads no text is spared the prompt and the CFG that stand here by default; any
        others it refuses.
        """
        usual, reads = type(self), model.reads_text
        return {
            **{name: getattr(self, name) for name in ("negative_prompt", "seed", "steps")},
            "prompt": self.prompt if reads or self.prompt != usual.prompt else "",
            "scheduler": self.scheduler or None,
            "cfg": CFG(self.cfg_scale) if reads or self.cfg_scale != usual.cfg_scale else None,
            "sag": model.sag(self.sag_scale, **self._of_sag),
        }

    def load(self) -> Model:
        """The model that is named."""
        return load(None if self.model in ("", "miniature") else self.model)

    @staticmethod
    def checked(given: Mapping[str, object]) -> Parameters:
        """Parameters from names and values; an unknown name is refused with the nearest known one."""
        known = [field.name for field in fields(Parameters)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
                raise ReportError(f"the report has no parameter {name!r}; {hint}")
        return Parameters(**given)  # type: ignore[arg-type]

    @staticmethod
    def from_namespace(namespace: Mapping[str, object]) -> Parameters:
        """Parameters from a notebook's globals. papermill injects any name it is given; here an
        unknown one is refused.
        """
        kinds = (str, int, float, list, dict, type(None))
        given = {
            name: value
            for name, value in namespace.items()
            if isinstance(value, kinds) and not name.startswith("_")
        }
        return Parameters.checked(
            {name: value for name, value in given.items() if name not in ("In", "Out")}
        )


def report(out: str | Path, *, progress: bool = False, **parameters: object) -> Path:
    """Make a report: one HTML file that needs no network, and the executed notebook beside it.

    Args:
        out: the HTML file; the notebook gets the same name with `.ipynb`.
        progress: whether to show papermill's progress bar.
        parameters: see `Parameters`.

    Raises:
        ReportError: a parameter is unknown or ill-typed, or `out` cannot be written, before
            anything runs; or the run failed.
    """
    checked, out = Parameters.checked(parameters), Path(out)
    _check_writable(out)
    with tempfile.TemporaryDirectory() as folder:
        # papermill formats braces in its paths, so it never sees the user's
        executed = Path(folder) / "report.ipynb"
        _run(checked, executed, progress)
        page = to_html(executed, title=checked.prompt or "unconditional")
        out.with_suffix(".ipynb").write_bytes(executed.read_bytes())
    return write_whole(out, page.encode())


def to_html(notebook: Path, title: str) -> str:
    """An executed notebook as one page without code: formulas as MathML, pictures as data, nothing
    to load.
    """
    import nbformat
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    exporter.register_filter("markdown2html", markdown_with_math)
    content = nbformat.read(notebook, as_version=4)
    content.cells = [cell for cell in content.cells if "hide" not in cell.metadata.get("tags", [])]
    body, _ = exporter.from_notebook_node(content)
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><link rel="icon"'
        ' href="data:,">'
        "<title>SAG report:"
        f" {escape(title)}</title><style>{STYLE.read_text(encoding='utf-8')}</style>"
    )
    return (
        "<!DOCTYPE html>\n<html"
        f' lang="en"><head>{head}</head>\n<body><main>{body}</main></body></html>\n'
    )


@dataclass(frozen=True)
class Summary:
    """A table of settings and costs, for people to compare and for others to repeat."""

    rows: tuple[tuple[str, str], ...]

    def _repr_html_(self) -> str:
        body = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in self.rows
        )
        return f"<table>{body}</table>"


def summary(traces: Sequence[Trace], model: Model) -> Summary:
    """What the runs cost and all that is needed to make them again."""
    last = traces[-1].settings
    calls, predictions = (
        sum(getattr(run, count) for run in traces) for count in ("forwards", "samples")
    )
    rows = [
        (
            "U-Net",
            f"{calls} calls, {predictions} predictions for {len(traces)} runs that share them",
        )
    ]
    rows += [("model", repr(model)), ("prompt", last.prompt or "(none)"), ("seed", str(last.seed))]
    rows += [
        ("steps", f"{last.steps}, {last.scheduler['class']}"),
        ("guidance", repr(last.guidance)),
    ]
    versions = {name: version(name) for name in ("sagviz", "torch", "diffusers", "transformers")}
    rows.append(("made with", ", ".join(f"{name} {number}" for name, number in versions.items())))
    return Summary(tuple(rows))


def markdown_with_math(source: str) -> str:
    """Markdown to HTML in which $formulas$ are MathML, which browsers draw without a script."""
    from latex2mathml.converter import convert
    from nbconvert.filters.markdown_mistune import markdown2html_mistune

    html = markdown2html_mistune(source)
    html = re.sub(r"\$\$(.+?)\$\$", _display, html, flags=re.DOTALL)
    return re.sub(r"\$(.+?)\$", lambda m: convert(unescape(m[1]).strip()), html)


def _display(formula: re.Match[str]) -> str:
    """A formula on a line of its own, which a narrow page scrolls."""
    from latex2mathml.converter import convert

    return (
        '<span class="formula"'
        f' tabindex="0">{convert(unescape(formula[1]).strip(), display="block")}</span>'
    )


def _check_writable(out: Path) -> None:
    if out.suffix.lower() not in (".html", ".htm"):
        raise ReportError(f"the report is an HTML file; {out} does not end in .html")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK) or out.is_dir():
        raise ReportError(
            f"cannot write {out}; give a file in a folder that exists and may be written to"
        )


def _run(parameters: Parameters, executed: Path, progress: bool) -> None:
    try:
        import papermill
        from traitlets.config import Config
    except ImportError as error:
        raise ReportError(
            "reports need papermill and nbconvert; install them with pip install 'sagviz[report]'"
        ) from error
    # Sockets on disk, where the system has them: parallel reports race for TCP ports, which anyone
    # on the machine can read.
    options = {} if os.name == "nt" else {"config": Config({"KernelManager": {"transport": "ipc"}})}
    try:
        papermill.execute_notebook(
            NOTEBOOK,
            executed,
            asdict(parameters),
            progress_bar=progress,
            kernel_name="python3",
            **options,
        )
    except papermill.PapermillExecutionError as error:
        raise ReportError(f"the report stopped: {error.evalue}") from error
