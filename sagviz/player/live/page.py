"""The live page: networks, runtime and player in one HTML file, which shows a recorded run until
the networks are unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from sagviz import describe, html
from sagviz.checks import MAX_SEED, names_arguments
from sagviz.guidance import CFG, MASK_SOURCES, SAG, Term
from sagviz.html import escape
from sagviz.mini.examples import EXAMPLES
from sagviz.models import Model
from sagviz.models.load import as_model
from sagviz.models.vocabulary import vocabulary
from sagviz.player.document import ADDRESS, SCRIPT, STYLE, island, strips
from sagviz.player.live.parts import parts
from sagviz.player.live.runtime import PACKAGE
from sagviz.player.pack import deflated, pack
from sagviz.records.trace import PAGE_BYTES, Trace
from sagviz.sampling.compare import compare
from sagviz.sampling.loop import trace

HERE = Path(__file__).parent
PACKED = (HERE.parent / "packed.js").read_text(encoding="utf-8")
# joined to the player's, in this order
SCRIPTS = (
    "words",
    "records",
    "ask",
    "form",
    "result",
    "decode",
    "tries",
    "predict",
    "tour",
    "live",
)
START = """
new Live(JSON.parse(document.querySelector(".sagviz-live-data").textContent)).start();
"""
TERMS = (CFG, SAG)
BLUR = {"psi": "Threshold ψ", "sigma": "Blur σ"}
HINTS = {
    CFG.name: f"how strongly the prompt pulls: {CFG.scale_help}",
    SAG.name: f"how strongly SAG pushes away from a blurred guess: {SAG.scale_help}",
    "psi": "the higher, the fewer places are blurred; 1 is the mean of the attention",
    "sigma": "in cells of the latent, 16 across; 0 does not blur",
}
DEFAULTS: Mapping[str, Any] = {
    "prompt": "a fox on a blue background",
    "negative": "",
    "seed": 7,
    "steps": 20,
    "cfg": 3.0,
    "sag": 1.0,
    "psi": 1.0,
    "sigma": 1.0,
    "mask": "attention",
    "beside": False,
}
# SAG alone, where it is seen best: of a lump it makes a car
RECORDED: Mapping[str, Any] = {"prompt": "", "seed": 26, "steps": 20, "sag": 1.0, "sigma": 3.0}


@names_arguments()
def live_page(model: Model, path: str | Path, *, runtime: str | Path = PACKAGE) -> Path:
    """Write one HTML file in which the model runs: it opens from a disk, on a phone, offline.

    One types a prompt, sees every quantity of each step, moves scales, threshold and blur, paints a
    mask, and compares CFG with CFG + SAG; until the networks are unpacked it shows a recorded run.

    Args:
        model: a small one in the latent space of an autoencoder, as the miniature is.
        path: an .html file in a folder that exists.
        runtime: the package of ONNX Runtime Web, as `npm pack onnxruntime-web` writes it.

    Raises:
        ArgumentError: the runtime is not there, the model does not fit in a page, or the file
            cannot be written.

    Example:
        >>> import sagviz as sv
        >>> try:
        ...     sv.live_page(sv.load(), "live.html", runtime="nowhere.tgz")
        ... except sv.SagvizError as error:
        ...     print(error)
        a live page carries the runtime nowhere.tgz, which cannot be read (No such file or
        directory); fetch it with: npm pack onnxruntime-web@1.30.0, and give runtime= its path
    """
    target = html.page_path(path)
    model = as_model(model)
    made, runs = parts(model, runtime), recorded(model)
    return html.write_page(target, whole(made, runs, model))


def recorded(model: Model) -> tuple[Trace, ...]:
    """The runs that are seen first: from one noise, without guidance and with SAG."""
    prompt, seed, steps, sag, sigma = RECORDED.values()
    guidance = SAG(sag, blur_sigma=sigma)
    return compare(model, prompt, seed=seed, steps=steps, cfg=None, sag=guidance, progress=False)


def _usual(model: Model) -> Trace:
    """A step of a run that has all that runs have here: without a prompt CFG has no direction."""
    both = CFG(DEFAULTS["cfg"]) + SAG(DEFAULTS["sag"])
    return trace(model, DEFAULTS["prompt"], steps=1, guidance=both, progress=False)


def whole(made: Mapping[str, Any], runs: Sequence[Trace], model: Model) -> str:
    """The page: form, recorded runs and script, which starts at once, then the networks."""
    data = pack(runs, PAGE_BYTES, model=model)
    usual = pack([_usual(model)], PAGE_BYTES)
    own = {
        "recorded": data,
        "given": [{**DEFAULTS, **RECORDED, "cfg": None, "sag": s} for s in (None, RECORDED["sag"])],
        "usual": {**usual, "runs": []},
        "defaults": dict(DEFAULTS),
        "limits": {term.name: _limits(term) for term in TERMS},
        "words": words(usual),
        "sampler": runs[0].settings.scheduler["class"],
        "model": runs[0].settings.model,
        "config": made["config"],
    }
    body = [
        Template((HERE / "body.html").read_text(encoding="utf-8")).substitute(_form(model, data)),
        f'<div class="sagviz">{strips(runs)}</div>',
        island(own, "sagviz-live-data"),
        f'<script type="module" async>{script()}{START}</script>',
        f'<details class="notice-of"><summary>What runs here</summary>{_notice(made)}</details>',
        *_files({"script": (PACKED + made["script"]).encode(), **made["files"]}),
    ]
    style = STYLE + (HERE / "live.css").read_text(encoding="utf-8")
    title = "Self-attention guidance, live"
    return html.page(
        title, "".join(body), style, body_class="sagviz-page", inline_styles=False, worker=True
    )


def script() -> str:
    """The player's script and, after it, the live page's, which waits for `START`."""
    own = ((HERE / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    return "\n".join((SCRIPT, ADDRESS, *own))


def _limits(term: type[Term]) -> dict[str, float]:
    low, high = term.scale_range
    return {"low": low, "high": high, "step": term.scale_step}


def words(data: Mapping[str, Any]) -> dict[str, Any]:
    """What sentences about a step are made of."""
    said = data["runs"][0]["words"]
    return {
        "panes": {name: each.words for name, each in describe.QUANTITIES.items()},
        "pushes": {term.name: said[term.name] for term in TERMS},
        "titles": {term.name: term.title for term in TERMS},
        "shares": describe.SHARES,
        "ways": describe.WAYS,
        "faced": describe.FACED,
        "first": describe.FIRST,
        "near": describe.NEAR,
        "nothing": describe.NOTHING,
    }


def _form(model: Model, data: Mapping[str, Any]) -> dict[str, str]:
    """What the form offers."""
    kinds = vocabulary(model) or {}
    scales = (
        _knob(
            term.name, f"{term.title} scale", HINTS[term.name], *term.scale_range, term.scale_step
        )
        for term in TERMS
    )
    return {
        "examples": "".join(map(_example, EXAMPLES if kinds else ())),
        "vocabulary": "".join(_row(kind, words) for kind, words in kinds.items()),
        "scales": "".join(scales),
        "blur": "".join(
            _knob(name, title, HINTS[name], 0, 3, 0.05) for name, title in BLUR.items()
        ),
        "masks": "".join(
            f"<option{html.attributes({'value': name})}>{escape(words)}</option>"
            for name, words in MASK_SOURCES.items()
        ),
        "max_seed": str(MAX_SEED),
        "name": escape(data["runs"][-1]["name"]),
        "title": escape(data["title"]),
    }


def _example(settings: Mapping[str, Any]) -> str:
    shown = {name.removesuffix("_scale"): value for name, value in settings.items()}
    usual = {name: DEFAULTS[name] for name in ("cfg", "sag")}
    words = settings["prompt"] or "no prompt"
    return _chip(words, "example", json.dumps({**usual, **shown}, ensure_ascii=False))


def _row(kind: str, words: Iterable[str]) -> str:
    chips = "".join(_chip(word, "word", word) for word in words)
    marks = html.attributes({"class": "chips", "role": "group", "aria-label": kind})
    return f"<div{marks}><b>{escape(kind)}</b>{chips}</div>"


def _chip(words: str, kind: str, value: str) -> str:
    marks = html.attributes({"type": "button", "class": "chip", f"data-{kind}": value})
    return f"<button{marks}>{escape(words)}</button>"


def _knob(name: str, title: str, hint: str, low: float, high: float, step: float) -> str:
    """A slider and a number beside it, and below them what they mean."""
    limits = {"min": f"{low:g}", "max": f"{high:g}", "step": f"{step:g}"}
    about = {"aria-label": title, "aria-describedby": f"hint-{name}"}
    slide = html.attributes({"type": "range", "data-of": name, **about, **limits})
    marks: dict[str, str | int] = {
        "type": "number",
        "name": name,
        "data-title": title,
        "required": True,
    }
    box = html.attributes({**marks, **limits, "aria-label": f"{title} as a number"})
    hint = f'<p class="hint" id="hint-{name}">{escape(hint)}</p>'
    knob = f"<span>{escape(title)}</span><input{slide}><input{box}>"
    return f'<div class="knob {name}">{knob}</div>{hint}'


def _notice(made: Mapping[str, Any]) -> str:
    return f"<pre>{escape(made['notice'])}</pre>"


def _files(files: Mapping[str, bytes]) -> Iterable[str]:
    """Each file as an element that no browser runs, packed."""
    for name, content in files.items():
        marks = html.attributes({"class": "sagviz-file", "data-name": name})
        yield f'<script type="text/plain"{marks}>{deflated(content)}</script>'
