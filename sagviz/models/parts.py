"""`Part`: a network, tokenizer or scheduler of a model."""

from __future__ import annotations

from typing import Any


class Part:
    """A part that the model was given; else that of the pipeline which it was made from, as it is
    at that moment: `pipe.scheduler = ...` after `load` holds for the model as well.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, model: Any, owner: type) -> Any:
        if model is None:
            return self
        if self.name in vars(model):
            return vars(model)[self.name]
        pipe = model.pipe
        return getattr(pipe, self.name) if hasattr(pipe, self.name) else pipe.components[self.name]

    def __set__(self, model: Any, value: Any) -> None:
        vars(model)[self.name] = value
