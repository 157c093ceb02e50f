"""A compiled U-Net: what is read of its attention, and what is done to it, holds all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import build_pipe, is_one_sentence

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.errors import ModelError
from sagviz.guidance import PAG, Guidance, Term


def wrapped(model: sv.Model) -> None:
    model.unet = torch.compile(model.unet, backend="eager")


def in_place(model: sv.Model) -> None:
    model.unet.compile(backend="eager")


@pytest.mark.slow
@pytest.mark.parametrize("change", [wrapped, in_place])
def test_a_compiled_unet_has_its_maps(tmp_path: Path, change: Callable[[sv.Model], None]) -> None:
    model = sv.load(build_pipe(tmp_path))
    guidance: list[Guidance | Term] = [CFG(3.0), CFG(3.0) + SAG(1.0) + PAG(1.0)]

    def traces() -> list[sv.Trace]:
        read = sv.Capture("all", ("mass", "words"))
        return [
            sv.trace(model, "a fox", guidance=g, steps=3, capture=capture, progress=False)
            for g, capture in zip(guidance, (None, read), strict=True)
        ]

    expected = traces()
    change(model)
    for _ in range(2):
        for old, new in zip(expected, traces(), strict=True):
            for a, b in zip(old, new, strict=True):
                assert a.tensors.keys() == b.tensors.keys()
                for name, value in a.tensors.items():
                    torch.testing.assert_close(b.tensors[name], value, rtol=1e-4, atol=1e-5)


def test_an_older_torch_says_that_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = sv.load(build_pipe(tmp_path))
    in_place(model)
    monkeypatch.delattr(torch.compiler, "set_stance", raising=False)
    with pytest.raises(ModelError, match="compiled") as caught:
        sv.trace(model, "a fox", guidance=SAG(1.0), steps=2, progress=False)
    assert is_one_sentence(caught.value)
