"""The votes of a class: one person's are the vote's own result, repeating them tells nothing, and
the interval holds what it promises where people agree on a pair.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagviz.cli import main
from sagviz.errors import ArgumentError
from sagviz.measure.merged_votes import independent_votes, merge, wilson
from sagviz.measure.preference import LEFT, RIGHT, TIE, Votes
from sagviz.widgets.preference import Preference

NAMES = ("CFG", "CFG + SAG")


def votes(choices: str, seed: int = 0, fingerprint: str = "0f") -> Votes:
    """A person's votes: 2 for the second name, 1 for the first, t for a tie."""
    made = Votes(NAMES, fingerprint, len(choices), seed)
    for choice, swapped in zip(choices, made.swapped, strict=True):
        side = LEFT if (choice == "2") == swapped else RIGHT
        made = made.add(TIE if choice == "t" else side)
    return made


@pytest.mark.parametrize("choices", ["22212t2122", "2", "22222", "1t1"])
def test_one_person_is_the_votes_own_result(choices: str) -> None:
    alone, merged = votes(choices).result(), merge([votes(choices)])
    assert (merged.wins, merged.ties, merged.share) == (alone.wins, alone.ties, alone.share)
    assert merged.interval == pytest.approx(alone.interval)
    assert merged.p_value == pytest.approx(alone.p_value)


def test_sides_do_not_matter_and_pairs_are_counted() -> None:
    merged = merge([votes("21t2", seed) for seed in range(5)])
    assert merged.by_pair == ((0, 5, 0), (5, 0, 0), (0, 0, 5), (0, 5, 0))
    assert (merged.people, merged.wins, merged.ties) == (5, (5, 10), 5)


def test_saying_the_same_again_tells_nothing_more() -> None:
    once, often = merge([votes("221212")]), merge([votes("221212", seed) for seed in range(30)])
    assert often.wins == (60, 120)
    assert often.interval == pytest.approx(once.interval)
    assert often.p_value == pytest.approx(once.p_value)


def test_the_interval_holds_in_95_of_100_classes() -> None:
    """25 people, 40 pairs, each pair with a taste of its own; votes taken as independent would
    hold far less often.
    """
    random = np.random.default_rng(0)
    held, naive = 0, 0
    for _ in range(400):
        wins, each = random.binomial(25, random.beta(3, 2, 40)), np.full(40, 25)
        share = wins.sum() / 1000
        low, high = wilson(share, independent_votes(wins, each))
        held += low <= 0.6 <= high
        low, high = wilson(share, 1000)
        naive += low <= 0.6 <= high
    assert 0.93 <= held / 400 <= 0.99
    assert naive / 400 < 0.75


@pytest.mark.parametrize(("people", "pairs"), [(30, 12), (5, 12), (10, 5), (25, 40), (1, 12)])
@pytest.mark.parametrize("order", ["pair by pair", "in turn", "by chance"])
def test_a_vote_against_never_makes_it_surer(people: int, pairs: int, order: str) -> None:
    """Vote by vote from all for the second to half: the interval's low end never rises."""
    wins, each = np.full(pairs, people), np.full(pairs, people)
    against = np.repeat(np.arange(pairs), people)
    if order != "pair by pair":
        against = np.tile(np.arange(pairs), people)
    if order == "by chance":
        np.random.default_rng(0).shuffle(against)
    low, high = wilson(1, independent_votes(wins, each))
    for number, pair in enumerate(against[: people * pairs // 2]):
        wins[pair] -= 1
        ends = wilson(wins.sum() / each.sum(), independent_votes(wins, each))
        assert ends[0] <= low
        assert number or ends[1] - ends[0] >= high - low
        low = ends[0]


def test_one_vote_of_360_against_changes_little() -> None:
    all_for = [votes("2" * 12, seed) for seed in range(30)]
    against = merge([*all_for[1:], votes("1" + "2" * 11)])
    assert merge(all_for).interval == pytest.approx(against.interval, abs=0.01)
    assert "preferred in 99 % of the choices (95 % interval 76 to 99 %)" in str(against)
    assert "preferred in 100 % of the choices (95 % interval 76 to 100 %)" in str(merge(all_for))


def test_a_class_of_twelve_pairs_is_held_too() -> None:
    """Eight of ten for the second, on few pairs: there the variance alone is far too sure."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        wins = random.binomial(25, random.beta(0.8, 0.2, 12))
        low, high = wilson(wins.sum() / 300, independent_votes(wins, np.full(12, 25)))
        held += low <= 0.8 <= high
    assert held / 400 >= 0.95


def test_pairs_with_more_votes_count_as_one_where_all_agree() -> None:
    """A pair with nearly all the votes is nearly the only one."""
    assert independent_votes(np.array([30, 1, 1]), np.array([30, 1, 1])) < 1.5
    assert independent_votes(np.full(7, 9), np.full(7, 9)) == pytest.approx(7)


def test_nobody_chose() -> None:
    merged = merge([votes("tt"), votes("t" * 2)])
    assert (merged.ties, merged.share, merged.interval) == (4, None, None)


def test_other_pictures_and_no_votes_are_refused() -> None:
    with pytest.raises(ArgumentError, match="different pictures"):
        merge([votes("2"), votes("2", fingerprint="12")])
    with pytest.raises(ArgumentError, match=r"different pictures"):
        merge([votes("2"), votes("2", fingerprint="0f0f")])
    assert merge([votes("2"), votes("2", fingerprint="11")]).people == 2, "two levels are rounding"
    with pytest.raises(ArgumentError, match="no votes"):
        merge([])


def test_the_command_counts_nobody_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anna, ben, old = (str(tmp_path / f"{name}.json") for name in ("anna", "ben", "old"))
    pairs = [(Image.new("L", (8, 8)), Image.new("L", (8, 8), 200))] * 2
    for path in (anna, ben):  # the same votes, but of two people
        opened = Preference(pairs, path=path)
        opened.vote(TIE)
        if path == anna:
            shutil.copy(anna, old)
        opened.vote(LEFT)
    made = str(votes("21").save(tmp_path / "made.json"))
    assert main(["votes", "merge", anna, ben]) == 0
    assert capsys.readouterr().out.startswith("2 people: ")
    for given in (
        [anna, anna],
        [anna, ben, old],
        [made, f"{tmp_path}/../{tmp_path.name}/made.json"],
    ):
        assert main(["votes", "merge", *given]) == 2
        said = capsys.readouterr()
        assert not said.out
        assert f"{given[0]} and {given[-1]} are one person's votes" in said.err


def test_who_has_not_finished_is_counted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = replace(votes("2212"), given=votes("2212").given[:1])
    paths = [
        str(each.save(tmp_path / f"{n}.json")) for n, each in enumerate((votes("2212"), begun))
    ]
    assert main(["votes", "merge", *paths]) == 0
    assert capsys.readouterr().out.startswith("2 people, 1 of them unfinished: CFG 1, CFG + SAG 4,")


def test_the_command_merges_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(votes("2212", n).save(tmp_path / f"{n}.json")) for n in range(3)]
    out = tmp_path / "class" / "all.json"
    out.parent.mkdir()
    assert main(["votes", "merge", *paths, "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("3 people: CFG 3, CFG + SAG 9, tie 0.")
    content = json.loads(out.read_text())
    assert (content["wins"], content["people"]) == ([3, 9], 3)
    assert main(["votes", "merge", *paths, "-o", str(out)]) == 2, "it exists"
    assert main(["votes", "merge", *paths, str(out)]) == 2, "a result is no vote"
    assert "cannot be read as votes" in capsys.readouterr().err
