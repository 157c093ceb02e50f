r"""The quantities of a run as planes of small whole numbers, which the page puts together again.

Colour previews are linear in the latent and guidance is linear in its scales, so three colour
planes of :math:`\hat x_0` and of each term's :math:`-(\sigma / \alpha) \Delta_k` are all that a
page needs to make :math:`\hat x_0 - (\sigma / \alpha) \sum_k s_k \Delta_k`, the guided one, anew
for any scales s, whatever the model predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sagviz.diffusion.precision import exact
from sagviz.guidance import Term
from sagviz.records.step import Step
from sagviz.records.trace import Trace

# only shown: eight bits, clipped to what a screen can show
PICTURES = ("x_t", "x0_blurred", "x_degraded")


@dataclass(frozen=True)
class Plane:
    """One quantity of all steps as whole numbers: value = low + (high - low) q / (2^bits - 1)."""

    values: dict[int, Tensor]  # by position in the run; (channels, h, w) each
    bits: int
    low: float
    high: float

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(next(iter(self.values.values())).shape)

    def packed(self, position: int) -> bytes:
        """Little-endian, and of even length, so that the next plane starts where 16 bits may."""
        most = 2**self.bits - 1
        share = (self.values[position] - self.low) / (self.high - self.low)
        levels = (share.clamp(0, 1) * most).round().numpy()
        whole = levels.astype("u1" if self.bits == 8 else "<u2").tobytes()
        return whole + b"\0" * (len(whole) % 2)


def planes(
    steps: Sequence[Step], rgb: Tensor, shares: Sequence[Mapping[str, float]] | None = None
) -> dict[str, Plane]:
    """The planes of all steps by quantity; those that no step has are left out.

    Args:
        steps: of one image.
        rgb: from latents to colours, see `colours`.
        shares: for each step and term, by what its direction is multiplied; 1 where not given.
    """
    found: dict[str, dict[int, Tensor]] = {}
    for position, step in enumerate(steps):
        own = shares[position] if shares else {}
        for name, value in _quantities(step, rgb).items():
            found.setdefault(name, {})[position] = value * own.get(name, 1.0)
    return {name: _plane(name, values) for name, values in found.items()}


def shares(step: Step, acting: Mapping[str, Term]) -> dict[str, float]:
    """The scale of each term in a step, as a share of what the term's slider is at first, which is
    the peak of the one `acting` in the trace: shares follow a curve over the run, and before a
    branch the scales of the run that it left.
    """
    slid = [(term, acting.get(term.name, term).peak) for term in step.guidance.terms]
    return {term.name: term.factor / peak if peak else 1.0 for term, peak in slid}


def _plane(name: str, values: dict[int, Tensor]) -> Plane:
    if name in PICTURES:
        return Plane(values, 8, -1.0, 1.0)
    if name == "mask":
        return Plane(values, 8, 0.0, 255.0)
    bound = max(float(value.abs().max()) for value in values.values()) or 1.0
    return Plane(values, 16, 0.0 if name == "attention" else -bound, bound)


def _quantities(step: Step, rgb: Tensor) -> dict[str, Tensor]:
    """Planes (channels, h, w) of one step: colours in [-1, 1], differences of colours for the
    terms, maps as they are.
    """
    base = step.x0_hat
    made = {"x0_hat": _colour(base, rgb), "x_t": _colour(step.x_t / step.level.norm, rgb)}
    for name, push in step.pushes.items():
        made[name] = _colour(push, torch.cat([rgb[:-1], torch.zeros_like(rgb[-1:])]))
    if step.attention is not None:
        made["attention"] = step.attention
    if step.mask is not None and step.x0_blurred is not None and step.x_degraded is not None:
        made["mask"] = step.mask[0]
        made["x0_blurred"] = _colour(step.x0_blurred, rgb)
        made["x_degraded"] = _colour(step.x_degraded / step.level.norm, rgb)
    return made


def _colour(latents: Tensor, rgb: Tensor) -> Tensor:
    """The first image's latent in linear colours (3, H, W), unclipped; the last row of `rgb` is the
    offset.
    """
    with exact(latents.device):
        return torch.einsum("chw,ck->khw", latents[0], rgb[:-1]) + rgb[-1][:, None, None]


def cost(step: Step) -> int:
    """Bytes of a step at most, in base64: three colours of 16 bits for x̂_0 and each term, of 8 for
    the other latents.
    """
    cells = step.x_t[0, 0].numel()
    degraded = 0 if step.mask is None else 6  # the mask itself packs to almost nothing
    grid = 0 if step.attention is None else 2 * step.attention.numel()
    return (cells * (6 + 6 * len(step.guidance.terms) + 3 + degraded) + grid) * 4 // 3 + 1


def colours(trace: Trace, traces: Sequence[Trace]) -> Tensor:
    """One map from latents to colours for all runs of a model: the last finished run's. Where none
    is finished, a run shows its first three channels.
    """
    found = [
        other.latent_rgb
        for other in (trace, *traces)
        if other.settings.networks == trace.settings.networks and other.latent_rgb is not None
    ]
    if found:
        return found[-1]
    channels = trace[0].x_t.shape[1]
    first = 0.5 * torch.eye(channels, 3, device="cpu", dtype=torch.float32)
    return torch.cat([first, first.new_zeros(1, 3)])
