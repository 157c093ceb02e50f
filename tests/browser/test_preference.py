"""The blind vote in a real page, by keyboard and by buttons."""

from __future__ import annotations

from driver import Notebook, Opener, pixels, serious_faults

from sagviz.widgets.preference import LOOK

SETUP = """
import torch
torch.set_num_threads(1)
import sagviz as sv
model = sv.load()
pairs = [
    sv.compare(model, "a fox on a blue background", seed=seed, steps=4, progress=False)
    for seed in range(4)
]
vote = sv.Preference(pairs, path="votes.json")
vote
"""


def picture(notebook: Notebook) -> str:
    return pixels(notebook.page.locator(".sag-picture img[alt^='Left:']"))


def test_vote_by_keyboard_to_the_end_undo_and_resume(open_notebook: Opener) -> None:
    notebook = open_notebook("preference", SETUP)
    page = notebook.page
    assert serious_faults(page, ".sag-view") == []
    seen = [picture(notebook)]
    page.get_by_label("Keys").focus()
    for number, key in enumerate("lrt", start=2):
        page.keyboard.press(key)
        page.get_by_text(f"Pair {number} of 4").first.wait_for()
        page.locator(f".sag-picture img[alt='Left: picture of pair {number}']").wait_for()
        seen.append(picture(notebook))
    assert len(set(seen)) == 4
    assert notebook.value("vote.votes.given") == ["left", "right", "tie"]
    view = page.locator(".sag-view")
    assert not any(name in view.inner_text() for name in ("CFG", "SAG"))
    page.keyboard.press("Tab")  # out of the box, and back to a button by its name
    right = page.get_by_role("button", name="Right is better")
    right.focus()
    page.wait_for_timeout(1000 * LOOK)  # a press before that is a double click
    page.keyboard.press("Enter")
    view.get_by_text("was preferred in").wait_for()
    assert "84 %" in view.inner_text()
    assert "CFG + SAG" in view.inner_text()
    assert serious_faults(page, ".sag-view") == []
    page.get_by_label("Keys").press("u")
    page.get_by_text("Pair 4 of 4").first.wait_for()
    resumed = "sv.Preference(pairs, path='votes.json').votes == vote.votes"
    assert notebook.value(resumed) is True
