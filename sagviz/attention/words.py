"""The words of a prompt, as a text encoder's tokenizer splits it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

START, END = "[start]", "[end]"  # the text encoder's own tokens; padding counts as the end


class TextModel(Protocol):
    """What is needed of a model to split a prompt."""

    @property
    def tokenizer(self) -> Any: ...
    def at_work(self) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class Word:
    """A word of a prompt and its tokens, from `first` up to but without `beyond`."""

    name: str
    first: int
    beyond: int


def words_of(model: TextModel, prompt: str) -> list[Word]:
    """How the tokens of a prompt make up its words; CLIP's tokenizer marks the last piece of each
    by "</w>".
    """
    tokenizer = model.tokenizer
    # a tokenizer keeps padding and truncation as its own state, which threads would share
    with model.at_work():
        ids = tokenizer(
            prompt, padding="max_length", truncation=True, max_length=tokenizer.model_max_length
        ).input_ids
        end = ids.index(tokenizer.eos_token_id, 1)
        ends = [
            place + 1
            for place in range(1, end)
            if tokenizer.convert_ids_to_tokens(ids[place]).endswith("</w>")
        ]
        ends += [end] if ends[-1:] != [end] and end > 1 else []  # a word that was cut
        spans = list(zip([1, *ends], ends, strict=False))
        words = [
            Word(tokenizer.decode(ids[first:beyond]).strip(), first, beyond)
            for first, beyond in spans
        ]
    return [Word(START, 0, 1), *words, Word(END, end, len(ids))]
