"""How good the miniature is, measured: `python -m sagviz.mini.evaluation.evaluate`.

Prints what the model card says, with 95 % intervals (Wilson for shares, bootstrap for the rest),
and writes the card's tables and its sheet of uncurated samples. Prompts and seeds are fixed:
picture i of a set has seed i. Pictures and figures are kept in the work folder, so that a run that
was stopped goes on, and parts can be measured one by one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import sagviz as sv
from sagviz import CFG, CG, SAG
from sagviz.guidance import Guidance, Term
from sagviz.measure import equivalent_cfg, frechet, precision_recall, sharpness
from sagviz.mini import WEIGHTS
from sagviz.mini.evaluation.card import SHEET, Rows, label, write_card
from sagviz.mini.evaluation.gallery import Gallery
from sagviz.mini.evaluation.intervals import bootstrap, proportion
from sagviz.mini.evaluation.prompts import (
    held_out,
    one_object_prompts,
    sheet_prompts,
    two_object_prompts,
)
from sagviz.mini.noisy import FILE as CLASSIFIER
from sagviz.mini.noisy import load_noisy_classifier
from sagviz.mini.training import autoencoder
from sagviz.mini.training.diffusion import build_scheduler
from sagviz.mini.training.judge import Verdict, accuracy, load_judge, look, to_targets
from sagviz.mini.training.noisy import accuracy as noisy_accuracy
from sagviz.mini.world import BACKGROUNDS, NAMES, caption, scene, vocabulary
from sagviz.models.vocabulary import unknown_words

CONFIDENT = 0.9
PROMPTED, GUIDED = CFG(3.0), CFG(3.0) + SAG(1.0)
SETTINGS: tuple[Guidance | Term, ...] = (
    PROMPTED,
    PROMPTED + SAG(-0.5),
    PROMPTED + SAG(0.5),
    GUIDED,
    PROMPTED + SAG(2.0),
    PROMPTED + SAG(1.0, threshold=0.7),
    PROMPTED + SAG(1.0, threshold=1.3),
    PROMPTED + SAG(1.0, blur_sigma=0.5),
    PROMPTED + SAG(1.0, blur_sigma=2.0),
    PROMPTED + SAG(1.0, stop=0.5),
    PROMPTED + SAG(1.0, start=0.5),
)
ALONE = (
    SAG(0.5),
    SAG(1.0),
    SAG(2.0),
    SAG(1.0, threshold=0.7),
    SAG(1.0, blur_sigma=3.0),
    SAG(1.0, blur_sigma=2.0),
    SAG(1.0, threshold=0.7, blur_sigma=3.0),
    SAG(2.0, threshold=0.7, blur_sigma=3.0),
    SAG(1.0, stop=0.5),
    SAG(1.0, start=0.2),
)
Statistic = Callable[[np.ndarray], float]
TRIED_FROM = 10_000  # the first seed on which these are tried


class Evaluation:
    """The measures of one model. Each part gives the rows of its table."""

    def __init__(self, gallery: Gallery, count: int, judges: Path = WEIGHTS) -> None:
        self.gallery, self.model, self.count = gallery, gallery.model, count
        self.judge = load_judge(judges)

    @cached_property
    def renders(self) -> tuple[np.ndarray, list[dict[str, object]]]:
        return held_out(1000)

    def taught(self, count: int, seed: int) -> tuple[np.ndarray, list[dict[str, object]]]:
        """The first `count` renders whose captions the model was taught to read."""
        return held_out(count, seed, lambda text: not unknown_words(self.model, text))

    def see(self, pixels: np.ndarray) -> Verdict:
        return look(self.judge, autoencoder.to_tensor(pixels))

    def vae(self) -> Rows:
        errors = autoencoder.squared_errors(self.model.vae, self.renders[0]).numpy()
        everywhere = [
            scene(np.random.default_rng((5, i)), (NAMES[i // 10],), list(BACKGROUNDS)[i % 10])
            for i in range(480)
        ]
        back = autoencoder.reconstruct(
            self.model.vae, np.stack([np.asarray(drawn.image) for drawn in everywhere])
        )
        named = [
            found == set(drawn.objects)
            for found, drawn in zip(look(self.judge, back).named(1), everywhere, strict=True)
        ]
        return [
            [
                "VAE, PSNR of held-out renders in dB",
                bootstrap(errors, lambda e: -10 * float(np.log10(e.mean()))),
            ],
            ["VAE, reconstructions named right, each object on each background", proportion(named)],
        ]

    def judging(self) -> Rows:
        right = accuracy(self.judge, *self.renders)
        return [
            [f"judge, {key} of held-out renders right", proportion(hits)]
            for key, hits in right.items()
        ]

    def noisy(self) -> Rows:
        if self.model.classifier is None:
            return []
        latents, present = (
            autoencoder.encode(self.model.vae, self.renders[0]).float(),
            to_targets(self.renders[1])[0],
        )
        found = noisy_accuracy(
            self.model.classifier, latents, present, build_scheduler().alphas_cumprod
        )
        return [
            [f"noisy-latent classifier, object named at {time}", proportion(hits)]
            for time, hits in found.items()
        ]

    def one(self) -> Rows:
        prompts = one_object_prompts(self.count)
        seen = self.see(
            self.gallery.pictures(
                [caption((name,), background=colour) for name, colour in prompts], PROMPTED
            )
        )
        named = [found == {name} for found, (name, _) in zip(seen.named(1), prompts, strict=True)]
        backgrounds = [
            found == colour
            for found, (_, colour) in zip(seen.colours(), prompts, strict=True)
            if colour
        ]
        return [
            [f"one-object prompts named right, {label(PROMPTED)}", proportion(named)],
            [f"background of one-object prompts right, {label(PROMPTED)}", proportion(backgrounds)],
        ]

    def two(self) -> Rows:
        prompts = two_object_prompts(self.count)
        seen = self.see(self.gallery.pictures([caption(*prompt) for prompt in prompts], PROMPTED))
        both = [
            found == set(pair) for found, (pair, _, _) in zip(seen.named(2), prompts, strict=True)
        ]
        backgrounds = [
            found == colour
            for found, (_, _, colour) in zip(seen.colours(), prompts, strict=True)
            if colour
        ]
        kept = [
            seen.relation(i, *pair) == relation
            for i, (pair, relation, _) in enumerate(prompts)
            if both[i]
        ]
        return [
            [f"two-object prompts, both named right, {label(PROMPTED)}", proportion(both)],
            [f"relation right where both are, {label(PROMPTED)}", proportion(kept)],
            [f"background of two-object prompts right, {label(PROMPTED)}", proportion(backgrounds)],
        ]

    def wording(self) -> Rows:
        """Captions as the world words them: all phrasings, sizes and marks that the model was
        taught.
        """
        drawn = self.taught(self.count // 4, 6)[1]
        seen = self.see(self.gallery.pictures([str(each["caption"]) for each in drawn], PROMPTED))
        names = [set(each["objects"]) for each in drawn]  # type: ignore[call-overload]
        right = [seen.named(len(wanted))[i] == wanted for i, wanted in enumerate(names)]
        return [
            [
                f"captions in all phrasings, all objects named right, {label(PROMPTED)}",
                proportion(right),
            ]
        ]

    def distance(self) -> Rows:
        """Samples and reconstructions against renders that neither has seen, by whether the caption
        names the background.
        """
        others, (pixels, labels) = self.taught(self.count, 3)[0], self.taught(self.count, 2)
        real = self.see(others).features.numpy()
        made = {
            "renders": pixels,
            "VAE reconstructions": to_pixels(autoencoder.reconstruct(self.model.vae, pixels)),
        }
        captions, colours = (
            [str(drawn["caption"]) for drawn in labels],
            set(vocabulary()["backgrounds"]),
        )
        named = np.array([not colours.isdisjoint(re.findall(r"\w+", text)) for text in captions])
        made[f"samples, {label(PROMPTED)}"] = self.gallery.pictures(captions, PROMPTED)
        rows = []
        for name, pictures in made.items():
            features = self.see(pictures).features.numpy()
            for said, some in (
                ("", slice(None)),
                (", background named", named),
                (", background not named", ~named),
            ):
                value = bootstrap(features[some], lambda drawn: frechet(real, drawn), 3)
                rows.append([f"Fréchet distance to renders, {name}{said}", value])
            both = precision_recall(real, features)
            rows.append(
                [
                    f"precision and recall, {name}",
                    f"{both.precision:.2f} and {both.recall:.2f}, n = {len(features)}",
                ]
            )
        return rows

    def clear(self, count: int, first_seed: int, guidance: Term | None) -> list[bool]:
        """Which pictures of the empty prompt hold something that the judge is sure of."""
        seen = self.see(self.gallery.pictures([""] * count, guidance, first_seed))
        return (seen.objects.sigmoid().amax(dim=1) >= CONFIDENT).tolist()

    @cached_property
    def tries(self) -> dict[Term | None, list[bool]]:
        """No guidance and each of `ALONE`, on seeds of their own: what measures the best must not
        have chosen it.
        """
        return {
            guidance: self.clear(self.count // 5, TRIED_FROM, guidance)
            for guidance in (None, *ALONE)
        }

    def tried(self) -> Rows:
        return [
            [f"{named_empty(term)}, seeds from {TRIED_FROM}", proportion(hits)]
            for term, hits in self.tries.items()
        ]

    def empty(self) -> Rows:
        """No guidance, and SAG alone at the best setting of those that were tried."""
        best = max(ALONE, key=lambda term: sum(self.tries[term]))
        return [
            [named_empty(term), proportion(self.clear(self.count, 0, term))]
            for term in (None, best)
        ]

    def cg(self) -> Rows:
        if self.model.classifier is None:
            return []
        names = [NAMES[index % len(NAMES)] for index in range(self.count // 10)]
        rows = []
        for scale in (0.0, 5.0, 10.0, 20.0):
            seen = self.see(
                self.gallery.pictures([""] * len(names), [CG(scale, name) for name in names])
            )
            right = [found == {name} for found, name in zip(seen.named(1), names, strict=True)]
            rows.append(
                [f"empty prompt moved to a class by CG, scale {scale:g}", proportion(right)]
            )
        return rows

    def sag(self) -> Rows:
        """Settings of SAG beside CFG alone at the same and at the equivalent scale: half one
        object, half two.

        How much more or less than CFG alone at the same scale is of the same prompts and seeds,
        resampled together.
        """
        half = self.count // 16
        wanted = [
            ({name}, caption((name,), None, colour)) for name, colour in one_object_prompts(half)
        ]
        wanted += [
            (set(pair), caption(pair, relation, colour))
            for pair, relation, colour in two_object_prompts(half)
        ]
        real, everyone, rows = (
            self.see(self.taught(self.count, 3)[0]).features.numpy(),
            np.arange(len(wanted)),
            [],
        )

        def measured(guidance: Guidance | Term) -> tuple[list[bool], list[Statistic]]:
            pictures = self.gallery.pictures([text for _, text in wanted], guidance)
            seen = self.see(pictures)
            features, sharp = (
                seen.features.numpy(),
                np.array([sharpness(Image.fromarray(picture)) for picture in pictures]),
            )
            right = [seen.named(len(names))[i] == names for i, (names, _) in enumerate(wanted)]
            return right, [
                lambda some: frechet(real, features[some]),
                lambda some: 1000 * float(sharp[some].mean()),
            ]

        guidances = (*SETTINGS, CFG(round(self.equivalent_scale(), 2)))
        results = [measured(guidance) for guidance in guidances]
        _, alone = results[SETTINGS.index(PROMPTED)]
        for guidance, (right, found) in zip(guidances, results, strict=True):
            values = [bootstrap(everyone, value) for value in found]
            more = [
                bootstrap(everyone, difference(value, usual))
                for value, usual in zip(found, alone, strict=True)
            ]
            rows.append(
                [label(guidance), proportion(right), values[0], more[0], values[1], more[1]]
            )
        return rows

    def equivalent_scale(self) -> float:
        """The CFG scale nearest to the whole update of CFG 3 + SAG 1, over the steps of 12 runs."""
        runs = [
            sv.trace(self.model, caption((name,)), seed=i, guidance=GUIDED, progress=False)
            for i, name in enumerate(NAMES[::4])
        ]
        return float(np.mean([equivalent_cfg(step) for run in runs for step in run]))

    def sheet(self) -> Rows:
        pictures = self.gallery.pictures(sheet_prompts(), GUIDED)
        page = Image.new("RGB", (8 * 66, 8 * 66), "white")
        for index, picture in enumerate(pictures):
            page.paste(Image.fromarray(picture), (index % 8 * 66 + 1, index // 8 * 66 + 1))
        page.save(self.gallery.folder / SHEET.name)
        return []


PARTS: dict[str, Callable[[Evaluation], Rows]] = {
    "vae": Evaluation.vae,
    "judging": Evaluation.judging,
    "noisy": Evaluation.noisy,
    "one": Evaluation.one,
    "two": Evaluation.two,
    "wording": Evaluation.wording,
    "distance": Evaluation.distance,
    "tried": Evaluation.tried,
    "empty": Evaluation.empty,
    "cg": Evaluation.cg,
    "sag": Evaluation.sag,
    "sheet": Evaluation.sheet,
}


def difference(value: Statistic, usual: Statistic) -> Statistic:
    return lambda some: value(some) - usual(some)


def named_empty(guidance: Term | None) -> str:
    return f"empty prompt, an object with confidence {CONFIDENT}, {label(guidance)}"


def to_pixels(images: Tensor) -> np.ndarray:
    """(N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3)."""
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def main(argv: list[str] | None = None) -> None:
    """Measure, print, and write the card."""
    parser = argparse.ArgumentParser(
        prog="python -m sagviz.mini.evaluation.evaluate", description=__doc__
    )
    parser.add_argument(
        "--count",
        type=int,
        default=1000,
        help="one-object prompts; the other sets are as large or smaller (1000)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts only"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(".mini/evaluation"),
        help="where pictures and figures are kept",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="folder of another model than the bundled one; no card is written then",
    )
    parser.add_argument(
        "--judges", type=Path, default=WEIGHTS, help="folder of the judges (the bundled ones)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    known = (arguments.judges / CLASSIFIER).exists()
    classifier = load_noisy_classifier(arguments.judges) if known else None
    gallery = Gallery(sv.load(arguments.model, classifier=classifier), arguments.work)
    evaluation, log = (
        Evaluation(gallery, arguments.count, arguments.judges),
        gallery.folder / "figures.json",
    )
    found: dict[str, Rows] = {}
    for part in arguments.only:
        rows = PARTS[part](evaluation)
        found = {**(json.loads(log.read_text()) if log.exists() else {}), part: rows}
        found = {name: found[name] for name in PARTS if name in found}
        log.write_text(json.dumps(found, indent=1, ensure_ascii=False))
        print(part, *(": ".join(row) for row in rows), sep="\n  ", flush=True)
    if arguments.model is None and (missing := [part for part in PARTS if part not in found]):
        print(
            f"The card is written when all parts have been measured; missing: {', '.join(missing)}."
        )
    elif arguments.model is None:
        write_card(found, gallery.folder)


if __name__ == "__main__":
    main()
