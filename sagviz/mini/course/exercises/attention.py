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
    attention = torch.tensor([[0.4, 1.6], [1.2, 0.8]])
    given = answer(attention, 1.0)
    if close(torch.as_tensor(given, dtype=torch.float32), (attention > 1.0).float()):
        return None
    if close(torch.as_tensor(given, dtype=torch.float32), (attention < 1.0).float()):
        return "1 stands where attention is high: there the picture is blurred."
    return "1 where a cell receives more than psi, 0 elsewhere."
