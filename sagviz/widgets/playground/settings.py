"""The settings of a run as traits: filled by hand, from an example, or from what a run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets
from PIL import ImageOps
from PIL.Image import Image

from sagviz.checks import MAX_SEED, MAX_STEPS
from sagviz.errors import ArgumentError
from sagviz.guidance import CFG, Guidance
from sagviz.image import as_image
from sagviz.models import SCHEDULERS, Model, as_model
from sagviz.records.settings import Settings
from sagviz.sampling.prepare import Run, prepare
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Amount, Choice, Text, Whole
from sagviz.widgets.playground import restore, terms
from sagviz.widgets.playground.examples import Example, examples_of

MOST = 16  # pictures of one kind in one run


class Start(traitlets.TraitType):  # not subscriptable in Colab's traitlets
    """`None`, or a picture of PIL, NumPy or torch, as one of PIL."""

    def validate(self, _obj: Any, value: Any) -> Image | None:
        return None if value is None else as_image(value).convert("RGB")


class FormSettings(WidgetSettings):
    """What the Playground runs. Each term of guidance beside CFG and SAG that the model takes has
    its scale here, `NAME_scale`, with the range that its class gives; at 0 the run is without it.

    Attributes:
        kinds: those terms.
    """

    widget = "Playground"
    derived = ("height", "width", "blur_sigma", "examples")

    prompt = Text("", help="What to draw, in words. May be empty: then the seed decides.")
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
    images = Whole(
        1,
        min=1,
        max=MOST,
        help=f"How many seeds in one run, 1 to {MOST} (1): this one and those that follow it.",
    )
    negative_prompt = Text(
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
    image: Any = Start(
        None,
        allow_none=True,
        help="A picture to start from (none), cut to the run's shape and scaled to its size.",
    )
    strength = Amount(
        0.8,
        min=0.0,
        max=1.0,
        help="How much of the way is run from that picture, 0 to 1 (0.8). 1 forgets most of it.",
    )
    examples = traitlets.Tuple(
        help="Examples under the prompt, each a dict of settings (some for the model)."
    )

    def __init__(self, model: Model, **options: Any) -> None:
        self.model = model = as_model(model)
        self.kinds = terms.taken(model)
        self.add_traits(**terms.traits_of(self.kinds))
        height, width = model.default_size
        own = {
            "height": height,
            "width": width,
            "examples": examples_of(model),
            "blur_sigma": model.sag().blur_sigma,
        }
        self._drawn: int | None = None  # the seed that a run drew, and nobody set
        super().__init__(**{**own, **options})
        self.initial = self.values()

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

    def values(self) -> dict[str, Any]:
        """The settings of a run, and `randomize`, by name."""
        return {name: getattr(self, name) for name in self.names()}

    def reset(self) -> None:
        """All settings to their initial values, but for the seed, which is drawn for each run from
        now on.
        """
        self.set({**self.initial, "randomize": True})

    def set(self, values: Example) -> None:
        """Set several settings, all or, where one is refused, none."""
        unknown = sorted(map(str, set(values) - set(self.options())))
        if unknown:
            raise ArgumentError(
                f"there is no setting {unknown[0]}; give {', '.join(self.options())}"
            )
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

    def guidance(self, values: Example) -> tuple[Guidance, Guidance]:
        """(CFG, CFG + SAG and all other terms) of these settings; (nothing, SAG and the others)
        where the model reads no prompt.
        """
        cfg = Guidance((CFG(values["cfg_scale"]),) if self.model.reads_text else ())
        own = {name: values[name] for name in ("threshold", "blur_sigma")}
        sag = self.model.sag(values["sag_scale"], **own)
        return cfg, cfg + sag + terms.total(self.kinds, values)

    def prepare(self) -> tuple[Run, Run]:
        """The two runs, (cfg, cfg_sag), ready to start; draws the seed where it is not fixed, and
        shows it. A model that reads no prompt has (plain, sag).
        """
        options: dict[str, Any] = {
            "negative_prompt": self.negative_prompt,
            "steps": self.steps,
            "seed": None if self.randomize else self.seed,
            "images": self.images,
            "size": (self.height, self.width),
            "scheduler": self.scheduler or None,
            "eta": self.eta,
            "strength": None if self.image is None else self.strength,
        }
        cfg, guidance = self.guidance(self.values())
        with_sag = prepare(self.model, self.prompt, guidance=guidance, image=self.fitted, **options)
        self._drawn = options["seed"] = with_sag.settings.seed
        self.seed = self._drawn
        options["inputs"] = with_sag.inputs
        return prepare(self.model, self.prompt, guidance=cfg, **options), with_sag

    @property
    def fitted(self) -> Image | None:
        """The picture to start from, of the run's size."""
        return None if self.image is None else ImageOps.fit(self.image, (self.width, self.height))

    def restore(self, settings: Settings, image: Image | None = None) -> list[str]:
        """Set the form to what a run recorded, and to the picture that it started from; gives
        sentences on what it has no place for.
        """
        self.set({**restore.values_of(self.model, self.kinds, settings), "image": image})
        return restore.lost(self.model, self.kinds, settings, has_image=image is not None)

    def _assign(self, values: Example) -> None:
        """One after the other, `randomize` last, because a seed that is set ends it."""
        for name in sorted(values, key=lambda name: name == "randomize"):
            setattr(self, name, values[name])
