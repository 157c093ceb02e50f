"""From what a run recorded back to the settings of the form, and what is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sagviz.errors import ArgumentError
from sagviz.files import expanded
from sagviz.guidance import CFG, SAG, Guidance, Schedule, Term
from sagviz.image import png_texts
from sagviz.models import Model
from sagviz.models.fingerprint import fingerprint
from sagviz.models.schedulers import scheduler_name
from sagviz.records.settings import Settings
from sagviz.records.trace_file import UNREADABLE
from sagviz.widgets.playground import terms

Kinds = tuple[type[Term], ...]


def values_of(model: Model, kinds: Kinds, settings: Settings) -> dict[str, Any]:
    """The form's settings that stand for a run's."""
    cfg, sag = settings.guidance.get(CFG), settings.guidance.get(SAG)
    names = ("prompt", "negative_prompt", "steps", "seed", "images", "eta")
    values: dict[str, Any] = {name: getattr(settings, name) for name in names}
    values |= {"randomize": False, "height": settings.size[0], "width": settings.size[1]}
    values |= {"cfg_scale": cfg.peak if cfg else 1.0} if model.reads_text else {}
    values |= {"sag_scale": sag.peak if sag else 0.0}
    values |= _mask_settings(sag) if sag else {}
    values |= {} if settings.strength is None else {"strength": settings.strength}
    values |= terms.values_of(settings.guidance, kinds)
    return {**values, "scheduler": scheduler_name(model, settings.scheduler) or ""}


def lost(model: Model, kinds: Kinds, settings: Settings, *, has_image: bool) -> list[str]:
    """Sentences on what the form has no place for, and on what this model cannot do as that run's
    did.
    """
    said = [*_lost_branch(model, settings), *_lost_terms(model, kinds, settings.guidance)]
    others = {name: own for name, own in settings.inputs.items() if name != "image"}
    if extras := replace(settings, inputs=others, strength=None, eta=0.0).extras:
        said.append(f"that run was given {extras}, for which the form has no place")
    if "image" in settings.inputs and not has_image:
        said.append(
            "that run started from a picture, which its settings do not hold; give it again under"
            " 'Start from a picture'"
        )
    if scheduler_name(model, settings.scheduler) is None:
        said.append(f"no scheduler here is the {settings.scheduler['class']} of that run")
    if settings.fingerprint != fingerprint(model, [settings.guidance]):
        said.append(
            f"that run was made by {settings.model} with other weights, adapters, tokens or"
            f" dtype than {model.name} has here"
        )
    return said


def read_settings(png: bytes | str | Path) -> Settings:
    """The settings inside a PNG, a file or its content.

    Raises:
        ArgumentError: it is no picture, has none, or has those of another version.
    """
    try:
        content = png if isinstance(png, bytes) else expanded(png).read_bytes()
    except OSError as error:
        raise ArgumentError(
            f"cannot read {png!r}: {error.strerror}; give a PNG that was downloaded here or that"
            " sagviz generate made"
        ) from error
    try:
        return Settings.from_json(json.loads(png_texts(content)["sagviz"]))
    except ArgumentError:
        raise
    except UNREADABLE as error:
        raise ArgumentError(
            "this file holds no settings of sagviz; give a PNG that was downloaded here or that"
            " sagviz generate made"
        ) from error


def _lost_branch(model: Model, settings: Settings) -> list[str]:
    """Of a run without CFG, which has one branch; the form's have the negative prompt's as well."""
    first, *_ = settings.texts(settings.guidance).values()
    if not settings.guidance.terms or not model.reads_text or first == settings.negative_text:
        return []
    return ["that run had no CFG: the form has CFG 1, under which other terms start elsewhere"]


def _lost_terms(model: Model, kinds: Kinds, guidance: Guidance) -> list[str]:
    """Of terms whose other fields, curves or very kind the form does not set."""
    said, cfg, sag = list[str](), guidance.get(CFG), guidance.get(SAG)
    if cfg and replace(cfg, scale=cfg.peak) != CFG(cfg.peak):
        said.append(f"that run had {cfg!r}: the form sets its scale only")
    if sag and sag != model.sag(sag.scale, **_mask_settings(sag)):
        said.append(f"that run had {sag!r}: the form sets its scale, threshold and blur only")
    curves = [repr(term) for term in guidance.terms if isinstance(term.scale, Schedule)]
    if curves:
        said.append(f"that run had {' + '.join(curves)}, a curve: the form takes its peak alone")
    values = terms.values_of(guidance, kinds)
    for term in guidance.terms:
        if type(term) in kinds:
            own = terms.total((type(term),), values).get(type(term))
            if own is not None and own != replace(term, scale=term.peak):
                said.append(f"that run had {term!r}: the form sets its scale only")
        elif type(term) not in terms.IN_THE_FORM:
            said.append(f"that run also had {term!r}, for which the form has no place")
    return said


def _mask_settings(sag: SAG) -> dict[str, Any]:
    return {"threshold": sag.threshold, "blur_sigma": sag.blur_sigma}
