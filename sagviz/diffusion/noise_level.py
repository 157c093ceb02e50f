r"""Signal and noise amplitude of each evaluation, whatever the scheduler calls them.

Every noisy latent is :math:`x_t = \alpha x_0 + \sigma \epsilon`. Variance preserving schedulers
(DDIM, PNDM, DPM++ ...) have :math:`\alpha = \sqrt{\bar\alpha_t}, \sigma = \sqrt{1 - \bar\alpha_t}`;
variance exploding ones (Euler ...) have :math:`\alpha = 1, \sigma = \sigma_i`; those of flow
matching (Lipman et al. 2022, arXiv 2210.02747; Esser et al. 2024, arXiv 2403.03206) have
:math:`\alpha = 1 - \sigma`. What the network predicts (epsilon, v, x_0 or the flow's velocity
:math:`\epsilon - x_0`) is converted with the same two numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sagviz.errors import ArgumentError

FLOW = "flow_prediction"  # epsilon - x_0, the velocity of a flow
PREDICTIONS = ("epsilon", "v_prediction", "sample")  # of all others


@dataclass(frozen=True)
class NoiseLevel:
    """One evaluation's time `t`, amplitudes `alpha` and `sigma`, and the network's kind of output.

    v is defined for unit variance (Salimans & Ho 2022, arXiv 2202.00512), hence the normalization
    by sqrt(alpha^2 + sigma^2), which is 1 for variance preserving schedulers. The velocity of a
    flow is defined for alpha + sigma = 1.
    """

    t: float
    alpha: float
    sigma: float
    prediction: str = "epsilon"

    @property
    def norm(self) -> float:
        return math.hypot(self.alpha, self.sigma)

    def seen(self, x: Tensor) -> Tensor:
        """The noisy latent as the network is given it: of unit variance, but for a flow."""
        return x if self.prediction == FLOW else x / self.norm

    def x0(self, x: Tensor, output: Tensor) -> Tensor:
        r"""The clean latent that the network's output implies; for epsilon :math:`(x -
        \sigma\epsilon)/\alpha`, SAG eq. 2.
        """
        if self.prediction == "epsilon":
            return (x - self.sigma * output) / self.alpha
        if self.prediction == "sample":
            return output
        if self.prediction == FLOW:
            return x - self.sigma * output
        return (self.alpha * x / self.norm - self.sigma * output) / self.norm

    def eps(self, x: Tensor, output: Tensor) -> Tensor:
        """The noise that the network's output implies."""
        if self.prediction == "epsilon":
            return output
        if self.prediction == "sample":
            return (x - self.alpha * output) / self.sigma
        if self.prediction == FLOW:
            return x + self.alpha * output
        return (self.sigma * x / self.norm + self.alpha * output) / self.norm

    @property
    def slope(self) -> float:
        """By how much the network's output changes with the clean latent, x being the same: the
        inverse of that of `x0`.
        """
        return {
            "epsilon": -self.alpha / self.sigma,
            "v_prediction": -self.norm / self.sigma,
            "sample": 1.0,
            FLOW: -1 / self.sigma,
        }[self.prediction]

    def mix(self, x0: Tensor, eps: Tensor) -> Tensor:
        """Forward process: alpha x_0 + sigma eps."""
        return self.alpha * x0 + self.sigma * eps


def noise_levels(scheduler: Any) -> list[NoiseLevel]:
    """The level of every evaluation of a diffusers scheduler whose timesteps are set."""
    known = (FLOW,) if is_flow(scheduler) else PREDICTIONS
    prediction = scheduler.config.get("prediction_type", known[0])
    if prediction not in known:
        raise ArgumentError(
            f"the scheduler predicts {prediction!r}; sagviz knows {', '.join(known)}"
        )
    times = scheduler.timesteps.tolist()
    if prediction == FLOW:
        sigmas = [float(sigma) for sigma in scheduler.sigmas[: len(times)]]
        pairs = [(1 - sigma, sigma) for sigma in sigmas]
    elif is_variance_exploding(scheduler):
        pairs = [(1.0, _sigma(scheduler, index)) for index in range(len(times))]
    elif hasattr(scheduler, "sigmas"):
        # the ratios sigma / alpha: Karras' and other spacings have not those of `timesteps`
        ratios = [float(ratio) for ratio in scheduler.sigmas[: len(times)]]
        pairs = [(1 / math.hypot(1, ratio), ratio / math.hypot(1, ratio)) for ratio in ratios]
    else:
        # DPM++ with leading spacing begins its 999 steps one beyond
        last = len(scheduler.alphas_cumprod) - 1
        bars = [float(scheduler.alphas_cumprod[min(int(t), last)]) for t in times]
        if prediction == "epsilon" and 0.0 in bars:
            raise ArgumentError(
                "this schedule begins at zero terminal SNR, where a prediction of the noise tells"
                " nothing of the picture; give a scheduler without rescale_betas_zero_snr, or a"
                " model that predicts v"
            )
        pairs = [(math.sqrt(bar), math.sqrt(1 - bar)) for bar in bars]
    return [NoiseLevel(t, *pair, prediction) for t, pair in zip(times, pairs, strict=True)]


def _sigma(scheduler: Any, index: int) -> float:
    """Noise of a VE scheduler's evaluation. KDPM2's odd ones stand between two sigmas; the two
    kinds count them differently.
    """
    between = getattr(scheduler, "sigmas_interpol", None)
    if between is None or index % 2 == 0:
        return float(scheduler.sigmas[index])
    return float(between[index - 1 if "Ancestral" in type(scheduler).__name__ else index])


def is_variance_exploding(scheduler: Any) -> bool:
    """Whether the scheduler's latents grow with the noise (VE) instead of keeping unit variance
    (VP).
    """
    return start_scale(scheduler) != 1.0


def is_flow(scheduler: Any) -> bool:
    """Whether its latents are those of a flow, whose signal and noise add up to 1."""
    config = getattr(scheduler, "config", {})
    return "FlowMatch" in type(scheduler).__name__ or bool(config.get("use_flow_sigmas"))


def start_scale(scheduler: Any) -> float:
    """What noise of unit variance is multiplied by, to begin with."""
    return float(getattr(scheduler, "init_noise_sigma", 1.0))


def scaled_input(scheduler: Any, x: Tensor, t: Any) -> Tensor:
    """The noisy latent as the network is given it."""
    if not hasattr(scheduler, "scale_model_input"):  # as those of flow matching
        return x
    scaled: Tensor = scheduler.scale_model_input(x, t)
    return scaled
