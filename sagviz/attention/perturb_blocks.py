"""What whole transformer blocks of a network take and give, changed for some rows: the tokens on
their way in, or the block left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sagviz.attention.hooks import after, before
from sagviz.attention.perturb import Perturbation, with_rows
from sagviz.attention.projected import rows_of
from sagviz.errors import ArgumentError


def block_of(path: str) -> str:
    """The block that a self-attention layer is of; the layer itself where it stands alone, as in
    unconditional U-Nets.
    """
    block, _, name = path.rpartition(".")
    return block if name.startswith("attn") else path


@dataclass(frozen=True)
class BlockPerturbation(Perturbation):
    """Something done to the blocks of the layers."""

    def blocks(self, unet: nn.Module) -> list[nn.Module]:
        """The blocks, each once, in the order of their layers."""
        return [unet.get_submodule(name) for name in dict.fromkeys(map(block_of, self.paths(unet)))]


@dataclass(frozen=True)
class PerturbedTokens(BlockPerturbation):
    """Other tokens on their way into the blocks: a subclass says which, in `changed`."""

    def changed(self, tokens: Tensor, place: int) -> Tensor:
        """Tokens (rows, N, channels) as the block at `place` is to see them."""
        raise NotImplementedError

    def attach(
        self, unet: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        del size

        def changer(place: int) -> Any:
            def change(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                hidden = args[0] if args else kwargs["hidden_states"]
                own = rows_of(hidden, rows)
                tokens = self.changed(own.flatten(2).mT if own.ndim == 4 else own, place)
                new = tokens.mT.reshape(own.shape) if own.ndim == 4 else tokens
                whole = with_rows(hidden, rows, new)
                if args:
                    return (whole, *args[1:]), kwargs
                return args, {**kwargs, "hidden_states": whole}

            return change

        for place, block in enumerate(self.blocks(unet)):
            yield before(block, changer(place))


@dataclass(frozen=True)
class SkippedBlocks(BlockPerturbation):
    """Blocks left out: they give what they take. Of several outputs (picture and text) each is
    replaced by the input of its shape.

    Raises:
        ArgumentError: during a call, two inputs have that shape.
    """

    def attach(
        self, unet: nn.Module, rows: list[int], size: tuple[int, int]
    ) -> Iterator[RemovableHandle]:
        del size

        def skip(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            taken = [part for part in (*args, *kwargs.values()) if isinstance(part, Tensor)]

            def unchanged(given: Tensor) -> Tensor:
                own, *others = (part for part in taken if part.shape == given.shape)
                if others and isinstance(output, tuple):
                    raise ArgumentError(
                        f"picture and text both come as {tuple(given.shape)}, so that a skipped"
                        " block cannot tell them apart; give another size"
                    )
                return with_rows(given, rows, rows_of(own, rows))

            return tuple(map(unchanged, output)) if isinstance(output, tuple) else unchanged(output)

        for block in self.blocks(unet):
            yield after(block, skip)
