"""The settings of a run as traits: filled by hand, from an example, or from what a run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from sagviz.checks import MAX_SEED, MAX_STEPS
from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, SAG, Guidance, Schedule
from sagviz.models import SCHEDULERS, Model, as_model
from sagviz.models.fingerprint import fingerprint
from sagviz.models.schedulers import scheduler_name
from sagviz.models.vocabulary import vocabulary
from sagviz.records.settings import Settings
from sagviz.sampling.prepare import Run, prepare
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Amount, Choice, Whole

Example = Mapping[str, Any]  # names and values of settings

MINIATURE: tuple[Example, ...] = (
    {"prompt": "a fox on a blue background", "seed": 7},
    {"prompt": "a penguin on a yellow background", "seed": 11},
    {"prompt": "a rocket on a black background", "seed": 3, "cfg_scale": 5.0},
    {"prompt": "a cat left of a cake on a pink background", "seed": 5, "sag_scale": 0.5},
    {"prompt": "", "seed": 21},
)
ANY_MODEL: tuple[Example, ...] = (
    {"prompt": "a photograph of an astronaut riding a horse", "seed": 7},
    {"prompt": "a corgi in a field of sunflowers, oil painting", "seed": 11},
    {"prompt": "a bowl of fruit on a wooden table, studio light", "seed": 3, "cfg_scale": 5.0},
    {"prompt": "portrait of an old fisherman, film photograph", "seed": 5, "sag_scale": 0.5},
    {"prompt": "", "seed": 21},
)
PIXELS: tuple[Example, ...] = (
    {"seed": 7},
    {"seed": 11},
    {"seed": 3, "sag_scale": 0.5},
    {"seed": 5, "steps": 100},
)
BEST: Example = {"cfg_scale": 10.0, "sag_scale": 1.0, "steps": 200}


class FormSettings(WidgetSettings):
    """What the Playground runs."""

    widget = "Playground"
    derived = ("height", "width", "blur_sigma", "examples")

    prompt = traitlets.Unicode(
        "",
        help="What to draw, in words. May be empty: then the seed decides. Capitals do not matter.",
    )
    steps = Whole(
        50,
        min=1,
        max=MAX_STEPS,
        help="How many steps to the picture, 1 to 999 (50). More is slower; 200 for quality.",
    )
    cfg_scale = Amount(
        3.0,
        min=0.0,
        max=10.0,
        help=(
            "Text guidance (CFG) w, 0 to 10 (3). 0 ignores the prompt, 1 follows it plainly, more"
            " insists."
        ),
    )
    sag_scale = Amount(
        1.0,
        min=-0.5,
        max=2.0,
        help=(
            "Self-attention guidance (SAG) s, -0.5 to 2 (1). 0 is off, below 0 makes pictures"
            " worse."
        ),
    )
    seed = Whole(
        0,
        min=0,
        max=MAX_SEED,
        help=f"Which noise to start from, 0 to {MAX_SEED} (0). The same seed, the same picture.",
    )
    randomize = traitlets.Bool(
        False, help="Draw a new seed for each run (no), until one is set. The one used is shown."
    )
    negative_prompt = traitlets.Unicode(
        "", help="What not to draw, in words (nothing). It acts through text guidance."
    )
    height = Whole(512, min=8, max=4096, help="Height of the picture in pixels (the model's own).")
    width = Whole(512, min=8, max=4096, help="Width of the picture in pixels (the model's own).")
    scheduler = Choice(
        ("", *SCHEDULERS), "", help="The rule that takes a step, by name (the model's own)."
    )
    eta = Amount(
        0.0,
        min=0.0,
        max=1.0,
        help="Fresh noise in each DDIM step, 0 (none) to 1 (as much as DDPM) (0).",
    )
    threshold = Amount(
        1.0,
        min=-1.0,
        max=10.0,
        help=(
            "SAG's threshold for the mask, in units of the mean attention (1). -1 masks everything."
        ),
    )
    blur_sigma = Amount(
        1.0, min=0.0, max=10.0, help="SAG's blur, standard deviation in latent pixels, 0 to 10 (1)."
    )
    examples = traitlets.Tuple(
        help="Rows of the table of examples, each a dict of settings (some for the model)."
    )

    def __init__(self, model: Model, **options: Any) -> None:
        self.model = model = as_model(model)
        height, width = model.default_size
        own = {
            "height": height,
            "width": width,
            "examples": examples_of(model),
            "blur_sigma": model.sag().blur_sigma,
        }
        self._drawn: int | None = None  # the seed that a run drew, and nobody set
        super().__init__(**{**own, **options})
        self.initial = {name: getattr(self, name) for name in self.names()}

    @traitlets.validate("examples")
    def _check_examples(self, proposal: Any) -> tuple[Example, ...]:
        for example in proposal.value:
            names = self.names()
            known = isinstance(example, Mapping)
            unknown = set(example) - set(names) if known else {repr(example)}
            if unknown:
                raise ArgumentError(
                    f"an example holds {', '.join(unknown)}; give dicts with any of"
                    f" {', '.join(names)}"
                )
        return tuple(proposal.value)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the settings of a run, and `randomize`."""
        return [name for name in cls.options() if name not in ("examples", "large")]

    def reset(self) -> None:
        """All settings to their initial values, but for the seed, which is drawn for each run from
        now on.
        """
        self.set({**self.initial, "randomize": True})

    def set(self, values: Example) -> None:
        """Set several settings, all or, where one is refused, none."""
        before = {name: getattr(self, name) for name in (*values, "randomize")}
        try:
            with self.together():
                self._assign(values)
        except Exception:
            self._assign(before)
            raise

    def adjust(self, name: str, before: Any) -> None:
        """A seed that is set is meant: no other is drawn in its place."""
        del before
        if name == "seed" and self.seed != self._drawn:
            self.randomize = False

    def prepare(self) -> tuple[Run, Run]:
        """The two runs, (cfg, cfg_sag), ready to start; draws the seed where it is not fixed, and
        shows it.

        A model that reads no prompt has (plain, sag).
        """
        options: dict[str, Any] = {
            "negative_prompt": self.negative_prompt,
            "steps": self.steps,
            "seed": None if self.randomize else self.seed,
            "size": (self.height, self.width),
            "scheduler": self.scheduler or None,
            "eta": self.eta,
        }
        cfg = Guidance((CFG(self.cfg_scale),) if self.model.reads_text else ())
        sag = self.model.sag(self.sag_scale, threshold=self.threshold, blur_sigma=self.blur_sigma)
        with_sag = prepare(self.model, self.prompt, guidance=cfg + sag, **options)
        self._drawn = options["seed"] = with_sag.settings.seed
        self.seed = self._drawn
        return prepare(self.model, self.prompt, guidance=cfg, **options), with_sag

    def restore(self, settings: Settings) -> list[str]:
        """Set the form to what a run recorded; gives sentences on what it has no place for."""
        cfg, sag = settings.guidance.get(CFG), settings.guidance.get(SAG)
        names = ("prompt", "negative_prompt", "steps", "seed", "eta")
        values: dict[str, Any] = {name: getattr(settings, name) for name in names}
        values |= {"randomize": False, "height": settings.size[0], "width": settings.size[1]}
        values |= {"cfg_scale": cfg.peak if cfg else 1.0} if self.model.reads_text else {}
        values |= {"sag_scale": sag.peak if sag else 0.0}
        values |= _mask_settings(sag) if sag else {}
        name = scheduler_name(self.model, settings.scheduler)
        self.set({**values, "scheduler": name or ""})
        return self._lost(settings, name)

    def _assign(self, values: Example) -> None:
        """One after the other, `randomize` last, because a seed that is set ends it."""
        for name in sorted(values, key=lambda name: name == "randomize"):
            setattr(self, name, values[name])

    def _lost(self, settings: Settings, scheduler: str | None) -> list[str]:
        """What the form has no place for, and what this model cannot do as that run's did."""
        cfg, sag, lost = settings.guidance.get(CFG), settings.guidance.get(SAG), []
        if sag and sag != self.model.sag(sag.scale, **_mask_settings(sag)):
            lost.append(f"that run had {sag!r}: the form sets its scale, threshold and blur only")
        curves = [repr(term) for term in (cfg, sag) if term and isinstance(term.scale, Schedule)]
        if curves:
            lost.append(
                f"that run had {' + '.join(curves)}, a curve: the form takes its peak alone"
            )
        others = [repr(term) for term in settings.guidance.terms if type(term) not in (CFG, SAG)]
        if others:
            lost.append(f"that run also had {' + '.join(others)}, for which the form has no place")
        if settings.extras:
            lost.append(f"that run was given {settings.extras}, for which the form has no place")
        if scheduler is None:
            lost.append(f"no scheduler here is the {settings.scheduler['class']} of that run")
        if settings.fingerprint != fingerprint(self.model, [settings.guidance]):
            lost.append(
                f"that run was made by {settings.model} with other weights, adapters, tokens or"
                f" dtype than {self.model.name} has here"
            )
        return lost


def examples_of(model: Model) -> tuple[Example, ...]:
    """Settings that show a model well."""
    return MINIATURE if vocabulary(model) else ANY_MODEL if model.reads_text else PIXELS


def _mask_settings(sag: SAG) -> dict[str, Any]:
    return {"threshold": sag.threshold, "blur_sigma": sag.blur_sigma}
