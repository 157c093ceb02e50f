"""The study: its controls by closed forms and limits, its order, its store, its statistics against
known ones, and its committed numbers made again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from effort import EVERY_CELL

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.measure import equivalent_cfg, precision_recall
from sagviz.mini.scenes import scene
from sagviz.mini.study import cells, study, table
from sagviz.mini.study.cells import CELLS, CHUNK, FULL, PARTS, PLAIN, Cell
from sagviz.mini.study.draw import holds, number, words
from sagviz.mini.study.measures import named, pictures_needed, recall, sampled, summary, variety
from sagviz.mini.study.pictures import TOGETHER, Numbers, make
from sagviz.mini.study.store import Store
from sagviz.mini.study.terms import AlongCFG, Placebo, SparseSAG
from sagviz.mini.training.judge import Judge, load_judge
from sagviz.mini.world import NAMES
from sagviz.records.step import Step


@pytest.fixture(scope="module")
def mini() -> sv.Model:
    return sv.load()


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge()


def numbers(count: int, seed: int = 0) -> Numbers:
    """Of pictures that nobody made."""
    rng = np.random.default_rng(seed)
    return Numbers(
        objects=rng.normal(-6, 3, (count, len(NAMES))),
        features=rng.normal(0, 1, (count, 96)),
        sharpness=rng.random(count),
        rows=np.full(count, 2.0),
        coverage=rng.random(count),
        overlap=np.full(count, np.nan),
    )


def first_step(model: sv.Model, guidance: object, steps: int = 3) -> Step:
    options = {"seed": 3, "images": 2, "steps": steps, "progress": False}
    return sv.trace(model, "a fox", guidance=guidance, **options)[0]  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("content", ["noise", "shuffled"])
def test_a_placebo_is_as_long_as_the_term_and_points_elsewhere(
    model: sv.Model, content: str
) -> None:
    term = first_step(model, SAG(1.0)).terms["sag"]
    placebo = first_step(model, Placebo(1.0, content=content)).terms["placebo"]
    torch.testing.assert_close(placebo.flatten(1).norm(dim=1), term.flatten(1).norm(dim=1))
    assert abs(sv.measure.cosine(placebo, term)) < 0.5
    own, replaced = (x.flatten(2).sort(dim=2).values for x in (term, placebo))
    assert torch.allclose(own, replaced) == (content == "shuffled")


def test_the_placebo_of_a_picture_is_its_own_whatever_the_batch(model: sv.Model) -> None:
    both = first_step(model, Placebo(1.0, content="noise")).terms["placebo"]
    alone = sv.trace(model, "a fox", seed=4, steps=3, guidance=Placebo(1.0), progress=False)
    unit = alone[0].terms["placebo"][0] / both[1]
    torch.testing.assert_close(unit, unit.mean().expand_as(unit), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_along_cfg_is_cfg_at_the_signed_equivalent_scale(model: sv.Model) -> None:
    guided = first_step(model, CFG(2.0) + SAG(1.5))
    along = first_step(model, CFG(2.0) + AlongCFG(1.5))
    for image in range(2):
        one, other = guided.of_image(image), along.of_image(image)
        w = equivalent_cfg(one)
        assert one.eps_uncond is not None
        assert one.eps_cond is not None
        alone = one.eps_uncond + w * (one.eps_cond - one.eps_uncond)
        torch.testing.assert_close(other.eps, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_sparse_sag_at_every_step_is_sag(model: sv.Model) -> None:
    sparse, usual = (first_step(model, g) for g in (SparseSAG(1.0), SAG(1.0)))
    assert sparse.x_next is not None
    assert usual.x_next is not None
    assert torch.equal(sparse.x_next, usual.x_next)


@pytest.mark.parametrize("reuse", [False, True])
def test_sparse_sag_spares_passes_and_repeats_its_last_term(model: sv.Model, reuse: bool) -> None:
    guidance = SparseSAG(1.0, every=3, reuse=reuse)
    trace = sv.trace(model, "a fox", steps=7, guidance=guidance, progress=False)
    assert [step.samples for step in trace] == [2, 1, 1, 2, 1, 1, 2]
    terms = [step.terms["sparse_sag"] for step in trace]
    for index in (1, 2, 4, 5):
        wanted = terms[index // 3 * 3] if reuse else torch.zeros_like(terms[0])
        assert torch.equal(terms[index], wanted)


def test_the_mask_of_a_scene_is_where_the_background_does_not_count() -> None:
    """The same scene on black and on white."""
    for seed in range(8):
        black, white = (
            scene(np.random.default_rng(seed), background=name) for name in ("black", "white")
        )
        differ = (np.asarray(black.image) != np.asarray(white.image)).any(axis=2)
        mask = np.asarray(white.mask)
        assert np.array_equal(mask, np.asarray(black.mask))
        assert not differ[mask == 255].any()
        assert differ[mask == 0].all()


def test_each_chunk_is_made_once_and_what_matters_comes_first() -> None:
    found = list(cells.order())
    assert len(set(found)) == len(found) == sum(-(-cell.count // CHUNK) for cell in CELLS)
    half = len(cells.FIRST) * 2
    assert {cell for cell, _ in found[:half]} == set(cells.FIRST)
    assert len({cell.slug for cell in CELLS}) == len(CELLS)


def test_every_part_has_what_it_is_compared_with() -> None:
    for cell in CELLS:
        assert cell not in cells.comparisons(cell)
        assert len(cells.comparisons(cell)) >= (1 if cell.kind != "prompts" else 3)
    beside = [cell.name for cell in cells.comparisons(PARTS["d"][0])]
    assert "prompts, CFG 1, 75 steps" in beside
    assert all("CFG 1" in name and "CFG 1.5" not in name for name in beside)


@pytest.mark.slow
def test_a_mask_overlaps_itself_and_never_its_opposite(
    mini: sv.Model, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagviz.mini.study.pictures.SCENES_FROM", 2)
    sag = SAG(1.0, blur_sigma=3.0)
    made = {
        mask: make(mini, judge, cells.cell("scenes", sag, steps=4, mask=mask), range(2))
        for mask in ("objects", "background", "")
    }
    assert np.allclose(made["objects"].overlap, 1)
    assert np.allclose(made["background"].overlap, 0)
    assert np.allclose(made["objects"].coverage + made["background"].coverage, 1)
    assert ((made[""].overlap > 0) & (made[""].overlap < 1)).all()
    assert (made[""].rows == 2).all()


def test_a_noisy_render_comes_back_where_little_noise_was(
    mini: sv.Model, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Started from its last step, a scene shows its own objects."""
    monkeypatch.setattr("sagviz.mini.study.pictures.SCENES_FROM", 19)
    cell = cells.cell("scenes", None, steps=20)
    assert named(cell, make(mini, judge, cell, range(6))).all()


def test_a_second_start_makes_nothing_twice(
    mini: sv.Model, judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [(PLAIN, 0), (FULL, 0), (PLAIN, CHUNK), (FULL, CHUNK)]
    made: list[tuple[Cell, int]] = []

    def fake(_: sv.Model, __: Judge, cell: Cell, first: int) -> Numbers:
        if len(made) == 2 and (cell, first) not in made:
            made.append((cell, first))
            raise KeyboardInterrupt
        made.append((cell, first))
        return numbers(CHUNK, first)

    monkeypatch.setattr(study, "chunk", fake)
    monkeypatch.setattr(study, "order", lambda: iter(wanted))
    store = Store(tmp_path, "a")
    with pytest.raises(KeyboardInterrupt):
        study.fill(store, mini, judge)
    study.fill(store, mini, judge)
    assert made == [*wanted[:3], *wanted[2:]], "the third was stopped"
    found = store.load(PLAIN)
    assert found is not None
    assert np.array_equal(found.objects[CHUNK:], numbers(CHUNK, CHUNK).objects.astype(np.float16))
    assert Store(tmp_path, "other model").load(PLAIN) is None


def test_no_other_process_makes_a_chunk_meanwhile(tmp_path: Path) -> None:
    one, other = Store(tmp_path, "a"), Store(tmp_path, "a")
    with one.claim(PLAIN, 0) as mine, other.claim(PLAIN, 0) as theirs, other.claim(FULL, 0) as free:
        assert (mine, theirs, free) == (True, False, True)
        one.save(PLAIN, 0, numbers(CHUNK))
    with other.claim(PLAIN, 0) as made, other.claim(FULL, 0) as stopped:
        assert (made, stopped) == (False, True)
    assert not list(tmp_path.rglob("*.lock"))


def test_recall_is_that_of_precision_recall() -> None:
    rng = np.random.default_rng(0)
    real, made = rng.normal(0, 1, (60, 5)), rng.normal(0, 0.7, (80, 5))
    some = np.arange(0, 80, 2)
    wanted = precision_recall(real, made[some]).recall
    assert recall(real, made)(some) == pytest.approx(100 * wanted)


def test_variety_is_the_number_of_equal_shares() -> None:
    assert variety(np.array([3, 3, 5, 5, 9, 9])) == pytest.approx(3)
    assert variety(np.array([3, 3])) == 1


def test_the_pictures_needed_are_those_of_the_textbook() -> None:
    """Two-sided, 5 %, power 80 %: n = (1.96 + 0.84)^2 sd^2 / d^2, so 785 for d = sd / 10."""
    values = np.random.default_rng(0).normal(0, 1, 2000)
    values = (values - values.mean()) / values.std()
    found = sampled("a mean", lambda some: float(values[some].mean()), len(values))
    needed = pictures_needed(0.1, *found.interval, found.n)
    assert needed == pytest.approx(784, rel=0.25)


def test_the_table_says_what_was_gained_and_which_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagviz.mini.evaluation.intervals.RESAMPLES", 8)
    weak, strong = numbers(100), numbers(100, seed=1)
    strong.objects[:50, 0] = 9
    same = PARTS["b"][2]
    rows = table.rows({PLAIN: weak, FULL: strong, same: strong}, numbers(50, 2).features)
    found = {tuple(row[1:4]): row[5:] for row in rows}
    for name in ("clear", "frechet", "recall", "variety", "sharpness"):
        most, least = (np.array(found[cell.name, "", name]) for cell in (FULL, PLAIN))
        assert found[FULL.name, PLAIN.name, name][0] == pytest.approx((most - least)[0])
        assert found[same.name, FULL.name, name] == [0, 0, 0]
    assert found[same.name, FULL.name, "share"] == pytest.approx([100, 100, 100])


def test_a_text_is_held_to_the_table() -> None:
    found = table.read()
    right = words(number(found, FULL, "sharpness", PLAIN), 1)
    holds(found, FULL, PLAIN, sharpness=right)
    for wrong in (right.replace("(", "(1"), words(number(found, FULL, "sharpness", PLAIN), 2)[:-1]):
        with pytest.raises(AssertionError, match="sharpness"):
            holds(found, FULL, PLAIN, sharpness=wrong)


def test_the_committed_table_is_of_todays_cells() -> None:
    committed, known = table.read(), {cell.name for cell in CELLS}
    assert set(committed.cell) == known
    assert set(committed.against) <= known | {""}
    assert ((committed.low <= committed.value) & (committed.value <= committed.high)).all()
    assert set(table.read_pictures().cell) == set(committed.cell)


KINDS = [PLAIN, FULL, PARTS["a"][5], PARTS["b"][3], PARTS["o"][2], PARTS["e"][2]]
KINDS += [PARTS["d"][13], PARTS["f"][6]]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS if EVERY_CELL else KINDS, ids=lambda cell: cell.slug)
def test_the_committed_pictures_are_made_again(mini: sv.Model, judge: Judge, cell: Cell) -> None:
    """The first pictures of a cell of each kind, or of every cell, as `make study` makes them.
    Other CPUs round otherwise, and a cell of the mask that is on the edge may change a picture.
    """
    committed = table.read_pictures()
    committed = committed[committed.cell == cell.name]
    again = summary(cell, make(mini, judge, cell, range(TOGETHER)), TOGETHER)
    assert (np.abs(again.confidence - committed.confidence.to_numpy()) < 0.02).mean() >= 0.9
    assert (again.object.to_numpy() == committed.object.to_numpy()).mean() >= 0.9
    kept = again.rows.astype(np.float16).astype(float).round(4)  # as the store and the table do
    assert np.allclose(kept, committed.rows)
