"""DiT (Peebles & Xie 2023, arXiv 2212.09748): a transformer over patches of an autoencoder's latent
that is given the number of a class of ImageNet. Here the prompt is the class: "golden retriever",
or "207".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar

import torch
from torch import Tensor

from sagviz.attention.blocks import Blocks
from sagviz.checks import shortened
from sagviz.errors import ArgumentError
from sagviz.models.conditioning import Conditioning
from sagviz.models.transformer import Transformer

SHOWN = 60  # letters of a prompt that names no class


@dataclass(frozen=True, eq=False)
class DiTConditioning(Conditioning):
    """What DiT is given.

    Attributes:
        label: the class, (B,), whole numbers; the one beyond all classes is none.
    """

    label: Tensor | None = None


class DiT(Transformer):
    """DiT-XL/2 and its like. The network predicts its variance too, of which nothing is used.

    The SAG paper has DiT-XL/2 among its models (arXiv 2210.00939v6, FID 2.27 to 2.16 beside CFG, as
    quoted by others).
    """

    title: ClassVar[str] = "DiT"
    CLASSES: ClassVar[tuple[str, ...]] = ("DiTTransformer2DModel", "Transformer2DModel")
    PARTS: ClassVar[tuple[str, ...]] = ("transformer", "vae", "scheduler")
    ATTENTION: ClassVar[Blocks | None] = Blocks()

    @property
    def labels(self) -> dict[str, int]:
        """Number of each class by its names, in lower case."""
        own = getattr(self.pipe, "labels", None)
        if own is not None:
            return {name.lower(): number for name, number in own.items()}
        entries = (self.config.get("id2label") or {}).items()
        return {
            name.strip().lower(): int(number)
            for number, names in entries
            for name in names.split(",")
        }

    @property
    def classes(self) -> int:
        """How many classes there are; the number of "none"."""
        count: int = self.network.config.num_embeds_ada_norm
        return count

    def check_prompt(self, prompt: str) -> None:
        """Refuse what is no class."""
        self._label(prompt)

    def _label(self, prompt: str) -> int:
        """The number of a class; "" is none.

        Raises:
            ArgumentError: there is no such class.
        """
        name, labels = prompt.strip().lower(), self.labels
        if not name:
            return self.classes
        if name in labels:
            return labels[name]
        if name.isascii() and name.isdigit() and int(name) < self.classes:
            return int(name)
        near = get_close_matches(name, labels, n=3)
        hint = f", such as {', '.join(near)}" if near else ""
        raise ArgumentError(
            f"the prompt is {shortened(prompt, SHOWN)!r}, and {self.name} draws classes; give one"
            f" of its {len(labels)} names{hint}, a number from 0 to {self.classes - 1}, or '' for"
            " none"
        )

    def latent_shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        if len(size) == 2 and size[0] != size[1]:
            side = self.default_size[0]
            raise ArgumentError(
                f"size is {size}, and {self.name} puts its tokens together to squares alone; give"
                f" size=({side}, {side}) or another square"
            )
        return super().latent_shape(size)

    def embed(
        self, prompt: str | None = "", *, size: tuple[int, int] | None = None
    ) -> Conditioning:
        del size
        label = torch.tensor([self._label(prompt or "")], device="cpu")
        return DiTConditioning(label=label.to(self.device))

    @staticmethod
    def call_network(network: Any, x: Tensor, t: Tensor, conditioning: Any) -> Tensor:
        times, labels = t.expand(len(x)), conditioning.label
        return network(x, timestep=times, class_labels=labels).sample[:, : x.shape[1]]

    @staticmethod
    def blank(config: Mapping[str, Any], tokens: int) -> Conditioning:
        del config, tokens
        return DiTConditioning(label=torch.empty(1, dtype=torch.int64))
