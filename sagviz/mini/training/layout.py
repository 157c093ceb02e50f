"""The text encoder's first training: which object a caption puts where.

The denoiser's error says little about the order of two objects: it is nearly the same for both
orders, and a text encoder that is trained by it alone ends up without the order. It can be trained
directly, and in minutes: a layer of cross-attention, like those of the U-Net, reads for each place
of the picture which object stands there. From then on the denoiser's error keeps the order, where
it counts at the times that decide it (`diffusion.emphasis`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel

from sagviz.mini.scenes import Label
from sagviz.mini.training.fit import Plan, fit
from sagviz.mini.world import OBJECTS, OPPOSITES

PLACES = ("middle", *OPPOSITES)  # the first object of "left of" stands at the left
EMPTY = len(OBJECTS)  # the class of a place without an object
BATCH = 128


def layouts(labels: Sequence[Label]) -> Tensor:
    """What stands at each place of the scenes with these labels: numbers of objects or `EMPTY`, (N,
    5).
    """
    names, table = list(OBJECTS), torch.full((len(labels), len(PLACES)), EMPTY)
    for row, label in zip(table, labels, strict=True):
        relation = label["relation"]
        places = ("middle",) if relation is None else (relation, OPPOSITES[relation])
        for name, place in zip(label["objects"], places, strict=True):
            row[PLACES.index(place)] = names.index(name)
    return table


class Layout(nn.Module):
    """Reads from an encoded caption (B, 24, 128) what stands where: logits (B, 5, 49)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.places = nn.Parameter(0.1 * torch.randn(len(PLACES), width))
        self.attention = nn.MultiheadAttention(width, num_heads=4, batch_first=True)
        self.named = nn.Linear(width, EMPTY + 1)

    def forward(self, text: Tensor) -> Tensor:
        found, _ = self.attention(
            self.places.expand(len(text), -1, -1), text, text, need_weights=False
        )
        return self.named(found)


def teach(
    encoder: CLIPTextModel,
    ids: Tensor,
    wanted: Tensor,
    held_out: tuple[Tensor, Tensor],
    plan: Plan,
    checkpoint: Path,
) -> None:
    """Train the text encoder, in place, until a caption's layout can be read from its output.

    Its output at the words is to stay as it was, so that a U-Net that was trained on it still fits:
    the layout goes into the tokens after the caption's end, which have read all of it.

    Args:
        ids: captions, (N, 24).
        wanted: their `layouts`, (N, 5).
        held_out: captions and layouts for the log.
    """
    torch.manual_seed(0)
    both, before = (
        nn.ModuleList([encoder, Layout(encoder.config.hidden_size)]),
        deepcopy(encoder).requires_grad_(False),
    )

    def read(captions: Tensor) -> tuple[Tensor, Tensor]:
        encoded = encoder(captions).last_hidden_state
        return encoded, both[1](encoded)

    def loss_at(rng: np.random.Generator) -> Tensor:
        chosen = torch.from_numpy(rng.integers(len(ids), size=BATCH))
        encoded, layout = read(ids[chosen])
        changed = (encoded - before(ids[chosen]).last_hidden_state).float().square().mean(dim=2)
        words = ids[chosen] != encoder.config.eos_token_id
        return (
            F.cross_entropy(layout.float().flatten(0, 1), wanted[chosen].flatten())
            + (changed * words).mean()
        )

    @torch.no_grad()
    def measure(_: nn.Module) -> dict[str, float]:
        return {
            "layout": float(
                (read(held_out[0])[1].argmax(dim=2) == held_out[1]).all(dim=1).float().mean()
            )
        }

    fit(both, loss_at, plan, checkpoint, measure=measure)
