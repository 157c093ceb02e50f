"""Why a U-Net and its scheduler cannot be used, whatever family they are of."""

from __future__ import annotations

from typing import Any

from sagviz.attention.layers import self_attentions

MORE_INPUTS = {  # settings of diffusers' U-Nets -> what such a U-Net reads beside a prompt
    "class_embed_type": "class labels",
    "num_class_embeds": "class labels",
    "encoder_hid_dim_type": "pictures (of an IP-Adapter, which pipe.unload_ip_adapter() removes)",
    "time_cond_proj_dim": "a guidance scale (as distilled models do)",
}


def misfit(name: str, unet: Any, scheduler: Any) -> str | None:
    """What diffusers' U-Net wants that sagviz does not give it, or what SAG needs and they lack;
    `None` where all is well.
    """
    for setting, what in MORE_INPUTS.items():
        # an adapter sets the attribute alone, not the entry
        if getattr(unet.config, setting, None):
            return f"the U-Net of {name} wants {what}, which sagviz does not give it"
    if not self_attentions(unet):
        return f"the U-Net of {name} has no self-attention, which SAG reads"
    if not hasattr(scheduler, "alphas_cumprod"):
        kind = type(scheduler).__name__
        return f"{name} has a {kind}, which has no schedule of signal and noise (alphas_cumprod)"
    return None
