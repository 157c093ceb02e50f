"""What a network's weights are, in a few letters: every bit read once, and read again only where
there is a sign that one has changed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from sagviz.models.offload import weights

PROBES = 16  # numbers of each weight tensor that are looked at again
ROW = 1024  # words of 8 bytes that are summed at a time

Named = tuple[str, Tensor]
NamedModule = tuple[str, nn.Module]


class Digests:
    """Digests by name, each with the sign under which it was taken."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, str]] = {}

    def of(self, name: str, sign: object, take: Callable[[], str]) -> str:
        """The known digest where the sign is the same, else a new one."""
        known = self._known.get(name)
        if known is None or known[0] != sign:
            known = self._known[name] = sign, take()
        return known[1]

    @torch.no_grad()  # which makes views in half the time
    def of_weights(self, name: str, network: nn.Module, modules: Iterable[NamedModule]) -> str:
        """Names, shapes, number formats and bits of all weights, wherever they are; `modules` is
        the walk through the network.
        """
        sign = _sign(_tensors(network, modules))
        return self.of(name, sign, lambda: _digest(weights(network).items()))


def walk(network: nn.Module) -> Iterator[NamedModule]:
    """Every module once, with its path: several times as fast as torch's own `named_modules`."""
    waiting, seen = [("", network)], set[int]()
    while waiting:
        path, module = waiting.pop()
        if id(module) not in seen:
            seen.add(id(module))
            yield path, module
            waiting += [(f"{path}.{k}", v) for k, v in module._modules.items() if v is not None]


def _tensors(network: nn.Module, modules: Iterable[NamedModule]) -> list[Named]:
    """What a network holds now; what its hooks hold where it waits on the meta device."""
    found = [
        (f"{path}.{name}", value)
        for path, module in modules
        for part in (module._parameters, module._buffers)
        for name, value in part.items()
        if value is not None
    ]
    return [*weights(network).items()] if any(value.is_meta for _, value in found) else found


def _sign(tensors: list[Named]) -> object:
    """What is quick to see of a change: torch counts the writes into a tensor, but for those
    through `.data`, which adapters take; they change it all over, its end or its shape.
    """
    rows = [(name, value.shape, value.dtype, _writes(value)) for name, value in tensors]
    probes = defaultdict[object, list[Tensor]](list)
    for value in _numbers(tensors):
        probes[value.device, value.dtype].append(_probe(value))
    return rows, [_bytes(torch.cat(found)) for found in probes.values()]  # one copy from a device


def _digest(tensors: Iterable[Named]) -> str:
    known = dict(tensors)
    rows = [(name, tuple(value.shape), str(value.dtype)) for name, value in known.items()]
    digest = hashlib.sha256(repr(rows).encode())
    for value in _numbers(known.items()):
        for part in _sums(value):
            digest.update(_bytes(part))
    return digest.hexdigest()[:16]


def _sums(value: Tensor) -> Iterator[Tensor]:
    """The bits of a tensor as whole numbers, summed by rows and by columns, and the rest: exact in
    any order, so that every device finds the same.
    """
    bits = value.contiguous().flatten().view(torch.uint8)
    whole = len(bits) - len(bits) % (8 * ROW)
    yield bits[whole:]
    if whole:
        aligned = bits[:whole] if bits.storage_offset() % 8 == 0 else bits[:whole].clone()
        square = aligned.view(torch.int64).view(-1, ROW)
        yield square.sum(0)
        yield square.sum(1)


def _probe(value: Tensor) -> Tensor:
    """A few numbers all over the memory of a tensor, the last one among them, without a copy."""
    last = value.numel() - 1
    if not value.is_contiguous():
        sides = zip(value.shape, value.stride(), strict=True)
        last = sum((side - 1) * stride for side, stride in sides)
    count = min(last + 1, PROBES)
    step = (last + 1) // count
    return value.as_strided((count,), (step,), value.storage_offset() + last - step * (count - 1))


def _numbers(tensors: Iterable[Named]) -> Iterator[Tensor]:
    """The tensors that have any."""
    return (value for _, value in tensors if value.numel() and not value.is_meta)


def _writes(value: Tensor) -> int:
    return -1 if value.is_inference() else value._version


def _bytes(value: Tensor) -> bytes:
    content: bytes = value.detach().contiguous().view(torch.uint8).cpu().numpy().tobytes()
    return content
