"""The schedulers that are tested, by name: `make_scheduler` gives a fresh one on a model's noise
schedule.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from sagviz.checks import shown
from sagviz.diffusion.kinds import FLOW_SCHEDULERS, KINDS
from sagviz.diffusion.kinds import SCHEDULERS as SCHEDULERS
from sagviz.diffusion.noise_level import is_flow
from sagviz.errors import ArgumentError, warn
from sagviz.models.base import Model

MOST_TIMES = 100_000  # of a recorded schedule: a file does not fill the memory
LEARNED = ("learned", "learned_range")
SPACINGS = (  # of the noise levels, by a rule of its own each
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)
REFUSED = {  # settings of diffusers' schedulers -> why they cannot be honoured
    "use_flow_sigmas": "is for models of flow matching, whose signal and noise add up to 1",
    "use_dynamic_shifting": "is for models of flow matching, and shifts their times by the size",
    "solver_p": "is an object, which settings and files of a run do not hold",
    "invert_sigmas": "runs from the picture to the noise",
}
OF_FLOW = ("use_flow_sigmas", "use_dynamic_shifting")
NOTHING: Mapping[str, Any] = {}
STATE = ("betas", "alphas_cumprod", "_shift")  # made of the settings, and what levels are made of
ZERO_SNR = "rescale_betas_zero_snr"  # Lin et al. 2023, arXiv 2305.08891


def make_scheduler(model: Model, chosen: object = None) -> Any:
    """A fresh scheduler: the model's own kind, a kind by name on the model's noise schedule, or the
    like of an instance.

    Raises:
        ArgumentError: the name is unknown, the kind is not one whose levels and history are tested,
            or its recorded configuration cannot be used.
    """
    if isinstance(chosen, dict):
        return _recorded(model, chosen)
    if chosen is None or hasattr(chosen, "set_timesteps"):
        return _like(model, model.scheduler if chosen is None else chosen)
    if str(chosen).lower() not in schedulers_of(model):
        raise ArgumentError(f"no scheduler {chosen!r}{_of(model)}; {_offer(model)}")
    return _named(model, str(chosen).lower())


def schedulers_of(model: Model) -> dict[str, tuple[str, dict[str, Any]]]:
    """The schedulers for such a model, by name."""
    return FLOW_SCHEDULERS if model.FLOW else SCHEDULERS


def _of(model: Model) -> str:
    return " of flow matching" if model.FLOW else ""


def _recorded(model: Model, noted: Mapping[str, Any]) -> Any:
    """One as `Settings.scheduler` has it. A file says which class: only those that are tested."""
    kind, options = _tested(model, noted.get("class")), {**noted}
    options.pop("class")
    times, betas = options.get("num_train_timesteps", 1000), options.get("trained_betas") or ()
    listed = isinstance(betas, list | tuple) and len(betas) in (0, times)
    if type(times) is not int or not 0 < times <= MOST_TIMES or not listed:
        raise ArgumentError(
            f"the recorded {kind} has {shown(times)} times and the betas {shown(betas)};"
            f" {_offer(model)}"
        )
    try:
        return _class(kind).from_config(options)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ArgumentError(
            f"the {kind} cannot be made from what was recorded of it ({error}); {_offer(model)}"
        ) from error


def _like(model: Model, template: Any) -> Any:
    """A fresh one of the same kind and settings."""
    if isinstance(template, type):
        raise ArgumentError(
            f"scheduler is the class {template.__name__}; give one of it, such as"
            f" {template.__name__}.from_config(model.scheduler.config), or its name, such as 'ddim'"
        )
    _tested(model, type(template).__name__)
    return _fresh(template)


def _fresh(template: Any) -> Any:
    """Another of the same settings. Refused is one whose levels are not those of its settings,
    which are what a run notes of it.
    """
    kind, fresh = type(template), type(template).from_config(template.config)
    for name in STATE:
        own, made = (getattr(each, name, None) for each in (template, fresh))
        if isinstance(own, Tensor) and isinstance(made, Tensor):
            same = own.shape == made.shape and bool((own.cpu() == made.cpu()).all())
        else:
            same = own == made
        if not same:
            what = name.removeprefix("_")
            raise ArgumentError(
                f"{what} of this {kind.__name__} was changed after it was made, and runs are noted"
                f" by its settings; make it anew with other settings, as {kind.__name__}"
                f".from_config(scheduler.config, {'shift=7.0' if what == 'shift' else '...'}) does"
            )
    return fresh


def _tested(model: Model, kind: object) -> str:
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArgumentError(f"{kind} is not among the schedulers that are tested; {_offer(model)}")
    return kind


def _named(model: Model, name: str) -> Any:
    """A scheduler of that name on the model's noise schedule."""
    kind, options = schedulers_of(model)[name]
    config, takes = dict(_fresh(model.scheduler).config), inspect.signature(_class(kind)).parameters
    if model.FLOW:  # two names for one number
        shift = config.get("shift", config.get("flow_shift", 1.0))
        config |= {each: shift for each in ("shift", "flow_shift") if each in takes}
    for spacing in SPACINGS:
        config.pop(spacing, None)
    if not model.bounded and "clip_sample" in takes:  # but DDIM and DDPM clip by default
        config.setdefault("clip_sample", False)
    if config.get("variance_type") in LEARNED:
        del config["variance_type"]  # then DDPM takes its own, the smaller of the two fixed ones
    return _class(kind).from_config(config, **options)


def check_scheduler(model: Model, scheduler: Any, *, warns: bool = True) -> None:
    """Refuse a scheduler that needs what guidance does not have, and warn of one that leaves the
    model's noise schedule.

    Raises:
        ArgumentError: it takes the variance from the network, or is set to what no run here can do.
    """
    kind = type(scheduler).__name__
    for setting, why in REFUSED.items():
        if scheduler.config.get(setting) and not (model.FLOW and setting in OF_FLOW):
            raise ArgumentError(
                f"this {kind} has the setting {setting}, which {why}; give it"
                f" without, as {kind}.from_config(scheduler.config, {setting}=None) does, or"
                " scheduler='ddim'"
            )
    if is_flow(scheduler) != model.FLOW:
        article = "is no scheduler" if model.FLOW else "is one"
        raise ArgumentError(
            f"{kind} {article} for models of flow matching, whose signal and noise add up to 1, and"
            f" {model.name} is {'one' if model.FLOW else 'none'}; {_offer(model)}"
        )
    if scheduler.config.get("variance_type") in LEARNED:
        raise ArgumentError(
            f"this {kind} takes the noise of its steps from the network"
            f" (variance_type {scheduler.config.variance_type!r}), which has no guided form; give"
            " scheduler='ddpm', which fixes it, or 'ddim'"
        )
    if warns and model.scheduler.config.get(ZERO_SNR) and not _has_zero_snr(type(scheduler)):
        able = [name for name, (other, _) in SCHEDULERS.items() if _has_zero_snr(_class(other))]
        warn(
            f"{model.name} was trained with zero terminal SNR, which {kind} does not have:"
            " it starts from less noise than the model knows, and pictures turn grey;"
            f" {', '.join(able)} have it"
        )


def set_timesteps(
    scheduler: Any,
    steps: int,
    timesteps: Sequence[int] | None = None,
    options: Mapping[str, Any] = NOTHING,
) -> None:
    """Lay a schedule out: by its own rule, for which the options are what `Model.schedule` says, or
    at the timesteps that are given.

    Raises:
        ArgumentError: it takes fewer steps, as those of distilled models do, or no timesteps, or
            not these.
    """
    if timesteps is not None:
        _set_given(scheduler, list(timesteps))
        return
    refused = ArgumentError(
        f"steps is {steps}, which {type(scheduler).__name__} does not take; give fewer, or another"
        " scheduler such as 'ddim'"
    )
    try:
        scheduler.set_timesteps(steps, **options)
    except ValueError as error:
        raise refused from error
    # a multistep solver divides by how far two levels are apart, but for those of its last step
    if "solver_order" in scheduler.config and (scheduler.sigmas.diff()[:-1] == 0).any():
        raise refused


def _set_given(scheduler: Any, timesteps: list[int]) -> None:
    kind = type(scheduler)
    if is_flow(scheduler):  # diffusers shifts levels, and tells the network the times as given
        raise ArgumentError(
            "timesteps are given, and a model of flow matching lays out its own noise levels; give"
            " steps="
        )
    if not _takes_timesteps(kind):
        able = [
            name
            for name, (other, options) in SCHEDULERS.items()
            if _takes_timesteps(_class(other)) and not options.keys() & set(SPACINGS)
        ]
        raise ArgumentError(
            f"timesteps are given, and {kind.__name__} takes none; give steps=, or scheduler= one"
            f" of {', '.join(able)}"
        )
    try:
        scheduler.set_timesteps(timesteps=timesteps)
    except ValueError as error:  # such as Karras' spacing, which lays out its own
        raise ArgumentError(
            f"timesteps are {shown(timesteps)}, which this {kind.__name__} does not take"
            f" ({error}); give steps=, or another scheduler such as 'euler'"
        ) from error


def scheduler_name(model: Model, wanted: Mapping[str, Any]) -> str | None:
    """Under which name `make_scheduler` makes a recorded scheduler: "" for the model's own, `None`
    where there is none.
    """
    known = schedulers_of(model).items()
    for name in ("", *(name for name, (kind, _) in known if kind == wanted["class"])):
        made = make_scheduler(model, name or None)
        same = all(made.config.get(key) == value for key, value in wanted.items() if key != "class")
        if same and type(made).__name__ == wanted["class"]:
            return name
    return None


def _class(kind: str) -> Any:
    import diffusers

    return getattr(diffusers, kind)


def _takes_timesteps(kind: type[Any]) -> bool:
    return "timesteps" in inspect.signature(kind.set_timesteps).parameters


def _has_zero_snr(kind: type[Any]) -> bool:
    return ZERO_SNR in inspect.signature(kind).parameters


def _offer(model: Model) -> str:
    names = ", ".join(schedulers_of(model))
    return f"give scheduler= one of {names}, or a diffusers scheduler of such a kind"
