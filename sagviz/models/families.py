"""Which family a pipeline is of, told by the parts that it has; what is of none is refused with the
reason.
"""

from __future__ import annotations

from collections.abc import Collection

from sagviz.errors import ModelError
from sagviz.models.base import WORKS, Model
from sagviz.models.sdxl import SDXL
from sagviz.models.stable_diffusion import StableDiffusion
from sagviz.models.unconditional import Pixels

# diffusers' classes; one of them makes two families
UNETS = {"UNet2DConditionModel": StableDiffusion, "UNet2DModel": Pixels}

STEERING = ("controlnet", "adapter", "motion_adapter")  # what tells a U-Net more than a prompt


def family_of(name: str, lacks: str, parts: Collection[str], unet: Collection[str]) -> type[Model]:
    """The family of a pipeline.

    Args:
        name: what to call it where it is refused.
        lacks: the same with a verb, to go on with what is missing.
        parts: what it has, by diffusers' names.
        unet: the class of its U-Net and those that it is derived from.

    Raises:
        ModelError: it is of no family, or lacks a part.
    """
    if "unet" not in parts:
        others = [part for part in parts if part in ("transformer", "prior", "decoder")]
        instead = f", but a {others[0]}" if others else ""
        raise ModelError(
            f"{lacks} unet{instead}; SAG reads the self-attention of a U-Net, and {WORKS}"
        )
    found = next((family for kind, family in UNETS.items() if kind in unet), None)
    if found is None:
        raise ModelError(
            f"{name} has a unet of the class {next(iter(unet), None)}, which sagviz does not know;"
            f" {WORKS}"
        )
    steered = [part for part in STEERING if part in parts]
    if steered:
        raise ModelError(
            f"{name} has a {steered[0]}, whose condition sagviz does not give; leave it out, as the"
            f" from_pipe of a plain text-to-image pipeline does; {WORKS}"
        )
    family = SDXL if found is StableDiffusion and "text_encoder_2" in parts else found
    missing = [part for part in family.PARTS if part not in parts]
    if missing:
        raise ModelError(f"{lacks} {', '.join(missing)}, which its U-Net needs; {WORKS}")
    beyond = sorted(set(parts) - set(family.PARTS))
    if family is Pixels and beyond:
        raise ModelError(
            f"{name} has {', '.join(beyond)} beside a U-Net of pixels, so that it draws no pixels;"
            f" {WORKS}"
        )
    return family
