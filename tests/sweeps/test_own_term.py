"""A guidance term of a user, written in a file of theirs, as an axis of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import sagviz as sv
from sagviz import CFG
from sagviz.guidance import Term, as_guidance
from sagviz.guidance.views import StepView
from sagviz.sweeps import begin
from sagviz.sweeps.labels import axes_of
from sagviz.sweeps.layout import cross


@dataclass(frozen=True, repr=False)
class Toy(Term):
    """A constant direction."""

    name: ClassVar[str] = "toy"
    field_titles: ClassVar[Mapping[str, str]] = {"tilt": "tilt τ"}

    tilt: float | None = None

    def in_noise(self, step: StepView) -> torch.Tensor:
        return torch.ones_like(step.x_t)


@dataclass(frozen=True, repr=False)
class ToyTwin(Toy):
    """One whose name begins with that of another."""

    name: ClassVar[str] = "toy_twin"


def test_it_is_an_axis_a_column_and_a_setting_to_select_by(model: sv.Model, tmp_path: Path) -> None:
    sums = [as_guidance(CFG(2.0)), CFG(2.0) + Toy(0.5), CFG(2.0) + Toy(1.0)]
    made = sv.sweep(
        model, "a fox", seeds=[0, 1], steps=2, guidance=sums, store=tmp_path, progress=False
    )
    assert not made.failed
    assert [cell.settings.guidance for cell in made.select(toy_scale=0.5)] == [sums[1]] * 2
    scales = list(made.table()["toy_scale"])
    assert scales[1:3] == scales[4:] == [0.5, 1.0]
    assert math.isnan(scales[0])
    alone = sv.trace(model, "a fox", seed=1, steps=2, guidance=sums[1], progress=False)
    assert torch.allclose(made.trace(seed=1, toy_scale=0.5).latents, alone.latents, atol=1e-4)
    again = sv.Sweep.open(tmp_path)
    assert again.cells == made.cells
    assert again.table().equals(made.table())
    with pytest.raises(sv.SagvizError, match=r"no cell has toy_scale=3; there are 0\.5, 1\.0"):
        made.select(toy_scale=3)


def test_its_settings_have_its_titles(model: sv.Model) -> None:
    toys = [CFG(2.0) + Toy(scale, tilt) for scale in (0.5, 1.0) for tilt in (None, 3.0)]
    sums = [as_guidance(CFG(2.0)), *toys]
    laid = begin(model, "a fox", guidance=sums)
    axes = axes_of(laid)
    assert (axes["toy_scale"].title, axes["toy_tilt"].title) == ("Toy scale", "Toy tilt τ")
    assert axes["toy_scale"].label(None) == "no Toy"
    assert [axes["toy_tilt"].label(value) for value in axes["toy_tilt"].values[1:]] == [
        "Toy tilt τ unset",
        "Toy tilt τ 3",
    ]
    crossing = cross(laid, rows="toy_tilt", columns="toy_scale", fixed={})
    assert crossing.labels("toy_scale") == ["no Toy", "Toy scale 0.5", "Toy scale 1"]
    assert crossing.square(2, 1).words == "“a fox”, seed 0, CFG 2 + Toy 0.5, 50 steps, Toy tilt τ 3"
    assert crossing.square(0, 1).cell is None


def test_a_name_that_begins_with_another_is_kept_apart(model: sv.Model) -> None:
    laid = begin(model, guidance=[Toy(1.0), ToyTwin(2.0), Toy(1.0) + ToyTwin(2.0)])
    axes = axes_of(laid)
    assert axes["toy_twin_scale"].title == "ToyTwin scale"
    assert axes["toy_twin_scale"].label(None) == "no ToyTwin"
    assert axes["toy_scale"].title == "Toy scale"


def test_its_fields_are_part_of_the_key(model: sv.Model) -> None:
    (a,), (b,), (c,) = (
        begin(model, guidance=term).cells for term in (Toy(1), Toy(1.0), Toy(1.0, tilt=2.0))
    )
    assert a.key == b.key != c.key
