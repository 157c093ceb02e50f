"""Why a network and its scheduler cannot be used, whatever family they are of."""

from __future__ import annotations

from typing import Any

from sagviz.attention.layers import self_attentions
from sagviz.diffusion.noise_level import is_flow

MORE_INPUTS = {  # settings of diffusers' U-Nets -> what such a U-Net reads beside a prompt
    "class_embed_type": "class labels",
    "num_class_embeds": "class labels",
    "encoder_hid_dim_type": "pictures (of an IP-Adapter, which pipe.unload_ip_adapter() removes)",
    "zero_cond_t": "pictures to edit",
    "use_layer3d_rope": "pictures in layers",
}


def network_word(part: str) -> str:
    """What people call a network that predicts, by its part's name."""
    return "U-Net" if part == "unet" else part


def misfit(called: str, network: Any, scheduler: Any, *, flow: bool) -> str | None:
    """What diffusers' network wants that sagviz does not give it, or what SAG needs and they lack;
    `None` where all is well.

    Args:
        called: "the U-Net of ...".
        flow: whether it was trained by flow matching.
    """
    for setting, what in MORE_INPUTS.items():
        # an adapter sets the attribute alone, not the entry
        if getattr(network.config, setting, None):
            return f"{called} wants {what}, which sagviz does not give it"
    if getattr(network, "is_cache_enabled", False):
        return (
            f"{called} has a cache, which gives a pass what an earlier one computed; call its"
            " disable_cache()"
        )
    if not self_attentions(network):
        return f"{called} has no self-attention, which SAG reads"
    kind = type(scheduler).__name__
    if is_flow(scheduler) == flow and (flow or hasattr(scheduler, "alphas_cumprod")):
        return None
    if flow:
        return f"{called} was trained by flow matching, and {kind} is no scheduler for that"
    if is_flow(scheduler):
        return f"{called} was not trained by flow matching, for which this {kind} is"
    return f"{called} has a {kind}, which has no schedule of signal and noise (alphas_cumprod)"
