"""One command goes from sprites to a model that `load` opens, goes on where it stopped, and starts
from an earlier model.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.mini import noisy
from sagviz.mini.noisy import load_noisy_classifier
from sagviz.mini.training import autoencoder, curves, diffusion, judge, train
from sagviz.mini.training.judge import load_judge
from sagviz.mini.world import vocabulary

Folders = tuple[Path, Path]


def run(folder: Path, *options: str) -> Folders:
    """Every stage of the program, with the tiny counts that continuous integration uses."""
    work, model = folder / "work", folder / "model"
    train.main(["--smoke", "--work", str(work), "--out", str(model), "--threads", "1", *options])
    return work, model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return run(tmp_path_factory.mktemp("first"))


@pytest.mark.slow
def test_from_sprites_to_weights(trained: Folders) -> None:
    model = sv.load(trained[1])
    assert sv.vocabulary(model) == vocabulary()
    made = sv.trace(
        model, "a fox on a blue background", steps=2, guidance=CFG(3.0) + SAG(1.0), progress=False
    )
    assert made.image.size == (64, 64)
    assert made.latents.isfinite().all()
    assert load_judge(trained[1])(torch.zeros(1, 3, 64, 64)).objects.isfinite().all()
    assert (
        load_noisy_classifier(trained[1])(torch.zeros(1, 4, 16, 16), torch.tensor([500]))
        .isfinite()
        .all()
    )


@pytest.mark.slow
def test_every_stage_leaves_its_measures_and_a_picture_of_them(trained: Folders) -> None:
    work, model = trained
    measured = {
        "vae": "psnr",
        "judge": "relation",
        "noisy": "t=500",
        "text": "layout",
        "unet": "held_out",
    }
    for stage, name in measured.items():
        (line,) = map(json.loads, (work / f"{stage}.jsonl").read_text().splitlines())
        assert line["step"] == 2
        assert {"seconds", "loss", name} <= set(line)
    assert 0 <= line["order"] <= 1
    assert (model / "training.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_second_run_trains_nothing_and_exports_the_same(trained: Folders) -> None:
    work, model = trained
    times = {path: path.stat().st_mtime_ns for path in work.rglob("*.pt")}
    weights = (model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    run(work.parent)
    assert (model / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == weights
    assert times == {path: path.stat().st_mtime_ns for path in work.rglob("*.pt")}


@pytest.mark.slow
def test_one_stage_needs_only_those_before_it(tmp_path: Path) -> None:
    train.main(["--smoke", "--work", str(tmp_path), "--threads", "1", "--stage", "judge"])
    assert {path.name for path in tmp_path.iterdir()} == {
        "scenes",
        "held_out",
        "judge.pt",
        "judge.jsonl",
    }


def test_a_start_hands_over_what_an_earlier_model_learned(trained: Folders) -> None:
    """The same tokenizer: all words and positions are known, so that the denoiser is the earlier
    one.
    """
    work, folder = trained
    tokenizer, earlier = diffusion.build_tokenizer(work / "tokenizer"), sv.load(folder)
    denoiser = diffusion.Denoiser(len(tokenizer)).eval()
    ids = diffusion.tokenize(tokenizer, ["a fox on a blue background"])
    x_t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    diffusion.start_from(denoiser, tokenizer.get_vocab(), folder)
    expected = earlier.predict(x_t, torch.tensor(500), earlier.embed("a fox on a blue background"))
    torch.testing.assert_close(denoiser(x_t, torch.tensor(500), ids), expected)


@pytest.mark.slow
def test_a_kept_encoder_gives_the_latents_of_the_model_that_it_is_from(
    trained: Folders, tmp_path: Path
) -> None:
    """So that a denoiser can go on learning: only the decoder is trained."""
    _, model = run(tmp_path, "--start", str(trained[1]), "--keep-encoder")
    before, after = (
        AutoencoderKL.from_pretrained(folder, subfolder="vae").state_dict()
        for folder in (trained[1], model)
    )
    changed = {
        name.split(".")[0]
        for name, numbers in before.items()
        if not torch.equal(numbers, after[name])
    }
    assert changed == {"decoder", "post_quant_conv"}
    # they saw renders and these latents, so that they hold for the new model
    for name in (judge.FILE, noisy.FILE):
        torch.testing.assert_close(
            load_file(model / name), load_file(trained[1] / name), rtol=0, atol=0
        )


@pytest.mark.slow
def test_a_narrower_vae_becomes_the_first_channels(tmp_path: Path) -> None:
    """Same latents and same pictures, and yet the new channels can learn."""
    shape = autoencoder.build().config
    narrow = AutoencoderKL.from_config(
        {
            **shape,
            "block_out_channels": [width // 3 for width in shape["block_out_channels"]],
            "norm_num_groups": 4,
        }
    ).eval()
    narrow.save_pretrained(tmp_path / "vae")
    wide = autoencoder.build().eval()
    autoencoder.start_from(wide, tmp_path)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    latents = wide.encode(images).latent_dist.mode()
    torch.testing.assert_close(latents, narrow.encode(images).latent_dist.mode())
    torch.testing.assert_close(wide.decode(latents).sample, narrow.decode(latents).sample)
    wide.decode(latents).sample.square().mean().backward()
    for unread in (wide.decoder.mid_block.resnets[0].conv1, wide.decoder.conv_out):
        known = unread.weight.shape[1] // 3
        assert unread.weight[:3, known:].eq(0).all()
        assert unread.weight.grad[:3, known:].ne(0).any()


def test_the_noise_s_error_counts_no_less_than_the_picture_s() -> None:
    """At the end of the schedule the weighted error is that of the picture, at its beginning that
    of the noise.
    """
    signal = diffusion.build_scheduler().alphas_cumprod
    generator = torch.Generator().manual_seed(0)
    x_t, told, noise = torch.randn(3, len(signal), 8, generator=generator)
    alpha, sigma = signal.sqrt()[:, None], (1 - signal).sqrt()[:, None]
    of_noise = (told - noise).square().mean(dim=1)
    of_picture = ((x_t - sigma * told) / alpha - (x_t - sigma * noise) / alpha).square().mean(dim=1)
    weighted = diffusion.emphasis(signal) * of_noise
    torch.testing.assert_close(
        weighted[-200:], diffusion.PICTURE_WEIGHT * of_picture[-200:], rtol=1e-3, atol=0
    )
    equal = int((diffusion.PICTURE_WEIGHT * (1 - signal) < signal).sum())
    torch.testing.assert_close(weighted[:equal], of_noise[:equal])


def test_the_picture_of_a_training_has_a_panel_for_each_measure_that_was_logged(
    tmp_path: Path,
) -> None:
    curves.draw(tmp_path, tmp_path / "none.png")
    (tmp_path / "unet.jsonl").write_text('{"step": 1, "held_out": 0.1, "order": 0.5}\n')
    curves.draw(tmp_path, tmp_path / "two.png")
    assert not (tmp_path / "none.png").exists()
    with Image.open(tmp_path / "two.png") as picture:
        # two panels of 4.2 x 2.8 side by side, and no room for others
        assert picture.width == 3 * picture.height


def test_an_encoder_is_kept_of_an_earlier_model_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train.main(["--smoke", "--work", str(tmp_path), "--keep-encoder"])
    assert "--start" in capsys.readouterr().err


def test_order_is_read_by_a_denoiser_that_knows_it() -> None:
    """One that gives away the noise under the right caption only, one under the other, and one that
    reads neither.
    """
    latents, ids, swapped = torch.zeros(8, 4, 16, 16), torch.zeros(8, 24), torch.ones(8, 24)

    def knows(caption: float) -> torch.nn.Module:
        class Told(torch.nn.Module):
            def forward(
                self, x_t: torch.Tensor, t: torch.Tensor, ids: torch.Tensor
            ) -> torch.Tensor:
                # Of latents that are zero x_t is the noise alone.
                signal = diffusion.build_scheduler().alphas_cumprod[t][:, None, None, None]
                return x_t / (1 - signal).sqrt() * (ids[:, :1, None, None] == caption)

        return Told()

    assert diffusion.order_read(knows(0), latents, ids, swapped) == 1
    assert diffusion.order_read(knows(1), latents, ids, swapped) == 0
    # equal errors are no sign of reading
    assert diffusion.order_read(knows(2), latents, ids, swapped) == 0


@pytest.mark.slow
def test_a_start_keeps_words_at_their_meaning_under_other_numbers(trained: Folders) -> None:
    """A word that is new shifts the token numbers of the others, and comes with an embedding of its
    own.
    """
    work, folder = trained
    tokenizer = diffusion.build_tokenizer(work / "tokenizer")
    shifted = {token: number + 1 for token, number in tokenizer.get_vocab().items()} | {
        "aardvark</w>": 0
    }
    denoiser = diffusion.Denoiser(len(shifted))
    fresh = denoiser.text_encoder.get_input_embeddings().weight[0].clone()
    diffusion.start_from(denoiser, shifted, folder)
    rows, before = (
        denoiser.text_encoder.get_input_embeddings().weight,
        sv.load(folder).text_encoder.get_input_embeddings().weight,
    )
    assert torch.equal(rows[1:], before)
    assert torch.equal(rows[0], fresh)
