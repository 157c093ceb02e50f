"""The settings of one step, as traits: what the run had there, what may be set instead, and the
guidance that they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import traitlets
from torch import Tensor

from sagviz.errors import ArgumentError, TraceError
from sagviz.guidance import CFG, MASK_SOURCES, SAG, Guidance
from sagviz.models import Model
from sagviz.player.pack import RANGES as SCALES
from sagviz.records.trace import Trace
from sagviz.widgets.common.parts import Amount, Choice, View, Whole

RANGES = {
    **{f"{name}_scale": span for name, span in SCALES.items()},
    "threshold": (0.0, 3.0),
    "blur_sigma": (0.0, 3.0),
}
OF_SAG = ("threshold", "blur_sigma", "blur_kernel", "mask_source", "layer", "heads")
# of terms that act where the run has them
OTHERS = tuple(f"{name}_scale" for name in SCALES if name not in ("cfg", "sag"))
# what a step of the run has its own value of
OWN = ("use_cfg", "use_sag", "cfg_scale", "sag_scale", *OTHERS, *OF_SAG, "mask")
LIGHT = 5_000_000  # parameters of a decoder that is quick on any machine


class Mask(traitlets.TraitType):  # not subscriptable in Colab's traitlets
    """`None`, or cells of 0 and 1, (H, W), as a tensor, an array or nested lists."""

    def validate(self, _obj: Any, value: Any) -> Tensor | None:
        if value is None:
            return None
        cells = torch.as_tensor(value)
        if cells.dim() != 2 or not torch.isin(cells.float(), torch.tensor([0.0, 1.0])).all():
            raise ArgumentError(
                f"mask has the shape {tuple(cells.shape)}; give 0 and 1 in latent cells, (H, W), or"
                " None"
            )
        return cells.float()


class Dials(View):
    """Base of the Microscope: its traits. A subclass says in `refresh` what a change of them does."""

    index = Whole(
        0, min=0, max=99_999, help="position of the step in the trace, from 0 (the middle one)"
    )
    image = Whole(0, min=0, max=4095, help="which image of the batch, from 0 (0)")
    use_cfg = traitlets.Bool(
        help="whether CFG acts; a branch that the run has not costs 1 U-Net call (as the run)"
    )
    use_sag = traitlets.Bool(
        help="whether SAG acts; what the run has not costs 1 or 2 U-Net calls (as the run)"
    )
    cfg_scale = Amount(
        min=-100,
        max=1000,
        help="CFG's scale w: 0 ignores the prompt, 1 is the plain prediction; no U-Net call",
    )
    sag_scale = Amount(
        min=-100, max=1000, help="SAG's scale s, the paper's: 0 is off; no U-Net call"
    )
    pag_scale = Amount(
        0.0,
        min=-100,
        max=1000,
        help="PAG's scale s, where the run has PAG: 0 is off; no U-Net call",
    )
    seg_scale = Amount(
        0.0,
        min=-100,
        max=1000,
        help="SEG's scale s, where the run has SEG: 0 is off; no U-Net call",
    )
    cg_scale = Amount(
        0.0, min=-100, max=1000, help="CG's scale s, where the run has CG: 0 is off; no U-Net call"
    )
    apg_scale = Amount(
        0.0,
        min=-100,
        max=1000,
        help="APG's scale w, where the run has APG: 0 is off; no U-Net call",
    )
    rescale_scale = Amount(
        0.0,
        min=-100,
        max=1000,
        help="Rescale's share φ, where the run has Rescale: 0 is off; no U-Net call",
    )
    threshold = Amount(
        1.0, min=-1, max=99_999, help="threshold ψ in units of the mean attention; 1 U-Net call"
    )
    blur_sigma = Amount(
        1.0, min=0, max=1000, help="standard deviation of the blur in latent cells; 1 U-Net call"
    )
    blur_kernel: Any = traitlets.Int(
        None, allow_none=True, help="taps of the blur, odd, or None for 2⌈4σ⌉ + 1; 1 U-Net call"
    )
    mask_source = Choice(
        list(MASK_SOURCES), "attention", help="what the mask is made of; 1 U-Net call"
    )
    layer = traitlets.Unicode("mid", help="the self-attention layer that is read; 2 U-Net calls")
    heads: Any = traitlets.Tuple(
        default_value=None,
        allow_none=True,
        help="attention heads to average, None for all; 2 U-Net calls",
    )
    mask = Mask(
        None,
        allow_none=True,
        help="a hand-made mask (H, W) of 0 and 1, or None for the attention's own; 1 U-Net call",
    )
    place: Any = traitlets.Tuple(
        default_value=(),
        help="(row, column) of the latent cell that is looked at, or () for none; 1 U-Net call",
    )
    hidden = traitlets.Bool(
        False, help="whether map and mask are covered, so that they can be guessed (False)"
    )
    decoded = traitlets.Bool(
        help="whether the guided prediction is decoded after each change (True where that is quick)"
    )

    def __init__(self, model: Model, trace: Trace, **options: Any) -> None:
        if not len(trace):
            raise TraceError("this trace holds no step to look at; run at least one")
        if trace.latent_rgb is None:  # an interrupted run has no colours of its own
            trace = replace(trace, latent_rgb=model.latent_rgb)
        self.model, self.trace = model, trace
        self._held = 1  # refreshes are held back while it is above 0
        index = options.get("index", len(trace) // 2)
        own = self.own(index) if isinstance(index, int) and 0 <= index < len(trace) else {}
        decoder = (
            sum(weights.numel() for weights in model.networks["vae"].parameters())
            if "vae" in model.networks
            else 0
        )
        super().__init__(**{"index": index, "decoded": decoder < LIGHT, **own, **options})

    @traitlets.validate(
        "index",
        "image",
        "cfg_scale",
        "sag_scale",
        *OTHERS,
        "threshold",
        "blur_sigma",
        "place",
        "mask",
    )
    def _in_range(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        rows, _, height, width = self.trace[0].x_t.shape
        if name == "mask" and value is not None and value.shape != (height, width):
            raise ArgumentError(
                f"mask has the shape {tuple(value.shape)}; this latent has (H, W) = ({height},"
                f" {width})"
            )
        if (
            name == "place"
            and value
            and not (len(value) == 2 and 0 <= value[0] < height and 0 <= value[1] < width)
        ):
            raise ArgumentError(
                f"place is {value!r}; give (row, column) up to ({height - 1}, {width - 1}), or ()"
                " for none"
            )
        low, high = {
            "index": (0, len(self.trace) - 1),
            "image": (0, rows - 1),
            **self.limits(),
        }.get(name, (None, None))
        if low is not None and not low <= value <= high:
            raise ArgumentError(f"{name} is {value:g}; give a number from {low:g} to {high:g}")
        return value

    def own(self, index: int) -> dict[str, Any]:
        """The settings that the run itself had at a step, by trait."""
        guidance, step = self._own_guidance(index), self.trace[index]
        cfg, sag = guidance.get(CFG) or CFG(3.0), guidance.get(SAG) or self.model.sag()
        # no map exceeds its number of cells, so that this stands for infinity
        cells = float(step.x_t[0, 0].numel())
        return {
            "use_cfg": guidance.get(CFG) is not None,
            "use_sag": guidance.get(SAG) is not None,
            "cfg_scale": float(cfg.scale),
            "sag_scale": float(sag.scale),
            "threshold": max(-1.0, min(float(sag.threshold), cells)),
            "blur_sigma": float(sag.blur_sigma),
            "blur_kernel": sag.blur_kernel,
            "mask_source": sag.mask_source,
            "layer": sag.layer,
            "heads": sag.heads,
            "mask": None if step.hand_mask is None else step.hand_mask[0, 0],
            **{
                name: float(term.scale) if (term := guidance.get(_term_of(name))) else 0.0
                for name in OTHERS
            },
        }

    @property
    def guidance(self) -> Guidance:
        """The guidance that the controls stand for; what they leave alone is the run's own."""
        own, guidance = self.own(self.index), self._own_guidance(self.index)
        changed = {name: getattr(self, name) for name in OF_SAG if getattr(self, name) != own[name]}
        cfg = replace(guidance.get(CFG) or CFG(3.0), scale=self.cfg_scale)
        sag = replace(guidance.get(SAG) or self.model.sag(), scale=self.sag_scale, **changed)
        others = [
            replace(guidance.get(_term_of(name)), scale=getattr(self, name))
            for name in self.others(self.index)
        ]
        return Guidance(
            ((cfg,) if self.use_cfg else ()) + ((sag,) if self.use_sag else ()) + tuple(others)
        ).applicable

    def others(self, index: int) -> list[str]:
        """The scales of the terms beside CFG and SAG that the run has at a step, in their order."""
        return [
            f"{term.name}_scale"
            for term in self._own_guidance(index).terms
            if f"{term.name}_scale" in OTHERS
        ]

    @property
    def applied_mask(self) -> Tensor | None:
        """The hand-made mask, where there is SAG to use it."""
        return self.mask if self.use_sag else None

    def reset(self, *names: str) -> None:
        """Set these traits, or all of them, to the run's own values."""
        own = self.own(self.index)
        with self.held():
            for name in names or OWN:
                setattr(self, name, own[name])
        self.refresh()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Changes in this block do not refresh."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1

    def refresh(self) -> None:
        """Show the step under the present settings."""
        raise NotImplementedError

    def limits(self) -> dict[str, tuple[float, float]]:
        """Ends of the sliders, widened where the run went beyond."""
        every = [self.own(index) for index in (0, len(self.trace) - 1)]
        return {
            name: (
                min(low, *(own[name] for own in every)),
                max(high, *(own[name] for own in every)),
            )
            for name, (low, high) in RANGES.items()
        }

    def _own_guidance(self, index: int) -> Guidance:
        """The guidance of the run, or of the one that it left, at a step."""
        settings = self.trace.settings
        while settings.before is not None and self.trace[index].index < (settings.branched_at or 0):
            settings = settings.before
        return settings.guidance

    def _follow(self, before: int) -> None:
        """Settings that were the run's own at the last step are its own at this one."""
        was, own = self.own(before), self.own(self.index)
        with self.held():
            for name in OWN:
                if same(getattr(self, name), was[name]):
                    setattr(self, name, own[name])


def _term_of(scale: str) -> str:
    return scale.removesuffix("_scale")


def same(a: Any, b: Any) -> bool:
    """Equality, of masks too."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b
