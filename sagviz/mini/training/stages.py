"""The stages of a training, from scenes to the denoiser, each resumable."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTokenizer

from sagviz.mini.noisy import NoisyClassifier, load_noisy_classifier
from sagviz.mini.scenes import Label
from sagviz.mini.training import autoencoder, diffusion, judge, layout, noisy
from sagviz.mini.training.budget import Budget
from sagviz.mini.training.renders import encode_once, render
from sagviz.mini.world import swapped

STAGES = ("scenes", "judge", "vae", "latents", "decoder", "noisy", "text", "unet")
MEASURED = 128  # held-out scenes in the log's measures of the denoiser


class Stages:
    """What the stages leave in a work folder; each is made once, when it is first needed."""

    def __init__(
        self, work: Path, budget: Budget, start: Path | None = None, keep_encoder: bool = False
    ) -> None:
        self.work, self.budget, self.start = work, budget, start
        self.kept = start if keep_encoder else None  # whose latents and judges go on to be used

    @cached_property
    def scenes(self) -> tuple[np.ndarray, list[Label]]:
        return render(self.budget.scenes, 0, self.work / "scenes")

    @cached_property
    def held_out(self) -> tuple[np.ndarray, list[Label]]:
        return render(self.budget.held_out, 1, self.work / "held_out")

    @cached_property
    def vae(self) -> AutoencoderKL:
        torch.manual_seed(0)
        vae = autoencoder.build()
        if self.start:
            autoencoder.start_from(vae, self.start)
        if self.kept:
            return vae.eval()
        return autoencoder.train(
            vae, self.scenes[0], self.held_out[0], self.budget.vae, self.work / "vae.pt"
        )

    @cached_property
    def judge(self) -> judge.Judge:
        if self.kept:
            return judge.load_judge(self.kept)
        return judge.train(*self.scenes, self.held_out, self.budget.judge, self.work / "judge.pt")

    @cached_property
    def latents(self) -> Tensor:
        return encode_once(self.vae, self.scenes[0], self.work / "latents.pt")

    @cached_property
    def held_out_latents(self) -> Tensor:
        return encode_once(self.vae, self.held_out[0], self.work / "held_out_latents.pt")

    @cached_property
    def decoder(self) -> AutoencoderKL:
        """The VAE with its decoder trained to the end: the one that ships."""
        return autoencoder.train_decoder(
            self.vae,
            self.latents,
            self.scenes[0],
            self.held_out[0],
            self.budget.decoder,
            self.work / "decoder.pt",
        )

    @cached_property
    def noisy(self) -> NoisyClassifier:
        if self.kept:
            return load_noisy_classifier(self.kept)
        held_out = self.held_out_latents, self.held_out[1]
        signal = diffusion.build_scheduler().alphas_cumprod
        path = self.work / "noisy.pt"
        return noisy.train(self.latents, self.scenes[1], held_out, signal, self.budget.noisy, path)

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        return diffusion.build_tokenizer(self.work / "tokenizer")

    @cached_property
    def text(self) -> diffusion.Denoiser:
        """A denoiser whose text encoder is trained to say what stands where; its U-Net is not."""
        torch.manual_seed(0)
        denoiser = diffusion.Denoiser(len(self.tokenizer))
        if self.start:
            diffusion.start_from(denoiser, self.tokenizer.get_vocab(), self.start)
        ids, held_out = (self.tokens(labels) for labels in (self.scenes[1], self.held_out[1]))
        taught, tested = layout.layouts(self.scenes[1]), layout.layouts(self.held_out[1])
        path = self.work / "text.pt"
        layout.teach(denoiser.text_encoder, ids, taught, (held_out, tested), self.budget.text, path)
        return denoiser

    @cached_property
    def unet(self) -> diffusion.Denoiser:
        denoiser = self.text
        empty = diffusion.tokenize(self.tokenizer, [""])
        scenes = self.latents, self.tokens(self.scenes[1])
        chances = np.where(
            [relation_swapped(label) is not None for label in self.scenes[1]], 2.0, 1.0
        )
        return diffusion.train(
            denoiser,
            scenes,
            chances / chances.sum(),
            self.measure,
            empty,
            self.budget.unet,
            self.work / "unet.pt",
        )

    def measure(self, denoiser: nn.Module) -> dict[str, float]:
        """Of a denoiser, on held-out scenes: its error, and whether it reads the order of two
        objects.
        """
        latents, labels = self.held_out_latents, self.held_out[1]
        ids = self.tokens(labels)
        swaps = {i: text for i, label in enumerate(labels) if (text := relation_swapped(label))}
        named = list(swaps)[:MEASURED]
        others = diffusion.tokenize(self.tokenizer, [swaps[index] for index in named])
        return {
            "held_out": diffusion.held_out_error(denoiser, latents[:MEASURED], ids[:MEASURED]),
            "order": diffusion.order_read(denoiser, latents[named], ids[named], others),
        }

    def tokens(self, labels: list[Label]) -> Tensor:
        return diffusion.tokenize(self.tokenizer, [label["caption"] for label in labels])


def relation_swapped(label: Label) -> str | None:
    """The caption of a scene with the opposite relation, `None` where it names none."""
    return swapped(label["caption"], label["relation"])
