"""The study's settings, as data: which pictures are made, in which order, and what is compared.

A cell is one setting. Cells of one kind share their starts, so that picture i of one is compared
with picture i of another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from sagviz.guidance import CFG, PAG, SAG, SEG, Guidance, Term, as_guidance
from sagviz.mini.evaluation.card import label
from sagviz.mini.study.terms import AlongCFG, Placebo, SparseSAG

VERSION = 1  # of what the pictures and their numbers mean: raised, all are made anew
STEPS = 50
CHUNK = 50  # pictures that are made and kept together
BLUR = 3.0  # the best of ten settings that were tried on other seeds (the model card)
COUNTS = {  # pictures of a cell, by what they start from
    "empty": 1000,  # noise, no prompt
    "scenes": 500,  # a noisy render, no prompt
    "prompts": 500,  # noise and a prompt
}


@dataclass(frozen=True)
class Cell:
    """One setting.

    Attributes:
        kind: what its pictures start from, a key of `COUNTS`.
        mask: the hand-made mask that stands for SAG's own: "objects", the true one; "background",
            all else; "" for none.
    """

    kind: str
    guidance: Guidance
    steps: int = STEPS
    mask: str = ""

    @property
    def name(self) -> str:
        """'empty, SAG 1, blur_sigma 3'."""
        parts = [self.kind, label(self.guidance) or "unguided"]
        parts += [f"mask {self.mask}"] if self.mask else []
        parts += [f"{self.steps} steps"] if self.steps != STEPS else []
        return ", ".join(parts)

    @property
    def slug(self) -> str:
        """Its name for a folder."""
        return re.sub(r"[^\w.+-]+", "_", self.name)

    @property
    def count(self) -> int:
        """How many pictures it has in the end."""
        return COUNTS[self.kind]


def cell(
    kind: str, guidance: Guidance | Term | None, *, steps: int = STEPS, mask: str = ""
) -> Cell:
    """A cell by its guidance as people write it."""
    return Cell(kind, as_guidance(guidance), steps, mask)


empty, scenes, prompts = (partial(cell, kind) for kind in COUNTS)
sag, sparse = partial(SAG, blur_sigma=BLUR), partial(SparseSAG, blur_sigma=BLUR)

PLAIN, FULL = empty(None), empty(sag(1.0))
PLAIN_SCENE, FULL_SCENE = scenes(None), scenes(sag(1.0))
REFERENCES = {"empty": (PLAIN, FULL), "scenes": (PLAIN_SCENE, FULL_SCENE)}
OTHER_MASKS = ("none", "random", "high-frequency", "inverted")
SCALES = (1.0, 1.5, 2.0, 3.0, 5.0)  # of CFG

PARTS: dict[str, tuple[Cell, ...]] = {
    "a": (  # which guidance, how strong
        PLAIN,
        *(empty(sag(s)) for s in (0.5, 1.0, 2.0)),
        *(empty(kind(s)) for kind in (PAG, SEG) for s in (1.0, 2.0, 4.0)),
    ),
    "b": (  # where to blur
        PLAIN,
        FULL,
        *(empty(sag(1.0, mask_source=source)) for source in OTHER_MASKS),
    ),
    "o": (  # the same where the true place of the objects is known
        PLAIN_SCENE,
        FULL_SCENE,
        *(scenes(sag(1.0), mask=mask) for mask in ("objects", "background")),
        *(scenes(sag(1.0, mask_source=source)) for source in OTHER_MASKS),
    ),
    "c": (  # s, psi, sigma, interval
        PLAIN,
        *(empty(sag(s)) for s in (-0.1, 0.1, 0.5, 1.0, 1.5, 2.0)),
        *(empty(sag(1.0, threshold=psi)) for psi in (0.7, 1.3)),
        *(empty(SAG(1.0, blur_sigma=sigma)) for sigma in (0.5, 1.0, 2.0)),
        *(empty(sag(1.0, start=start, stop=start + 0.5)) for start in (0.0, 0.25, 0.5)),
    ),
    "d": (  # beside CFG
        *(prompts(CFG(w)) for w in SCALES),
        *(prompts(CFG(w) + sag(1.0)) for w in SCALES),
        *(prompts(CFG(w) + SAG(1.0)) for w in (1.0, 3.0)),
        *(prompts(CFG(w) + AlongCFG(1.0, blur_sigma=BLUR)) for w in SCALES),
        *(prompts(CFG(w), steps=STEPS * 3 // 2) for w in SCALES),
    ),
    "e": (  # something of the same size
        PLAIN,
        FULL,
        *(empty(Placebo(1.0, blur_sigma=BLUR, content=c)) for c in ("noise", "shuffled")),
    ),
    "f": (  # fewer second passes
        PLAIN,
        FULL,
        *(empty(sparse(1.0, every=k)) for k in (2, 3, 5)),
        *(empty(sparse(1.0, every=k, reuse=True)) for k in (2, 3, 5)),
        empty(sparse(3.0, every=3)),
        *(empty(sag(1.0, start=start, stop=start + 0.35)) for start in (0.0, 0.3, 0.65)),
    ),
}
CELLS = tuple(dict.fromkeys(cell for part in PARTS.values() for cell in part))
FIRST = (  # what is asked first: does it help, is it the mask, is it anything at all
    *dict.fromkeys(each for count in (4, None) for part in "beo" for each in PARTS[part][:count]),
    empty(PAG(2.0)),
    empty(SEG(2.0)),
)
CENTRAL = PARTS["b"][:4]  # no guidance, SAG, and SAG without a mask and with one at random
ROUNDS = (  # pictures of each cell that are there after each round
    (FIRST, 100),
    (CELLS, 50),
    (CENTRAL, 1000),
    (CELLS, 100),
    (FIRST, 200),
    (CELLS, 200),
    (FIRST, 1000),
    (CELLS, 500),
    (CELLS, 1000),
)


def order() -> Iterator[tuple[Cell, int]]:
    """Every chunk once, by its cell and first picture, what matters most first."""
    known = set()
    for cells, count in ROUNDS:
        for first in range(0, count, CHUNK):
            for cell in cells:
                if first < cell.count and (cell, first) not in known:
                    known.add((cell, first))
                    yield cell, first


def comparisons(cell: Cell) -> list[Cell]:
    """The cells that it is compared with: no guidance and SAG; beside CFG all of the same scale."""
    found: Sequence[Cell] = REFERENCES.get(cell.kind, ())
    if cell.kind == "prompts":
        w = cell.guidance.get(CFG)
        found = [each for each in PARTS["d"] if each.guidance.get(CFG) == w]
    return [other for other in found if other != cell]
