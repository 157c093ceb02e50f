"""The schedulers that are tested, by name: `make_scheduler` gives a fresh one on a model's noise
schedule.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

from sagviz.errors import ArgumentError, SagvizWarning
from sagviz.models.base import Model

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
    "dpm++ 2m": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver++", "solver_order": 2},
    ),
    "dpm++ 2m karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}
LEARNED = ("learned", "learned_range")
ZERO_SNR = "rescale_betas_zero_snr"  # Lin et al. 2023, arXiv 2305.08891


def make_scheduler(model: Model, chosen: object = None) -> Any:
    """A fresh scheduler: the model's own kind, a kind by name on the model's noise schedule, or the
    like of an instance.

    Raises:
        ArgumentError: the name is unknown, or the kind is not one whose levels and history are
            tested.
    """
    import diffusers

    if isinstance(chosen, dict):  # as `Settings.scheduler` has it
        return getattr(diffusers, chosen["class"]).from_config(
            {k: v for k, v in chosen.items() if k != "class"}
        )
    if chosen is None or hasattr(chosen, "set_timesteps"):
        template: Any = model.scheduler if chosen is None else chosen
        if type(template).__name__ not in {kind for kind, _ in SCHEDULERS.values()}:
            raise ArgumentError(
                f"{type(template).__name__} is not among the schedulers that are tested; {_offer()}"
            )
        return type(template).from_config(template.config)
    if str(chosen).lower() not in SCHEDULERS:
        raise ArgumentError(f"no scheduler {chosen!r}; {_offer()}")
    kind, options = SCHEDULERS[str(chosen).lower()]
    config = {
        key: value for key, value in model.scheduler.config.items() if key != "use_karras_sigmas"
    }
    if "vae" in model.networks:
        # a latent has no bounds, but DDIM and DDPM clip it where nothing is said
        config.setdefault("clip_sample", False)
    if config.get("variance_type") in LEARNED:
        del config["variance_type"]  # then DDPM takes its own, the smaller of the two fixed ones
    return getattr(diffusers, kind).from_config(config, **options)


def check_scheduler(model: Model, planner: Any, *, warns: bool = True, stacklevel: int = 2) -> None:
    """Refuse a scheduler that needs what guidance does not have, and warn of one that leaves the
    model's noise schedule.

    Raises:
        ArgumentError: it takes the variance from the network.
    """
    if planner.config.get("variance_type") in LEARNED:
        raise ArgumentError(
            f"this {type(planner).__name__} takes the noise of its steps from the network"
            f" (variance_type {planner.config.variance_type!r}), which has no guided form; give"
            " scheduler='ddpm', which fixes it, or 'ddim'"
        )
    if (
        warns
        and model.scheduler.config.get(ZERO_SNR)
        and ZERO_SNR not in inspect.signature(type(planner).__init__).parameters
    ):
        able = [
            name
            for name, (kind, _) in SCHEDULERS.items()
            if ZERO_SNR in inspect.signature(_class(kind)).parameters
        ]
        warnings.warn(
            f"{model.name} was trained with zero terminal SNR, which {type(planner).__name__} does"
            " not have: it starts from less noise than the model knows, and pictures turn grey;"
            f" {', '.join(able)} have it",
            SagvizWarning,
            stacklevel=stacklevel + 1,
        )


def _class(kind: str) -> Any:
    import diffusers

    return getattr(diffusers, kind)


def _offer() -> str:
    return (
        f"give scheduler= one of {', '.join(SCHEDULERS)}, or a diffusers scheduler of such a kind"
    )
