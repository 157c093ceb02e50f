"""The parameters of a report: checked before anything runs, in Python and in the notebook. The
command line has them too, and imports torch only when it runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sagviz.checks import (
    MAX_SEED,
    check_call,
    check_number,
    check_steps,
    check_unicode,
    check_whole,
    plain,
)
from sagviz.errors import ArgumentError, ReportError
from sagviz.mini import NAME

if TYPE_CHECKING:
    from sagviz.guidance import Guidance, Schedule
    from sagviz.models import Model

TYPES: Mapping[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "float | Schedule | dict[str, Any]": (int, float, dict),
    "list[dict[str, Any]]": list,
}


@dataclass(frozen=True)
class Parameters:
    """The settings of a report. The notebook's parameters cell has the same names and defaults.

    Attributes:
        model: "miniature", which "" is too, a folder in diffusers' format or a hub name.
        prompt: may be empty.
        negative_prompt: in place of the empty prompt in CFG's unconditional branch.
        seed: of the start noise.
        steps: 1..999.
        cfg_scale: w; 0 ignores the prompt, 1 is the plain conditional prediction. A number, or a
            curve as `Schedule.to_json` gives it.
        sag_scale: the paper's s; 0 is off. Likewise.
        threshold: psi, in units of the mean attention.
        blur_sigma: in latent pixels; `None` is what suits the model's family (`Model.sag`).
        scheduler: a name such as "ddim"; "" is the model's own.
        explain_at: which step is taken apart, as a fraction of the run, 0..1.
        seeds: how many further seeds the finding is of, 0..1000; 0 leaves it with one pair.
        terms: guidance beside CFG and SAG, as `Guidance.to_json` gives it.
    """

    model: str = NAME
    prompt: str = "a fox on a blue background"
    negative_prompt: str = ""
    seed: int = 7
    steps: int = 50
    cfg_scale: float | Schedule | dict[str, Any] = 3.0
    sag_scale: float | Schedule | dict[str, Any] = 1.0
    threshold: float = 1.0
    blur_sigma: float | None = None
    scheduler: str = ""
    explain_at: float = 0.4
    seeds: int = 8
    terms: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        from sagviz.guidance import Schedule

        for each in fields(self):
            value = plain(getattr(self, each.name))
            value = value.to_json() if isinstance(value, Schedule) else value
            object.__setattr__(self, each.name, value)
            if isinstance(value, bool) or not isinstance(value, TYPES[str(each.type)]):
                raise ReportError(
                    f"the report parameter {each.name} is {value!r}; it is of type {each.type},"
                    f" e.g. {getattr(type(self), each.name, [])!r}"
                )
        check_steps(self.steps)
        check_number("explain_at", self.explain_at, 0, 1)
        check_whole("seed", self.seed, 0, MAX_SEED)
        check_whole("seeds", self.seeds, 0, 1000)
        for name in ("model", "prompt", "negative_prompt", "scheduler"):
            check_unicode(name, getattr(self, name))
        object.__setattr__(self, "model", self.model or NAME)
        _ = self.guidance  # its terms check their own numbers

    @property
    def guidance(self) -> Guidance:
        """All terms as they are for a model that reads text, before it gives them its own blur."""
        from sagviz.guidance import CFG, SAG

        return CFG(self.cfg_scale) + SAG(self.sag_scale, **self._of_sag) + self.others

    @property
    def others(self) -> Guidance:
        """The terms beside CFG and SAG."""
        from sagviz.guidance import Guidance

        try:
            return Guidance.from_json(self.terms)
        except (ArgumentError, TypeError) as error:
            raise ReportError(
                f"the report parameter terms is {self.terms!r} ({error}); give what"
                " Guidance.to_json gives, e.g. [{'kind': 'pag', 'scale': 2.0}]"
            ) from error

    @property
    def _of_sag(self) -> dict[str, Any]:
        """SAG's settings beside its scale."""
        blur = {} if self.blur_sigma is None else {"blur_sigma": self.blur_sigma}
        return {"threshold": self.threshold, **blur}

    def settings(self, model: Model) -> dict[str, Any]:
        """The arguments of `compare` beside the model.

        A model that reads no text gets neither the prompt nor the CFG that stand here by default;
        any others it refuses.
        """
        from sagviz.guidance import CFG

        usual, reads = type(self), model.reads_text
        sag_scale: Any = self.sag_scale
        return {
            **{name: getattr(self, name) for name in ("negative_prompt", "seed", "steps")},
            "prompt": self.prompt if reads or self.prompt != usual.prompt else "",
            "scheduler": self.scheduler or None,
            "cfg": CFG(self.cfg_scale) if reads or self.cfg_scale != usual.cfg_scale else None,
            "sag": model.sag(sag_scale, **self._of_sag),
            "terms": self.others,
        }

    def load(self) -> Model:
        """The model that is named; in a kernel that makes many reports the last one stays."""
        return _loaded(self.model)

    @staticmethod
    def checked(given: Mapping[str, object]) -> Parameters:
        """Parameters from names and values.

        Raises:
            ArgumentError: an unknown name, or a number out of range.
            ReportError: a value of another type.
        """
        check_call("a report", inspect.signature(Parameters), (), given, {})
        return Parameters(**given)  # type: ignore[arg-type]

    @staticmethod
    def from_namespace(namespace: Mapping[str, object]) -> Parameters:
        """Parameters from a notebook's globals. papermill injects any name it is given; here an
        unknown one is refused.
        """
        kinds = (str, int, float, list, dict, type(None))
        given = {
            name: value
            for name, value in namespace.items()
            if isinstance(value, kinds) and not name.startswith("_") and name not in ("In", "Out")
        }
        return Parameters.checked(given)


@lru_cache(maxsize=1)
def _loaded(name: str) -> Model:
    from sagviz.models.load import load

    return load(name)
