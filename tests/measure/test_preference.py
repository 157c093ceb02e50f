"""The blind vote: sides, counts, the interval against its formula, the file, the widget."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sagviz as sv
from sagviz.errors import ArgumentError
from sagviz.html import data_uri
from sagviz.image import to_png
from sagviz.measure.preference import LEFT, RIGHT, TIE, Votes, fingerprint
from sagviz.widgets.preference import LOOK, Preference

NAMES = ("CFG", "CFG + SAG")
GOOD = {
    "format": "sagviz-votes-2",
    "names": NAMES,
    "fingerprint": "0f",
    "pairs": 1,
    "seed": 0,
    "given": [],
    "ballot": "",
}


def pictures(count: int, seed: int = 0) -> list[tuple[Image.Image, Image.Image]]:
    noise = np.random.default_rng(seed).integers(0, 255, (count, 2, 8, 8, 3), dtype=np.uint8)
    return [(Image.fromarray(a), Image.fromarray(b)) for a, b in noise]


def votes(pairs: int, given: str = "", seed: int = 0) -> Votes:
    """`given` by initials: l, r, t."""
    made = Votes(NAMES, "0f", pairs, seed)
    for letter in given:
        made = made.add({"l": LEFT, "r": RIGHT, "t": TIE}[letter])
    return made


def test_sides_are_shuffled_fairly_and_the_same_each_time() -> None:
    assert votes(50).swapped == votes(50).swapped != votes(50, seed=1).swapped
    assert 0.45 < np.mean([votes(100, seed=seed).swapped for seed in range(100)]) < 0.55


def test_a_vote_goes_to_the_name_that_stood_there() -> None:
    made = votes(30, "l" * 30)
    assert made.choices() == [NAMES[1] if swapped else NAMES[0] for swapped in made.swapped]
    assert votes(30, "r" * 30).choices() == [
        NAMES[0] if swapped else NAMES[1] for swapped in made.swapped
    ]
    assert votes(3, "ttt").choices() == [TIE] * 3


def test_interval_is_wilsons_and_ties_stand_apart() -> None:
    made = votes(12)
    for swapped in made.swapped[:10]:  # nine for the second, one for the first
        made = made.add(LEFT if swapped == (len(made.given) > 0) else RIGHT)
    made = made.add(TIE).add(TIE)
    result = made.result()
    assert (result.wins, result.ties, result.share) == ((1, 9), 2, 0.9)
    n, p, z = 10, 0.9, 1.959963984540054
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert result.interval == pytest.approx(
        [(middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)]
    )
    assert result.p_value == pytest.approx(2 * (10 + 1) / 2**10)
    assert "90 % of the choices (95 % interval 60 to 98 %)" in str(result)
    assert "more than chance" in str(result)


def test_nobody_chose() -> None:
    result = votes(2, "tt").result()
    assert (result.share, result.interval) == (None, None)
    assert "no share" in str(result)


def test_one_against_one_may_be_chance() -> None:
    made = votes(2)
    made = made.add(LEFT if made.swapped[0] else RIGHT).add(RIGHT if made.swapped[1] else LEFT)
    assert made.result().wins == (1, 1)
    assert "may be chance" in str(made.result())


def test_file_is_written_after_every_vote_and_resumed(tmp_path: Path) -> None:
    path = tmp_path / "votes.json"
    first = Preference(pictures(3), path=path, seed=4)
    for count, side in enumerate((LEFT, TIE), start=1):
        first.vote(side)
        assert len(json.loads(path.read_text())["given"]) == count
    second = Preference(pictures(3), path=path)
    assert second.votes == first.votes, "the stored seed decides the sides"
    second.undo()
    assert json.loads(path.read_text())["given"] == [LEFT]
    assert list(tmp_path.iterdir()) == [path]


def test_a_double_click_is_one_vote() -> None:
    """The second would be on a pair that nobody has seen."""
    vote = Preference(pictures(3))
    time.sleep(LOOK)
    for _ in range(2):
        vote.buttons["left"].click()
    assert vote.votes.given == (LEFT,)
    time.sleep(LOOK)
    vote.buttons["left"].click()
    assert vote.votes.given == (LEFT, LEFT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "\xff",
        '{"format": "other"}',
        json.dumps({"format": "sagviz-votes-2", "fingerprint": 3}),
        json.dumps(GOOD | {"format": "sagviz-votes-1"}),
        json.dumps(GOOD | {"fingerprint": "no hex"}),
    ],
)
def test_damaged_files_are_refused_and_kept(tmp_path: Path, content: str) -> None:
    path = tmp_path / "votes.json"
    path.write_text(content)
    with pytest.raises(
        ArgumentError, match=r"cannot be read as votes of this version; give another"
    ):
        Preference(pictures(2), path=path)
    assert path.read_text() == content


def test_votes_on_other_pictures_names_or_more_pairs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "votes.json"
    Preference(pictures(3), path=path).vote(LEFT)
    for pairs, names in (
        (pictures(3, seed=1), NAMES),
        (pictures(2), NAMES),
        (pictures(3), ("A", "B")),
    ):
        with pytest.raises(ArgumentError, match="other pictures"):
            Preference(pairs, names=names, path=path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "given": ["left"] * 4}))
    with pytest.raises(ArgumentError, match="cannot be read"):
        Preference(pictures(3), path=path)


def test_fingerprint_is_of_pixels_and_their_order() -> None:
    one, other = pictures(2), pictures(2)
    assert fingerprint(one) == fingerprint(other)
    assert fingerprint(one) != fingerprint([pair[::-1] for pair in one])
    assert fingerprint(one) != fingerprint(one[::-1])


def test_pictures_that_differ_by_rounding_are_of_one_vote(tmp_path: Path) -> None:
    """Two processors' pictures, a level or two apart, and another seed's."""
    path, random = tmp_path / "votes.json", np.random.default_rng(1)
    model = sv.load("miniature")
    runs, others = (
        [sv.compare(model, "a fox", seed=seed + n, steps=3, progress=False) for n in (0, 1)]
        for seed in (0, 2)
    )
    Preference(runs, path=path).vote(LEFT)
    pairs = [[np.asarray(trace.image, int) for trace in pair] for pair in runs]
    for noise in (-2, 2, random.integers(-2, 3, pairs[0][0].shape)):
        near = [
            [Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)) for pixels in pair]
            for pair in pairs
        ]
        assert Preference(near, path=path).votes.given == (LEFT,)
    for pairs_ in (others, runs[::-1], [pair[::-1] for pair in runs], [runs[0], others[0]]):
        with pytest.raises(ArgumentError, match=r"other pictures"):
            Preference(pairs_, path=path)


def test_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="folder that exists"):
        Preference(pictures(1), path=tmp_path / "none" / "votes.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pairs", "words"),
    [([], "pairs is empty"), ([pictures(1)[0][:1]], "two traces"), ([3], "two traces")],
)
def test_wrong_pairs(pairs: list, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Preference(pairs)


def test_names_are_hidden_until_the_end() -> None:
    widget = Preference(pictures(3))
    for number in range(3):
        shown = "".join(
            part.value for part in (*widget.sides, widget.heading, widget.end, widget.notice)
        )
        assert not any(word in shown for word in ("CFG", "SAG", "84"))
        assert f"Pair {number + 1} of 3" in shown
        assert all(side.value in widget.static_html() for side in widget.sides)
        assert f"Pair {number + 1} of 3" in widget.static_html()
        assert "CFG" not in widget.static_html()
        widget.vote(TIE)
    assert "CFG + SAG" in widget.end.value
    assert "84 %" in widget.end.value
    assert widget.end.value in widget.static_html()
    assert not any(side.value in widget.static_html() for side in widget.sides)
    with pytest.raises(ArgumentError, match="undo"):
        widget.vote(LEFT)
    widget.undo()
    assert widget.end.value == ""


def test_pictures_stand_on_the_sides_that_the_votes_say() -> None:
    widget = Preference(pictures(20))
    for pair, swapped in zip(pictures(20), widget.votes.swapped, strict=True):
        for side, picture in zip(widget.sides, pair[::-1] if swapped else pair, strict=True):
            assert data_uri(to_png(picture)) in side.value
        widget.vote(LEFT)


def test_keys_and_buttons_vote() -> None:
    widget = Preference(pictures(5))
    for typed in ("l", "R", "x", "lt", "t", "u"):  # of "lt" the l was counted before
        widget.typed.value = typed
        assert widget.typed.value == ""
    assert widget.votes.given == (LEFT, RIGHT, TIE)
    time.sleep(LOOK)
    widget.buttons[RIGHT].click()
    assert len(widget.votes.given) == 4
    widget.buttons["undo"].click()
    assert widget.votes.given == (LEFT, RIGHT, TIE)


def test_an_error_stands_under_the_widget(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    widget = Preference(pictures(2), path=folder / "votes.json")
    folder.rmdir()
    time.sleep(LOOK)
    widget.buttons[LEFT].click()
    assert "folder that exists" in widget.notice.value
    assert widget.votes.given == ()
