"""The atlas and the ranks of layers and heads: planted facts are found."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from tiny import counted, difference, is_one_sentence
from torch import Tensor

import sagviz as sv
from sagviz import CFG, PAG, SAG, measure
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance, Term
from sagviz.guidance.views import StepView
from sagviz.plot.layers import Layers

PROMPT = "a fox on a blue background"
MID = "mid_block.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture(scope="module")
def planted() -> Iterator[None]:
    """Terms of a notebook: a copy of CFG, its opposite, white noise, and one that is flat."""

    @dataclass(frozen=True, repr=False)
    class Copy(CFG):
        name: ClassVar[str] = "copy"

        def in_noise(self, step: StepView) -> Tensor:
            return 0.3 * super().in_noise(step)

    @dataclass(frozen=True, repr=False)
    class Opposite(CFG):
        name: ClassVar[str] = "opposite"

        def in_noise(self, step: StepView) -> Tensor:
            return -super().in_noise(step)

    @dataclass(frozen=True, repr=False)
    class White(Term):
        name: ClassVar[str] = "white"

        def in_noise(self, step: StepView) -> Tensor:
            drawn_by = torch.Generator().manual_seed(5)
            return torch.randn(step.x_t.shape, generator=drawn_by).to(step.x_t.device)

    @dataclass(frozen=True, repr=False)
    class Flat(Term):
        name: ClassVar[str] = "flat"

        def in_noise(self, step: StepView) -> Tensor:
            return torch.full_like(step.x_t, 0.5)

    yield
    for name in ("copy", "opposite", "white", "flat"):
        del Term.kinds[name]


@pytest.fixture(scope="module")
def found(model: sv.Model, planted: None) -> Any:  # noqa: ARG001
    return sv.atlas(model, "a fox", 7, 2, steps=5, guidance=CFG(3.0) + SAG(1.0))


def test_planted_terms_are_found(found: Any) -> None:
    table = found.table()
    assert table.loc["copy", "cosine_cfg"] == pytest.approx(1.0, abs=1e-6)
    assert table.loc["copy", "size"] == pytest.approx(0.3 * table.loc["cfg", "size"], rel=1e-5)
    assert table.loc["opposite", "cosine_cfg"] == pytest.approx(-1.0, abs=1e-6)
    assert all(table.loc[name, f"cosine_{name}"] == 1.0 for name in table.index)
    assert np.allclose(found.cosines, np.transpose(found.cosines))


def test_noise_ranks_as_noise(found: Any) -> None:
    """No direction of its own, and power everywhere alike."""
    table, numbers = found.table(), found.step.x_t.numel()
    others = [name for name in table.index if name != "white"]
    assert table.loc["white", [f"cosine_{name}" for name in others]].abs().max() < (
        4.5 / math.sqrt(numbers)
    )
    assert table.loc["white", "fine"] == pytest.approx(0.8, abs=0.04)
    assert found.spectrum("white")[1:] == pytest.approx([1.0] * 7, abs=0.35)
    assert table.loc["flat", "fine"] == 0.0
    assert found.spectrum("flat")[1:] == pytest.approx([0.0] * 7, abs=1e-9)


def test_its_numbers_are_those_of_a_run(model: sv.Model, found: Any) -> None:
    run = sv.trace(model, "a fox", seed=7, steps=5, guidance=CFG(3.0) + SAG(1.0), progress=False)
    step = run[2]
    assert difference(found.step.x_t, step.x_t) < 1e-5
    for name, term in step.terms.items():
        assert found.size(name) == pytest.approx(
            measure.rms(term) / measure.rms(step.eps_base), rel=1e-4
        )
    pag = sv.what_if(model, run, 2, guidance=CFG(3.0) + PAG(1.0)).terms["pag"]
    assert difference(found.directions["pag"], pag) < 1e-3


def test_costs_stand_beside_and_are_few(model: sv.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass for all, and one of SAG's beside the run up to the step."""
    ours = {k: kind for k, kind in Term.kinds.items() if kind.__module__.startswith("sagviz.gui")}
    monkeypatch.setattr(Term, "kinds", ours)  # without those that other tests define
    with counted(model.unet) as rows:
        found = sv.atlas(model, "a fox", 7, 1, steps=4, guidance=CFG(3.0))
    assert len(rows) == 4
    table = found.table()
    assert rows[:2] == [2, 2]
    assert sum(rows[2:]) == 1 + 1 + sum(
        table.loc[
            [name for name in table.index if not Term.kinds[name].needs_both_branches], "rows"
        ]
    )
    assert list(found.left_out) == ["cg"]


def test_a_model_of_pixels_has_an_atlas(families: Any) -> None:
    found = sv.atlas(families("pixels").model, steps=2)
    assert "sag" in found.table().index
    assert {"cfg", "nag"} <= set(found.left_out)


@pytest.mark.slow
def test_it_is_figure_table_and_page(found: Any, tmp_path: Path) -> None:
    page = found.to_html(tmp_path / "atlas.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(found.terms) + 1
    assert all(term.title in page for term in found.terms)
    assert found.save(tmp_path / "atlas.png").stat().st_size > 10_000
    grey = np.asarray(found.picture("flat"))
    assert (grey == grey[0, 0]).all()


def test_what_has_no_length_has_no_direction(model: sv.Model, tmp_path: Path) -> None:
    found = sv.atlas(model, "", 3, 1, steps=3)
    assert np.isnan([found.cosine("cfg", "cfg"), found.cosine("cfg", "sag")]).all()
    assert found.cosine("sag", "sag") == 1
    assert ">none<" in found.to_html(tmp_path / "atlas.html").read_text(encoding="utf-8")
    assert found.save(tmp_path / "atlas.png").stat().st_size > 10_000


def test_a_step_that_is_not_there_is_refused(model: sv.Model) -> None:
    with pytest.raises(ArgumentError, match="step is 9; give a whole number from 0 to 4") as error:
        sv.atlas(model, "a fox", 7, 9, steps=5)
    assert is_one_sentence(error.value)


# Layers and heads.


@pytest.fixture(scope="module")
def lame(folder: Path) -> sv.Model:
    """The model with one head that says nothing, and one layer all of whose heads do."""
    network = sv.load(folder)
    silenced(network, MID, slice(8, 16))
    silenced(network, MID.replace("mid_block", "up_blocks.1"), slice(None))
    return network


def silenced(network: sv.Model, layer: str, channels: slice) -> None:
    """What these channels say reaches nobody."""
    weight = network.unet.get_submodule(layer).to_out[0].weight
    weight[:, channels] = 0


def ranks(network: sv.Model, **options: Any) -> Layers:
    trace = sv.trace(network, "a fox", steps=4, seed=3, progress=False, **options)
    return sv.layers(network, trace, 2)


@pytest.mark.slow
def test_a_dead_head_and_a_dead_layer_rank_last(lame: sv.Model) -> None:
    found = ranks(lame, guidance=CFG(3.0) + SAG(1.0))
    width = lame.unet.get_submodule(MID).to_out[0].weight.shape[1]
    assert width == 32  # four heads of eight channels
    assert found.layers[-1].layer == MID.replace("mid_block", "up_blocks.1")
    assert found.layers[-1].moves == 0 < found.layers[-2].moves
    dead = [row for row in found.heads if row.moves < 1e-6]
    assert found.heads[-len(dead) :] == dead
    assert {(row.layer, row.head) for row in dead} == {
        (MID, 1),
        *((MID.replace("mid_block", "up_blocks.1"), head) for head in range(4)),
    }


@pytest.mark.slow
def test_a_run_that_was_given_tensors_is_asked_as_any_other(model: sv.Model) -> None:
    options: dict[str, Any] = {
        "steps": 4,
        "seed": 3,
        "guidance": CFG(3.0) + SAG(1.0),
        "progress": False,
    }
    trace = sv.trace(model, "a fox", **options)
    rows = sv.layers(model, trace, 2).rows
    embedded = {"prompt_embeds": model.embed("a fox").text}
    for given in ({"prompt": "a fox", "noise": trace[0].x_t}, embedded):
        assert sv.layers(model, sv.trace(model, **given, **options), 2).rows == rows
    drawn = sv.trace(model, "a fox", image=trace.image, strength=0.8, **options)
    assert len(sv.layers(model, drawn, 2).rows) == len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [None, CFG(3.0), CFG(3.0) + SAG(1.0, threshold=1.1)], ids=repr)
def test_its_numbers_are_those_of_what_if(model: sv.Model, guidance: Any) -> None:
    trace = sv.trace(model, "a fox", steps=4, seed=3, guidance=guidance, progress=False)
    found = sv.layers(model, trace, 2)
    (row,) = [row for row in found.rows if (row.layer, row.head) == (MID, 2)]
    base = () if guidance is None else (CFG(1.0),)
    total = Guidance((*base, PAG(1.0, layers=MID, heads=(2,))))
    pag = sv.what_if(model, trace, 2, guidance=total)
    told = pag.level.eps(pag.x_t, pag.out_conditional)
    assert row.moves == pytest.approx(measure.rms(pag.terms["pag"]) / measure.rms(told), rel=1e-3)
    own = trace[2].guidance.get(SAG) or model.sag()
    whole = next(row for row in found.rows if (row.layer, row.head) == (MID, None))
    assert (whole.overlap, whole.cosine, whole.size) == pytest.approx((1, 1, 1))
    assert found.own.guidance.get(SAG).threshold == own.threshold


def test_heads_together_are_the_layer(model: sv.Model) -> None:
    trace = sv.trace(model, "a fox", steps=3, seed=3, progress=False)
    whole, heads = (
        sv.what_if(model, trace, 1, guidance=PAG(1.0, heads=heads))
        for heads in (None, (0, 1, 2, 3))
    )
    assert difference(heads.terms["pag"], whole.terms["pag"]) < 1e-4
    with pytest.raises(ArgumentError, match="heads"):
        sv.what_if(model, trace, 1, guidance=PAG(1.0, heads=(7,)))


@pytest.mark.slow
def test_the_ranks_are_figure_table_and_page(model: sv.Model, tmp_path: Path) -> None:
    before = copy.deepcopy(model.unet.state_dict())
    found = ranks(model, guidance=CFG(3.0))
    table = found.table()
    assert list(table[table["head"] != "all"]["rank"]) == list(range(1, len(found.heads) + 1))
    assert table[table["head"] != "all"]["moves"].is_monotonic_decreasing
    page = found.to_html(tmp_path / "layers.html").read_text(encoding="utf-8")
    assert page.count("<img") == len(found.rows)
    assert len(found.figure().axes[0].patches) == len(found.heads)
    assert found.save(tmp_path / "layers.png").stat().st_size > 5_000
    assert all(torch.equal(value, before[name]) for name, value in model.unet.state_dict().items())


@pytest.mark.slow
def test_ranks_repeat_across_seeds() -> None:
    """On the miniature, heads ranked by four pictures and by four others: Spearman's correlation.
    Of single pictures it is less, about 0.7 to 0.9.
    """
    network, moves = sv.load(), []
    for seed in (0, 4):
        guidance = CFG(3.0)
        trace = sv.trace(
            network, PROMPT, seed=seed, images=4, steps=20, guidance=guidance, progress=False
        )
        heads = [row for row in sv.layers(network, trace, 8).rows if row.head is not None]
        moves.append([row.moves for row in heads])
    assert spearmanr(*moves)[0] >= 0.8
