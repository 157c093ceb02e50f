"""Captures of a run: what is read, where from, how much memory it takes, and that the run does not
notice.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from instruments import Probabilities
from tiny import DOWN_LAYER, counted, is_one_sentence, residue

import sagviz as sv
from sagviz import CFG, SAG, Capture, Captured
from sagviz.attention.layers import layers
from sagviz.attention.words import END, START, words_of
from sagviz.errors import ArgumentError

PROMPT = "a fox on a blue background"
BOTH = CFG(3.0) + SAG(1.0)
EVERYTHING = ("mass", "row", "maps", "words")
MID = "mid_block.attentions.0.transformer_blocks.0."


def run(
    model: sv.Model, capture: Capture | None, prompt: str = PROMPT, **settings: Any
) -> sv.Trace:
    return sv.trace(
        model,
        prompt,
        **{"guidance": BOTH, "steps": 3, "progress": False, **settings},
        capture=capture,
    )


@pytest.fixture(scope="module")
def everything(model: sv.Model) -> sv.Trace:
    """Two images, not square, all layers, all kinds."""
    return run(model, Capture("all", EVERYTHING, place=(5, 20)), images=2, size=(32, 48))


def parts(trace: sv.Trace) -> list[Captured]:
    return [found for step in trace for found in step.captured.values()]


@pytest.mark.slow
def test_the_run_does_not_notice(model: sv.Model, everything: sv.Trace) -> None:
    """To the bit, and at no cost in calls; in a single branch, too."""
    plain = run(model, None, images=2, size=(32, 48))
    assert torch.equal(everything.latents, plain.latents)
    assert (everything.forwards, everything.samples) == (plain.forwards, plain.samples)
    words = Capture("all", "words")
    for guidance in (None, CFG(2.0), SAG(1.0)):
        assert torch.equal(
            run(model, words, guidance=guidance).latents,
            run(model, None, guidance=guidance).latents,
        )


def test_what_is_given_and_received_adds_up(model: sv.Model, everything: sv.Trace) -> None:
    """Columns average 1; what a cell gives, to cells or to words, sums to 1; and nothing of it is
    flat.
    """
    listed = layers(model.unet, (16, 24))
    assert [list(step.captured) for step in everything] == [list(listed)] * 3
    for found in parts(everything):
        grid = listed[found.layer].grid
        assert (found.mass.shape, found.row.shape) == ((2, *grid), (2, *grid))
        assert found.maps.shape == (2, math.prod(grid), math.prod(grid))
        assert found.words.shape == (2, len(found.names), *grid)
        sums = found.mass.mean((1, 2)), found.row.sum((1, 2)), found.maps.sum(2), found.words.sum(1)
        for total in sums:
            torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)
        assert all(
            tensor.dtype == torch.float32 and tensor.device.type == "cpu"
            for tensor in found.tensors.values()
        )
        assert found.mass.std() > 0.02
        assert found.words.std(dim=(2, 3)).max() > 1e-6


def test_mass_and_row_are_those_of_the_whole_map(everything: sv.Trace) -> None:
    """The place (5, 20) of the 16 x 24 latent is the cell (2, 10) of the middle's 8 x 12."""
    for found in parts(everything):
        height, width = found.mass.shape[1:]
        query = (5 * height // 16) * width + 20 * width // 24
        torch.testing.assert_close(found.mass.flatten(1), found.maps.sum(1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.row.flatten(1), found.maps[:, query], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("guidance", [None, CFG(2.0), SAG(1.0), BOTH], ids=repr)
@torch.no_grad()
def test_each_branch_is_read_where_it_should_be(model: sv.Model, guidance: Any) -> None:
    """Against diffusers' processors, run on one branch at a time: the base for cells, the prompt's
    for words.
    """
    capture = Capture(("mid", DOWN_LAYER), EVERYTHING, place=(0, 9), per_head=True, heads=(3, 1))
    step = run(model, capture, guidance=guidance, steps=1)[0]
    texts = {"attn1": "" if step.guidance.get(CFG) else PROMPT, "attn2": PROMPT}
    for layer, path in (("mid", MID), (DOWN_LAYER, DOWN_LAYER.removesuffix("attn1"))):
        dense = {}
        for kind, text in texts.items():
            module, oracle = model.unet.get_submodule(path + kind), Probabilities()
            kept = module.processor
            module.set_processor(oracle)
            model.predict(step.x_t, torch.tensor(step.t), model.embed(text))
            module.set_processor(kept)
            dense[kind] = oracle.found[:, [3, 1]]
        found = step.captured[layer]
        torch.testing.assert_close(found.maps, dense["attn1"], rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(
            found.mass.flatten(2), dense["attn1"].sum(2), rtol=1e-3, atol=1e-5
        )
        tokens = dense["attn2"].mT
        spans = [(word.first, word.beyond) for word in words_of(model, PROMPT)]
        expected = torch.stack(
            [tokens[:, :, first:beyond].sum(2) for first, beyond in spans], dim=2
        )
        torch.testing.assert_close(found.words.flatten(3), expected, rtol=1e-3, atol=1e-6)


def test_sags_map_is_the_captured_mass(everything: sv.Trace) -> None:
    for step in everything:
        assert torch.equal(step.attention, step.captured[MID + "attn1"].mass)


def test_heads_kept_apart_average_to_the_mean(model: sv.Model) -> None:
    whole, apart = (
        run(model, Capture("mid", EVERYTHING, place=(3, 3), per_head=per), steps=1)
        for per in (False, True)
    )
    mean, heads = (trace[0].captured["mid"].tensors for trace in (whole, apart))
    for kind in EVERYTHING:
        assert heads[kind].shape == (1, 4, *mean[kind].shape[1:])
        torch.testing.assert_close(heads[kind].mean(1), mean[kind], rtol=1e-5, atol=1e-6)


def test_only_the_chosen_steps_are_read(model: sv.Model) -> None:
    trace = run(model, Capture(steps=(1, 3)), steps=5)
    assert [bool(step.captured) for step in trace] == [False, True, False, True, False]


def test_words_are_joined_from_their_pieces(model: sv.Model) -> None:
    """Every token belongs to one entry, in order; a word that was cut still counts; padding belongs
    to the end.
    """
    for prompt in ("", "a fox", "A  Fox, zyxwvut!", "a fox " * 20, "supercalifragilistic " * 3):
        words = words_of(model, prompt)
        assert (words[0].name, words[-1].name) == (START, END)
        assert [word.first for word in words] == [0, *(word.beyond for word in words[:-1])]
        assert words[-1].beyond == model.tokenizer.model_max_length
        whole = "".join(word.name for word in words[1:-1])
        assert prompt.lower().replace(" ", "").startswith(whole)
        assert len(whole) > 0 or not prompt
    names = [word.name for word in words_of(model, "a fox, zyx")]
    assert names == [START, "a", "fox", ",", "zyx", END]
    assert max(word.beyond - word.first for word in words_of(model, "a fox, zyx")[1:-1]) > 1


def test_a_saved_trace_has_the_same_bits(everything: sv.Trace, tmp_path: Path) -> None:
    again = sv.Trace.load(everything.save(tmp_path / "run.sagtrace"))
    for a, b in zip(parts(everything), parts(again), strict=True):
        assert (a.layer, a.names, a.place) == (b.layer, b.names, b.place)
        assert list(a.tensors) == list(b.tensors)
        assert all(torch.equal(a.tensors[kind], b.tensors[kind]) for kind in a.tensors)


def test_the_stated_memory_is_the_memory(model: sv.Model, everything: sv.Trace) -> None:
    capture = Capture("all", EVERYTHING, place=(5, 20))
    held = sum(
        4 * tensor.numel() for found in parts(everything) for tensor in found.tensors.values()
    )
    assert capture.bytes(model, PROMPT, size=(32, 48), images=2, evaluations=3) == held
    apart = Capture("mid", "maps", per_head=True, heads=(0, 2))
    assert apart.bytes(model) == 4 * 2 * 64**2


@pytest.mark.slow
def test_too_much_is_refused_before_anything_runs(model: sv.Model) -> None:
    one = Capture("mid", "maps").bytes(model)
    with counted(model.unet) as rows:
        for bound, what in ((one - 1, "one step"), (3 * one - 1, "3 steps")):
            with pytest.raises(ArgumentError, match=rf"{what} needs .* max_bytes.* fewer") as error:
                run(model, Capture("mid", "maps", max_bytes=bound))
            assert is_one_sentence(error.value)
    assert rows == []
    run(model, Capture("mid", "maps", max_bytes=3 * one))
    run(model, Capture("mid", "maps", max_bytes=2 * one), keep=2)
    run(model, Capture("mid", "maps", max_bytes=one, steps=(2,)))
    with pytest.raises(ArgumentError, match=r"3 steps of 2 runs"):
        sv.compare(
            model,
            PROMPT,
            steps=3,
            capture=Capture("mid", "maps", max_bytes=5 * one),
            progress=False,
        )


@pytest.mark.slow
def test_compared_runs_are_read_alike(model: sv.Model) -> None:
    """The shared first step once, for both; the runs apart within rounding."""
    capture = Capture("all", ("mass", "words"))
    pair = sv.compare(model, PROMPT, steps=3, capture=capture, unguided=True, progress=False)
    for trace in pair:
        alone = run(model, capture, guidance=trace.settings.guidance)
        for a, b in zip(parts(trace), parts(alone), strict=True):
            torch.testing.assert_close(a.mass, b.mass, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(a.words, b.words, rtol=1e-3, atol=1e-4)


def test_nothing_stays_attached(model: sv.Model) -> None:
    before = residue(model.unet)
    walk = sv.steps(model, PROMPT, steps=3, capture=Capture("all", ("mass", "words")))
    assert next(walk).captured
    assert residue(model.unet) == before
    del walk


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"layers": "bottom"}, "bottom"),
        ({"layers": ()}, "layers"),
        ({"what": "columns"}, "mass"),
        ({"what": ()}, "what"),
        ({"what": "row"}, "place"),
        ({"place": (1, 2)}, "place"),
        ({"what": "row", "place": (99, 0)}, "16 x 16"),
        ({"what": "row", "place": (0, 1, 2)}, "place"),
        ({"what": "row", "place": (-1, 0)}, "place"),
        ({"heads": (4,)}, "heads"),
        ({"heads": ()}, "heads"),
        ({"steps": 3}, "steps"),
        ({"steps": "all"}, "steps"),
        ({"heads": 1}, "heads"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(model: sv.Model, wrong: dict[str, Any], words: str) -> None:
    with counted(model.unet) as rows, pytest.raises(ArgumentError, match=words) as error:
        run(model, Capture(**wrong))
    assert rows == []
    assert is_one_sentence(error.value)


def test_anything_else_than_a_capture_is_refused(model: sv.Model) -> None:
    with pytest.raises(ArgumentError, match=r"sagviz\.Capture"):
        run(model, "mid")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["ddim", "euler", "kdpm2"])
@pytest.mark.parametrize("guidance", [None, BOTH], ids=repr)
def test_a_stored_step_is_read_by_one_pass(model: sv.Model, guidance: Any, scheduler: str) -> None:
    """The same as if it had been captured during the run, at any step, for any way of scaling the
    latent.
    """
    kinds = ("mass", "row", "words")
    trace = run(
        model,
        Capture(DOWN_LAYER, kinds, place=(4, 7), heads=(2,)),
        guidance=guidance,
        scheduler=scheduler,
    )
    before = residue(model.unet)
    for index in (0, 1, -1):
        with counted(model.unet) as rows:
            found = sv.attend(model, trace, index, (4, 7), layer=DOWN_LAYER, heads=(2,))
        assert rows == [2 if guidance else 1]
        during = trace[index].captured[DOWN_LAYER]
        assert (found.names, found.place) == (during.names, during.place)
        for kind in kinds:
            torch.testing.assert_close(
                found.tensors[kind], during.tensors[kind], rtol=1e-3, atol=1e-5
            )
    assert residue(model.unet) == before


@pytest.mark.parametrize(
    "wrong", [{"index": 3}, {"place": (16, 0)}, {"layer": "top"}, {"heads": (7,)}], ids=str
)
def test_a_place_that_is_not_there_is_refused(
    model: sv.Model, everything: sv.Trace, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ArgumentError) as error:
        sv.attend(model, everything, **{"index": 0, "place": (0, 0), **wrong})
    assert is_one_sentence(error.value)


def test_a_what_if_keeps_what_was_read_where_it_still_holds(
    model: sv.Model, everything: sv.Trace
) -> None:
    now, then = (
        step.captured
        for step in (sv.what_if(model, everything, 1, guidance=CFG(5.0)), everything[1])
    )
    assert list(now) == list(then)
    assert all(torch.equal(now[layer].mass, then[layer].mass) for layer in now)
    assert not sv.what_if(model, everything, 1, guidance=SAG(1.0)).captured
