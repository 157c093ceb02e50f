"""Which family a pipeline is of, known by the parts that it has; what is of none is refused with
the reason.
"""

from __future__ import annotations

from collections.abc import Collection

from sagviz.errors import ModelError
from sagviz.models.base import Model

MORE_INPUTS = ("controlnet", "adapter", "motion_adapter")  # they give a U-Net more than a prompt
OTHER_NETWORKS = ("transformer", "prior", "decoder")  # that stand in place of a U-Net


def family_of(name: str, lacks: str, parts: Collection[str], unet: Collection[str]) -> type[Model]:
    """The family of a pipeline: of several that fit, the one that was defined last.

    Args:
        name: what to call it where it is refused.
        lacks: the same with a verb, to go on with what is missing.
        parts: what it has, by diffusers' names.
        unet: the class of its U-Net and those that it is derived from.

    Raises:
        ModelError: it is of no family, or lacks a part.
    """
    if "unet" not in parts:
        instead = next((f", but a {part}" for part in OTHER_NETWORKS if part in parts), "")
        raise unsupported(f"{lacks} unet{instead}; SAG reads the self-attention of a U-Net")
    known = [each for each in Model.families if each.UNET in unet and each.KNOWN_BY in parts]
    if not known:
        kind = next(iter(unet), None)
        raise unsupported(f"{name} has a unet of the class {kind}, which sagviz does not know")
    for part in MORE_INPUTS:
        if part in parts:
            raise unsupported(
                f"{name} has a {part}, whose condition sagviz does not give; leave it out, as the"
                " from_pipe of a plain text-to-image pipeline does"
            )
    family = known[-1]
    missing = [part for part in family.PARTS if part not in parts]
    if missing:
        raise unsupported(f"{lacks} {', '.join(missing)}, which its U-Net needs")
    beyond = sorted(set(parts) - set(family.PARTS))
    if beyond and not family.OPEN:
        raise unsupported(
            f"{name} has {', '.join(beyond)} beside a U-Net of pixels, so that it draws no pixels"
        )
    return family


def checked(model: Model) -> Model:
    """Refuse networks that do not fit each other, or that SAG cannot use.

    Raises:
        ModelError: says what is in the way, and what works.
    """
    reason = model.misfit()
    if reason is not None:
        raise unsupported(reason)
    return model


def unsupported(reason: str) -> ModelError:
    """The error for a model that cannot be used: why, and what can."""
    *most, last = [family.title for family in Model.families]
    return ModelError(f"{reason}; sagviz runs {', '.join(most)}, and {last}")
