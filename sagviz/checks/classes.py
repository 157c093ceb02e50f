"""Calls of classes that people make, such as `CFG(3.0)`: refused with a sentence where they do not
fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from sagviz.checks import check_call

# what papers and other programs call a setting -> ours, of which the class's own is offered
OUR_FIELDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("w", "s", "weight", "strength", "seg_scale", "apg_scale", "slg_scale"), ("scale=3.0",)
    ),
    "nag_scale": ("phi=5.0",),
    "nag_tau": ("tau=2.5",),
    "nag_alpha": ("alpha=0.5",),
    **dict.fromkeys(("psi", "tau", "mask_threshold"), ("threshold=1.0",)),
    **dict.fromkeys(("sigma", "seg_blur_sigma"), ("blur_sigma=1.0",)),
    **dict.fromkeys(("kernel", "kernel_size"), ("blur_kernel=9",)),
    **dict.fromkeys(
        ("block", "blocks", "layer", "layers", "pag_applied_layers", "seg_applied_layers"),
        ("layers='mid'", "layer='mid'"),
    ),
    **dict.fromkeys(("begin", "guidance_start"), ("start=0.2",)),
    **dict.fromkeys(("end", "guidance_end", "guidance_stop"), ("stop=0.8",)),
    **dict.fromkeys(("beta", "momentum_beta"), ("momentum=-0.5",)),
    **dict.fromkeys(("y", "class_label", "class_labels"), ("label='fox'",)),
}


class NamesArguments(type):
    """The class of classes whose calls are so refused. Subclasses have it too."""

    @property
    def __signature__(cls) -> inspect.Signature:  # what help shows
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        signature = cls.__signature__
        hints = {
            name: f"give {words}"
            for name, ways in OUR_FIELDS.items()
            for words in reversed(ways)
            if words.partition("=")[0] in signature.parameters
        }
        check_call(cls.__name__, signature, args, kwargs, hints)
        return super().__call__(*args, **kwargs)
