"""How hostile input is tried: by properties over drawn examples, each of which either works or is
refused with a sentence.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from effort import EXAMPLES, USUAL_EXAMPLES
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from sagviz.errors import SagvizError

LONGEST = 1600  # letters of a sentence, of which our own are a few hundred
PATIENCE = timedelta(seconds=30)  # more is a hang
tried = Counter[str]()  # examples by the names of their tests
Test = Callable[..., None]
Result = TypeVar("Result")


def hostile(share: float, **strategies: SearchStrategy[Any]) -> Callable[[Test], Test]:
    """A decorator: the test is a property of what these strategies draw, for this share of all
    examples.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            tried[test.__name__] += 1
            test(*args, **kwargs)

        decided = settings(
            max_examples=max(1, round(share * EXAMPLES)),
            deadline=PATIENCE,
            database=None,
            derandomize=EXAMPLES == USUAL_EXAMPLES,  # the usual tests are the same each time
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        return decided(given(**strategies)(counted))

    return decorate


def attempt(call: Callable[[], Result]) -> Result | None:
    """What it gives; `None` where it is refused, in one sentence. Anything else is a failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is ignored or cut off is told so
            return call()
    except SagvizError as error:
        check_sentence(str(error))
        return None


def check_sentence(words: str) -> None:
    """It stands on one line, and a value that it repeats is cut."""
    assert words, "no words"
    assert len(words.splitlines()) == 1, words
    assert len(words) <= LONGEST, f"{len(words)} letters: {words[:200]}"
