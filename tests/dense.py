"""A transformer in float64 whose attention is by the book, in the place of torch's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import sagviz as sv

TEXT_FIRST = ("flux", "qwen")  # in whose softmax the text's tokens stand before the picture's
FILLED = {"z_image": 32}  # the picture's tokens are filled up to multiples

Bias = Tensor | float
Act = Callable[[Tensor, Tensor, Tensor, Bias], Tensor]


def scores_of(q: Tensor, k: Tensor, bias: Bias) -> Tensor:
    """What the softmax is taken of, (B, heads, queries, keys)."""
    return torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1]) + bias


def plain(q: Tensor, k: Tensor, v: Tensor, bias: Bias) -> Tensor:
    """Attention."""
    return scores_of(q, k, bias).softmax(-1) @ v


class Dense:
    """The network of a family in `tiny_transformers`, for latents of a size."""

    def __init__(self, name: str, model: sv.Model, size: tuple[int, int]) -> None:
        self.name, self.model, self.size = name, model, size
        self.network = copy.deepcopy(model.network).double()
        self.grid = (size[0] // 4, size[1] // 4)  # pixels to cells to patches, 2 x 2 both times
        self.cells = math.prod(self.grid)
        self.act: Act = plain

    def picture(self, tokens: int) -> slice:
        """Which of so many tokens are the picture's."""
        first = self.name in TEXT_FIRST
        return slice(tokens - self.cells, tokens) if first else slice(0, self.cells)

    def text(self, tokens: int) -> slice:
        """And which the text's."""
        if self.name in TEXT_FIRST:
            return slice(0, tokens - self.cells)
        return slice(self.cells + -self.cells % FILLED.get(self.name, 1), tokens)

    def copied(self) -> Dense:
        """One with a network of its own, which may be changed."""
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        return other

    def given(self, text: str | None) -> Any:
        """What the network reads of a text."""
        return self.model.embed(text, size=self.size)

    @torch.no_grad()
    def predict(
        self, step: sv.Step, x: Tensor, given: Any, layers: Iterable[str] = (), act: Act = plain
    ) -> Tensor:
        """Its output at x; `act` takes the place of attention in these layers."""
        with self.at_work(layers, act):
            given = given.to(torch.float64)
            return self.model.call_network(self.network, x, torch.tensor(step.t), given)

    @contextmanager
    def at_work(self, layers: Iterable[str], act: Act) -> Iterator[None]:
        usual, paths = F.scaled_dot_product_attention, list(layers)

        def enter(*_: Any) -> None:
            self.act = act

        hooks = [self.network.get_submodule(p).register_forward_pre_hook(enter) for p in paths]
        F.scaled_dot_product_attention = self  # type: ignore[assignment]
        try:
            yield
        finally:
            F.scaled_dot_product_attention = usual
            for hook in hooks:
                hook.remove()

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **_: Any
    ) -> Tensor:
        act, self.act = self.act, plain
        return act(query, key, value, bias_of(attn_mask))


def bias_of(mask: Tensor | None) -> Bias:
    """A mask of booleans or numbers as what is added to the scores."""
    if mask is None:
        return 0.0
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=torch.float64).masked_fill(~mask, -math.inf)
