"""A report: the notebook `report.ipynb`, run with checked parameters, and its page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sagviz.checks import names_arguments
from sagviz.errors import ReportError
from sagviz.files import check_place, save
from sagviz.guidance import Guidance, Schedule, Term, as_guidance
from sagviz.html import page_path
from sagviz.reports.kernel import WarmKernel, run
from sagviz.reports.page import to_html
from sagviz.reports.parameters import Parameters
from sagviz.reports.summary import what_ran

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "report.ipynb", PACKAGE.parent / "notebooks" / "report.ipynb")
NOTEBOOK = next((path for path in PLACES if path.exists()), PLACES[0])


@names_arguments()
def report(
    out: str | Path,
    *,
    progress: bool = False,
    model: str = Parameters.model,
    prompt: str = Parameters.prompt,
    negative_prompt: str = Parameters.negative_prompt,
    seed: int = Parameters.seed,
    steps: int = Parameters.steps,
    cfg_scale: float | Schedule | dict[str, Any] = Parameters.cfg_scale,
    sag_scale: float | Schedule | dict[str, Any] = Parameters.sag_scale,
    threshold: float = Parameters.threshold,
    blur_sigma: float | None = Parameters.blur_sigma,
    scheduler: str = Parameters.scheduler,
    explain_at: float = Parameters.explain_at,
    seeds: int = Parameters.seeds,
    terms: Guidance | Term | None = None,
) -> Path:
    """Make a report: one HTML file that needs no network, and the executed notebook beside it.

    Args:
        out: the HTML file; the notebook gets the same name with `.ipynb`.
        progress: whether to show a bar with cells, steps and the time left.
        model: "miniature", a folder in diffusers' format or a hub name.
        prompt: may be empty.
        negative_prompt: in place of the empty prompt in CFG's unconditional branch.
        seed: of the start noise.
        steps: 1..999.
        cfg_scale: w; 0 ignores the prompt, 1 is the plain conditional prediction. A number, or a
            curve over the run, see `schedule`.
        sag_scale: the paper's s; 0 is off. A number or a curve.
        threshold: psi, in units of the mean attention.
        blur_sigma: in latent pixels; `None` is what suits the model's family.
        scheduler: a name such as "ddim"; "" is the model's own.
        explain_at: which step is taken apart, as a fraction of the run, 0..1.
        seeds: how many further seeds the finding is of; 0 leaves it with one pair.
        terms: more guidance in the run with SAG, e.g. `PAG(2.0)`, or a term of your own.

    Raises:
        ReportError: a parameter is of a wrong type, or `out` cannot be written, before anything
            runs; or the run failed.
        ArgumentError: a number is out of range, or a name unknown, before anything runs.

    Example:
        >>> import tempfile
        >>> import sagviz as sv
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = sv.report(f"{folder}/fox.html", steps=2, seeds=2)
        ...     print(sorted(path.name for path in page.parent.iterdir()))
        ['fox.html', 'fox.ipynb']
    """
    more = as_guidance(terms)
    parameters = Parameters(
        model=model,
        prompt=prompt,
        negative_prompt=negative_prompt,
        seed=seed,
        steps=steps,
        cfg_scale=cfg_scale,
        sag_scale=sag_scale,
        threshold=threshold,
        blur_sigma=blur_sigma,
        scheduler=scheduler,
        explain_at=explain_at,
        seeds=seeds,
        terms=json.loads(json.dumps(more.to_json())),  # tuples as lists, as papermill has them
    )
    out = page_path(out, ReportError)
    _check_place(out)
    return make(out, parameters, more, progress)


def make(
    out: Path,
    parameters: Parameters,
    terms: Guidance,
    progress: bool,
    kernel: WarmKernel | None = None,
) -> Path:
    """Run the notebook and write the report's two files."""
    with tempfile.TemporaryDirectory(prefix="sagviz-") as folder:
        notebook = run(NOTEBOOK, asdict(parameters), terms, Path(folder), progress, kernel)
    import nbformat  # which papermill brings

    prompt = what_ran(notebook).get("prompt", parameters.prompt)
    page = to_html(notebook, prompt or "unconditional")
    _keep({out.with_suffix(".ipynb"): nbformat.writes(notebook), out: page})
    return out


def _check_place(out: Path) -> None:
    """Refuse a place where nothing can be written, before anything runs."""
    places = out, out.with_suffix(".ipynb")
    try:
        for path in places:
            with suppress(FileNotFoundError):
                path.lstat()
    except OSError as error:  # the name is too long, or the folder is a file
        raise ReportError(f"cannot write {out}: {error.strerror}; give another name") from error
    for path in places:
        check_place(path, ReportError)


def _keep(made: Mapping[Path, str]) -> None:
    """Write the files; those for which there is no room go to the system's temporary folder, so
    that no finished work is lost.
    """
    failed = dict[Path, ReportError]()
    for path, content in made.items():
        try:
            save(path, content.encode(), ReportError)
        except ReportError as error:
            failed[path] = error
    if not failed:
        return
    first = next(iter(failed.values()))
    try:
        folder = Path(tempfile.mkdtemp(prefix="sagviz-report-"))
        for path in failed:
            save(folder / f"report{path.suffix}", made[path].encode(), ReportError)
    except (OSError, ReportError):
        raise first from None
    raise ReportError(f"{first}; until then it is kept in {folder}") from first
