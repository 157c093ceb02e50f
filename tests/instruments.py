"""What tests measure with: diffusers' own attention probabilities, torch's allocator, the memory of
a trace.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import sagviz as sv


class Probabilities(AttnProcessor):
    """diffusers' own processor that computes the probabilities, which keeps them, (B, heads,
    queries, keys).
    """

    def __call__(self, attn: Any, *args: Any, **kwargs: Any) -> Tensor:
        computed = attn.get_attention_scores

        def keep(*inputs: Any) -> Tensor:
            self.found = computed(*inputs)
            return self.found

        attn.get_attention_scores = keep
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            del attn.get_attention_scores
            self.found = self.found.unflatten(0, (-1, attn.heads))


def peak_memory(function: Callable[[], object]) -> int:
    """Bytes that torch's own allocator held at once beyond those before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    nodes, changes = list(profiler.profiler.kineto_results.experimental_event_tree()), []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.typed[0].name == "Allocation":
            changes.append((node.start_time_ns, node.extra_fields.alloc_size))
    return max(itertools.accumulate(change for _, change in sorted(changes)))


def held(trace: sv.Trace) -> int:
    """Bytes of memory that the records of a trace keep alive."""
    storages = [value.untyped_storage() for step in trace for value in step.tensors.values()]
    return sum({each.data_ptr(): each.nbytes() for each in storages}.values())
