"""The words of a prompt, as a text encoder's tokenizer splits it."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any, Protocol

from sagviz.attention.unshared import added, unshared

START, END = "[start]", "[end]"  # the text encoder's own tokens; padding counts as the end
EMPTY = "[left out]"  # the tokens of a text encoder that is not there


@dataclass(frozen=True)
class Tokens:
    """A prompt as one text encoder is given it.

    Attributes:
        tokenizer: `None` where the encoder was left out, and its tokens are zeros.
        ids: with what fills them up.
        mark: put behind its words, where several encoders stand one after the other.
        begin: of the prompt in them; `None` for behind the token for the start, if there is one.
    """

    tokenizer: Any
    ids: list[int]
    mark: str = ""
    begin: int | None = None


class TextModel(Protocol):
    """What is needed of a model to split a prompt."""

    @property
    def tokenizer(self) -> Any: ...
    def token_lists(self, prompt: str) -> list[Tokens]: ...
    def at_work(self) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class Word:
    """A word of a prompt and its tokens, from `first` up to but without `beyond`."""

    name: str
    first: int
    beyond: int


def with_all_vectors(tokenizer: Any, prompt: str) -> str:
    """A prompt with all tokens of a textual inversion of several vectors, "<cat> <cat>_1 <cat>_2"
    in place of "<cat>", as diffusers' pipelines do (`maybe_convert_prompt`). Hold the lock.
    """
    known = added(tokenizer)
    if not any(token in prompt for token in known):
        return prompt  # without `tokenize`, which logs that a prompt is long
    for token in dict.fromkeys(
        each for each in unshared(tokenizer).tokenize(prompt) if each in known
    ):
        more = takewhile(known.__contains__, (f"{token}_{number}" for number in count(1)))
        prompt = prompt.replace(token, " ".join([token, *more]))
    return prompt


def padded(tokenizer: Any, text: str, length: int | None = None, **options: Any) -> Any:
    """The tokens of a text, cut or filled up to this length, the tokenizer's own where `None`; hold
    the lock.
    """
    return unshared(tokenizer)(
        with_all_vectors(tokenizer, text),
        padding="max_length",
        truncation=True,
        max_length=length or tokenizer.model_max_length,
        **options,
    )


def words_of(model: TextModel, prompt: str) -> list[Word]:
    """How the tokens of a prompt make up its words, those of several text encoders one after the
    other.
    """
    # a tokenizer keeps padding and truncation as its own state, which threads would share
    with model.at_work():
        words, before = list[Word](), 0
        for tokens in model.token_lists(prompt):
            words += [
                Word(word.name + tokens.mark, word.first + before, word.beyond + before)
                for word in _words(tokens)
            ]
            before += len(tokens.ids)
    return words


def _words(tokens: Tokens) -> list[Word]:
    """CLIP's tokenizer marks the last piece of each word by "</w>", T5's the first by "▁" and
    Qwen's by "Ġ".
    """
    tokenizer, ids = tokens.tokenizer, tokens.ids
    if tokenizer is None:
        return [Word(EMPTY, 0, len(ids))]
    begin = int(ids[0] == tokenizer.bos_token_id) if tokens.begin is None else tokens.begin
    # a message that was cut has lost its end
    end = next((i for i in range(begin, len(ids)) if ids[i] == tokenizer.eos_token_id), len(ids))
    pieces, known = [*tokenizer.convert_ids_to_tokens(ids[: end + 1]), ""], added(tokenizer)
    ends = [
        place + 1
        for place in range(begin, end)
        if pieces[place].endswith("</w>")
        or pieces[place + 1].startswith(("▁", "Ġ"))
        or (pieces[place] in known and not _goes_on(pieces[place], pieces[place + 1], known))
    ]
    ends += [end] if ends[-1:] != [end] and end > begin else []  # a word that was cut
    spans = list(zip([begin, *ends], ends, strict=False))
    words = [
        Word(_name(tokenizer, ids[first:beyond], known), first, beyond) for first, beyond in spans
    ]
    start = [Word(START, 0, begin)] * (begin > 0)
    return [*start, *words, *[Word(END, end, len(ids))] * (end < len(ids))]


def _goes_on(piece: str, following: str, known: Collection[str]) -> bool:
    """Whether both are vectors of one textual inversion: "<cat>" and "<cat>_1"."""
    numbered = re.fullmatch(r"(.+)_\d+", following)
    return numbered is not None and following in known and piece.startswith(numbered[1])


def _name(tokenizer: Any, ids: list[int], known: Collection[str]) -> str:
    """What a word is called: of textual inversion by its first vector."""
    first: str = tokenizer.convert_ids_to_tokens(ids[0])
    text: str = first if first in known else tokenizer.decode(ids).strip()
    return text
