"""How many examples a property had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostile.trying import tried


@pytest.fixture(autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if count := tried.pop(request.node.originalname, 0):
        request.node.user_properties.append(("measured", f"{count:,} examples"))
