r"""Every quantity of a step against Algorithm 1 of the paper (arXiv 2210.00939v6), written a second time, in float64.

Nothing here knows the engine: the attention is a dense softmax in a processor of its own, the blur is scipy's, and the
algebra is done in variance preserving coordinates x, with a = sqrt(alpha bar) and b = sqrt(1 - alpha bar), whatever the sampler.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from scipy import ndimage
from tiny import DOWN_LAYER, MARGIN, difference, margin, noise
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.models import SCHEDULERS

PROMPT = "a fox on a blue background"
STEPS = 5
BOUND = 2e-4  # float32 against float64 over a whole run; a wrong formula is off by more than 1e-2
FIELDS = (
    "eps_uncond", "eps_cond", "attention", "mask", "x0_hat", "x0_blurred", "x_degraded", "eps_degraded", "eps", "x0_guided",
    "x_t", "x_next",
)  # fmt: skip


class Dense:
    """Self-attention by the book; remembers the probabilities, (B, heads, queries, keys)."""

    def __call__(self, attn: Any, hidden_states: Tensor, **_: Any) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:2], attn.heads, -1).permute(0, 2, 1, 3)

        q, k, v = (split(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        self.probabilities = scores.exp() / scores.exp().sum(-1, keepdim=True)
        mixed = torch.einsum("bhqk,bhkd->bhqd", self.probabilities, v)
        return attn.to_out[0](mixed.permute(0, 2, 1, 3).flatten(2))


@dataclass
class Paper:
    """Algorithm 1 on a float64 copy of a model's networks. `cfg` is diffusers' w, or `None`: one branch, given the prompt."""

    model: sv.Model
    cfg: float | None
    s: float
    psi: float
    blur: float
    layer: str
    dense: Dense = field(default_factory=Dense)

    def __post_init__(self) -> None:
        self.unet = copy.deepcopy(self.model.unet).double()
        self.unet.get_submodule(self.layer).processor = self.dense
        text, tokenizer = copy.deepcopy(self.model.text_encoder).double(), self.model.tokenizer
        with torch.no_grad():
            self.empty, self.prompt = (
                text(tokenizer(words, padding="max_length", return_tensors="pt").input_ids)[0] for words in ("", PROMPT)
            )
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.bars = (1 - betas).cumprod(0).tolist()
        self.is_v = self.model.scheduler.config.prediction_type == "v_prediction"

    def bar_at(self, t: float, step: sv.Step) -> float:
        """alpha bar of a VP scheduler's evaluation: that of its time, but for Karras' spacing, which rounds the time."""
        bar = self.bars[round(t)]
        return step.alpha**2 if abs(step.alpha**2 - bar) < 0.02 else bar

    @torch.no_grad()
    def eps_of(self, x: Tensor, t: float, bar: float, text: Tensor) -> Tensor:
        out = self.unet(x, torch.tensor(t), encoder_hidden_states=text.expand(len(x), -1, -1)).sample
        a, b = math.sqrt(bar), math.sqrt(1 - bar)
        return a * out + b * x if self.is_v else out

    def step(self, x: Tensor, t: float, bar: float, after: float = 1.0) -> dict[str, Tensor]:
        """One step at time t, whose alpha bar is `bar`, to the one whose is `after`."""
        a, b = math.sqrt(bar), math.sqrt(1 - bar)
        found = {"eps_cond": self.eps_of(x, t, bar, self.prompt)}
        branch = self.prompt if self.cfg is None else self.empty
        eps = self.eps_of(x, t, bar, branch)
        if self.cfg is not None:
            found["eps_uncond"] = eps
        received = self.dense.probabilities.mean(1).sum(1)  # by each key, from all queries
        h = round(math.sqrt(received.shape[1] * x.shape[2] / x.shape[3]))
        attention = received.reshape(len(x), h, -1)
        mask = (attention > self.psi).double()[:, None]
        mask = mask.repeat_interleave(x.shape[2] // h, 2).repeat_interleave(x.shape[3] // attention.shape[2], 3)
        x0 = (x - b * eps) / a  # eq. 2
        x0_blurred = torch.from_numpy(ndimage.gaussian_filter(x0.numpy(), (0, 0, self.blur, self.blur), mode="mirror"))
        x_degraded = (1 - mask) * x + mask * (a * x0_blurred + b * eps)  # eq. 15
        eps_degraded = self.eps_of(x_degraded, t, bar, branch)
        guided = eps if self.cfg is None else eps + self.cfg * (found["eps_cond"] - eps)
        guided = guided + self.s * (eps - eps_degraded)  # eq. 16, and 25 with CFG
        x0_guided = (x - b * guided) / a
        x_next = math.sqrt(after) * x0_guided + math.sqrt(1 - after) * guided  # DDIM, eq. 12 of arXiv 2010.02502
        return {
            **found, "attention": attention, "mask": mask, "x0_hat": x0, "x0_blurred": x0_blurred, "x_degraded": x_degraded,
            "eps_degraded": eps_degraded, "eps": guided, "x0_guided": x0_guided, "x_t": x, "x_next": x_next,
        }  # fmt: skip

    def run(self, start: Tensor, exploding: bool) -> list[dict[str, Tensor]]:
        """All steps of DDIM, or of Euler on sigma = b / a, whose latents are x / a and end at sigma = 0."""
        x, steps = start.double(), []
        times = [1000 // STEPS * i + 1 for i in reversed(range(STEPS))]
        for t in times:
            step = self.step(x, t, self.bars[t], self.bars[max(t - 1000 // STEPS, 0)])
            x = step["x_next"]
            if exploding:
                a, sigma = math.sqrt(self.bars[t]), math.sqrt(1 / self.bars[t] - 1)
                bar_next = self.bars[t - 1000 // STEPS] if t > times[-1] else 1.0
                euler = step["x_t"] / a + (math.sqrt(1 / bar_next - 1) - sigma) * step["eps"]
                x = euler * math.sqrt(bar_next)
                step |= {"x_t": step["x_t"] / a, "x_degraded": step["x_degraded"] / a, "x_next": euler}
            steps.append(step)
        return steps


MID = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("cfg", "s", "psi", "blur", "layer", "cells"),
    [
        (3.0, 1.0, 1.0, 1.0, MID, (16, 16)),
        (3.0, -0.1, 1.2, 2.0, DOWN_LAYER, (18, 20)),  # 360 tokens: several blocks of queries
        (None, 0.75, 1.0, 1.0, MID, (12, 20)),
        (0.0, 1.0, 0.8, 0.5, MID, (24, 16)),
    ],
)  # fmt: skip
def test_a_step_is_the_papers(
    model: sv.Model, v_model: sv.Model, prediction: str, scheduler: str, cfg: float | None, s: float, psi: float, blur: float,
    layer: str, cells: tuple[int, int],
) -> None:  # fmt: skip
    network = model if prediction == "epsilon" else v_model
    start = noise(2, cells)
    expected = Paper(network, cfg, s, psi, blur, layer).run(start, exploding=scheduler == "euler")
    sag = SAG(s, threshold=psi, blur_sigma=blur, layer=layer)
    trace = sv.trace(
        network, PROMPT, steps=STEPS, guidance=sag if cfg is None else CFG(cfg) + sag, noise=start, images=2,
        size=(2 * cells[0], 2 * cells[1]), scheduler=scheduler, progress=False,
    )  # fmt: skip
    assert margin(trace) > MARGIN, "rounding decides a cell of this mask: choose another noise"
    for step, truth in zip(trace, expected, strict=True):
        for name in FIELDS:
            value = getattr(step, name)
            assert (value is None) == (name not in truth), name
            if value is not None:
                assert difference(value, truth[name]) < BOUND, (step.index, name)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("images", "cells"), [(1, (16, 16)), (2, (16, 24))], ids=str)
@pytest.mark.parametrize("cfg", [None, 3.0])
def test_sag_is_the_papers_on_every_scheduler(
    model: sv.Model, v_model: sv.Model, prediction: str, scheduler: str, images: int, cells: tuple[int, int], cfg: float | None
) -> None:
    """At each evaluation, wherever the scheduler has put it: what the U-Net was really given is the paper's x_t and degraded x_t.

    A VE scheduler scales what it gives to the U-Net; that factor, seen from outside, is the alpha of the evaluation.
    """
    network = model if prediction == "epsilon" else v_model
    given: list[tuple[Tensor, float]] = []
    hook = network.unet.register_forward_pre_hook(
        lambda _, inputs: given.append((inputs[0].double(), float(inputs[1].flatten()[0])))
    )
    try:
        trace = sv.trace(
            network, PROMPT, steps=3, guidance=SAG(0.8) if cfg is None else CFG(cfg) + SAG(0.8), noise=noise(images, cells),
            images=images, size=(2 * cells[0], 2 * cells[1]), scheduler=scheduler, progress=False,
        )  # fmt: skip
    finally:
        hook.remove()
    assert margin(trace) > MARGIN, "rounding decides a cell of this mask: choose another noise"
    paper = Paper(network, cfg, 0.8, 1.0, 1.0, MID)
    for step, (x, t), (x_degraded, again) in zip(trace, given[::2], given[1::2], strict=True):
        assert t == again == pytest.approx(step.t)
        x = x[:images]
        scale = float((x * step.x_t).sum() / step.x_t.double().square().sum())
        truth = paper.step(x, t, scale**2 if step.alpha == 1 else paper.bar_at(t, step))
        assert difference(x, step.x_t * scale) < BOUND
        assert difference(x_degraded, truth["x_degraded"]) < BOUND
        for name in ("attention", "mask", "x0_hat", "eps_degraded", "eps", "x0_guided"):
            assert difference(getattr(step, name), truth[name]) < BOUND, (step.index, name)
