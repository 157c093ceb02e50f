"""Guidance terms as settings: what they accept, how they add up, when they act."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, ClassVar

import pytest
from tiny import is_one_sentence

from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, SAG, Guidance, Term, as_guidance

NAN, INF = math.nan, math.inf


def test_terms_add_up_in_order_and_are_found_by_kind() -> None:
    total = CFG(3.0) + SAG(1.0)
    assert total == Guidance((CFG(3.0), SAG(1.0)))
    assert (total.get(CFG), total.get(SAG)) == (CFG(3.0), SAG(1.0))
    assert SAG(1.0) + CFG(3.0) == Guidance((SAG(1.0), CFG(3.0)))
    assert Guidance() + SAG(1.0) == as_guidance(SAG(1.0))
    assert (Guidance().get(CFG), Guidance().get(SAG)) == (None, None)


def test_its_text_is_the_code_that_makes_it() -> None:
    total = CFG(3.0) + SAG(-0.1, heads=(0, 2))
    assert eval(repr(total), {"CFG": CFG, "SAG": SAG, "inf": INF}) == total
    assert (repr(Guidance()), str(Guidance())) == ("None", "unguided")


@pytest.mark.parametrize(
    "make", [lambda: CFG(1.0) + CFG(2.0), lambda: SAG(1.0) + CFG(1.0) + SAG(2.0)]
)
def test_a_term_twice_is_refused(make: Any) -> None:
    with pytest.raises(ArgumentError, match="twice"):
        make()


@pytest.mark.parametrize("title", ["SAG", "Other"])
def test_no_term_takes_the_name_of_the_packages(title: str) -> None:
    with pytest.raises(ArgumentError, match="the name 'sag' is that of SAG; give another"):
        type(title, (Term,), {"name": "sag"})
    assert Term.kinds["sag"] is SAG


@pytest.mark.parametrize("value", [None, CFG(2.0), SAG(0.5), CFG(2.0) + SAG(0.5)])
def test_whatever_is_a_guidance_becomes_a_sum(value: Any) -> None:
    total = as_guidance(value)
    assert isinstance(total, Guidance)
    assert as_guidance(total) is total


@pytest.mark.parametrize("value", [3.0, "cfg", [CFG(1.0)], CFG])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"CFG.*SAG") as error:
        as_guidance(value)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("kind", [CFG, SAG])
@pytest.mark.parametrize("scale", [NAN, INF, -INF, "3", None, True, 1j])
def test_a_scale_that_is_no_number_is_refused(kind: type[Term], scale: Any) -> None:
    with pytest.raises(ArgumentError, match=f"the {kind.name} scale is") as error:
        kind(scale)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize("scale", [0, -0.5, 1, 10.0, 1e6])
def test_any_finite_scale_is_allowed(scale: float) -> None:
    assert (CFG(scale).scale, SAG(scale).scale) == (scale, scale)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": NAN},
        {"threshold": "1"},
        {"blur_sigma": -1.0},
        {"blur_sigma": NAN},
        {"blur_sigma": INF},
        {"blur_kernel": 8},
        {"blur_kernel": 0},
        {"blur_kernel": -3},
        {"blur_kernel": 9.0},
        {"heads": ()},
        {"heads": 3},
        {"heads": "01"},
        {"heads": (0.5,)},
        {"start": -0.1},
        {"start": 1.1},
        {"stop": 2.0},
        {"start": 0.6, "stop": 0.5},
        {"stop": NAN},
        {"mask_source": "attn"},
        {"mask_source": None},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(reversed(wrong))) as error:
        SAG(1.0, **wrong)
    assert is_one_sentence(error.value)


@pytest.mark.parametrize(
    "right",
    [{"threshold": INF}, {"threshold": -INF}, {"blur_sigma": 0}, {"heads": [1, 0]}],
    ids=str,
)
def test_the_limits_are_allowed(right: dict[str, Any]) -> None:
    SAG(1.0, **right)


def test_a_window_is_half_open() -> None:
    """Evaluation i of n is guided where start <= i / n < stop; a term that is told no window
    always.
    """
    total = CFG(3.0) + SAG(1.0, start=0.2, stop=0.6)
    acting = [i for i in range(10) if total.at(i / 10).get(SAG)]
    assert acting == [2, 3, 4, 5]
    assert all(total.at(i / 10).get(CFG) for i in range(10))
    assert not (CFG(3.0) + SAG(1.0, start=0.5, stop=0.5)).at(0.5).get(SAG)


@pytest.mark.parametrize(
    "total",
    [
        Guidance(),
        CFG(3) + SAG(0.75, threshold=INF, heads=(0, 2), layer="mid", start=0.1),
        Guidance((SAG(1, mask_source="random"),)),
    ],
)
def test_json_gives_the_same_guidance_back(total: Guidance) -> None:
    assert Guidance.from_json(json.loads(json.dumps(total.to_json()))) == total


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CFG(3.0).scale = 4.0  # type: ignore[misc]


def test_a_default_that_is_made_is_a_default() -> None:
    @dataclasses.dataclass(frozen=True, repr=False)
    class Counted(CFG):
        name: ClassVar[str] = "counted"
        cells: tuple[int, ...] = dataclasses.field(default_factory=lambda: (1, 2))

    try:
        assert repr(Counted(1.0)) == "Counted(1.0)"
        assert repr(Counted(1.0, cells=(3,))) == "Counted(1.0, cells=(3,))"
        assert Counted.needed() == []
    finally:
        Term.kinds.pop("counted")
