"""What a call takes of memory, told without weights: against what torch allocates, and against
closed forms.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel
from instruments import peak_memory
from known import PARAMETERS, UNETS, VAE
from tiny import build_unet
from torch import Tensor, nn

from sagviz.models import SDXL, Pixels, StableDiffusion
from sagviz.models.memory import Footprint, Live, in_tiles, peak, weight_bytes

LATENT, TOKENS = (4, 64, 64), 24
NUMBERS = 4 * 1000


def numbers() -> Tensor:
    return torch.zeros(1000)


GIVEN = numbers()


@pytest.mark.parametrize(
    ("call", "arrays"),
    [
        (numbers, 1),
        (lambda: numbers() + 1, 2),
        (lambda: ((numbers() + 1) + 1) + 1, 2),
        (lambda: (numbers(), numbers(), numbers()), 3),
        (lambda: numbers().view(10, 100).mT[3:].add_(1), 1),
        (lambda: len([numbers() for _ in range(9)]), 9),
        (lambda: [numbers() is None for _ in range(9)], 1),
        (lambda: GIVEN.view(-1).mul_(2), 0),
        (lambda: GIVEN + 1, 1),
    ],
)
def test_what_lives_at_once_is_counted(call: Any, arrays: int) -> None:
    """Views, in-place operations and what was there before cost nothing."""
    assert peak(call) == arrays * NUMBERS


def test_what_has_gone_is_not_counted_any_more() -> None:
    with Live() as live:
        kept = numbers()
        assert live.now == NUMBERS
        del kept
        assert live.now == 0
    assert live.peak == NUMBERS


def tiny_sdxl() -> UNet2DConditionModel:
    """Two text embeddings, several transformer blocks in a row, linear projections: what is SDXL's
    own.
    """
    return build_unet(
        block_out_channels=(32, 64),
        attention_head_dim=(2, 4),
        transformer_layers_per_block=(1, 2),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=48 + 16,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "unet", [build_unet(block_out_channels=(32, 64)), tiny_sdxl()], ids=["sd", "sdxl"]
)
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_a_unets_call_takes_what_was_told(unet: UNet2DConditionModel, rows: int) -> None:
    """Within 15 % of what torch's own allocator held at once in a real call."""
    x, t, text = torch.randn(rows, *LATENT), torch.full((rows,), 500), torch.randn(rows, TOKENS, 32)
    added = {"text_embeds": torch.randn(rows, 16), "time_ids": torch.ones(rows, 6)}
    sdxl = unet.config.addition_embed_type == "text_time"

    def call() -> object:
        return unet(
            x, t, encoder_hidden_states=text, added_cond_kwargs=added if sdxl else None
        ).sample

    call()
    told = Footprint().network(
        SDXL if sdxl else StableDiffusion,
        unet,
        torch.float32,
        rows=rows,
        latent=LATENT,
        tokens=TOKENS,
    )
    assert told == pytest.approx(peak_memory(call), rel=0.15)


@pytest.mark.slow
@torch.no_grad()
def test_a_unet_of_pixels_reads_no_text() -> None:
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
    ).eval()
    x = torch.randn(2, 3, 64, 64)
    unet(x, 500)
    told = Footprint().network(Pixels, unet, torch.float32, rows=2, latent=(3, 64, 64), tokens=0)
    assert told == pytest.approx(peak_memory(lambda: unet(x, 500).sample), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("tiled", [False, True])
@torch.no_grad()
def test_decoding_takes_what_was_told(tiled: bool) -> None:
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        sample_size=64,
    ).eval()
    z = torch.randn(1, *LATENT)
    told = Footprint().decoder(vae, torch.float32, latent=LATENT, tiled=tiled)
    vae = in_tiles(vae) if tiled else vae
    vae.decode(z)
    assert told == pytest.approx(peak_memory(lambda: vae.decode(z).sample), rel=0.15)


def on_meta(kind: Any, config: dict[str, Any]) -> Any:
    with torch.device("meta"):
        return kind(**config).half()


@pytest.fixture(scope="module")
def sdxl() -> UNet2DConditionModel:
    return on_meta(UNet2DConditionModel, UNETS["sdxl"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_weights_are_two_bytes_a_parameter_in_float16(name: str) -> None:
    """5.1 GB for SDXL's U-Net: the parameters of the published checkpoints."""
    unet = on_meta(UNet2DConditionModel, UNETS[name])
    assert weight_bytes(unet) == 2 * PARAMETERS[name]
    assert weight_bytes(on_meta(AutoencoderKL, VAE)) == 2 * PARAMETERS["vae"]


def test_buffers_are_weights_too() -> None:
    assert weight_bytes(nn.BatchNorm1d(10)) == 4 * 40 + 8


@pytest.mark.slow
def test_sdxl_is_told_by_the_laws_of_its_size(sdxl: UNet2DConditionModel) -> None:
    """Activations grow with rows and with cells as they do in proportion, attention included, and
    halve in float16.
    """
    found = Footprint()

    def told(rows: int = 1, side: int = 64, dtype: torch.dtype = torch.float16) -> int:
        return found.network(SDXL, sdxl, dtype, rows=rows, latent=(4, side, side), tokens=77)

    assert told(rows=3) == pytest.approx(3 * told(), rel=0.02)
    assert told(side=128) == pytest.approx(4 * told(), rel=0.02)
    assert told(dtype=torch.float32) == pytest.approx(2 * told(), rel=0.02)
    # that wait for the way up
    skips = 3 * 320 * 64**2 + 320 * 32**2 + 2 * 640 * 32**2 + 640 * 16**2 + 2 * 1280 * 16**2
    assert told() > 2 * skips


@pytest.mark.slow
def test_a_peak_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And another one where anything differs that decides it."""
    found, unet, made = Footprint(), build_unet(), []
    real = UNet2DConditionModel.from_config.__func__

    def counted(*args: Any) -> Any:
        made.append(args)
        return real(*args)

    monkeypatch.setattr(UNet2DConditionModel, "from_config", classmethod(counted))
    for rows in (1, 2, 1, 2):
        found.network(StableDiffusion, unet, torch.float32, rows=rows, latent=LATENT, tokens=TOKENS)
    assert len(made) == 2
    found.network(StableDiffusion, unet, torch.float16, rows=1, latent=LATENT, tokens=TOKENS)
    found.network(
        StableDiffusion,
        build_unet(block_out_channels=(8, 32)),
        torch.float32,
        rows=1,
        latent=LATENT,
        tokens=TOKENS,
    )
    assert len(made) == 4
