"""From raw sprites to weights, resumable: `python -m sagviz.mini.training.train`.

Each stage leaves its result in the work folder and is skipped when that is there; a stage that was
killed goes on at its last checkpoint. Stages can be run one by one, on several cores at once:
"unet" needs "text", it and "noisy" need "latents", all need "scenes".
The finished model is written in diffusers' own folder format, its judges beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from sagviz.mini import WEIGHTS, noisy
from sagviz.mini.training import autoencoder, curves, diffusion, judge, layout
from sagviz.mini.training.fit import Plan, save_atomically
from sagviz.mini.world import SIZE, Scene, scene, swapped, vocabulary

Labels = list[dict[str, object]]
MEASURED = 128  # held-out scenes in the log's measures of the denoiser


@dataclass(frozen=True)
class Budget:
    """How many scenes to render, and how long to train each network."""

    scenes: int
    held_out: int
    judge: Plan
    vae: Plan
    decoder: Plan
    noisy: Plan
    text: Plan
    unet: Plan

    def shortened(self, share: float) -> Budget:
        """The same scenes, and a share of each network's steps."""
        shorter: dict[str, Any] = {
            name: replace(plan, steps=round(share * plan.steps))
            for name, plan in vars(self).items()
            if isinstance(plan, Plan)
        }
        return replace(self, **shorter)


FULL = Budget(
    scenes=48_000,
    held_out=2_000,
    judge=Plan(steps=1_600, rate=3e-3),
    vae=Plan(steps=9_000, rate=1e-3),
    decoder=Plan(steps=7_000, rate=8e-4),
    noisy=Plan(steps=4_000, rate=2e-3),
    text=Plan(steps=2_400, rate=1e-3),
    unet=Plan(steps=4_200, rate=8e-4, hold=0.5, ema=0.999),
)
FEW = Plan(steps=2, rate=1e-3)
SMOKE = Budget(
    scenes=96,
    held_out=32,
    judge=FEW,
    vae=FEW,
    decoder=FEW,
    noisy=FEW,
    text=FEW,
    unet=replace(FEW, ema=0.9),
)


class Workshop:
    """A work folder and what the stages leave in it; each is made once, when it is first asked for."""

    def __init__(
        self, work: Path, budget: Budget, start: Path | None = None, keep_encoder: bool = False
    ) -> None:
        self.work, self.budget, self.start = work, budget, start
        self.kept = start if keep_encoder else None  # whose latents and judges go on to be used

    @cached_property
    def scenes(self) -> tuple[np.ndarray, Labels]:
        return render(self.budget.scenes, 0, self.work / "scenes")

    @cached_property
    def held_out(self) -> tuple[np.ndarray, Labels]:
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
    def noisy(self) -> noisy.NoisyClassifier:
        if self.kept:
            return noisy.load_noisy_classifier(self.kept)
        held_out = self.held_out_latents, self.held_out[1]
        signal = diffusion.build_scheduler().alphas_cumprod
        return noisy.train(
            self.latents,
            self.scenes[1],
            held_out,
            signal,
            self.budget.noisy,
            self.work / "noisy.pt",
        )

    @cached_property
    def tokenizer(self) -> CLIPTokenizer:
        return diffusion.build_tokenizer(self.work / "tokenizer")

    @cached_property
    def text(self) -> diffusion.Denoiser:
        """A denoiser whose text encoder is trained, and knows what stands where; its U-Net is not."""
        torch.manual_seed(0)
        denoiser = diffusion.Denoiser(len(self.tokenizer))
        if self.start:
            diffusion.start_from(denoiser, self.tokenizer.get_vocab(), self.start)
        ids, held_out = (self.tokens(labels) for labels in (self.scenes[1], self.held_out[1]))
        wanted, asked = layout.layouts(self.scenes[1]), layout.layouts(self.held_out[1])
        layout.teach(
            denoiser.text_encoder,
            ids,
            wanted,
            (held_out, asked),
            self.budget.text,
            self.work / "text.pt",
        )
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
        told = [index for index, label in enumerate(labels) if relation_swapped(label)][:MEASURED]
        others = diffusion.tokenize(
            self.tokenizer, [str(relation_swapped(labels[index])) for index in told]
        )
        return {
            "held_out": diffusion.held_out_error(denoiser, latents[:MEASURED], ids[:MEASURED]),
            "order": diffusion.order_read(denoiser, latents[told], ids[told], others),
        }

    def tokens(self, labels: Labels) -> Tensor:
        return diffusion.tokenize(self.tokenizer, [str(label["caption"]) for label in labels])


STAGES = ("scenes", "judge", "vae", "latents", "decoder", "noisy", "text", "unet")


def render(count: int, seed: int, folder: Path) -> tuple[np.ndarray, Labels]:
    """`count` scenes as pixels (N, 64, 64, 3) and their labels, made once and kept in `folder`."""
    pixels_path, labels_path = folder / "pixels.npy", folder / "labels.json"
    if not labels_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels, labels = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8), []
        for index in tqdm(range(count), desc=f"render {folder.name}", mininterval=5):
            drawn: Scene = scene(np.random.default_rng((seed, index)))
            pixels[index] = np.asarray(drawn.image)
            labels.append(
                {
                    k: getattr(drawn, k)
                    for k in ("caption", "objects", "sizes", "background", "relation")
                }
            )
        np.save(pixels_path, pixels)
        labels_path.write_text(json.dumps(labels))
    return np.load(pixels_path, mmap_mode="c"), json.loads(labels_path.read_text())


def relation_swapped(label: dict[str, object]) -> str | None:
    """The caption of a scene with the opposite relation, `None` where it names none."""
    relation = label["relation"]
    return swapped(str(label["caption"]), None if relation is None else str(relation))


def encode_once(vae: AutoencoderKL, scenes: np.ndarray, path: Path) -> Tensor:
    """The latents of all scenes, kept on disk: a changed VAE needs a new work folder."""
    if not path.exists():
        save_atomically(autoencoder.encode(vae, scenes), path)
    latents: Tensor = torch.load(path, weights_only=True)
    return latents


def export(shop: Workshop, folder: Path) -> None:
    """Write the model in diffusers' folder format, float16 safetensors, its judges and the picture
    of the training beside it.
    """
    parts = {"vae": shop.decoder, "text_encoder": shop.unet.text_encoder, "unet": shop.unet.unet}
    halves = {name: deepcopy(part).half() for name, part in parts.items()}
    # goes into tokenizer_config.json, where `sagviz.vocabulary` finds it
    shop.tokenizer.init_kwargs["words"] = vocabulary()
    pipeline = StableDiffusionPipeline(
        **halves,
        tokenizer=shop.tokenizer,
        scheduler=diffusion.build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    # transformers 5 writes tokenizer.json only, 4 reads these
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shop.work / "tokenizer" / name, folder / "tokenizer" / name)
    save_halves(shop.judge, folder / judge.FILE)
    save_halves(shop.noisy, folder / noisy.FILE)
    curves.draw(shop.work, folder / "training.png")


def save_halves(network: nn.Module, path: Path) -> None:
    """All floating-point numbers of a network as float16 safetensors."""
    save_file(
        {
            k: v.half().contiguous()
            for k, v in network.state_dict().items()
            if v.is_floating_point()
        },
        path,
    )


def main(argv: list[str] | None = None) -> None:
    """Render, train the VAE, the judges and the denoiser, and export."""
    parser = argparse.ArgumentParser(
        prog="python -m sagviz.mini.training.train", description=__doc__
    )
    parser.add_argument("--work", type=Path, help="folder of checkpoints and logs (.mini)")
    parser.add_argument(
        "--out", type=Path, help="folder for the finished model (the package's own)"
    )
    parser.add_argument(
        "--start",
        type=Path,
        help="folder of an earlier model whose weights the VAE and the denoiser start from",
    )
    parser.add_argument(
        "--keep-encoder",
        action="store_true",
        help="leave the VAE's encoder as it is in --start, with it the latents and the judges",
    )
    parser.add_argument(
        "--stage", choices=STAGES, help="run this stage and what it needs, and export nothing"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=os.cpu_count(),
        help="CPU threads; fewer leave room for other work",
    )
    parser.add_argument(
        "--share",
        type=float,
        default=1.0,
        help="share of the full number of steps: less to go on from --start (1)",
    )
    parser.add_argument(
        "--export-now", action="store_true", help="export the last checkpoints, train nothing"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="every stage with tiny counts, to see that it runs (.mini/smoke)",
    )
    arguments = parser.parse_args(argv)
    if arguments.keep_encoder and not arguments.start:
        parser.error(
            "--keep-encoder keeps the encoder of an earlier model; give its folder with --start"
        )
    torch.set_num_threads(arguments.threads)
    work = arguments.work or Path(".mini/smoke" if arguments.smoke else ".mini")
    budget = SMOKE if arguments.smoke else FULL
    budget = budget.shortened(0 if arguments.export_now else arguments.share)
    shop = Workshop(work, budget, arguments.start, arguments.keep_encoder)
    if arguments.stage:
        getattr(shop, arguments.stage)
    else:
        export(shop, arguments.out or (work / "model" if arguments.smoke else WEIGHTS))


if __name__ == "__main__":
    main()
