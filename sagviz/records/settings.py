"""`Settings`: all that a run depends on, beside the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

from torch import Tensor

from sagviz.checks import check_fields, check_unicode
from sagviz.diffusion.kinds import KINDS
from sagviz.errors import ArgumentError
from sagviz.guidance import Guidance
from sagviz.records import strict

R = TypeVar("R", Tensor, tuple[str, ...])
Digests = tuple[str, ...]  # of each row of a tensor, or of the only one
OF_PROMPT = ("prompt_embeds", "pooled_prompt_embeds")  # embeddings in its place
NEGATIVE = "negative_"  # before the same names
EMBEDDINGS = (*OF_PROMPT, *(NEGATIVE + name for name in OF_PROMPT))


@dataclass(frozen=True)
class Text:
    """What a branch of a step is conditioned on; equal ones mean equal conditionings.

    Attributes:
        words: the prompt; `None` is no text.
        clip_skip: how many of the text encoder's last layers are left out.
        embeddings: names and digests of what was given in its place.
    """

    words: str | None
    clip_skip: int | None = None
    embeddings: tuple[tuple[str, Digests], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a run depends on: the same settings give the same latents, but for the hand-made
    masks of branches, which their steps keep.

    `model` is a name for people, `fingerprint` says which model it is (see `models.fingerprint`);
    `size` is (height, width) in pixels; `scheduler` a class name with its configuration; image i of
    a batch uses seed + i; `timesteps` are those that were given in place of a number of steps,
    `strength` is how much of the schedule was run from a picture, and `inputs` has digests of the
    tensors that were given, which a trace stores. A branch has the settings of the trace that it
    left in `before`, and the index of its first own step in `branched_at`.
    """

    model: str
    fingerprint: str
    prompt: str
    negative_prompt: str
    guidance: Guidance
    steps: int
    seed: int
    images: int
    size: tuple[int, int]
    scheduler: dict[str, Any]
    eta: float = 0.0
    clip_skip: int | None = None
    timesteps: tuple[int, ...] | None = None
    strength: float | None = None
    inputs: Mapping[str, Digests] = field(default_factory=dict)
    before: Settings | None = None
    branched_at: int | None = None

    def guidance_at(self, index: int) -> Guidance:
        """The guidance of the run that made evaluation `index`: its own, or the one it left."""
        left = self.before is not None and index < (self.branched_at or 0)
        return self.before.guidance_at(index) if left and self.before else self.guidance

    @property
    def ancestry(self) -> list[Settings]:
        """The first run's settings and those of the branches that left their mark: one that was
        left again earlier did not.
        """
        kept = [self]
        while kept[0].before is not None:
            before, left_at = kept[0].before, kept[0].branched_at
            while before.before is not None and (before.branched_at or 0) >= (left_at or 0):
                before = before.before
            kept.insert(0, before)
        return kept

    @property
    def stretches(self) -> dict[int, Guidance]:
        """The guidance of each part of the run, by the index of the part's first step."""
        return {each.branched_at or 0: each.guidance for each in self.ancestry}

    @property
    def seeds(self) -> range:
        """One for each image."""
        return range(self.seed, self.seed + self.images)

    @property
    def caption(self) -> str:
        """The prompt for people; "" without any."""
        return "given embeddings" if "prompt_embeds" in self.inputs else self.prompt

    @property
    def extras(self) -> str:
        """What it was given that most runs are not, for people; "" without any."""
        named = {"eta": self.eta or None}  # 0 is what most runs have
        named |= {name: getattr(self, name) for name in ("strength", "clip_skip", "timesteps")}
        there = [f"{name} {value}" for name, value in named.items() if value is not None]
        return ", ".join([*self.inputs, *there])

    @property
    def networks(self) -> str:
        """The fingerprint without that of a classifier."""
        return self.fingerprint.partition("+")[0]

    def of_image(self, image: int) -> Settings:
        """Those that make one image of the batch alone, from 0."""
        before = self.before and self.before.of_image(image)
        own = {name: row_of(digests, image) for name, digests in self.inputs.items()}
        return replace(self, seed=self.seed + image, images=1, inputs=own, before=before)

    def texts(self, guidance: Guidance) -> dict[str, Text]:
        """What each branch of a step with this guidance is conditioned on, the one that guidance
        starts from first. As in diffusers, `clip_skip` is of the prompt alone.
        """
        prompt = Text(self.prompt, self.clip_skip, self._embeddings(""))
        if guidance.needs_both_branches:
            return {"out_uncond": self.negative_text, "out_cond": prompt}
        return {"out_cond": prompt} if self.caption else {"out_uncond": Text(None)}

    @property
    def negative_text(self) -> Text:
        """What the unconditional branch is conditioned on, and what some terms lead away from."""
        return Text(self.negative_prompt or None, None, self._embeddings(NEGATIVE))

    def _embeddings(self, sign: str) -> tuple[tuple[str, Digests], ...]:
        names = (sign + name for name in OF_PROMPT)
        return tuple((name, self.inputs[name]) for name in names if name in self.inputs)

    def to_json(self) -> dict[str, Any]:
        before = None if self.before is None else self.before.to_json()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "guidance": self.guidance.to_json(), "before": before}

    def note(self) -> dict[str, str]:
        """What a PNG says of the run that made it."""
        return {"sagviz": strict.dumps(self.to_json())}

    @staticmethod
    def from_json(content: Any) -> Settings:
        """The settings that `to_json` gave, or a picture's text as `json.loads` reads it.

        Raises:
            ArgumentError: another version wrote them, or somebody else.
        """
        content = strict.restored(content)
        names = [each.name for each in fields(Settings)]
        check_fields("the record of the settings", content, Settings, names)
        check_kinds(content, KIND)
        check_recorded(content["scheduler"])
        before = content["before"]
        before = None if before is None else Settings.from_json(before)
        changed = {
            "guidance": Guidance.from_json(content["guidance"]),
            "size": tuple(content["size"]),
            "inputs": {name: tuple(digests) for name, digests in content["inputs"].items()},
            "timesteps": content["timesteps"] and tuple(content["timesteps"]),
            "before": before,
        }
        return Settings(**{**content, **changed})


def row_of(rows: R, image: int) -> R:
    """What an image has of rows that are one for all, or one for each."""
    own: R = rows if len(rows) == 1 else rows[image : image + 1]
    return own


KIND: dict[str, Any] = {  # of each setting in JSON
    **dict.fromkeys(("model", "fingerprint", "prompt", "negative_prompt"), str),
    "guidance": list,
    **dict.fromkeys(("steps", "seed", "images"), int),
    "size": list | tuple,
    "eta": int | float,
    "clip_skip": int | None,
    "timesteps": list | tuple | None,
    "strength": int | float | None,
    "inputs": dict,
    "branched_at": int | None,
}


def check_kinds(content: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse recorded settings of these names that are of another kind."""
    for name in names:
        value = content[name]
        if not isinstance(value, KIND[name]) or (name == "size" and not _is_size(value)):
            raise ArgumentError(
                f"the recorded setting {name} is {value!r}; give a file that sagviz wrote"
            )
        if isinstance(value, str):
            check_unicode(name, value)


def _is_size(value: Sequence[Any]) -> bool:
    return len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def check_recorded(scheduler: object) -> None:
    """Refuse a recorded scheduler whose class is none that is tested."""
    kind = scheduler.get("class") if isinstance(scheduler, Mapping) else scheduler
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArgumentError(
            f"the recorded scheduler {kind!r} is not known here; there are"
            f" {', '.join(sorted(KINDS))}"
        )
