"""Which family a pipeline is of, known by the parts that it has; what is of none is refused with
the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sagviz.errors import ModelError
from sagviz.models.base import Model
from sagviz.models.unfit import network_word

MORE_INPUTS = ("controlnet", "adapter", "motion_adapter", "processor")  # more than a prompt
OTHER_NETWORKS = ("prior", "decoder")  # that stand in place of a U-Net or transformer
LINEAR = "whose attention is linear: without a softmax there is no map of where it goes"
WITHOUT_MAP = {  # diffusers' classes of networks -> why there is nothing for SAG to read
    "SanaTransformer2DModel": LINEAR,
    "SanaVideoTransformer3DModel": LINEAR,
}


def family_of(name: str, lacks: str, parts: Mapping[str, Collection[str]]) -> type[Model]:
    """The family of a pipeline: of several that fit, the one that was defined last.

    Args:
        name: what to call it where it is refused.
        lacks: the same with a verb, to go on with what is missing.
        parts: what it has, by diffusers' names, each with its class and those that this is derived
            from.

    Raises:
        ModelError: it is of no family, or lacks a part.
    """
    networks = sorted({each.NETWORK for each in Model.families}, reverse=True)
    network = next((part for part in networks if part in parts), None)
    if network is None:
        instead = next((f", but a {part}" for part in OTHER_NETWORKS if part in parts), "")
        raise unsupported(f"{lacks} {' or '.join(networks)}{instead}; SAG reads its self-attention")
    known = [each for each in Model.families if _fits(each, parts)]
    if not known:
        kind = next(iter(parts[network]), "")
        why = WITHOUT_MAP.get(kind, "which sagviz does not know")
        raise unsupported(f"{name} has a {network} of the class {kind}, {why}")
    for part in MORE_INPUTS:
        if part in parts:
            raise unsupported(
                f"{name} has a {part}, whose condition sagviz does not give; leave it out, as the"
                " from_pipe of a plain text-to-image pipeline does"
            )
    family = known[-1]
    missing = [part for part in family.PARTS if part not in parts and part not in family.OPTIONAL]
    if missing:
        what = network_word(network)
        raise unsupported(f"{lacks} {', '.join(missing)}, which its {what} needs")
    beyond = sorted(set(parts) - set(family.PARTS))
    if beyond and not family.OPEN:
        raise unsupported(
            f"{name} has {', '.join(beyond)} beside a U-Net of pixels, so that it draws no pixels"
        )
    return family


def _fits(family: type[Model], parts: Mapping[str, Collection[str]]) -> bool:
    """Whether a pipeline has the network of a family, and the part that tells it from others."""
    kinds = set(parts.get(family.NETWORK, ()))
    return family.KNOWN_BY in parts and not kinds.isdisjoint(family.CLASSES)


def checked(model: Model) -> Model:
    """Refuse networks that do not fit each other, or that SAG cannot use.

    Raises:
        ModelError: says what is in the way, and what works.
    """
    needed = [part for part in model.PARTS if part not in model.OPTIONAL]
    lacking = [part for part in needed if getattr(model, part, None) is None]
    reason = f"{model.name} has no {lacking[0]} any more" if lacking else model.misfit()
    if reason is not None:
        raise unsupported(reason)
    return model


def unsupported(reason: str) -> ModelError:
    """The error for a model that cannot be used: why, and what can."""
    *most, last = [family.title for family in Model.families]
    return ModelError(f"{reason}; sagviz runs {', '.join(most)}, and {last}")
