r"""The terms beside SAG: against their papers' equations in float64, at their limits, and in the
records.

The transcription knows nothing of the engine: attention is dense, in a processor of its own, the
blur is scipy's, the classifier's gradient a closed form, and the algebra is done in variance
preserving coordinates x, with a = sqrt(alpha bar) and b = sqrt(1 - alpha bar).
"""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from pairs import pairs
from scipy import ndimage
from tiny import DOWN_LAYER, build_unet, counted, difference, is_one_sentence, noise, residue, same
from torch import Tensor

import sagviz as sv
from sagviz import (
    APG,
    CFG,
    CG,
    FDG,
    NAG,
    PAG,
    SAG,
    SEG,
    SLG,
    SSG,
    TPG,
    CFGZero,
    Rescale,
    describe,
    measure,
)
from sagviz.codegen import code
from sagviz.errors import ArgumentError, OutOfMemoryError
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.mini import noisy
from sagviz.models.fingerprint import fingerprint
from sagviz.models.load import load_classifier
from sagviz.plot.formula import formula
from sagviz.sampling.collect import collect
from sagviz.sampling.keep import record_bytes
from sagviz.sampling.lockstep import begin, lockstep
from sagviz.sampling.prepare import prepare, resume
from sagviz.sampling.unet_calls import UNetCalls

PROMPT = "a fox on a blue background"
MID = "mid_block.attentions.0.transformer_blocks.0.attn1"
STEPS = 5
BOUND = 2e-4  # float32 against float64 over a whole run; a wrong formula is off by more than 1e-2
INF = math.inf


class Toy:
    """Log-odds that are linear in the latent, so that the gradient is known: logit k = g(t) <x,
    m_k>.
    """

    labels = ("fox", "owl", "tree")

    def __init__(self, shape: tuple[int, ...] = (4, 16, 16)) -> None:
        self.directions = 0.05 * torch.randn(3, *shape, generator=torch.Generator().manual_seed(9))

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        return (1 - t.to(x) / 2000)[:, None] * torch.einsum(
            "bchw,kchw->bk", x, self.directions.to(x)
        )

    def slope(self, x: Tensor, t: float, place: int) -> Tensor:
        """Gradient of log p of one class, in closed form."""
        gain, directions = 1 - t / 2000, self.directions.to(x)
        shares = (gain * torch.einsum("bchw,kchw->bk", x, directions)).softmax(dim=1)
        return gain * (directions[place] - torch.einsum("bk,kchw->bchw", shares, directions))


class Disturbed:
    """Self-attention by the book, whose map may be the identity ("identity"), or its queries
    blurred (a sigma).
    """

    mode: str | float = "plain"

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def __call__(self, attn: Any, hidden_states: Tensor, **_: Any) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.reshape(*x.shape[:2], attn.heads, -1).permute(0, 2, 1, 3)

        q, k, v = (split(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        if isinstance(self.mode, float):
            q = self.blurred(q)
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
        table = (
            torch.eye(q.shape[2]).to(q).expand_as(scores)
            if self.mode == "identity"
            else scores.softmax(-1)
        )
        return attn.to_out[0](
            torch.einsum("bhqk,bhkd->bhqd", table, v).permute(0, 2, 1, 3).flatten(2)
        )

    def blurred(self, q: Tensor) -> Tensor:
        assert isinstance(self.mode, float)
        if math.isinf(self.mode):
            return q.mean(2, keepdim=True).expand_as(q)
        grid = q.unflatten(2, (-1, self.columns)).numpy()
        wide = (0, 0, self.mode, self.mode, 0)
        return torch.from_numpy(
            ndimage.gaussian_filter(grid, wide, mode="reflect", truncate=4.0)
        ).flatten(2, 3)


@dataclass
class Truth:
    """The papers on a float64 copy of a model's networks, for one guidance, by DDIM or by Euler on
    b / a.
    """

    model: sv.Model
    guidance: Guidance
    columns: int
    average: Tensor | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.attention = Disturbed(self.columns)
        self.unet = copy.deepcopy(self.model.unet).double()
        self.unet.get_submodule(MID).processor = self.attention
        text, tokenizer = copy.deepcopy(self.model.text_encoder).double(), self.model.tokenizer
        with torch.no_grad():
            self.empty, self.prompt = (
                text(tokenizer(words, padding="max_length", return_tensors="pt").input_ids)[0]
                for words in ("", PROMPT)
            )
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        self.bars = (1 - betas).cumprod(0).tolist()
        self.is_v = self.model.scheduler.config.prediction_type == "v_prediction"

    @torch.no_grad()
    def out(self, x: Tensor, t: float, text: Tensor, mode: str | float = "plain") -> Tensor:
        self.attention.mode = mode
        return self.unet(
            x, torch.tensor(t), encoder_hidden_states=text.expand(len(x), -1, -1)
        ).sample

    def eps(self, x: Tensor, t: int) -> Tensor:
        """The guided noise."""
        a, b = math.sqrt(self.bars[t]), math.sqrt(1 - self.bars[t])
        slope, of_x = (a, b) if self.is_v else (1.0, 0.0)  # eps = slope * out + of_x * x
        told, plain = self.out(x, t, self.prompt), self.out(x, t, self.empty)
        both = any(self.guidance.get(name) for name in ("cfg", "apg"))
        eps = slope * (plain if both else told) + of_x * x
        for term in self.guidance.terms:
            s = term.scale
            if isinstance(term, CFG):
                eps = eps + s * slope * (told - plain)
            elif isinstance(term, PAG):
                eps = eps + s * slope * (told - self.out(x, t, self.prompt, "identity"))
            elif isinstance(term, SEG):
                eps = eps + s * slope * (told - self.out(x, t, self.prompt, float(term.blur_sigma)))
            elif isinstance(term, CG):
                classifier = self.model.classifier
                assert isinstance(classifier, Toy)
                eps = eps - s * b * classifier.slope(x, t, classifier.labels.index(term.label))
            elif isinstance(term, Rescale):
                guided = plain + self.guidance.get("cfg").scale * (told - plain)
                ratio = [
                    float(row.std() / other.std()) for row, other in zip(told, guided, strict=True)
                ]
                rescaled = torch.stack([r * row for r, row in zip(ratio, guided, strict=True)])
                eps = eps + slope * (s * rescaled + (1 - s) * guided - guided)
            elif isinstance(term, APG):
                clean, without = ((x - b * (slope * out + of_x * x)) / a for out in (told, plain))
                eps = eps - s * a / b * self.apg(clean, without, term)
        return eps

    def apg(self, told: Tensor, plain: Tensor, term: APG) -> Tensor:
        """Algorithm 1: the update that the paper multiplies by w - 1."""
        new = told - plain
        self.average = new if self.average is None else new + term.momentum * self.average
        rows = []
        for update, towards in zip(self.average, told, strict=True):
            update = update * min(1.0, term.norm_threshold / float(update.norm()))
            unit = towards / towards.norm()
            along = (update * unit).sum() * unit
            rows.append(update - along + term.eta * along)
        return torch.stack(rows)

    def run(self, start: Tensor, exploding: bool) -> list[tuple[Tensor, Tensor]]:
        """(x_t, guided eps) of every step, and the last latent: DDIM's, or Euler's, whose latents
        are x / a.
        """
        x, found = start.double(), []
        times = [1000 // STEPS * i + 1 for i in reversed(range(STEPS))]
        for t in times:
            bar, eps = self.bars[t], self.eps(x, t)
            found.append((x / math.sqrt(bar) if exploding else x, eps))
            after = self.bars[max(t - 1000 // STEPS, 0)]
            if exploding and t == times[-1]:
                after = 1.0
            x = (
                math.sqrt(after) * (x - math.sqrt(1 - bar) * eps) / math.sqrt(bar)
                + math.sqrt(1 - after) * eps
            )
        return [*found, (x, x)]


def classified(model: sv.Model, shape: tuple[int, ...] = (4, 16, 16)) -> sv.Model:
    """The model with the toy classifier; its networks are shared."""
    return type(model)(
        model.name, classifier=Toy(shape), **{name: getattr(model, name) for name in model.PARTS}
    )


def run(model: sv.Model, guidance: Any, **changes: Any) -> sv.Trace:
    return sv.trace(
        model,
        PROMPT,
        guidance=guidance,
        **{"steps": STEPS, "seed": 3, "progress": False, **changes},
    )


SUMS: list[Any] = [
    PAG(2.0),
    CFG(3.0) + PAG(1.5),
    SEG(2.0),
    CFG(3.0) + SEG(1.5, blur_sigma=1.0),
    CG(4.0, "owl"),
    CFG(2.0) + CG(-3.0, "fox"),
    CFG(9.0) + Rescale(0.7),
    APG(5.0, norm_threshold=4.0),
    CFG(1.0) + APG(4.0, eta=0.3, momentum=-0.75, norm_threshold=INF),
    CFG(4.0) + PAG(1.0) + SEG(0.5, blur_sigma=2.5) + CG(1.0, "tree") + APG(2.0) + Rescale(0.5),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "prediction", "scheduler"),
    pairs(SUMS, ["epsilon", "v_prediction"], ["ddim", "euler"]),
    ids=str,
)
def test_a_run_is_the_papers(
    model: sv.Model, v_model: sv.Model, guidance: Any, prediction: str, scheduler: str
) -> None:
    network, start = (
        classified(model if prediction == "epsilon" else v_model, (4, 12, 20)),
        noise(2, (12, 20)),
    )
    truth = Truth(network, as_guidance(guidance), columns=10).run(
        start, exploding=scheduler == "euler"
    )
    trace = run(network, guidance, noise=start, images=2, size=(24, 40), scheduler=scheduler)
    for step, (x_t, eps) in zip(trace, truth, strict=False):
        assert difference(step.x_t, x_t) < BOUND, step.index
        assert difference(step.eps, eps) < BOUND, step.index
    assert difference(trace.latents, truth[-1][0]) < BOUND


@pytest.mark.parametrize("guidance", SUMS, ids=repr)
def test_output_and_noise_tell_the_same(v_model: sv.Model, guidance: Any) -> None:
    """A v-model is guided in v; the record says it in noise too, and in clean latents."""
    for step in run(classified(v_model), guidance, steps=3):
        assert difference(step.level.eps(step.x_t, step.output), step.eps) < 1e-5
        pushed = step.x0_hat + sum(
            term.scale * step.pushes[term.name] for term in step.guidance.terms
        )
        assert difference(pushed, step.x0_guided) < 1e-5


# Limits.


@pytest.mark.parametrize("others", [None, CFG(3.0)], ids=repr)
def test_seg_without_blur_is_no_perturbation(model: sv.Model, others: Any) -> None:
    for step in run(model, as_guidance(others) + SEG(5.0, blur_sigma=0.0), images=2):
        assert difference(step.kept["out_seg"], step.out_conditional) < 1e-6
        assert measure.rms(step.terms["seg"]) < 1e-6


@pytest.mark.slow
def test_seg_with_more_and_more_blur_is_the_mean_query(model: sv.Model) -> None:
    mean = run(model, CFG(3.0) + SEG(3.0), steps=2)[0].kept["out_seg"]
    far = [
        run(model, CFG(3.0) + SEG(3.0, blur_sigma=sigma), steps=2)[0].kept["out_seg"]
        for sigma in (0.5, 2.0, 20.0, 1e6)
    ]
    apart = [difference(out, mean) for out in far]
    assert apart == sorted(apart, reverse=True)
    assert apart[2] < 1e-5 < 1e-4 < apart[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "term", [PAG(0.0), SEG(0.0), CG(0.0, "fox"), APG(0.0), Rescale(0.0)], ids=repr
)
def test_scale_0_adds_nothing(model: sv.Model, term: Term) -> None:
    network = classified(model)
    trace = run(network, CFG(3.0) + term, images=2)
    for step in trace:
        assert term.name in step.terms
        assert torch.equal(step.eps, replace(step, guidance=as_guidance(CFG(3.0))).eps)
    assert difference(trace.latents, run(network, CFG(3.0), images=2).latents) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_apg_that_does_nothing_is_cfg(model: sv.Model, v_model: sv.Model, prediction: str) -> None:
    network = model if prediction == "epsilon" else v_model
    plain = {"eta": 1.0, "norm_threshold": INF, "momentum": 0.0}
    wanted = run(network, CFG(6.0)).latents
    assert difference(run(network, APG(6.0, **plain)).latents, wanted) < 1e-4
    assert difference(run(network, CFG(1.0) + APG(5.0, **plain)).latents, wanted) < 1e-4
    assert difference(run(network, APG(6.0)).latents, wanted) > 1e-2


def test_apg_at_eta_0_is_at_right_angles_to_the_prediction(model: sv.Model) -> None:
    for step in run(model, APG(6.0, momentum=0.0, norm_threshold=INF)):
        term, x0 = step.guidance.get(APG), step.level.x0(step.x_t, step.out_cond)
        assert abs(measure.cosine(term.direction(step), x0)) < 1e-4
        along = replace(term, eta=1.0).direction(step) - term.direction(step)
        assert abs(abs(measure.cosine(along, x0)) - 1) < 1e-4


def test_apg_clips_each_image_at_the_norm(model: sv.Model) -> None:
    for step in run(model, APG(3.0, eta=1.0, momentum=0.0), images=2):
        term = step.guidance.get(APG)
        own = term.average(step).flatten(1).norm(dim=1)
        between = float(own.mean())
        lengths = replace(term, norm_threshold=between).direction(step).flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, own.clamp(max=between), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "settings",
    [{}, {"eta": 0.4, "norm_threshold": 3.0, "momentum": -0.75}, {"momentum": 0.5}],
    ids=str,
)
def test_apg_is_that_of_diffusers_on_clean_predictions(
    model: sv.Model, settings: dict[str, float]
) -> None:
    """Its function is the paper's, though its guider gives it noises."""
    trace = run(model, APG(7.0, **settings), images=2)
    term = trace[0].guidance.get(APG)
    buffer = MomentumBuffer(term.momentum)
    for step in trace:
        told, plain = (step.level.x0(step.x_t, out) for out in (step.out_cond, step.out_uncond))
        wanted = normalized_guidance(told, plain, 7.0, buffer, term.eta, term.norm_threshold)
        assert difference(step.x0_guided, wanted) < 1e-4, step.index


def test_rescale_at_1_has_the_spread_of_the_prediction_given_the_prompt(model: sv.Model) -> None:
    for step in run(model, CFG(9.0) + Rescale(1.0), images=2):
        for row in range(2):
            assert float(step.eps[row].std()) == pytest.approx(
                float(step.eps_cond[row].std()), rel=1e-5
            )


@pytest.mark.slow
def test_cg_moves_towards_its_class(model: sv.Model) -> None:
    """The classifier is the surer of a class the more it is guided to it."""
    network = classified(model)

    def sure(scale: float) -> float:
        last = run(network, CG(scale, "owl"), images=4).latents
        return float(network.classifier(last, torch.zeros(4)).log_softmax(1)[:, 1].mean())

    scales = [sure(scale) for scale in (-5.0, 0.0, 5.0, 10.0)]
    assert scales == sorted(scales)
    assert scales[-1] > scales[0] + 0.1


def test_cg_of_pure_noise_says_nothing(v_model: sv.Model) -> None:
    """At alpha = 0 a v-model is guided in its own kind, where the slope would be divided by 0."""
    step = run(classified(v_model), CG(2.0, "fox"), steps=1)[0]
    blank = replace(step, level=replace(step.level, alpha=0.0, sigma=1.0))
    assert torch.equal(blank.output, step.out_cond)


# The interval.


def test_the_whole_run_is_no_interval(model: sv.Model) -> None:
    assert CFG(3.0, start=0.0, stop=1.0) == CFG(3.0)
    whole = run(model, CFG(3.0, start=0, stop=1) + PAG(1.0, start=0, stop=1))
    assert torch.equal(whole.latents, run(model, CFG(3.0) + PAG(1.0)).latents)


def test_outside_its_interval_cfg_is_the_plain_prediction(model: sv.Model) -> None:
    with counted(model.unet) as rows:
        trace = run(model, CFG(5.0, start=0.4, stop=0.8), images=2)
    assert rows == [2, 2, 4, 4, 2]
    for step in trace:
        acts = step.index in (2, 3)
        assert (step.out_uncond is not None) == acts
        assert torch.equal(step.eps, step.eps_cond) != acts
    assert torch.equal(trace[1].x_next, run(model, None, images=2)[1].x_next)


@pytest.mark.parametrize(
    "term", [PAG(2.0, start=0.2, stop=0.6), SEG(2.0, start=0.2, stop=0.6)], ids=repr
)
def test_a_term_costs_nothing_outside_its_interval(model: sv.Model, term: Term) -> None:
    with counted(model.unet) as rows:
        trace = run(model, CFG(3.0) + term)
    assert rows == [2, 3, 3, 2, 2] == [step.samples for step in trace]


def test_rescale_rests_with_cfg(model: sv.Model) -> None:
    trace = run(model, CFG(5.0, stop=0.6) + Rescale(0.7))
    assert ["rescale" in step.terms for step in trace] == [True, True, True, False, False]


def test_the_running_average_begins_with_the_interval(model: sv.Model) -> None:
    trace = run(model, CFG(2.0) + APG(3.0, start=0.4))
    assert ["apg_before" not in step.kept for step in trace] == [True, True, True, False, False]
    torch.testing.assert_close(
        trace[3].kept["apg_before"], trace[2].guidance.get(APG).average(trace[2]), rtol=0, atol=0
    )


# Costs.


def stated_costs() -> dict[str, tuple[int, int]]:
    """Rows and calls that the table states for each term."""
    text = (Path(__file__).parents[2] / "docs" / "terms.md").read_text(encoding="utf-8")
    return {
        name: (int(rows), int(calls))
        for name, rows, calls in re.findall(r"^\| `(\w+)\(.*\| \+(\d) \| \+(\d) \|$", text, re.M)
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "term",
    [
        *(CFG(3.0), SAG(1.0), PAG(1.0), SEG(1.0), CG(1.0, "fox"), APG(3.0), Rescale(0.5)),
        *(CFGZero(0.5), FDG(3.0), NAG(1.0), SLG(1.0), SSG(1.0), TPG(1.0)),
    ],
    ids=lambda term: term.name,
)
def test_costs_are_those_that_the_table_states(model: sv.Model, term: Term) -> None:
    """Beside a plain run of one branch; what needs CFG beside CFG."""
    network, before = classified(model), as_guidance(CFG(3.0) if term.requires else None)
    ours = [kind for kind in Term.kinds.values() if kind.__module__.startswith("sagviz.guidance.")]
    assert set(stated_costs()) == {kind.__name__ for kind in ours}
    counts = []
    for guidance in (before, before + term):
        with counted(network.unet) as rows:
            trace = run(network, guidance, steps=2, images=2)
        assert (trace.forwards, trace.samples) == (len(rows), sum(rows))
        counts.append((sum(rows) // 4, len(rows) // 2))
    added = tuple(after - first for first, after in zip(*counts, strict=True))
    assert added == stated_costs()[type(term).__name__] == term.cost


def test_apg_costs_nothing_beside_cfg(model: sv.Model) -> None:
    with counted(model.unet) as rows:
        run(model, CFG(1.0) + APG(2.0))
    assert rows == [2] * STEPS


@pytest.mark.slow
def test_runs_in_lockstep_share_what_they_ask_alike(model: sv.Model) -> None:
    """Another scale of a term is free at the first step."""
    guidances = [CFG(3.0) + PAG(s) + SEG(1.0) for s in (1.0, 2.0)] + [
        CFG(2.0) + PAG(1.0, layers=DOWN_LAYER)
    ]
    runs = [prepare(model, PROMPT, guidance=guidance, steps=3, seed=3) for guidance in guidances]
    with counted(model.unet) as rows:
        traces = collect(runs)
    assert rows == [5, 11, 11]
    assert sum(trace.forwards for trace in traces) == len(rows)
    for guidance, trace in zip(guidances, traces, strict=True):
        assert difference(trace.latents, run(model, guidance, steps=3).latents) < 1e-4


def test_runs_with_other_averages_part(model: sv.Model) -> None:
    """Of one latent under one guidance: the one has a past, the other has none."""
    old = run(model, APG(5.0), steps=4)
    whole = resume(model, old.settings)
    firsts = [replace(old[2], x_next=None), replace(old[2], x_next=None, kept={})]
    with_past, without = list(lockstep([whole, resume(model, old.settings)], firsts=firsts))[-1]
    assert difference(with_past.x_next, old.latents) < 1e-5
    assert difference(without.x_next, old.latents) > 1e-3


def test_runs_with_one_average_stay_together(model: sv.Model) -> None:
    """What is carried over is shared as the latents are: the second run pays where it differs."""
    runs = [
        prepare(model, PROMPT, guidance=APG(5.0) + PAG(s, start=0.6), steps=5, seed=3)
        for s in (1.0, 2.0)
    ]
    with counted(model.unet) as rows:
        traces = collect(runs)
    assert rows == [2, 2, 2, 3, 6]
    assert difference(traces[1].latents, run(model, APG(5.0) + PAG(2.0, start=0.6)).latents) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [*SUMS, None, CFG(3.0) + SAG(1.0)], ids=repr)
def test_memory_is_told_before(model: sv.Model, guidance: Any) -> None:
    network = classified(model)
    told = record_bytes(prepare(network, PROMPT, guidance=guidance, images=2))
    step = run(network, guidance, images=2)[2]
    held = sum(value.nbytes for value in step.tensors.values())
    assert held <= told <= held + 4 * step.x_t[:, 0].numel()


# Records, what-if, traces.

ALL = (
    CFG(3.0)
    + SAG(0.5)
    + PAG(1.0)
    + SEG(0.5, blur_sigma=1.5)
    + CG(1.0, "owl")
    + APG(1.0)
    + Rescale(0.3)
)


@pytest.fixture(scope="module")
def network(model: sv.Model) -> sv.Model:
    return classified(model)


@pytest.fixture(scope="module")
def trace(network: sv.Model) -> sv.Trace:
    """All terms at once, two images."""
    return run(network, ALL, images=2)


def changed(**changes: Term) -> Guidance:
    return Guidance(tuple(changes.get(term.name, term) for term in ALL.terms))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guidance", "rows"),
    [
        (
            changed(
                pag=PAG(3.0),
                seg=SEG(0.0, blur_sigma=1.5),
                cg=CG(2.0, "owl"),
                apg=APG(2.0),
                rescale=Rescale(1.0),
            ),
            [],
        ),
        (changed(pag=PAG(1.0, layers=DOWN_LAYER)), [2]),
        (changed(seg=SEG(0.5)), [2]),
        (changed(cg=CG(1.0, "fox")), []),
        (changed(apg=APG(1.0, eta=0.5, norm_threshold=2.0, momentum=-0.2)), []),
        (Guidance(tuple(term for term in ALL.terms if term.name in ("cfg", "apg"))), []),
        (as_guidance(PAG(2.0)), []),
        (as_guidance(None), []),
        (changed(pag=PAG(1.0, layers=("mid", DOWN_LAYER)), sag=SAG(0.5, threshold=INF)), [2, 2]),
    ],
    ids=repr,
)
def test_a_change_costs_what_it_needs_and_is_exact(
    network: sv.Model, trace: sv.Trace, guidance: Guidance, rows: list[int]
) -> None:
    with counted(network.unet) as calls:
        step = sv.what_if(network, trace, 3, guidance=guidance)
    assert calls == rows
    assert (step.forwards, step.samples) == (len(rows), sum(rows))
    known = {"apg_before": trace[3].kept["apg_before"]} if guidance.get(APG) else {}
    anew = begin(
        resume(network, replace(trace.settings, guidance=guidance)), 3, trace[3].x_t, known
    )
    (fresh,) = UNetCalls(network).complete(
        [resume(network, replace(trace.settings, guidance=guidance))], [anew]
    )
    assert set(step.terms) == set(fresh.terms) == {term.name for term in guidance.terms}
    assert difference(step.eps, fresh.eps) < 1e-5


def test_terms_that_the_trace_lacks_are_asked_together(network: sv.Model) -> None:
    plain = run(network, CFG(3.0), steps=3)
    with counted(network.unet) as calls:
        assert set(sv.what_if(network, plain, 1, guidance=ALL).terms) == {
            term.name for term in ALL.terms
        }
    assert calls == [4, 1]  # SAG's map is of the branches, so that they come again


def test_nothing_changed_is_the_step_itself(network: sv.Model, trace: sv.Trace) -> None:
    with counted(network.unet) as calls:
        assert all(same(sv.what_if(network, trace, index), trace[index]) for index in range(STEPS))
    assert not calls


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++ 2m"])
def test_branches_are_exact(network: sv.Model, scheduler: str) -> None:
    """Unchanged they are the run, from the start a run of its own; the average goes along."""
    old = run(network, ALL, scheduler=scheduler)
    assert torch.equal(sv.branch(network, old, 3, progress=False).latents, old.latents)
    other = changed(apg=APG(4.0, momentum=-0.3), pag=PAG(0.2))
    fresh = run(network, other, scheduler=scheduler)
    assert torch.equal(
        sv.branch(network, old, 0, guidance=other, progress=False).latents, fresh.latents
    )


def test_a_thinned_trace_still_has_its_average(network: sv.Model) -> None:
    whole, thin = (run(network, APG(5.0), scheduler="ddim", keep=keep) for keep in (None, [3]))
    assert torch.equal(sv.branch(network, thin, 0, progress=False).latents, whole.latents)


def test_a_trace_comes_back_bit_for_bit(trace: sv.Trace, tmp_path: Path) -> None:
    loaded = sv.Trace.load(trace.save(tmp_path / "all.sagtrace"))
    assert loaded.settings == trace.settings
    assert all(same(a, b) and a.guidance == b.guidance for a, b in zip(loaded, trace, strict=True))
    assert all(torch.equal(a.eps, b.eps) for a, b in zip(loaded, trace, strict=True))


def test_files_hold_every_field() -> None:
    """Defaults too, so that a file means the same when a default has changed."""
    sag = {
        "kind": "sag",
        "scale": 0.5,
        "threshold": 1.2,
        "blur_sigma": 1.0,
        "blur_kernel": None,
        "layer": "mid",
        "heads": [0, 2],
        "mask_source": "attention",
        "start": 0.0,
        "stop": 1.0,
    }
    cfg = {"kind": "cfg", "scale": 3.0, "start": 0.0, "stop": 1.0}
    guidance = Guidance.from_json([cfg, sag])
    assert guidance == CFG(3.0) + SAG(0.5, threshold=1.2, heads=(0, 2))
    assert guidance.to_json() == [cfg, {**sag, "heads": (0, 2)}]


@pytest.mark.parametrize("index", [0, 3])
def test_one_image_of_the_batch_is_its_own(network: sv.Model, trace: sv.Trace, index: int) -> None:
    """No term sees across the batch."""
    alone = run(network, ALL, seed=4)[index]
    assert difference(trace[index].of_image(1).eps, alone.eps) < 1e-4


def test_numbers_and_words_of_any_sum(trace: sv.Trace) -> None:
    for step in trace:
        numbers = measure.of_step(step)
        assert set(step.terms) <= set(numbers)
        assert all(math.isfinite(value) for value in numbers.values())
        assert numbers["cosine_cfg_pag"] == pytest.approx(
            measure.cosine(step.terms["cfg"], step.terms["pag"])
        )
        words, panes = describe.of_step(step, STEPS), describe.of_panes(step)
        for term in step.guidance.terms:
            assert f"{term.title}'s push" in words
            assert term.title in panes[term.name]
        assert formula(step).parts[-1].name == "rescale"
    assert (
        describe.of_guidance(ALL)
        == "CFG 3 + SAG 0.5 + PAG 1 + SEG 0.5 + CG 1 + APG 1 + Rescale 0.3"
    )


def test_the_equivalent_cfg_scale_is_that_of_the_sum(model: sv.Model) -> None:
    """Of terms along CFG's own direction the scales add up."""
    like_cfg = APG(2.0, eta=1.0, norm_threshold=INF, momentum=0.0)
    for step in run(model, CFG(3.0) + like_cfg):
        assert measure.equivalent_cfg(step) == pytest.approx(5.0, rel=1e-3)


# What is refused.


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: PAG(1.0, layers=()), "layers"),
        (lambda: PAG(1.0, layers=3), "layers"),  # type: ignore[arg-type]
        (lambda: SEG(1.0, layers=("",)), "layers"),
        (lambda: PAG(1.0, start=-1), "start"),
        (lambda: SEG(1.0, blur_sigma=-1.0), "blur_sigma"),
        (lambda: SEG(1.0, blur_sigma=math.nan), "blur_sigma"),
        (lambda: APG(1.0, norm_threshold=0), "norm_threshold"),
        (lambda: APG(1.0, momentum=2.0), "momentum"),
        (lambda: APG(1.0, eta=INF), "eta"),
        (lambda: CFG(1.0, start=0.5, stop=0.2), "stop"),
    ],
)
def test_a_setting_out_of_range_is_refused(make: Any, hint: str) -> None:
    with pytest.raises(ArgumentError, match=hint) as error:
        make()
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    ("guidance", "hint"),
    [
        (PAG(1.0, layers="nowhere"), "no self-attention layer 'nowhere'"),
        (CFG(1.0) + SEG(1.0, layers=("mid", "x")), "'x'"),
        (Rescale(0.7), "without CFG"),
        (PAG(1.0) + Rescale(0.7), "without CFG"),
        (CG(1.0, "zebra"), "fox, owl, tree"),
    ],
    ids=repr,
)
def test_what_cannot_be_done_is_refused_before_anything_runs(
    network: sv.Model, guidance: Any, hint: str
) -> None:
    with counted(network.unet) as rows, pytest.raises(ArgumentError, match=hint) as error:
        run(network, guidance)
    assert not rows
    assert is_one_sentence(error.value)


def test_cg_without_a_classifier_is_refused(model: sv.Model) -> None:
    with pytest.raises(ArgumentError, match=r"needs a classifier.*classifier=") as error:
        run(model, CG(1.0, "fox"))
    assert is_one_sentence(error.value)


def test_an_error_inside_a_pass_leaves_nothing_behind(
    network: sv.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = residue(network.unet)

    def fail(*_: Any) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(network, "predict", fail)
    with pytest.raises(OutOfMemoryError) as stopped:
        run(network, ALL)
    assert isinstance(stopped.value.__cause__, MemoryError)
    assert residue(network.unet) == before


# Classifiers.


def test_a_classifier_is_given_to_load(folder: Path) -> None:
    toy = Toy()
    assert sv.load(folder, classifier=toy).classifier is toy
    assert sv.load(folder).classifier is None


def test_the_miniatures_classifier_is_found_where_it_lies(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    assert load_classifier(tmp_path, torch.device("cpu")) is None
    torch.manual_seed(0)
    own = noisy.NoisyClassifier()
    save_file(
        {name: value.contiguous() for name, value in own.state_dict().items()},
        tmp_path / noisy.FILE,
    )
    found = load_classifier(tmp_path, torch.device("cpu"))
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([10.0, 900.0])
    assert torch.equal(found(x, t), own.eval()(x, t))
    assert "fox" in found.labels
    assert not any(weights.requires_grad for weights in found.parameters())


def test_a_sweep_with_cg_knows_its_classifier(model: sv.Model) -> None:
    """Other weights of the classifier are other cells; without CG they do not matter."""
    networks = [classified(model), classified(model)]
    for seed, network in enumerate(networks):
        torch.manual_seed(seed)
        network.classifier = noisy.NoisyClassifier()
    for guidance, alike in ((CG(1.0, "fox"), False), (CFG(2.0), True)):
        first, other = (fingerprint(network, [as_guidance(guidance)]) for network in networks)
        assert (first == other) == alike


def test_runs_that_share_a_latent_each_get_their_slope(network: sv.Model, trace: sv.Trace) -> None:
    """One step has it already, the other has not: what is computed once must not be taken for what
    was not needed.
    """
    ready = replace(trace[2], guidance=as_guidance(CG(1.0, "owl")))
    blank = replace(ready, kept={})
    runs = [resume(network, replace(trace.settings, guidance=ready.guidance))] * 2
    for order in ([ready, blank], [blank, ready]):
        done = UNetCalls(network).complete(runs, order)
        assert all(torch.equal(step.kept["slope_cg"], trace[2].kept["slope_cg"]) for step in done)


def test_the_miniature_is_guided_by_its_classifier() -> None:
    """With untrained weights: the whole path from `model.classifier` to a picture."""
    model = sv.load()
    torch.manual_seed(0)
    model.classifier = noisy.NoisyClassifier().requires_grad_(False)
    trace = sv.trace(model, "", guidance=CG(5.0, "fox"), steps=2, progress=False)
    assert measure.rms(trace[0].kept["slope_cg"]) > 0
    assert trace.image.size == (64, 64)


# As code.


@pytest.mark.parametrize(
    "guidance",
    [
        CFG(3.0, start=0.2, stop=0.8) + Rescale(0.7),
        CFG(1.0) + APG(4.0, eta=0.5, norm_threshold=INF),
        CG(2.0, "fox", stop=0.5),
        PAG(2.0, layers=("mid", DOWN_LAYER)) + SEG(1.0),
        SEG(1.0, blur_sigma=2.0) + SAG(1.0, stop=0.5),
    ],
    ids=repr,
)
def test_the_code_of_a_guidance_makes_it(guidance: Any) -> None:
    names = {kind.__name__: kind for kind in Term.kinds.values()}
    assert as_guidance(eval(repr(as_guidance(guidance)), dict(names))) == as_guidance(guidance)
    assert eval(repr(guidance), {**names, "inf": INF}) == guidance


def test_the_code_of_a_step_under_cg_asks_for_the_classifier(network: sv.Model) -> None:
    trace = run(network, CFG(3.0) + CG(2.0, "owl"), steps=3)
    names: dict[str, Any] = {"classifier": network.classifier}
    exec(code(network, trace, trace[1]), names)
    assert torch.equal(names["step"].x0_guided, trace[1].x0_guided)


@pytest.mark.slow
def test_the_code_of_a_step_makes_it(model: sv.Model) -> None:
    trace = run(
        model, CFG(3.0, stop=0.8) + PAG(1.0) + SEG(0.5, blur_sigma=2.0) + APG(1.0) + Rescale(0.3)
    )
    names: dict[str, Any] = {}
    exec(code(model, trace, trace[3]), names)
    assert torch.equal(names["step"].x0_guided, trace[3].x0_guided)


def test_a_wider_middle_is_disturbed_as_a_whole() -> None:
    """ "mid" is every self-attention of the middle block, as in diffusers, where SDXL's has ten."""
    from sagviz.attention.perturb import layers_of

    unet = build_unet(transformer_layers_per_block=2)
    assert [name.split(".")[4] for name in layers_of(unet, "mid")] == ["0", "1"]


def test_infinite_thresholds_are_written_as_code_and_layers_are_names() -> None:
    for threshold in (math.inf, -math.inf):
        term = SAG(1.0, threshold=threshold)
        assert eval(repr(term)) == term
    with pytest.raises(ArgumentError, match="layer is 3; give 'mid' or a dotted path"):
        SAG(1.0, layer=3)  # type: ignore[arg-type]
