"""Transformers of their published sizes, without weights: estimated, and their layers listed."""

from __future__ import annotations

from pathlib import Path

import pytest
from known_transformers import NETWORKS, PARAMETERS, write

import sagviz as sv
from sagviz import CFG, SAG, Capture
from sagviz.attention.layers import has_text, layers, middle_block

LAYERS = {  # blocks, and a second attention in the first of them; the side of the grid; the middle
    "DiT-XL/2": (28, 16, "transformer_blocks.14"),
    "PixArt-Σ": (28, 64, "transformer_blocks.14"),
    "SD3.5 medium": (24 + 13, 64, "transformer_blocks.12"),
    "SD3.5 large": (38, 64, "transformer_blocks.19"),
    "Flux.1 dev": (19 + 38, 64, "single_transformer_blocks.9"),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*distilled to its guidance")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_configuration_is_estimated(name: str, tmp_path: Path) -> None:
    """Its weights are as many as were published, each layer has its grid, and column sums of all of
    them are no more than a number for each cell.
    """
    model = sv.load(write(tmp_path, name), device="meta", dtype="bfloat16")
    count, side, middle = LAYERS[name]
    known = layers(model.network, model.latent_shape(model.default_size)[1:])
    assert [layer.grid for layer in known.values()] == [(side, side)] * count
    assert middle_block(model.network) == middle
    assert has_text(model.network, "mid") == name.startswith(("SD3.5", "Flux"))
    need = sv.estimate(
        model, guidance=CFG(3.0) + SAG(1.0), images=2, capture=Capture("all", "mass")
    )
    assert need.weights["transformer"] / 2e9 == pytest.approx(PARAMETERS[name], rel=0.01)
    assert need.captured == 4 * 2 * count * side**2
    assert (need.rows, need.network) == (4, "transformer")
    assert need.peak > need.weights["transformer"] + need.unet
    assert 0 < need.unet < need.weights["transformer"] * 4
