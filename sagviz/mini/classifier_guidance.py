r"""Sampling with classifier guidance, to measure the classifier of noisy latents.

:math:`\tilde\epsilon = \epsilon(x_t) - s \sqrt{1 - \bar\alpha_t} \nabla_{x_t} \log p(c | x_t)`
(Dhariwal & Nichol 2021, arXiv 2105.05233, algorithm 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sagviz import image
from sagviz.mini.noisy import NoisyClassifier
from sagviz.models import Model, make_scheduler
from sagviz.runs import generator


def sample(model: Model, classifier: NoisyClassifier, classes: Tensor, scale: float, steps: int = 50) -> Tensor:
    """Pictures (N, 3, H, W) in [-1, 1] of the empty prompt, moved towards `classes` (N,); picture i has seed i."""
    scheduler = make_scheduler(model, "ddim")
    scheduler.set_timesteps(steps)
    shape = model.latent_shape(model.default_size)
    x_t = torch.stack([torch.randn(shape, generator=generator(seed)) for seed in range(len(classes))])
    told = model.embed("").expand(len(x_t))
    for t in scheduler.timesteps:
        sigma = (1 - scheduler.alphas_cumprod[t]).sqrt()
        with torch.no_grad():
            eps = model.predict(x_t, t, told) - scale * sigma * gradient(classifier, x_t, t.expand(len(x_t)), classes)
        x_t = scheduler.step(eps, t, x_t).prev_sample
    return image.from_images(model.decode(x_t))


@torch.enable_grad()
def gradient(classifier: NoisyClassifier, x_t: Tensor, t: Tensor, classes: Tensor) -> Tensor:
    """Slope of the log-probability of each picture's class, (N, C, H, W)."""
    x_t = x_t.detach().requires_grad_()
    log_p = classifier(x_t, t).log_softmax(dim=1)[torch.arange(len(classes)), classes]
    return torch.autograd.grad(log_p.sum(), x_t)[0]
