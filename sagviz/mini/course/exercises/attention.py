"""Exercises of notebook 04, from attention to the mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sagviz.diffusion.seeds import generator, normal
from sagviz.mini.course.check import close, exercise


@exercise("4.1", "Each row is one place's attention, shared out among all places: it sums to 1.")
def softmax(answer: Callable[[Tensor, Tensor], Tensor]) -> str | None:
    q, k = normal((2, 5, 16), generator(3))
    given = answer(q, k)
    if close(given, (q @ k.T / 16**0.5).softmax(dim=1)):
        return None
    if close(given, (q @ k.T).softmax(dim=1)):
        return "Divide by the root of the number of channels, or a few places take everything."
    if close(given, (q @ k.T / 16**0.5).softmax(dim=0)):
        return "The softmax runs over the places that are looked at: along each row."
    return "Products of each query with each key, over the root of channels, then a softmax."


@exercise(
    "4.2", "Rows sum to 1 and there are as many as columns, so the mean received is 1: psi's unit."
)
def received(answer: Callable[[Tensor], Tensor]) -> str | None:
    maps = normal((4, 6, 6), generator(3)).softmax(dim=-1)
    given = answer(maps)
    if close(given, maps.mean(dim=0).sum(dim=0)):
        return None
    if close(given, maps.mean(dim=0).sum(dim=1)):
        return "That is what each place gives, always 1; add up what each receives."
    if close(given, maps.sum(dim=0).sum(dim=0)):
        return "The mean over heads, not their sum: the result must average 1."
    if close(given, maps.mean(dim=0).mean(dim=0)):
        return "Sum over the queries: with the mean no cell could reach the threshold of 1."
    return "From (heads, queries, keys): the mean over heads, then the sum over queries."


@exercise("4.3", "In units of the mean, psi = 1 asks for more than an even share.")
def mask(answer: Callable[[Tensor, float], Tensor]) -> str | None:
    attention, psi = torch.tensor([[0.5, 1.75], [1.0, 0.75]]), 0.75  # one cell is just at psi
    given = torch.as_tensor(answer(attention, psi), dtype=torch.float32)
    if close(given, (attention > psi).float()):
        return None
    if close(given, (attention < psi).float()):
        return "1 stands where attention is high: there the picture is blurred."
    if close(given, (attention >= psi).float()):
        return "A cell at psi itself is not above it."
    if close(given, (attention > 1).float()):
        return "That is the mask of psi = 1; psi is given."
    return "1 where a cell receives more than psi, 0 elsewhere."
