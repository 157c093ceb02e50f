"""Exercises of notebook 05, SAG by hand."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.mini.course.check import close, exercise

ALPHA, SIGMA = 0.6, 0.8


def _tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x_t, x0_blurred, eps, chance = normal((4, 4, 4), generator(3))
    return x_t, x0_blurred, eps, (chance > 0).float()


@exercise("5.1", "Outside the mask nothing is touched, inside the same noise comes back (eq. 15).")
def degrade(answer: Callable[..., Tensor]) -> str | None:
    x_t, x0_blurred, eps, mask = _tensors()
    noisy = ALPHA * x0_blurred + SIGMA * eps
    given = answer(x_t, x0_blurred, eps, mask, ALPHA, SIGMA)
    if close(given, (1 - mask) * x_t + mask * noisy):
        return None
    if close(given, mask * x_t + (1 - mask) * noisy):
        return "The mask says where to blur; you blur where it does not."
    if close(given, noisy):
        return "That blurs everywhere: outside the mask x_t stays as it is."
    if close(given, (1 - mask) * x_t + mask * x0_blurred):
        return "The blurred guess has no noise left, and the network expects that of this step."
    return "(1 - mask) times x_t, and mask times the blurred guess with the noise put back."


@exercise("5.2", "It points from the worse prediction to the better, and goes on that way.")
def guide(answer: Callable[..., Tensor]) -> str | None:
    eps, eps_cond, eps_degraded, _ = _tensors()
    given = answer(eps, eps_cond, eps_degraded, 3.0, 1.5)
    cfg, sag = eps_cond - eps, eps - eps_degraded
    if close(given, eps + 3.0 * cfg + 1.5 * sag):
        return None
    if close(given, eps + 3.0 * cfg - 1.5 * sag):
        return "SAG's sign: away from the degraded prediction, not towards it."
    if close(given, eps + 3.0 * cfg + 1.5 * (eps_cond - eps_degraded)):
        return "Beside CFG, SAG works on the prediction without the prompt."
    return "eps, and w times CFG's difference, and s times SAG's."


@exercise("5.3", "The original code counts guide_scale = 1 + s.")
def guide_scale(answer: float) -> str | None:
    eps, _, eps_degraded, _ = _tensors()
    original = eps_degraded + float(answer) * (eps - eps_degraded)
    if close(original, eps + 0.75 * (eps - eps_degraded)):
        return None
    return "Write eps_degraded + g (eps - eps_degraded) as eps + s (...): how do g and s differ?"
