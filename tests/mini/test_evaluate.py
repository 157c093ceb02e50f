"""The measuring program: intervals against known ones, pictures made once, the judge's words
against renders, the card.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.mini.evaluation import card, evaluate, prompts
from sagviz.mini.evaluation.gallery import Gallery, fingerprint
from sagviz.mini.evaluation.intervals import bootstrap, proportion
from sagviz.mini.training.judge import Verdict, centres
from sagviz.mini.world import BACKGROUNDS, NAMES, RELATIONS


def test_a_share_has_its_wilson_interval() -> None:
    """Wilson 1927; 8 of 10 is the textbooks' example."""
    assert proportion([True] * 8 + [False] * 2) == "80.0 % (49.0 to 94.3), n = 10"
    assert proportion([]) == "none, n = 0"


def test_the_bootstrap_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(5, 2, size=4000)
    value, low, high = map(
        float, re.findall(r"[0-9.]+", bootstrap(values, lambda v: float(v.mean()), 4))[:3]
    )
    assert value == pytest.approx(values.mean(), abs=1e-4)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(4000), rel=0.2)


def test_the_centre_of_a_lone_peak_is_its_place() -> None:
    logits = torch.zeros(1, 2, 8, 8)
    logits[0, 0, 1, 6], logits[0, 1, 7, 0] = 50, 50
    torch.testing.assert_close(
        centres(logits), torch.tensor([[[6.5 / 8, 1.5 / 8], [0.5 / 8, 7.5 / 8]]])
    )


@pytest.mark.parametrize(
    ("place", "relation"),
    [
        ((0.8, 0.6), "left of"),
        ((0.1, 0.4), "right of"),
        ((0.4, 0.9), "above"),
        ((0.6, 0.1), "below"),
    ],
)
def test_a_relation_is_the_longer_side(place: tuple[float, float], relation: str) -> None:
    places = torch.full((1, 48, 2), 0.5)
    places[0, NAMES.index("owl")] = torch.tensor(place)
    assert (
        Verdict(torch.zeros(1, 48), places, torch.zeros(1, 10), torch.zeros(1, 96)).relation(
            0, "fox", "owl"
        )
        == relation
    )


@pytest.mark.slow
def test_pictures_are_those_of_trace_and_made_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagviz.mini.evaluation.gallery.STEPS", 3)
    monkeypatch.setattr("sagviz.mini.evaluation.gallery.TOGETHER", 2)
    model = sv.load(folder)
    made = Gallery(model, tmp_path).pictures(["a fox", "", "an owl"], CFG(3.0), first_seed=4)
    alone = [
        sv.trace(model, text, seed=4 + i, steps=3, guidance=CFG(3.0), progress=False)
        for i, text in enumerate(["a fox", "", "an owl"])
    ]
    difference = np.abs(
        made.astype(int) - np.stack([np.asarray(trace.image) for trace in alone]).astype(int)
    )
    assert difference.max() <= 1, "batches of another shape round otherwise, by a level at most"
    monkeypatch.setattr("sagviz.mini.evaluation.gallery.collect", None)
    again = Gallery(model, tmp_path).pictures(["a fox", "", "an owl"], CFG(3.0), first_seed=4)
    assert np.array_equal(again, made)


@pytest.mark.slow
def test_pictures_may_each_have_a_guidance_of_their_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagviz.mini.evaluation.gallery.STEPS", 3)
    gallery = Gallery(sv.load(folder), tmp_path)
    mixed = gallery.pictures(["a fox", "a fox"], [CFG(0.0), CFG(3.0)])
    alone = [
        gallery.pictures(["a fox"], guidance, first_seed=seed)[0]
        for seed, guidance in enumerate([CFG(0.0), CFG(3.0)])
    ]
    assert np.abs(mixed.astype(int) - np.stack(alone).astype(int)).max() <= 1
    with pytest.raises(ValueError, match="zip"):
        gallery.pictures(["a fox", "a fox"], [CFG(3.0)])


def test_another_model_has_other_pictures(folder: Path) -> None:
    same, other = sv.load(folder), sv.load(folder)
    assert fingerprint(other) == fingerprint(same)
    with torch.no_grad():
        other.unet.conv_in.bias[0] += 1
    assert fingerprint(other) != fingerprint(same)


def test_prompts_are_spread_evenly() -> None:
    one, two = prompts.one_object_prompts(960), prompts.two_object_prompts(160)
    assert {name: sum(found == name for found, _ in one) for name in NAMES} == dict.fromkeys(
        NAMES, 20
    )
    assert sum(colour is None for _, colour in one) == 480
    colours = [sum(found == colour for _, found in one) for colour in BACKGROUNDS]
    assert sum(colours) == 480
    assert min(colours) > 30
    for relation in RELATIONS:
        told = [colour for _, said, colour in two if said == relation]
        assert len(told) == 40
        assert 15 < sum(colour is None for colour in told) < 25
    assert all(first != second for (first, second), _, _ in two)


def test_guidance_is_named_by_what_is_unusual() -> None:
    named = [
        card.label(g)
        for g in (None, CFG(3.0), CFG(2.5) + SAG(1.0), SAG(0.5, blur_sigma=2.0, stop=0.5))
    ]
    assert named == ["unguided", "CFG 3", "CFG 2.5 + SAG 1", "SAG 0.5, blur_sigma 2, stop 0.5"]


def test_the_card_gets_the_tables_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{card.BEGIN}\nold\n{card.END}\nafter")
    monkeypatch.setattr(card, "CARD", page)
    card.write_card({"vae": [["PSNR", "34"]], "sag": [["CFG 3", "1", "2", "3"]]}, tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{card.BEGIN}")
    assert text.endswith(f"{card.END}\nafter")
    assert "old" not in text
    assert "| measure | value |\n| --- | --- |\n| PSNR | 34 |" in text
    assert "| CFG 3 | 1 | 2 | 3 |" in text


def test_the_card_is_written_when_every_part_has_been_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Parts measured one by one, so that none of the old figures is lost for want of a new one."""
    page = tmp_path / "README.md"
    page.write_text(f"{card.BEGIN}\n\n| old | 0 |\n\n{card.END}")
    monkeypatch.setattr(card, "CARD", page)
    monkeypatch.setattr(
        evaluate, "PARTS", {"vae": lambda _: [["sharp", "1"]], "cg": lambda _: [["moved", "2"]]}
    )
    evaluate.main(["--only", "cg", "--work", str(tmp_path)])
    assert "missing: vae" in capsys.readouterr().out
    assert "| old | 0 |" in page.read_text()
    evaluate.main(["--only", "vae", "--work", str(tmp_path)])
    assert "| sharp | 1 |\n| moved | 2 |\n" in page.read_text()
    assert "old" not in page.read_text()
