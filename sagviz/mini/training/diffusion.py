"""The miniature's denoiser: Stable Diffusion's U-Net, text encoder, tokenizer and schedule, at a
fortieth of the width.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from sagviz.mini.training.fit import Plan, fit
from sagviz.mini.world import words

TOKENS = 24  # length of a padded prompt
WIDTH = 128  # of the text encoder
START, END = "<|startoftext|>", "<|endoftext|>"
DROPPED_CAPTIONS = 0.2
LIKE = {  # where a word starts that an earlier model did not know
    "the": "a",
    "over": "above",
    "top": "above",
    "under": "below",
    "beneath": "below",
    "underneath": "below",
    "with": "and",
    "beside": "and",
    "next": "and",
    "gray": "grey",
    "against": "on",
    "in": "on",
}
BATCH = 64
SNR_CEILING = 5.0  # min-SNR-gamma, Hang et al. 2023, arXiv 2303.09556
# of the predicted picture's error beside the noise's: it is more from t = 600 on
PICTURE_WEIGHT = 0.1


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """A `CLIPTokenizer` in which every word of the world is one token; any other text falls apart
    into letters.
    """
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=letters,
        show_progress=False,
    )
    bpe.train_from_iterator(words(), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = [*sorted(set(learned["vocab"]) | {letter + "</w>" for letter in letters}), START, END]
    merges = [" ".join(pair) for pair in learned["merges"]]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    )
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, "do_lower_case": True}
        )
    )
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids (N, 24)."""
    return tokenizer(
        captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    ).input_ids


class Denoiser(nn.Module):
    """U-Net and text encoder as one network: eps(x_t, t, token ids)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary,
                hidden_size=WIDTH,
                intermediate_size=4 * WIDTH,
                projection_dim=WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=TOKENS,
                bos_token_id=vocabulary - 2,
                eos_token_id=vocabulary - 1,
                pad_token_id=vocabulary - 1,
            )
        )
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
    """DDIM on Stable Diffusion's schedule, with a noisier end.

    Theirs, 0.012, leaves 7 % of the latent at the end, enough to tell the colour of a flat
    background: a run that starts from noise alone then starts where training never was (Lin et al.
    2023, arXiv 2305.08891).
    """
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.018,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


@torch.no_grad()
def start_from(denoiser: Denoiser, vocabulary: dict[str, int], folder: Path) -> None:
    """Take over what an earlier model has learned: its U-Net, its text layers, and the embeddings
    of the words that both know.

    A new word starts as the known one that it is like; positions beyond the earlier model's longest
    prompt start as its last.
    """
    denoiser.unet.load_state_dict(
        UNet2DConditionModel.from_pretrained(
            folder, subfolder="unet", dtype=torch.float32
        ).state_dict()
    )
    earlier = CLIPTextModel.from_pretrained(
        folder, subfolder="text_encoder", dtype=torch.float32
    ).state_dict()
    words_before = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer").get_vocab()
    state = denoiser.text_encoder.state_dict()
    for name, numbers in state.items():
        if name.endswith("token_embedding.weight"):
            for token, row in vocabulary.items():
                like = (
                    token
                    if token in words_before
                    else LIKE.get(token.removesuffix("</w>"), "") + "</w>"
                )
                if like in words_before:
                    numbers[row] = earlier[name][words_before[like]]
        elif name.endswith("position_embedding.weight"):
            numbers[: len(earlier[name])] = earlier[name][: len(numbers)]
            numbers[len(earlier[name]) :] = earlier[name][-1]
        elif not name.endswith("position_ids"):
            numbers.copy_(earlier[name])


def train(
    denoiser: Denoiser,
    scenes: tuple[Tensor, Tensor],
    chances: np.ndarray,
    measure: Callable[[nn.Module], dict[str, float]],
    empty: Tensor,
    plan: Plan,
    checkpoint: Path,
) -> Denoiser:
    """eps-prediction with min-SNR weights, `emphasis` and dropped captions; returns the moving
    average.

    Args:
        scenes: latents (N, 4, 16, 16) and token ids (N, 24) to learn from.
        chances: how often each scene is drawn, (N,); they sum to 1.
        measure: what the log says of a denoiser.
        empty: token ids of the empty caption, (1, 24).
    """
    denoiser.unet.to(memory_format=torch.channels_last)
    signal = build_scheduler().alphas_cumprod
    weights = (SNR_CEILING * (1 - signal) / signal).clamp(max=1)
    # half of it in how often a time is drawn, for a less noisy gradient
    half = emphasis(signal).sqrt()

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.choice(len(scenes[0]), size=BATCH, p=chances))
        dropped = torch.rand(BATCH, 1) < DROPPED_CAPTIONS
        ids = torch.where(dropped, empty, scenes[1][chosen])
        t = torch.multinomial(weights * half, BATCH, replacement=True)
        return (
            half[t] * squared_errors(denoiser, scenes[0][chosen].float(), t, ids, signal)
        ).mean()

    return fit(denoiser, loss_at, plan, checkpoint, measure=measure)


def emphasis(signal: Tensor) -> Tensor:
    """How much more the noise's error counts at each time, so that it counts no less than the
    picture's. `signal` is alpha bar.

    Which object stands where is decided in a sampler's first few steps. There the layout is less
    than one per cent of the noise's error, and is never learned for it; of the predicted picture's
    error it is most.
    """
    return (PICTURE_WEIGHT * (1 - signal) / signal).clamp(min=1)


@torch.no_grad()
def held_out_error(denoiser: nn.Module, latents: Tensor, ids: Tensor) -> float:
    """Mean squared error of the noise at uniform t, with the same noise at each call. `ids` (N,
    24).
    """
    torch.manual_seed(0)
    signal = build_scheduler().alphas_cumprod
    return float(
        squared_errors(
            denoiser, latents.float(), torch.randint(len(signal), (len(ids),)), ids, signal
        ).mean()
    )


@torch.no_grad()
def order_read(denoiser: nn.Module, latents: Tensor, ids: Tensor, swapped: Tensor) -> float:
    """Share of the pairs (N, 4, 16, 16) whose noise is predicted better from their caption than
    from the one that swaps the two.

    One half is what a denoiser reaches that does not read the order of the words. Taken at t = 900
    to 999: below, what is left of the picture shows where the objects are, and the caption's word
    for it is not needed.
    """
    signal = build_scheduler().alphas_cumprod
    t = torch.linspace(900, 999, len(ids)).long()
    errors = []
    for caption in (ids, swapped):
        torch.manual_seed(0)  # the same noise for both
        errors.append(squared_errors(denoiser, latents.float(), t, caption, signal))
    return float((errors[0] < errors[1]).float().mean())


def squared_errors(
    denoiser: nn.Module, x_0: Tensor, t: Tensor, ids: Tensor, signal: Tensor
) -> Tensor:
    """Mean squared error of the predicted noise for each of B latents, at fresh noise. `signal` is
    alpha bar.
    """
    noise, alpha_bar = torch.randn_like(x_0), signal[t][:, None, None, None]
    eps = denoiser(alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * noise, t, ids)
    return (eps.float() - noise).square().mean(dim=(1, 2, 3))
