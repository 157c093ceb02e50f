"""The scenes that are trained on, kept on disk: their pixels, labels and latents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from tqdm.auto import tqdm

from sagviz.mini.scenes import SIZE, Label, scene
from sagviz.mini.training import autoencoder
from sagviz.mini.training.fit import save_atomically


def render(count: int, seed: int, folder: Path) -> tuple[np.ndarray, list[Label]]:
    """`count` scenes as pixels (N, 64, 64, 3) and their labels, made once and kept in `folder`."""
    pixels_path, labels_path = folder / "pixels.npy", folder / "labels.json"
    if not labels_path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pixels, labels = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8), []
        for index in tqdm(range(count), desc=f"render {folder.name}", mininterval=5):
            drawn = scene(np.random.default_rng((seed, index)))
            pixels[index] = np.asarray(drawn.image)
            labels.append(drawn.label)
        np.save(pixels_path, pixels)
        labels_path.write_text(json.dumps(labels))
    return np.load(pixels_path, mmap_mode="c"), json.loads(labels_path.read_text())


def encode_once(vae: AutoencoderKL, scenes: np.ndarray, path: Path) -> Tensor:
    """The latents of all scenes, kept on disk: a changed VAE needs a new work folder."""
    if not path.exists():
        save_atomically(autoencoder.encode(vae, scenes), path)
    latents: Tensor = torch.load(path, weights_only=True)
    return latents
