r"""Every quantity of a step against Algorithm 1 of the paper (arXiv 2210.00939v6), written a second
time, in float64.

Nothing here knows the engine: the attention is a dense softmax in a processor of its own, the blur
is scipy's, and the algebra is done in variance preserving coordinates x, with a = sqrt(alpha bar)
and b = sqrt(1 - alpha bar), whatever the sampler.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from conftest import Family
from pairs import pairs
from scipy import ndimage
from tiny import DOWN_LAYER, MARGIN, difference, margin, noise
from torch import Tensor

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.models import SCHEDULERS, SDXL, Pixels

PROMPT = "a fox on a blue background"
STEPS = 5
BOUND = 4e-4  # float32 against float64 over a run: 2.2e-4 seen; a wrong formula: more than 1e-2
FIELDS = (
    "eps_uncond",
    "eps_cond",
    "attention",
    "mask",
    "x0_hat",
    "x0_blurred",
    "x_degraded",
    "eps_degraded",
    "eps",
    "x0_guided",
    "x_t",
    "x_next",
)


class Dense:
    """Self-attention by the book; remembers the probabilities, (B, heads, queries, keys)."""

    def __call__(self, attn: Any, hidden_states: Tensor, **_: Any) -> Tensor:
        shape, residual = hidden_states.shape, hidden_states
        # of a `UNet2DModel`: the norm and the residual are the attention's own
        if pixels := hidden_states.ndim == 4:
            hidden_states = attn.group_norm(hidden_states.flatten(2)).transpose(1, 2)

        def split(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:2], attn.heads, -1).permute(0, 2, 1, 3)

        q, k, v = (split(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        self.probabilities = scores.exp() / scores.exp().sum(-1, keepdim=True)
        mixed = torch.einsum("bhqk,bhkd->bhqd", self.probabilities, v)
        out = attn.to_out[0](mixed.permute(0, 2, 1, 3).flatten(2))
        return out.transpose(1, 2).reshape(shape) + residual if pixels else out


def told(model: sv.Model, words: str | None, size: tuple[int, int]) -> dict[str, Any]:
    """What the U-Net is told of these words, for a picture of that size in pixels, in float64;
    `None` are no words.
    """
    if isinstance(model, Pixels):
        return {}
    encoders = [(model.tokenizer, model.text_encoder)]
    encoders += [(model.tokenizer_2, model.text_encoder_2)] if isinstance(model, SDXL) else []
    ids = [
        tokenizer(words or "", padding="max_length", return_tensors="pt").input_ids
        for tokenizer, _ in encoders
    ]
    found = [
        copy.deepcopy(each).double()(i, output_hidden_states=True)
        for (_, each), i in zip(encoders, ids, strict=True)
    ]
    if not isinstance(model, SDXL):
        return {"encoder_hidden_states": found[0].last_hidden_state}
    blank = 0.0 if words is None else 1.0  # the published SDXL is told zeros
    text = blank * torch.cat([each.hidden_states[-2] for each in found], dim=2)
    added = {
        "text_embeds": blank * found[1].text_embeds,
        "time_ids": torch.tensor([[*size, 0, 0, *size]]).double(),
    }
    return {"encoder_hidden_states": text, "added_cond_kwargs": added}


def rows(given: Any, count: int) -> Any:
    """The same for each image of a batch."""
    if isinstance(given, dict):
        return {name: rows(part, count) for name, part in given.items()}
    return given.expand(count, *given.shape[1:])


def alpha_bars(config: Any, exploding: bool) -> list[float]:
    """alpha bar of each training time; rescaled to zero terminal SNR by algorithm 1 of arXiv
    2305.08891 where it says so.
    """
    power = {"linear": 1, "scaled_linear": 2}[config["beta_schedule"]]
    first, last = (config[end] ** (1 / power) for end in ("beta_start", "beta_end"))
    roots = (1 - torch.linspace(first, last, 1000, dtype=torch.float64) ** power).cumprod(0).sqrt()
    if config.get("rescale_betas_zero_snr"):
        roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
        roots[-1] = 2.0**-12 if exploding else 0.0  # sigma = b / a must be finite
    return roots.square().tolist()


@dataclass
class Paper:
    """Algorithm 1 on a float64 copy of a model's networks. `cfg` is diffusers' w, or `None`: one
    branch, given the prompt.
    """

    model: sv.Model
    cfg: float | None
    s: float
    psi: float
    blur: float
    layer: str
    size: tuple[int, int] = (32, 32)
    taps: int | None = None
    exploding: bool = False
    dense: Dense = field(default_factory=Dense)

    def __post_init__(self) -> None:
        self.unet = copy.deepcopy(self.model.unet).double()
        self.unet.get_submodule(self.layer).processor = self.dense
        with torch.no_grad():
            self.empty, self.prompt = (
                told(self.model, words, self.size) for words in (None, PROMPT)
            )
        self.config = self.model.scheduler.config
        self.bars = alpha_bars(self.config, self.exploding)
        self.is_v = self.config.prediction_type == "v_prediction"
        self.reads = bool(self.prompt)

    def bar_at(self, t: float, step: sv.Step) -> float:
        """alpha bar of a VP scheduler's evaluation: that of its time, but for Karras' spacing,
        which rounds the time.
        """
        bar = self.bars[round(t)]
        return step.alpha**2 if abs(step.alpha**2 - bar) < 0.02 else bar

    @torch.no_grad()
    def predict(
        self, x: Tensor, t: float, a: float, b: float, given: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """The noise and the clean latent (eq. 2) that the network names."""
        out = self.unet(x, torch.tensor(t), **rows(given, len(x))).sample
        return (a * out + b * x, a * x - b * out) if self.is_v else (out, (x - b * out) / a)

    def step(self, x: Tensor, t: float, bar: float, after: float = 1.0) -> dict[str, Tensor]:
        """One step at time t, whose alpha bar is `bar`, to the one whose is `after`."""
        a, b = math.sqrt(bar), math.sqrt(1 - bar)
        eps_cond, x0_cond = self.predict(x, t, a, b, self.prompt)
        branch = self.prompt if self.cfg is None else self.empty
        eps, x0 = self.predict(x, t, a, b, branch)
        found = {"eps_cond": eps_cond} if self.reads else {"eps_uncond": eps}
        if self.cfg is not None:
            found["eps_uncond"] = eps
        received = self.dense.probabilities.mean(1).sum(1)  # by each key, from all queries
        h = round(math.sqrt(received.shape[1] * x.shape[2] / x.shape[3]))
        attention = received.reshape(len(x), h, -1)
        mask = (attention > self.psi).double()[:, None]
        mask = mask.repeat_interleave(x.shape[2] // h, 2).repeat_interleave(
            x.shape[3] // attention.shape[2], 3
        )
        x0_blurred = torch.from_numpy(self.blurred(x0.numpy()))
        x_degraded = (1 - mask) * x + mask * (a * x0_blurred + b * eps)  # eq. 15
        eps_degraded, x0_degraded = self.predict(x_degraded, t, a, b, branch)
        guided = eps if self.cfg is None else eps + self.cfg * (eps_cond - eps)
        guided = guided + self.s * (eps - eps_degraded)  # eq. 16, and 25 with CFG
        if a:
            x0_guided = (x - b * guided) / a
        # its limit: eps = (x - a x0) / b, and of the degraded latent (x_degraded - a x0_degraded) /
        # b
        else:
            x0_guided = (
                x0
                + (self.cfg or 0.0) * (x0_cond - x0)
                - self.s * (x0_degraded - (1 - mask) * x0 - mask * x0_blurred)
            )
        limit = 1.0 if self.config.get("clip_sample") else math.inf
        # DDIM, eq. 12 of 2010.02502
        x_next = math.sqrt(after) * x0_guided.clamp(-limit, limit) + math.sqrt(1 - after) * guided
        return {
            **found,
            "attention": attention,
            "mask": mask,
            "x0_hat": x0,
            "x0_blurred": x0_blurred,
            "x_degraded": x_degraded,
            "eps_degraded": eps_degraded,
            "eps": guided,
            "x0_guided": x0_guided,
            "x_t": x,
            "x_next": x_next,
        }

    def blurred(self, x0: Any) -> Any:
        return ndimage.gaussian_filter(
            x0,
            (0, 0, self.blur, self.blur),
            mode="mirror",
            radius=None if self.taps is None else (0, 0, *[self.taps // 2] * 2),
        )

    def run(self, start: Tensor) -> list[dict[str, Tensor]]:
        """All steps of DDIM, or of Euler on sigma = b / a, whose latents are x / a and end at sigma
        = 0.
        """
        x, steps, apart = start.double(), [], 1000 // STEPS
        first = (
            999
            if self.config.get("timestep_spacing") == "trailing"
            else 1000 - apart + self.config.get("steps_offset", 0)
        )
        times = [first - apart * i for i in range(STEPS)]
        end = 1.0 if self.exploding or self.config.get("set_alpha_to_one", True) else self.bars[0]
        for t in times:
            after = self.bars[t - apart] if t > times[-1] else end
            step = self.step(x, t, self.bars[t], after)
            x = step["x_next"]
            if self.exploding:
                a, sigma = math.sqrt(self.bars[t]), math.sqrt(1 / self.bars[t] - 1)
                euler = step["x_t"] / a + (math.sqrt(1 / after - 1) - sigma) * step["eps"]
                x = euler * math.sqrt(after)
                step |= {
                    "x_t": step["x_t"] / a,
                    "x_degraded": step["x_degraded"] / a,
                    "x_next": euler,
                }
            steps.append(step)
        return steps


MID = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.mark.slow
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
)
def test_a_step_is_the_papers(
    model: sv.Model,
    v_model: sv.Model,
    prediction: str,
    scheduler: str,
    cfg: float | None,
    s: float,
    psi: float,
    blur: float,
    layer: str,
    cells: tuple[int, int],
) -> None:
    network = model if prediction == "epsilon" else v_model
    start = noise(2, cells)
    expected = Paper(network, cfg, s, psi, blur, layer, exploding=scheduler == "euler").run(start)
    sag = SAG(s, threshold=psi, blur_sigma=blur, layer=layer)
    trace = sv.trace(
        network,
        PROMPT,
        steps=STEPS,
        guidance=sag if cfg is None else CFG(cfg) + sag,
        noise=start,
        images=2,
        size=(2 * cells[0], 2 * cells[1]),
        scheduler=scheduler,
        progress=False,
    )
    check(trace, expected)


def check(trace: sv.Trace, expected: list[dict[str, Tensor]]) -> None:
    """Every quantity of every step."""
    assert margin(trace) > MARGIN, "rounding decides a cell of this mask: choose another noise"
    for step, truth in zip(trace, expected, strict=True):
        for name in FIELDS:
            value = getattr(step, name)
            assert (value is None) == (name not in truth), name
            if value is not None:
                assert difference(value, truth[name]) < BOUND, (step.index, name)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
@pytest.mark.parametrize(
    ("family", "cfg", "s", "blur", "taps", "cells"),
    [
        ("sd2", 3.0, 1.0, 1.0, None, (16, 16)),
        ("sd2", None, 0.7, 1.0, None, (16, 24)),
        ("sdxl", 5.0, 0.8, 0.5, None, (16, 24)),
        ("sdxl", None, 1.0, 0.5, None, (16, 16)),
        ("pixels", None, 0.5, 1.0, None, (16, 16)),
        ("pixels", None, 0.8, 9.0, 31, (32, 24)),
    ],
)
def test_a_step_of_every_family_is_the_papers(
    families: Callable[[str], Family],
    family: str,
    scheduler: str,
    cfg: float | None,
    s: float,
    blur: float,
    taps: int | None,
    cells: tuple[int, int],
) -> None:
    """v from zero terminal SNR on, two text encoders with pooled text and sizes, and pixels whose
    scheduler clips.
    """
    network = families(family).model
    size = (cells[0] * network.pixels_per_cell, cells[1] * network.pixels_per_cell)
    start = noise(2, cells, seed=5, channels=network.latent_shape(size)[0])
    layer = MID if network.reads_text else "mid_block.attentions.0"
    paper = Paper(network, cfg, s, 1.0, blur, layer, size, taps, exploding=scheduler == "euler")
    sag = network.sag(s, blur_kernel=taps, **({"blur_sigma": blur} if taps else {}))
    assert sag.blur_sigma == blur, "the family's own blur is among what is tried"
    trace = sv.trace(
        network,
        PROMPT if network.reads_text else "",
        steps=STEPS,
        guidance=sag if cfg is None else CFG(cfg) + sag,
        noise=start,
        images=2,
        size=size,
        scheduler=scheduler,
        progress=False,
    )
    assert family != "sd2" or trace[0].alpha == (0 if scheduler == "ddim" else 1)
    check(trace, paper.run(start))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheduler", "prediction", "images", "cells", "cfg"),
    pairs(SCHEDULERS, ["epsilon", "v_prediction"], [1, 2], [(16, 16), (16, 24)], [None, 3.0]),
    ids=str,
)
def test_sag_is_the_papers_on_every_scheduler(
    model: sv.Model,
    v_model: sv.Model,
    prediction: str,
    scheduler: str,
    images: int,
    cells: tuple[int, int],
    cfg: float | None,
) -> None:
    """At each evaluation, wherever the scheduler has put it: what the U-Net was really given is the
    paper's x_t and degraded x_t.

    A VE scheduler scales what it gives to the U-Net; that factor, seen from outside, is the alpha
    of the evaluation.
    """
    network = model if prediction == "epsilon" else v_model
    given: list[tuple[Tensor, float]] = []
    hook = network.unet.register_forward_pre_hook(
        lambda _, inputs: given.append((inputs[0].double(), float(inputs[1].flatten()[0])))
    )
    try:
        trace = sv.trace(
            network,
            PROMPT,
            steps=3,
            guidance=SAG(0.8) if cfg is None else CFG(cfg) + SAG(0.8),
            noise=noise(images, cells),
            images=images,
            size=(2 * cells[0], 2 * cells[1]),
            scheduler=scheduler,
            progress=False,
        )
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
