"""The settings of one step, as traits: what the run had there, what may be set instead, and the
guidance that they stand for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import traitlets
from torch import Tensor

from sagviz.checks import plain
from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import CFG, MASK_SOURCES, SAG, Guidance, Term
from sagviz.guidance.sag_mask import hand_made
from sagviz.image import as_mask
from sagviz.models import Model, as_model
from sagviz.records.trace import Trace
from sagviz.sampling.checks import check_made_by
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Amount, Choice, Text, Whole, check_place

SWITCHED: tuple[type[Term], ...] = (CFG, SAG)  # terms that can be added to a run
OF_SAG = ("threshold", "blur_sigma", "blur_kernel", "mask_source", "layer", "heads")
LIGHT = 5_000_000  # parameters of a decoder that is quick on any machine


class Mask(traitlets.TraitType):  # not subscriptable in Colab's traitlets
    """`None`, or cells of 0 and 1, (H, W), as a tensor, an array, a picture or nested lists."""

    def validate(self, _obj: Any, value: Any) -> Tensor | None:
        if value is None:
            return None
        cells = as_mask(value)
        if cells.dim() != 2:
            raise ArgumentError(
                f"mask has the shape {tuple(cells.shape)}; give 0 and 1 in latent cells, (H, W), or"
                " None"
            )
        return cells


def scale_name(kind: type[Term]) -> str:
    """Of the setting that is a term's scale."""
    return f"{kind.name}_scale"


def scale_trait(kind: type[Term]) -> Amount:
    """The setting itself."""
    words = f"{kind.title}'s scale {kind.symbol}: {kind.scale_help}; no network call"
    return Amount(0.0, min=kind.scale_range[0], max=kind.scale_range[1], help=words)


class StepSettings(WidgetSettings):
    """What may be set at a step. Each term of the run has its scale here, `NAME_scale`, with the
    range that its class gives, widened where the run went beyond.

    Attributes:
        kinds: CFG and SAG, which can be switched on, and the other terms of the run.
        latent_rgb: the colours of latents; an interrupted run has none of its own.
    """

    widget = "Microscope"
    derived = ("index", "use_cfg", "use_sag", "cfg_scale", "sag_scale", *OF_SAG, "mask", "decoded")
    uncounted = ("place",)

    index = Whole(
        0, min=0, max=99_999, help="which step of the trace, from 0 in code (the middle one)"
    )
    image = Whole(0, min=0, max=4095, help="which image of the batch, from 0 (0)")
    use_cfg = traitlets.Bool(
        help="whether CFG acts; a branch that the run has not costs 1 network call (as the run)"
    )
    use_sag = traitlets.Bool(
        help="whether SAG acts; what the run has not costs 1 or 2 network calls (as the run)"
    )
    cfg_scale = scale_trait(CFG)
    sag_scale = scale_trait(SAG)
    threshold = Amount(
        1.0, min=0, max=3, help="threshold ψ in units of the mean attention; 1 network call"
    )
    blur_sigma = Amount(
        1.0, min=0, max=3, help="standard deviation of the blur in latent cells; 1 network call"
    )
    blur_kernel: Any = traitlets.Int(
        None, allow_none=True, help="taps of the blur, odd, or None for 2⌈4σ⌉ + 1; 1 network call"
    )
    mask_source = Choice(
        list(MASK_SOURCES), "attention", help="what the mask is made of; 1 network call"
    )
    layer = Text("mid", help="the self-attention layer that is read; 2 network calls")
    heads: Any = traitlets.Tuple(
        default_value=None,
        allow_none=True,
        help="attention heads to average, None for all; 2 network calls",
    )
    mask = Mask(
        None,
        allow_none=True,
        help="a hand-made mask (H, W) of 0 and 1, or None for the attention's own; 1 network call",
    )
    place: Any = traitlets.Tuple(
        default_value=(),
        help="(row, column) of the latent cell that is looked at, or () for none; 1 network call",
    )
    hidden = traitlets.Bool(
        False, help="whether map and mask are covered, so that they can be guessed (False)"
    )
    decoded = traitlets.Bool(
        help="whether clean latents are decoded after each change (True where that is quick)"
    )

    def __init__(self, model: Model, trace: Trace, **options: Any) -> None:
        model = as_model(model)
        check_made_by(model, trace)
        if not len(trace):
            raise TraceError("this trace holds no step to look at; run at least one")
        rgb = model.latent_rgb if trace.latent_rgb is None else trace.latent_rgb
        self.model, self.trace, self.latent_rgb = model, replace(trace, latent_rgb=rgb), rgb
        every = [type(term) for at in range(len(trace)) for term in self.own_guidance(at).terms]
        self.kinds = tuple(dict.fromkeys((*SWITCHED, *every)))
        self.add_traits(**self._bounded())
        index, image = plain(options.get("index", len(trace) // 2)), plain(options.get("image", 0))
        places = ((index, len(trace)), (image, len(trace[0].x_t)))
        inside = all(isinstance(at, int) and 0 <= at < count for at, count in places)
        own = self.own(index, image) if inside else {}  # else the trait says what is wrong
        super().__init__(**{"index": index, "decoded": _is_quick(model), **own, **options})

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the latent in cells."""
        height, width = self.trace[0].x_t.shape[2:]
        return height, width

    def own_guidance(self, index: int) -> Guidance:
        """The guidance of the run, or of the one that it left, at a step."""
        return self.trace.settings.guidance_at(self.trace[index].index)

    def own(self, index: int, image: int | None = None) -> dict[str, Any]:
        """The settings that the run itself had at a step, by name, for one image (the present)."""
        image = self.image if image is None else image
        guidance, step = self.own_guidance(index), self.trace[index]
        terms = {kind: self._term(guidance, kind) for kind in self.kinds}
        sag = terms[SAG]
        # no map exceeds its number of cells, so that this stands for infinity
        cells = float(step.x_t[0, 0].numel())
        return {
            **{f"use_{kind.name}": guidance.get(kind) is not None for kind in SWITCHED},
            **{scale_name(kind): float(term.peak) if term else 0.0 for kind, term in terms.items()},
            **{name: getattr(sag, name) for name in OF_SAG},
            "threshold": max(-1.0, min(float(sag.threshold), cells)),
            "mask": None if step.hand_mask is None else step.hand_mask[image, 0],
        }

    @property
    def guidance(self) -> Guidance:
        """The guidance that the settings stand for; what they leave alone is the run's own."""
        own, guidance = self.own(self.index), self.own_guidance(self.index)
        changed = {name: getattr(self, name) for name in OF_SAG if getattr(self, name) != own[name]}
        terms = [
            self._term(guidance, kind) for kind in SWITCHED if getattr(self, f"use_{kind.name}")
        ]
        terms += [term for term in guidance.terms if type(term) not in SWITCHED]
        scaled = [term.with_peak(getattr(self, term.scale_name)) for term in terms]
        return Guidance(
            tuple(replace(term, **changed) if type(term) is SAG else term for term in scaled)
        ).applicable

    @property
    def applied_mask(self) -> Tensor | None:
        """The hand-made mask, where there is SAG to use it; the run's own is one for each image."""
        if self.mask is None or not self.use_sag:
            return None
        run = self.trace[self.index].hand_mask
        return run if run is not None and same(self.mask, run[self.image, 0]) else self.mask

    def reset(self, *names: str) -> None:
        """Set these settings, or all of them, to the run's own values."""
        own = self.own(self.index)
        self._take(own, names or [*own])

    def adjust(self, name: str, before: Any) -> None:
        """Settings that were the run's own at the last place are its own at this one; another layer
        may have other heads, so that a choice of heads is given up for all.
        """
        if name == "layer":
            self.heads = None
        elif name in ("index", "image"):
            places = {"index": self.index, "image": self.image}
            was, own = self.own(**{**places, name: before}), self.own(**places)
            self._take(own, [each for each in own if same(getattr(self, each), was[each])])

    def _take(self, own: dict[str, Any], names: Sequence[str]) -> None:
        with self.together():
            for name in names:
                setattr(self, name, own[name])

    @traitlets.validate("place")
    def _inside(self, proposal: Any) -> Any:
        check_place("place", proposal["value"], self.grid)
        return proposal["value"]

    @traitlets.validate("mask")
    def _fits(self, proposal: Any) -> Any:
        value = proposal["value"]
        return None if value is None else hand_made(value, self.trace[0])[0, 0]

    def _term(self, guidance: Guidance, kind: type[Term]) -> Any:
        """The term of that kind; one that can be switched on always has one."""
        if (term := guidance.get(kind)) is None and kind in SWITCHED:
            return CFG(3.0) if kind is CFG else self.model.sag()
        return term

    def _bounded(self) -> dict[str, traitlets.TraitType]:
        """The settings that are numbers, within the bounds of this very run."""
        every = [self.own(at) for at in range(len(self.trace))]
        scales = {scale_name(kind): scale_trait(kind) for kind in self.kinds}
        traits: dict[str, Any] = {**self.class_traits(), **scales}
        bounds = {"index": (0, len(self.trace) - 1), "image": (0, len(self.trace[0].x_t) - 1)}
        for name in (*scales, "threshold", "blur_sigma"):
            values = [own[name] for own in every]
            bounds[name] = (min(traits[name].min, *values), max(traits[name].max, *values))
        return {
            name: type(traits[name])(low, min=low, max=high, help=traits[name].help)
            for name, (low, high) in bounds.items()
        }


def _is_quick(model: Model) -> bool:
    """Whether its decoder is."""
    vae = model.networks["vae"].parameters() if "vae" in model.networks else ()
    return sum(weights.numel() for weights in vae) < LIGHT


def same(a: Any, b: Any) -> bool:
    """Equality, of masks too."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b
