"""What every part of the evaluation works with: one model, its pictures, and a judge of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from sagviz.guidance import CFG, SAG
from sagviz.mini import WEIGHTS
from sagviz.mini.evaluation.gallery import Gallery
from sagviz.mini.evaluation.prompts import held_out
from sagviz.mini.scenes import Label
from sagviz.mini.training.autoencoder import to_tensor
from sagviz.mini.training.judge import Verdict, load_judge, look
from sagviz.models.vocabulary import unknown_words

PROMPTED, GUIDED = CFG(3.0), CFG(3.0) + SAG(1.0)


class Evaluation:
    """One model under evaluation. `count` is the size of the largest set of prompts."""

    def __init__(self, gallery: Gallery, count: int, judges: Path = WEIGHTS) -> None:
        self.gallery, self.model, self.count = gallery, gallery.model, count
        self.judge = load_judge(judges)

    @cached_property
    def renders(self) -> tuple[np.ndarray, list[Label]]:
        """1000 renders that training has not seen."""
        return held_out(1000)

    def taught(self, count: int, seed: int) -> tuple[np.ndarray, list[Label]]:
        """The first `count` renders whose captions the model was taught to read."""
        return held_out(count, seed, lambda text: not unknown_words(self.model, text))

    def see(self, pixels: np.ndarray) -> Verdict:
        """What the judge sees on pictures, uint8 (N, 64, 64, 3)."""
        return look(self.judge, to_tensor(pixels))

    def verdict(
        self, prompts: Sequence[str], guidance: object = None, first_seed: int = 0
    ) -> Verdict:
        """What the judge sees on one picture of each prompt; the arguments are the gallery's."""
        return self.see(self.gallery.pictures(prompts, guidance, first_seed))
