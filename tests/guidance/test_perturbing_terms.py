"""TPG, SSG, SLG and NAG: against closed forms, the authors' algorithms, and diffusers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import SkipLayerGuidance
from diffusers.hooks import LayerSkipConfig, apply_layer_skip
from diffusers.models.attention import JointTransformerBlock
from tiny import DOWN_LAYER, counted, difference, is_one_sentence, residue, same
from torch import Tensor
from torch.nn import functional as F

import sagviz as sv
from sagviz import CFG, NAG, SLG, SSG, TPG, measure
from sagviz.attention.perturb import Perturbation, perturb
from sagviz.attention.perturb_blocks import SkippedBlocks
from sagviz.diffusion.seeds import generator
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Term, as_guidance
from sagviz.guidance.ssg import swapped
from sagviz.guidance.tpg import STREAM

PROMPT, NEGATIVE = "a fox on a blue background", "an owl"
TERMS = [TPG(2.0), SSG(2.0), SLG(2.0), NAG(1.0)]
MID = "mid_block.attentions.0"


def run(model: sv.Model, guidance: Any, **changes: Any) -> sv.Trace:
    options = {"steps": 3, "seed": 3, "progress": False, **changes}
    return sv.trace(model, PROMPT, guidance=guidance, **options)


def embed(model: sv.Model, text: str) -> Tensor:
    ids = model.tokenizer(text, padding="max_length", return_tensors="pt").input_ids
    return model.text_encoder(ids)[0]


@torch.no_grad()
def predict(model: sv.Model, unet: Any, step: sv.Step) -> Tensor:
    text = embed(model, PROMPT).expand(len(step.x_t), -1, -1)
    return unet(step.x_t, torch.tensor(step.t), encoder_hidden_states=text).sample


# Laws of all four.


@pytest.mark.slow
@pytest.mark.parametrize("term", TERMS, ids=repr)
@pytest.mark.parametrize("others", [None, CFG(3.0)], ids=repr)
def test_scale_0_adds_nothing(model: sv.Model, term: Term, others: Any) -> None:
    plain = run(model, others, images=2)
    off = run(model, as_guidance(others) + type(term)(0.0), images=2)
    assert difference(off.latents, plain.latents) < 1e-4
    assert all(measure.rms(step.terms[term.name]) > 1e-4 for step in off)


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_output_and_noise_tell_the_same(v_model: sv.Model, term: Term) -> None:
    for step in run(v_model, CFG(3.0) + term):
        assert difference(step.level.eps(step.x_t, step.output), step.eps) < 1e-5


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_an_image_of_a_batch_is_its_own(model: sv.Model, term: Term) -> None:
    both = run(model, CFG(3.0) + term, images=2)
    alone = run(model, CFG(3.0) + term, seed=4)
    assert difference(both[1].of_image(1).terms[term.name], alone[1].terms[term.name]) < 1e-3
    assert difference(both.of_image(1).latents, alone.latents) < 1e-3


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_it_costs_its_rows_and_leaves_nothing(model: sv.Model, term: Term) -> None:
    before = residue(model.unet)
    with counted(model.unet) as rows:
        trace = run(model, CFG(3.0) + term)
    assert rows == [step.samples for step in trace] == [4 if term.name == "nag" else 3] * 3
    assert residue(model.unet) == before
    assert sv.estimate(model, PROMPT, guidance=CFG(3.0) + term).rows == rows[0]


@pytest.mark.parametrize(
    ("term", "other"),
    [
        (TPG(2.0), TPG(2.0, layers=DOWN_LAYER)),
        (SSG(2.0), SSG(2.0, swap_ratio=0.3)),
        (SLG(2.0), SLG(2.0, layers="all")),
        (NAG(1.0), NAG(1.0, phi=2.0)),
    ],
    ids=repr,
)
def test_what_if_costs_what_changed(model: sv.Model, term: Term, other: Term) -> None:
    trace = run(model, CFG(3.0) + term)
    with counted(model.unet) as rows:
        assert same(sv.what_if(model, trace, 1), trace[1])
        scaled = sv.what_if(model, trace, 1, guidance=CFG(5.0) + type(term)(0.5))
    assert not rows
    assert set(scaled.terms) == {"cfg", term.name}
    fresh = sv.what_if(model, trace, 1, guidance=CFG(3.0) + other)
    assert (fresh.forwards, fresh.samples) == (1, 2 if term.name == "nag" else 1)
    assert difference(fresh.terms[term.name], trace[1].terms[term.name]) > 1e-3


def test_nothing_changed_is_no_direction(model: sv.Model) -> None:
    """SSG without a pair; NAG at phi 1, and at alpha 0."""
    for term in (SSG(2.0, swap_ratio=0.0), NAG(1.0, phi=1.0, alpha=1.0), NAG(1.0, alpha=0.0)):
        negative = NEGATIVE if term.reads_negative_prompt else ""
        for step in run(model, term, steps=2, negative_prompt=negative):
            assert measure.rms(step.terms[term.name]) < 1e-5


# TPG.


def test_tpg_moves_what_a_block_makes(model: sv.Model) -> None:
    """A block without positions gives shuffled tokens what it gave the tokens, shuffled."""
    seen: list[tuple[Tensor, Tensor]] = []
    attend = model.unet.get_submodule(MID)
    handle = attend.register_forward_hook(lambda _, args, out: seen.append((args[0], out[0])))
    try:
        run(model, TPG(1.0), steps=2, images=2)
    finally:
        handle.remove()
    for index, (x, out) in enumerate(seen):
        made = (out - x).flatten(2)  # what the block adds: (rows, C, N), two images, plain and TPG
        for image in range(2):
            drawn_by = generator(3 + image, index, STREAM, 0)
            order = torch.randperm(made.shape[2], generator=drawn_by)
            assert difference(made[2 + image], made[image][:, order]) < 1e-4
    first = seen[0][1] - seen[0][0]
    assert difference(first[2:].flatten(2).sum(2), first[:2].flatten(2).sum(2)) < 1e-4


def test_tpg_draws_anew_at_each_step_and_block(model: sv.Model) -> None:
    orders = [
        torch.randperm(64, generator=generator(3, *place)).tolist()
        for place in ((0, STREAM, 0), (1, STREAM, 0), (0, STREAM, 1), (0, 1, 0))
    ]
    assert len(set(map(tuple, orders))) == 4
    assert torch.equal(run(model, TPG(1.0)).latents, run(model, TPG(1.0)).latents)


# SSG.


def authors(vectors: Tensor, ratio: float) -> tuple[Tensor, bool]:
    """The authors' spatial swap, and whether its pairs share no token."""
    size = vectors.shape[1]
    unit = F.normalize(vectors, p=2, dim=2)
    i, j = torch.triu_indices(size, size, offset=1)
    values = (unit @ unit.mT)[:, i, j]
    least = values.topk(int(size * ratio), dim=1, largest=False).indices
    first, second = i[least], j[least]
    order = torch.arange(size).repeat(len(vectors), 1)
    order = order.scatter(1, first, second).scatter(1, second, first)
    taken = torch.cat([first, second], dim=1)
    apart = all(len(set(row.tolist())) == len(row) for row in taken)
    return vectors.gather(1, order[..., None].expand_as(vectors)), apart


def test_ssg_swaps_as_its_authors_do() -> None:
    compared = 0
    for seed in range(40):
        drawn_by = torch.Generator().manual_seed(seed)
        vectors = torch.randn(1, 24, 6, generator=drawn_by)
        wanted, apart = authors(vectors, 0.1)
        if apart:
            compared += 1
            assert torch.equal(swapped(vectors, 0.1), wanted)
    assert compared >= 5


def test_ssg_loses_no_token() -> None:
    """One that is unlike all others is in every pair, and changes places once, with the least
    similar.
    """
    vectors = torch.tensor([[[1.0, 0.1], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.3]]])
    assert torch.equal(swapped(vectors, 0.5)[0], vectors[0, [0, 2, 1, 3]])
    many = torch.randn(2, 30, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(swapped(many, 0.9).sort(dim=1).values, many.sort(dim=1).values)


# SLG.


def test_slg_is_that_of_diffusers(model: sv.Model) -> None:
    """Its skipped blocks, and its guider's sum."""
    skipping = copy.deepcopy(model.unet)
    blocks = f"{MID}.transformer_blocks"
    apply_layer_skip(skipping, LayerSkipConfig(indices=[0], fqn=blocks))
    guider = SkipLayerGuidance(
        guidance_scale=4.0,
        skip_layer_guidance_scale=1.5,
        skip_layer_guidance_start=0.0,
        skip_layer_guidance_stop=1.0,
        skip_layer_config=LayerSkipConfig(indices=[0], fqn=blocks),
    )
    guider.set_state(step=1, num_inference_steps=3, timestep=torch.tensor(1))
    for step in run(model, CFG(4.0) + SLG(1.5), images=2):
        assert difference(step.kept["out_slg"], predict(model, skipping, step)) < 1e-5
        wanted = guider.forward(step.out_cond, step.out_uncond, step.kept["out_slg"]).pred
        assert difference(step.output, wanted) < 1e-5


class Two(torch.nn.Module):
    """A network of one joint block, as SD3's."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.transformer_blocks = torch.nn.ModuleList([JointTransformerBlock(16, 2, 8)])

    def forward(self, text: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        return self.transformer_blocks[0](cells, text, torch.ones(len(cells), 16))


def test_a_skipped_joint_block_gives_both_streams_what_they_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Two().requires_grad_(False)
    monkeypatch.setattr(Perturbation, "paths", lambda *_: ["transformer_blocks.0.attn"])
    text, cells = torch.randn(2, 5, 16), torch.randn(2, 12, 16)
    plain = network(text, cells)
    with perturb(network, {SkippedBlocks(("all",)): [1]}, (3, 4)):
        changed = network(text, cells)
        for own, before, taken in zip(changed, plain, (text, cells), strict=True):
            assert torch.equal(own[0], before[0])
            assert torch.equal(own[1], taken[1])
        with pytest.raises(ArgumentError, match="cannot tell them apart") as error:
            network(text, cells[:, :5])
    assert is_one_sentence(error.value)


# NAG.


class Normalized:
    """The paper's equations in a processor of its own, attention dense."""

    def __init__(self, negative: Tensor, term: NAG) -> None:
        self.negative, self.term = negative, term

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any
    ) -> Tensor:
        term = self.term
        z, other = (
            self.features(attn, hidden_states, text)
            for text in (encoder_hidden_states, self.negative.expand_as(encoder_hidden_states))
        )
        away = term.phi * z - (term.phi - 1) * other
        ratio = away.norm(p=1, dim=-1, keepdim=True) / z.norm(p=1, dim=-1, keepdim=True)
        away = away * torch.minimum(ratio, torch.full_like(ratio, term.tau)) / ratio
        return attn.to_out[0](term.alpha * away + (1 - term.alpha) * z)

    def features(self, attn: Any, hidden: Tensor, text: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for project, x in ((attn.to_q, hidden), (attn.to_k, text), (attn.to_v, text))
        )
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


@pytest.mark.slow
@pytest.mark.parametrize("term", [NAG(1.0), NAG(1.0, phi=9.0, tau=1.1, alpha=1.0)], ids=repr)
@pytest.mark.parametrize("others", [None, CFG(3.0)], ids=repr)
def test_nag_is_the_papers(model: sv.Model, term: NAG, others: Any) -> None:
    unet = copy.deepcopy(model.unet)
    for path, module in unet.named_modules():
        if path.endswith("attn2"):
            module.processor = Normalized(embed(model, NEGATIVE), term)
    trace = run(model, as_guidance(others) + term, images=2, negative_prompt=NEGATIVE)
    for step in trace:
        wanted = predict(model, unet, step)
        assert difference(step.kept["out_nag"], wanted) < 1e-4
        if others is None:  # at scale 1 it is the method
            assert difference(step.output, wanted) < 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_nag_reads_the_negative_prompt_without_cfg(model: sv.Model) -> None:
    plain, negative = (run(model, NAG(1.0), negative_prompt=text) for text in ("", NEGATIVE))
    assert difference(plain.latents, negative.latents) > 1e-3
    cells = sv.sweep(
        model, PROMPT, steps=3, guidance=[NAG(1.0)], negative_prompt=NEGATIVE, progress=False
    )
    assert next(iter(cells)).settings.negative_prompt == NEGATIVE


def test_nag_can_be_at_one_layer(model: sv.Model) -> None:
    every, one = (run(model, NAG(1.0, layers=name))[0] for name in ("all", "mid"))
    assert difference(every.terms["nag"], one.terms["nag"]) > 1e-3


def test_a_model_without_words_has_no_nag(families: Any) -> None:
    with pytest.raises(ArgumentError, match="NAG changes attention to words") as error:
        sv.trace(families("pixels").model, guidance=NAG(1.0), steps=1, progress=False)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("term", [TPG(2.0), SSG(2.0), SLG(2.0)], ids=repr)
def test_an_unconditional_unet_has_them(families: Any, term: Term) -> None:
    """Its attention layers stand alone and take pictures, not tokens."""
    network = families("pixels").model
    trace = sv.trace(network, guidance=term, steps=2, seed=3, progress=False)
    assert all(measure.rms(step.terms[term.name]) > 1e-5 for step in trace)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SSG(1.0, swap_ratio=2.0), "swap_ratio is 2.0; give a number from 0 to 1"),
        (lambda: NAG(1.0, phi=0.5), "phi is 0.5; give a number from 1 to inf"),
        (lambda: TPG(1.0, layers=()), "layers is"),
    ],
)
def test_settings_out_of_range_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as error:
        make()
    assert is_one_sentence(error.value)


def test_files_hold_them() -> None:
    total = Guidance(tuple(TERMS)) + CFG(1.0)
    assert Guidance.from_json(total.to_json()) == total
