"""`Settings`: all that a run depends on, beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sagviz.guidance import Guidance


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a run depends on, beside the weights: the same settings give the same latents.

    `size` is (height, width) in pixels; `scheduler` a class name with its configuration; image i of
    a batch uses seed + i. A branch has the settings of the trace that it left in `before`, and the
    index of its first own step in `branched_at`.
    """

    model: str
    prompt: str
    negative_prompt: str
    guidance: Guidance
    steps: int
    seed: int
    images: int
    size: tuple[int, int]
    scheduler: dict[str, Any]
    eta: float = 0.0
    before: Settings | None = None
    branched_at: int | None = None

    def guidance_at(self, index: int) -> Guidance:
        """The guidance of the run that made evaluation `index`: its own, or the one it left."""
        left = self.before is not None and index < (self.branched_at or 0)
        return self.before.guidance_at(index) if left and self.before else self.guidance

    def texts(self, guidance: Guidance) -> dict[str, str | None]:
        """The text of each branch of a step with this guidance, the one that guidance starts from
        first; `None` is no text.
        """
        if guidance.needs_both_branches:
            return {"out_uncond": self.negative_prompt or None, "out_cond": self.prompt}
        return {"out_cond" if self.prompt else "out_uncond": self.prompt or None}

    def to_json(self) -> dict[str, Any]:
        before = None if self.before is None else self.before.to_json()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "guidance": self.guidance.to_json(), "before": before}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Settings:
        before = content["before"] and Settings.from_json(content["before"])
        changed = {
            "guidance": Guidance.from_json(content["guidance"]),
            "size": tuple(content["size"]),
            "before": before,
        }
        return Settings(**{**content, **changed})
