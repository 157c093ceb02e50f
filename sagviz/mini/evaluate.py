"""How good the miniature is, measured: `python -m sagviz.mini.evaluate`.

Prints reconstruction, judge and prompt fidelity with 95 % Wilson intervals, and writes the sheet of uncurated samples that
the model card shows. Prompts and seeds are fixed, so that anyone gets the same numbers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import binomtest
from torch import Tensor
from tqdm.auto import tqdm

import sagviz as sv
from sagviz import CFG, SAG
from sagviz.image import from_images
from sagviz.mini import WEIGHTS, autoencoder
from sagviz.mini.judge import NAMES, Judge
from sagviz.mini.world import BACKGROUNDS, OBJECTS, RELATIONS, caption, scene

SHEET = WEIGHTS.parent / "samples.png"


def load_judge() -> Judge:
    """The judge that ships with the miniature."""
    judge = Judge()
    missing = judge.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS / "judge.safetensors").items()}, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    return judge.eval()


def percent(hits: int, of: int) -> str:
    """'78.0 % (71.8 to 83.2)', a Wilson interval of 95 %."""
    interval = binomtest(hits, of).proportion_ci(method="wilson")
    return f"{hits / of:.1%} ({interval.low:.1%} to {interval.high:.1%})"


@torch.no_grad()
def named(judge: Judge, pictures: list[Image.Image]) -> list[str]:
    """The most likely object on each picture."""
    logits: Tensor = judge(from_images(pictures))[0]
    return [NAMES[index] for index in logits.argmax(dim=1).tolist()]


def one_object_prompts(count: int) -> list[str]:
    """`count` objects, uniform: each as often as the others, in a fixed order."""
    return [list(OBJECTS)[index % len(OBJECTS)] for index in range(count)]


def fidelity(model: sv.Model, judge: Judge, count: int, steps: int = 50) -> dict[str, int]:
    """How many of `count` one-object prompts are named right, seeds 0..count-1, by CFG 3 and by CFG 3 + SAG 1."""
    right = {"CFG 3": 0, "CFG 3 + SAG 1": 0}
    for seed, name in enumerate(tqdm(one_object_prompts(count), desc="fidelity")):
        prompt = caption((name,))
        traces = sv.compare(model, prompt, cfg=3.0, sag=1.0, seed=seed, steps=steps, keep=steps, progress=False)
        for key, found in zip(right, named(judge, [trace.image for trace in traces]), strict=True):
            right[key] += found == name
    return right


def held_out(count: int) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Renders that training has not seen: pixels (N, 64, 64, 3) and their objects."""
    scenes = [scene(np.random.default_rng((2, index))) for index in range(count)]
    return np.stack([np.asarray(drawn.image) for drawn in scenes]), [drawn.objects for drawn in scenes]


def sheet_prompts() -> list[str]:
    """64 prompts of every kind: 40 of one object, half of them on a background, and 24 of two."""
    names, colours, relations = list(OBJECTS), list(BACKGROUNDS), [*RELATIONS, "and"]
    one = [caption((names[i % 48],), background=colours[i % 10] if i % 2 else None) for i in range(40)]
    pairs = [(names[(7 * i + 3) % 48], names[(11 * i + 20) % 48]) for i in range(24)]
    return one + [caption(pair, relations[i % 5], colours[i % 10] if i % 2 else None) for i, pair in enumerate(pairs)]


def sheet(model: sv.Model, steps: int = 50) -> Image.Image:
    """The first picture of each of the 64 prompts, CFG 3 + SAG 1, seeds 0..63, nothing chosen."""
    page = Image.new("RGB", (8 * 66, 8 * 66), "white")
    for index, prompt in enumerate(tqdm(sheet_prompts(), desc="samples")):
        trace = sv.trace(model, prompt, guidance=CFG(3.0) + SAG(1.0), seed=index, steps=steps, keep=steps, progress=False)
        page.paste(trace.image, (index % 8 * 66 + 1, index // 8 * 66 + 1))
    return page


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m sagviz.mini.evaluate", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="prompts for fidelity (200)")
    parser.add_argument("--sheet", type=Path, default=SHEET, help="where the sheet of samples goes")
    arguments = parser.parse_args(argv)
    model, judge = sv.load(), load_judge()
    scenes, objects = held_out(1000)
    with torch.no_grad():
        logits = judge(autoencoder.to_tensor(scenes))[0]
    exact = sum(
        set(row.topk(len(o)).indices.tolist()) == {NAMES.index(n) for n in o} for row, o in zip(logits, objects, strict=True)
    )
    print(f"VAE, PSNR of 1,000 held-out renders: {autoencoder.psnr(model.vae, scenes):.1f} dB")
    print(f"judge, all objects of held-out renders right: {percent(exact, 1000)}")
    for key, hits in fidelity(model, judge, arguments.count).items():
        print(f"one-object prompts named right, 50 steps, {key}, n = {arguments.count}: {percent(hits, arguments.count)}")
    sheet(model).save(arguments.sheet)
    print(f"samples: {arguments.sheet}")


if __name__ == "__main__":
    main()
