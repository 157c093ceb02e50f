"""The miniature's denoiser: Stable Diffusion's U-Net, text encoder, tokenizer and schedule, at a fortieth of the width."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sagviz.mini.fit import Plan, fit
from sagviz.mini.world import words

TOKENS = 16  # length of a padded prompt
WIDTH = 128  # of the text encoder
START, END = "<|startoftext|>", "<|endoftext|>"
DROPPED_CAPTIONS = 0.12
SNR_CEILING = 5.0  # min-SNR-gamma, Hang et al. 2023, arXiv 2303.09556


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """A `CLIPTokenizer` in which every word of the world is one token; any other text falls apart into letters."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    bpe.train_from_iterator(words(), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = [*sorted(set(learned["vocab"]) | {letter + "</w>" for letter in letters}), START, END]
    merges = [" ".join(pair) for pair in learned["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, "do_lower_case": True})
    )
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N, 16)."""
    return tokenizer(captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt").input_ids


class Denoiser(nn.Module):
    """U-Net and text encoder, trained together: eps(x_t, t, token ids)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
                num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=TOKENS,
                bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
            )
        )  # fmt: skip
        self.unet = UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(64, 128),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,  # diffusers' historical name: the number of heads
            cross_attention_dim=WIDTH,
        )

    def forward(self, x_t: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        return self.unet(x_t, t, self.text_encoder(ids).last_hidden_state).sample


def build_scheduler() -> DDIMScheduler:
    """DDIM on Stable Diffusion's schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip


def train(latents: Tensor, ids: Tensor, empty: Tensor, plan: Plan, checkpoint: Path, batch: int = 64) -> Denoiser:
    """eps-prediction with min-SNR weights and dropped captions; returns the moving average."""
    torch.manual_seed(0)
    denoiser = Denoiser(int(empty.max()) + 1)
    signal = build_scheduler().alphas_cumprod

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(latents), size=batch))
        x_0, noise, t = latents[chosen].float(), torch.randn(batch, *latents.shape[1:]), torch.randint(1000, (batch,))
        dropped = torch.rand(batch, 1) < DROPPED_CAPTIONS
        alpha_bar = signal[t][:, None, None, None]
        eps = denoiser(alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise, t, torch.where(dropped, empty, ids[chosen]))
        snr = alpha_bar.flatten() / (1 - alpha_bar.flatten())
        return ((eps.float() - noise).square().mean(dim=(1, 2, 3)) * (SNR_CEILING / snr).clamp(max=1)).mean()

    trained = fit(denoiser, loss_at, plan, checkpoint)
    assert isinstance(trained, Denoiser)
    return trained
