"""`fingerprint`: which model it is, whatever it is called and wherever it lies."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import nn

from sagviz.attention.compiled import plain
from sagviz.attention.unshared import unshared
from sagviz.checks import format_dtype
from sagviz.guidance import CG, Guidance
from sagviz.models.base import Model
from sagviz.models.digests import walk

AND = "+"  # before the part of the classifier
OF_PIPELINE = ("force_zeros_for_empty_prompt",)  # its settings that decide the picture
OF_TEXT = (
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
    "eos_token_id",
    "use_attention_mask",
)
OF_ADAPTER = ("scaling", "merged_adapters", "_disable_adapters")  # of PEFT's layers
# of a block, as diffusers sets FreeU, and of a convolution, as people set it for seamless pictures,
# with the usual value
OF_LAYER = {"s1": None, "s2": None, "b1": None, "b2": None, "padding_mode": "zeros"}
SAMPLE = "The quick brown fox <|endoftext|> isn't 42, é 狐!"  # tells tokenizers apart


def fingerprint(model: Model, guidance: Iterable[Guidance] = ()) -> str:
    """16 letters of all that decides the picture beside the settings of the run: the weights and
    their number format, adapters and their strengths, FreeU, the settings of each network,
    tokenizers with the words that were added to them.

    After a "+" there are 16 more, of the classifier's weights, where some guidance has CG. The
    weights are read once; later calls look at a few numbers of each tensor. A model without weights
    has one as well, of its shapes.

    Example:
        >>> import sagviz as sv
        >>> from sagviz.models.fingerprint import fingerprint
        >>> fingerprint(sv.load()) == fingerprint(sv.load("miniature"))
        True
    """
    names = [name for name in model.PARTS if name.startswith("tokenizer")]
    parts = {name: part for name in names if (part := getattr(model, name)) is not None}
    content = [
        type(model).__name__,
        format_dtype(model.dtype),
        [model.config.get(name, True) for name in OF_PIPELINE],
        [_of_network(model, name, network) for name, network in model.networks.items()],
        [_of_tokenizer(model, name, tokenizer) for name, tokenizer in parts.items()],
    ]
    if model.reads_guidance:
        content.append([model.embedded_guidance])
    found, classifier = _hash(content)[:16], model.classifier
    if any(map(uses_classifier, guidance)) and isinstance(classifier, nn.Module):
        return found + AND + model.digests.of_weights("classifier", classifier, walk(classifier))
    return found


def uses_classifier(guidance: Guidance) -> bool:
    """Whether the model's classifier is one of the networks that a run depends on."""
    return guidance.get(CG) is not None


def part_for(found: str, guidance: Guidance) -> str:
    """Of a fingerprint what a run with this guidance depends on."""
    return found if uses_classifier(guidance) else found.partition(AND)[0]


def _of_network(model: Model, name: str, network: nn.Module) -> list[Any]:
    network = plain(network)
    modules = [*walk(network)]
    state = [[path, own] for path, module in modules if (own := _acting(module))]
    return [name, model.digests.of_weights(name, network, modules), _settings(network), state]


def _acting(module: nn.Module) -> dict[str, Any]:
    """What acts in a module beside its weights: an adapter as strong as it is now, FreeU, an
    attention processor of the user's own.
    """
    own = vars(module)
    if "_disable_adapters" in own:
        return {name: own[name] for name in OF_ADAPTER if name in own} | {
            "active": getattr(module, "active_adapters", None)
        }
    found = {k: own[k] for k in OF_LAYER.keys() & own.keys() if own[k] != OF_LAYER[k]}
    processor = own.get("processor") or own["_modules"].get("processor")
    return found if processor is None else found | _processor(processor)


def _processor(processor: object) -> dict[str, Any]:
    """Its class and what it is set to, unless diffusers has it: those compute the same."""
    kind = type(processor)
    if kind.__module__.startswith("diffusers."):
        return {}
    own = getattr(processor, "__dict__", {})
    return {
        "processor": f"{kind.__module__}.{kind.__qualname__}",
        "set to": {name: _number(own[name]) for name in own if not name.startswith("_")},
    }


def _number(value: Any) -> Any:
    """Of a setting what is the same in another process."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    simple = value is None or isinstance(value, bool | int | float | str | list | tuple)
    return value if simple else type(value).__qualname__


def _settings(network: nn.Module) -> dict[str, Any]:
    """What decides its output beside the weights: diffusers' settings that are not the usual ones,
    so that a version with more of them has the same.
    """
    config: Any = getattr(network, "config", {})
    if not isinstance(config, dict):
        return {name: getattr(config, name, None) for name in OF_TEXT}
    kind: Any = type(network)
    usual = _usual(kind)
    return {
        name: value
        for name, value in config.items()
        if not name.startswith("_") and _as_list(value) != usual.get(name)
    }


@cache
def _usual(kind: Any) -> dict[str, Any]:
    """The defaults of a class of diffusers."""
    known = inspect.signature(kind.__init__).parameters.values()
    return {each.name: _as_list(each.default) for each in known}


def _as_list(value: Any) -> Any:
    """As a file gives it back."""
    return [*map(_as_list, value)] if isinstance(value, list | tuple) else value


def _of_tokenizer(model: Model, name: str, tokenizer: Any) -> str:
    """How it reads a text, and its whole vocabulary."""
    length = min(tokenizer.model_max_length, 512)  # some name no bound
    with model.lock:  # a fast tokenizer keeps padding and truncation as its own state
        own = unshared(tokenizer)
        tokens = own(SAMPLE, padding="max_length", truncation=True, max_length=length)
    sign = [tokens.input_ids, len(tokenizer), tokenizer.get_added_vocab()]
    return model.digests.of(name, _hash(sign), lambda: _hash([sign, tokenizer.get_vocab()]))


def _hash(content: Any) -> str:
    return hashlib.sha256(_json(content).encode()).hexdigest()


def _json(content: Any) -> str:
    return json.dumps(content, sort_keys=True, default=str)
