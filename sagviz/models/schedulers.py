"""The schedulers that are tested, by name: `make_scheduler` gives a fresh one on a model's noise schedule."""

from __future__ import annotations

from typing import Any

from sagviz.errors import ArgumentError
from sagviz.models.model import Model

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "kdpm2": ("KDPM2DiscreteScheduler", {}),
    "kdpm2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


def make_scheduler(model: Model, chosen: object = None) -> Any:
    """A fresh scheduler: the model's own kind, a kind by name on the model's noise schedule, or the like of an instance.

    Raises:
        ArgumentError: the name is unknown, or the kind is not one whose levels and history are tested.
    """
    import diffusers

    if isinstance(chosen, dict):  # as `Settings.scheduler` has it
        return getattr(diffusers, chosen["class"]).from_config({k: v for k, v in chosen.items() if k != "class"})
    if chosen is None or hasattr(chosen, "set_timesteps"):
        template: Any = model.scheduler if chosen is None else chosen
        if type(template).__name__ not in {kind for kind, _ in SCHEDULERS.values()}:
            raise ArgumentError(f"{type(template).__name__} is not among the schedulers that are tested; {_offer()}")
        return type(template).from_config(template.config)
    if str(chosen).lower() not in SCHEDULERS:
        raise ArgumentError(f"no scheduler {chosen!r}; {_offer()}")
    kind, options = SCHEDULERS[str(chosen).lower()]
    config = {key: value for key, value in model.scheduler.config.items() if key != "use_karras_sigmas"}
    return getattr(diffusers, kind).from_config(config, **options)


def _offer() -> str:
    return f"give scheduler= one of {', '.join(SCHEDULERS)}, or a diffusers scheduler of such a kind"
