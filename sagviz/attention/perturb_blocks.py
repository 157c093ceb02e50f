"""What whole transformer blocks of a network take and give, changed for some rows: the tokens on
their way in, or the block left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sagviz.attention.blocks import blocks_of
from sagviz.attention.hooks import after, before
from sagviz.attention.perturb import Perturbation, with_rows
from sagviz.attention.projected import rows_of
from sagviz.errors import ArgumentError


def block_of(path: str) -> str:
    """The block that a self-attention layer is of; the layer itself where it stands alone in a list
    of such, as in unconditional U-Nets.
    """
    block, _, name = path.rpartition(".")
    return path if name.isdigit() else block


@dataclass(frozen=True)
class BlockPerturbation(Perturbation):
    """Something done to the blocks of the layers."""

    def blocks(self, network: nn.Module) -> list[nn.Module]:
        """The blocks, each once, in the order of their layers."""
        names = dict.fromkeys(map(block_of, self.paths(network)))
        return [network.get_submodule(name) for name in names]


@dataclass(frozen=True)
class PerturbedTokens(BlockPerturbation):
    """Other tokens of the picture on their way into the blocks: a subclass says which, in
    `changed`. Those of a text that come with them stay as they are.
    """

    def changed(self, tokens: Tensor, place: int) -> Tensor:
        """Tokens (rows, N, channels) as the block at `place` is to see them."""
        raise NotImplementedError

    def attach(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        picture = _picture_of(network, size)

        def changer(place: int) -> Any:
            def change(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                hidden = args[0] if args else kwargs["hidden_states"]
                own = rows_of(hidden, rows)
                tokens = (own.flatten(2).mT if own.ndim == 4 else own).clone()
                part = picture(tokens.shape[1])
                tokens[:, part] = self.changed(tokens[:, part], place)
                new = tokens.mT.reshape(own.shape) if own.ndim == 4 else tokens
                whole = with_rows(hidden, rows, new)
                if args:
                    return (whole, *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": whole}

            return change

        for place, block in enumerate(self.blocks(network)):
            yield before(block, changer(place))


def _picture_of(network: nn.Module, size: tuple[int, int]) -> Callable[[int], slice]:
    """Which of so many tokens in a block are the picture's."""
    blocks = blocks_of(network)
    if blocks is None:
        return lambda _: slice(None)
    cells = math.prod(blocks.grid(network, size))
    return lambda tokens: blocks.split(tokens, cells)[0]


@dataclass(frozen=True)
class SkippedBlocks(BlockPerturbation):
    """Blocks left out: they give what they take. Of several outputs (picture and text) each is
    replaced by the input of its shape.

    Raises:
        ArgumentError: during a call, two inputs have that shape.
    """

    def attach(
        self, network: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        del size

        def skip(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            taken = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]

            def unchanged(given: Tensor | None) -> Tensor | None:
                if given is None:  # the text after the last block of SD3
                    return None
                own, *others = (part for part in taken if part.shape == given.shape)
                if others and isinstance(output, tuple):
                    raise ArgumentError(
                        f"picture and text both come as {tuple(given.shape)}, so that a skipped"
                        " block cannot tell them apart; give another size"
                    )
                return with_rows(given, rows, rows_of(own, rows))

            return tuple(map(unchanged, output)) if isinstance(output, tuple) else unchanged(output)

        for block in self.blocks(network):
            yield after(block, skip)
