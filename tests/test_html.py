"""HTML by hand: words of people stay words, and a page runs no script but its own."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
from tiny import is_one_sentence

import sagviz as sv
from sagviz import html

EVIL = '"><script>alert(1)</script>'


def digest(code: str) -> str:
    return f"'sha256-{b64encode(sha256(code.encode()).digest()).decode()}'"


def test_words_of_people_are_escaped() -> None:
    made = [
        html.img(b"\x89PNG", EVIL),
        html.link(b"a", "text/plain", EVIL, EVIL),
        html.table([(EVIL, EVIL)], EVIL),
        html.grid([EVIL], [(EVIL, [])], EVIL, id=EVIL),
        html.page(EVIL, "", ""),
    ]
    assert not any("<script" in each for each in made)


def test_a_grid_has_heads_only_where_they_say_something() -> None:
    both = html.grid(["a", "b"], [("x", ["1", "2"])], cell_style="padding:0")
    assert both.count('scope="col"') == 2
    assert both.count('scope="row"') == 1
    assert both.count('<td style="padding:0">') == 2
    assert html.grid((), [("", ["1"])]) == "<table><tbody><tr><td>1</td></tr></tbody></table>"


@pytest.mark.parametrize("inline", [True, False])
def test_the_policy_allows_the_pages_own_scripts_alone(inline: bool) -> None:
    body = '<script type="module">one()</script><script type="application/json">{}</script>'
    made = html.page("t", body, "p{}", "two()", inline_styles=inline)
    policy = re.findall(r'Content-Security-Policy" content="([^"]+)"', made)[0]
    parts = dict(part.split(" ", 1) for part in policy.split("; "))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"].split() == [digest("one()"), digest("two()")]
    assert parts["style-src"] == ("'unsafe-inline'" if inline else digest("p{}"))
    assert "script-src 'none'" in html.page("t", "", "")


@pytest.mark.parametrize("path", ["a.txt", "no/such/folder.html"])
def test_where_a_page_cannot_be_written_is_said(path: str, tmp_path: Path) -> None:
    with pytest.raises(sv.SagvizError) as error:
        html.write_page(tmp_path / path, "")
    assert is_one_sentence(error.value)
