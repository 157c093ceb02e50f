"""Checks of arguments, and numbers for people: what was given, what is allowed."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, TypeGuard, TypeVar, cast

from sagviz.errors import ArgumentError

MAX_STEPS = 999  # a schedule of 1,000 training steps has no more
SHOWN = 80  # letters of a value in an error
MAX_SEED = 2**63 - 4097  # torch takes 63 bits, and image i of up to 4096 has seed + i

F = TypeVar("F", bound=Callable[..., Any])

_CFG = ("cfg_scale=7.5", "cfg=7.5", "guidance=CFG(7.5)", "scale=7.5")
_SAG = ("sag_scale=1.0", "sag=1.0", "guidance=CFG(3.0) + SAG(1.0)", "scale=1.0")
_IMAGES, _SIZE = ("images=4",), ("size=(height, width)",)
# what diffusers and other programs call an argument -> ours, of which the function's own is offered
OUR_NAMES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("num_inference_steps", "inference_steps", "num_steps", "n_steps", "ddim_steps"),
        ("steps=50",),
    ),
    **dict.fromkeys(("guidance_scale", "cfg_scale", "cfg", "text_scale"), _CFG),
    **dict.fromkeys(("sag_scale", "sag"), _SAG),
    "pag_scale": ("terms=PAG(2.0)", "guidance=CFG(3.0) + PAG(2.0)", "scale=2.0"),
    "guidance_rescale": ("terms=Rescale(0.7)", "guidance=CFG(7.5) + Rescale(0.7)", "scale=0.7"),
    **dict.fromkeys(("generator", "manual_seed"), ("seed=7", "seeds=[7]")),
    "latents": ("noise=latents",),
    **dict.fromkeys(
        ("num_images_per_prompt", "num_images", "batch_size", "n_samples", "n_iter"), _IMAGES
    ),
    **dict.fromkeys(("height", "width", "resolution", "image_size", "W", "H"), _SIZE),
    **dict.fromkeys(
        ("sampler", "sampler_name", "scheduler"), ("scheduler='ddim'", "schedulers=['ddim']")
    ),
    "ddim_eta": ("eta=1.0",),
    **dict.fromkeys(("init_image", "input_image"), ("image=picture",)),
    "denoising_strength": ("strength=0.6",),
    "mask_image": ("paint=mask",),
    "torch_dtype": ("dtype='float16'",),
    **dict.fromkeys(("prompt_2", "text"), ("prompt='a fox'", "prompts=['a fox']")),
    **dict.fromkeys(("negative", "negative_prompt_2"), ("negative_prompt='blurry'",)),
}
OTHER_WAYS: Mapping[str, str] = {  # where we have no argument for it
    "cross_attention_kwargs": (
        "set the strength of a LoRA on the pipeline: pipe.set_adapters(names, 0.5)"
    ),
    **dict.fromkeys(
        ("callback", "callback_on_step_end", "callback_steps"),
        "sv.steps yields each step as soon as it is made",
    ),
    **dict.fromkeys(
        ("output_type", "return_dict"),
        "the trace has its pictures as trace.images and its latents as trace.latents",
    ),
}


def plain(value: object) -> Any:
    """A number of NumPy or torch, of no dimension, as Python's own; anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value  # type: ignore[attr-defined]


def check_number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf, finite: bool = True
) -> float:
    """The number, of NumPy or torch as well; what is none between `low` and `high` is refused."""
    number = plain(value)  # a whole one may be larger than any float
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number:
        raise ArgumentError(f"{name} is {value!r}; give a number")
    large = abs(number) > sys.float_info.max and (finite or isinstance(number, int))
    if large or not low <= number <= high:
        bounded = math.isfinite(low) or math.isfinite(high)
        span = f"from {_written(low)} to {_written(high)}" if bounded else "that is finite"
        raise ArgumentError(f"{name} is {number!r}; give a number {span}")
    return number


def _written(number: float) -> str:
    """A bound as people write it: whole where it is whole, 4611686018427387904."""
    return f"{number:g}" if math.isinf(number) or number % 1 else str(int(number))


def check_unicode(name: str, text: str) -> None:
    """Refuse a text with half a character, as a shell of another encoding hands it over."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"{name} is {text!a}, which is no text: at place {error.start} stands a byte of"
            " another encoding; give it in the terminal's own, UTF-8 as a rule"
        ) from error


def check_steps(steps: object) -> int:
    """The number of steps; what is none in 1..999 is refused."""
    return check_whole("steps", steps, 1, MAX_STEPS)


def check_whole(name: str, value: object, low: int, high: int) -> int:
    """The whole number, of NumPy or torch as well; what is none from `low` to `high` is refused."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
        raise ArgumentError(f"{name} is {number!r}; give a whole number from {low} to {high}")
    return number


def check_wholes(name: str, value: object) -> tuple[int, ...]:
    """The whole numbers of a list or an array; what is not one or more of them from 0 on is
    refused.
    """
    numbers = tuple(map(plain, value)) if _is_list(value) else ()
    if not numbers or not all(type(number) is int and number >= 0 for number in numbers):
        raise ArgumentError(
            f"{name} is {value!r}; give whole numbers from 0 on, at least one, such as (0, 3), or"
            " None"
        )
    return numbers


def check_size(size: object, unit: int, example: tuple[int, int]) -> tuple[int, int]:
    """(height, width) in pixels; what is not that, both multiples of `unit`, is refused."""
    sides = [plain(side) for side in size] if _is_list(size) else []
    if len(sides) != 2 or not all(type(s) is int and s >= unit and s % unit == 0 for s in sides):
        raise ArgumentError(
            f"size is {size!r}; give (height, width) in pixels, multiples of {unit}, e.g. {example}"
        )
    return sides[0], sides[1]


def check_kind(name: str, value: object, kind: type, wanted: str) -> None:
    """Refuse what is not of a class; `wanted` says what to give."""
    if not isinstance(value, kind):
        raise ArgumentError(f"{name} is {shown(value)}; give {wanted}")


def shown(value: object) -> str:
    """A value on one line, cut where it is long."""
    return shortened(repr(value), SHOWN)


def shortened(text: str, longest: int) -> str:
    """A text on one line, cut between two words where it is longer, inside one where that is the
    first.
    """
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    return (line[: longest + 1].rpartition(" ")[0] or line[:longest]) + " …"


def check_fields(what: str, content: object, kind: type, needed: Collection[str] = ()) -> None:
    """Refuse what a file says of a dataclass where it is no JSON object, or one of another version:
    with fields that are not known here, or without those that have no default or are needed.
    """
    if not isinstance(content, Mapping):
        raise ArgumentError(f"{what} is no JSON object; give a file that sagviz wrote")
    known = {each.name: each for each in fields(kind)}
    open_ = [name for name, each in known.items() if each.default is MISSING]
    unknown = [f"has {name!r}, which is not known here" for name in content if name not in known]
    missing = [f"lacks {name!r}" for name in (*open_, *needed) if name not in content]
    for reason in (*unknown, *missing):
        raise ArgumentError(
            f"{what} {reason}; take the version of sagviz that wrote it, or make it again with this"
            " one"
        )


def format_bytes(amount: float) -> str:
    """Bytes in GiB, or in MiB where that is less than a tenth."""
    if math.ceil(amount) >= 2**30 / 10:
        return f"{amount / 2**30:.2f} GiB"
    return f"{amount / 2**20:.2f} MiB"


def format_dtype(dtype: object) -> str:
    """The name of a number format of torch, as `load` takes it: "float16"."""
    return str(dtype).removeprefix("torch.")


def names_arguments(**hints: str) -> Callable[[F], F]:
    """A decorator: a call that does not fit the function's arguments is refused with a sentence.

    Args:
        hints: for names that people bring along, what to do instead.
    """

    def decorate(function: F) -> F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            check_call(function.__name__, signature, args, kwargs, hints)
            return function(*args, **kwargs)

        return cast(F, checked)

    return decorate


def check_call(
    name: str, signature: inspect.Signature, args: Any, given: Any, hints: Mapping[str, str]
) -> None:
    """Refuse a call that does not fit the arguments of what is called so."""
    refuse_unknown(name, given, list(signature.parameters), hints)
    try:
        signature.bind(*args, **given)
    except TypeError as error:
        raise ArgumentError(f"{name}: {error}; {_call(signature)}") from None


def refuse_unknown(
    function: str, given: Iterable[str], known: Sequence[str], hints: Mapping[str, str] = {}
) -> None:
    """Refuse a name that is no argument of a function, and say what was probably meant.

    Args:
        function: what it is called.
        given: the names.
        known: those that it has.
        hints: for some names, what to do instead.
    """
    for name in given:
        if name not in known:
            hint = hints.get(name) or meant(name, known)
            raise ArgumentError(f"{function} has no argument {name!r}; {hint}")


def meant(name: str, known: Sequence[str]) -> str:
    """What was probably meant by an argument that is not known."""
    ours = [words for words in OUR_NAMES.get(name, ()) if words.partition("=")[0] in known]
    near = get_close_matches(name, known, 1)
    other = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known)}"
    return f"give {ours[0]}" if ours else OTHER_WAYS.get(name, other)


def _call(signature: inspect.Signature) -> str:
    """How a function is called, in words."""
    kinds = signature.parameters.values()
    by_name = [each.name for each in kinds if each.kind is each.KEYWORD_ONLY]
    by_place = [each.name for each in kinds if each.kind is not each.KEYWORD_ONLY]
    named = f", and by name {', '.join(by_name)}" * bool(by_name)
    return f"it takes, in this order, {', '.join(by_place)}{named}"


def _is_list(value: object) -> TypeGuard[Collection[Any]]:
    """Whether it is a list, a tuple, an array or the like."""
    return (
        isinstance(value, Collection)
        and not isinstance(value, str | bytes)
        and getattr(value, "shape", None) != ()
    )
