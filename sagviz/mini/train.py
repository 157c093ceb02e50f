"""From raw sprites to weights, resumable: `python -m sagviz.mini.train`.

Each stage leaves its result in the work folder and is skipped when that is there; a stage that was killed goes on at its
last checkpoint. The finished model is written in diffusers' own folder format.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from sagviz.mini import WEIGHTS, autoencoder, diffusion, judge
from sagviz.mini.fit import Plan, save_atomically
from sagviz.mini.world import SIZE, Scene, scene

SCENES, HELD_OUT = 48_000, 2_000
VAE_PLAN = Plan(steps=9_000, rate=3e-3)
JUDGE_PLAN = Plan(steps=2_000, rate=3e-3, save_every=60)
UNET_PLAN = Plan(steps=4_200, rate=8e-4, hold=0.5, ema=0.999)


def render(count: int, seed: int, folder: Path) -> tuple[np.ndarray, list[dict[str, object]]]:
    """`count` scenes as pixels (N, 64, 64, 3) and their labels, made once and kept in `folder`."""
    pixels_path, labels_path = folder / "pixels.npy", folder / "labels.json"
    if not labels_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels, labels = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8), []
        for index in tqdm(range(count), desc=f"render {folder.name}", mininterval=5):
            drawn: Scene = scene(np.random.default_rng((seed, index)))
            pixels[index] = np.asarray(drawn.image)
            labels.append({k: getattr(drawn, k) for k in ("caption", "objects", "background", "relation")})
        np.save(pixels_path, pixels)
        labels_path.write_text(json.dumps(labels))
    return np.load(pixels_path, mmap_mode="c"), json.loads(labels_path.read_text())


def encode_once(vae: AutoencoderKL, scenes: np.ndarray, path: Path) -> Tensor:
    """The latents of all scenes, kept on disk: a changed VAE needs a new work folder."""
    if not path.exists():
        save_atomically(autoencoder.encode(vae, scenes), path)
    latents: Tensor = torch.load(path, weights_only=True)
    return latents


def export(work: Path, vae: AutoencoderKL, tokenizer: CLIPTokenizer, denoiser: diffusion.Denoiser, folder: Path) -> None:
    """Write the model in diffusers' folder format, float16 safetensors, and the judge beside it."""
    parts = {"vae": vae, "text_encoder": denoiser.text_encoder, "unet": denoiser.unet}
    halves = {name: deepcopy(part).half() for name, part in parts.items()}
    scheduler = diffusion.build_scheduler()
    pipeline = StableDiffusionPipeline(
        **halves, tokenizer=tokenizer, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):  # transformers 5 writes tokenizer.json only, 4 reads these
        shutil.copy(work / "tokenizer" / name, folder / "tokenizer" / name)


def main(argv: list[str] | None = None) -> None:
    """Render, train the VAE, the judge and the denoiser, and export."""
    parser = argparse.ArgumentParser(prog="python -m sagviz.mini.train", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"), help="folder of checkpoints and logs")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the finished model")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads; fewer leave room for other work")
    parser.add_argument("--export-now", action="store_true", help="export the last checkpoints, train nothing")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    work: Path = arguments.work
    scenes, labels = render(SCENES, 0, work / "scenes")
    held_out, held_out_labels = render(HELD_OUT, 1, work / "held_out")
    vae = autoencoder.train(scenes, held_out, VAE_PLAN, work / "vae.pt")
    truth, pictures = judge.to_targets(held_out_labels)[0], torch.from_numpy(held_out[:])
    judged = judge.train(torch.from_numpy(scenes[:]), judge.to_targets(labels), pictures, truth, JUDGE_PLAN, work / "judge.pt")
    latents = encode_once(vae, scenes, work / "latents.pt")
    tokenizer = diffusion.build_tokenizer(work / "tokenizer")
    ids = diffusion.tokenize(tokenizer, [str(label["caption"]) for label in labels])
    plan = replace(UNET_PLAN, steps=0) if arguments.export_now else UNET_PLAN
    denoiser = diffusion.train(latents, ids, diffusion.tokenize(tokenizer, [""]), plan, work / "unet.pt")
    export(work, vae, tokenizer, denoiser, arguments.out)
    numbers = {key: value.half().contiguous() for key, value in judged.state_dict().items() if value.is_floating_point()}
    save_file(numbers, arguments.out / "judge.safetensors")


if __name__ == "__main__":
    main()
