"""Makes the pictures of the README and the outputs of the notebooks: `make render`."""

import re
from pathlib import Path

import hero
import nbformat
from nbclient import NotebookClient

import sagviz as sv
from sagviz import SAG

DOCS = Path(__file__).parent
PROMPT, SEED = "a fox on a blue background", 7


def pictures() -> None:
    """One step as a diagram, one run as a strip, and three guidances of it."""
    model = sv.load()
    traces = sv.compare(model, PROMPT, cfg=3.0, sag=SAG(1.0), seed=SEED, steps=50, unguided=True)
    sv.plot.triptych(traces).save(DOCS / "compare.png")
    sv.plot.schematic(traces[-1], 20, model).save(DOCS / "schematic.png")
    sv.plot.film_strip(traces[-1], model).save(DOCS / "strip.png")


def run(path: Path) -> None:
    """Execute a notebook in place, without the traces that running leaves in its metadata."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            # The page that opens this file later has no such widget: it would say so, and hide the
            # picture beside it.
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "text/plain" in data:
                # another one in each run
                data["text/plain"] = re.sub(r" at 0x\w+", "", data["text/plain"])
    nbformat.write(notebook, path)


if __name__ == "__main__":
    hero.make()
    pictures()
    for notebook in sorted((DOCS.parent / "notebooks").glob("*.ipynb")):
        run(notebook)
