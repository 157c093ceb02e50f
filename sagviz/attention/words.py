"""The words of a prompt, as a text encoder's tokenizer splits it."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count, takewhile
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


def added(tokenizer: Any) -> Collection[str]:
    """The tokens beside its vocabulary: those of textual inversion, and the special ones."""
    found: Collection[str] = getattr(tokenizer, "added_tokens_encoder", {})
    return found


def with_all_vectors(tokenizer: Any, prompt: str) -> str:
    """A prompt with all tokens of a textual inversion of several vectors, "<cat> <cat>_1 <cat>_2"
    in place of "<cat>", as diffusers' pipelines do (`maybe_convert_prompt`). Hold the lock.
    """
    known = added(tokenizer)
    for token in dict.fromkeys(each for each in tokenizer.tokenize(prompt) if each in known):
        more = takewhile(known.__contains__, (f"{token}_{number}" for number in count(1)))
        prompt = prompt.replace(token, " ".join([token, *more]))
    return prompt


def padded(tokenizer: Any, text: str, **options: Any) -> Any:
    """The tokens of a text, cut or filled up to the tokenizer's length; a tokenizer's state is
    shared: hold the lock.
    """
    return tokenizer(
        with_all_vectors(tokenizer, text),
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        **options,
    )


def words_of(model: TextModel, prompt: str) -> list[Word]:
    """How the tokens of a prompt make up its words; CLIP's tokenizer marks the last piece of each
    by "</w>".
    """
    tokenizer = model.tokenizer
    # a tokenizer keeps padding and truncation as its own state, which threads would share
    with model.at_work():
        ids = padded(tokenizer, prompt).input_ids
        end = ids.index(tokenizer.eos_token_id, 1)
        pieces, known = tokenizer.convert_ids_to_tokens(ids[: end + 1]), added(tokenizer)
        ends = [
            place + 1
            for place in range(1, end)
            if pieces[place].endswith("</w>")
            or (pieces[place] in known and not _goes_on(pieces[place], pieces[place + 1], known))
        ]
        ends += [end] if ends[-1:] != [end] and end > 1 else []  # a word that was cut
        spans = list(zip([1, *ends], ends, strict=False))
        words = [
            Word(_name(tokenizer, ids[first:beyond], known), first, beyond)
            for first, beyond in spans
        ]
    return [Word(START, 0, 1), *words, Word(END, end, len(ids))]


def _goes_on(piece: str, following: str, known: Collection[str]) -> bool:
    """Whether both are vectors of one textual inversion: "<cat>" and "<cat>_1"."""
    numbered = re.fullmatch(r"(.+)_\d+", following)
    return numbered is not None and following in known and piece.startswith(numbered[1])


def _name(tokenizer: Any, ids: list[int], known: Collection[str]) -> str:
    """What a word is called: of textual inversion by its first vector."""
    first: str = tokenizer.convert_ids_to_tokens(ids[0])
    text: str = first if first in known else tokenizer.decode(ids).strip()
    return text
