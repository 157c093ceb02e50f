"""Pictures side by side in a real page: in rows that look meant, whatever their number."""

from __future__ import annotations

from PIL import Image
from playwright.sync_api import Browser

from sagviz.plot import Panel, Panels

ROWS = """width => [...document.querySelectorAll('section > div')].map(grid => {
    const rows = {};
    for (const image of grid.querySelectorAll('img')) {
        const { top, width } = image.getBoundingClientRect();
        (rows[Math.round(top)] ??= []).push(width);
    }
    return Object.values(rows); })"""


def test_no_picture_stands_alone_below_others_and_all_stand_in_line(browser: Browser) -> None:
    """The second title needs two lines where its column is narrow."""
    page, sections = browser.new_page(), ""
    for count in range(1, 11):
        picture = Image.new("L", (8, 8))
        panels = [Panel(picture, "a title of many words" if n == 1 else "x") for n in range(count)]
        sections += f"<section>{Panels(tuple(panels), width=150)._repr_html_()}</section>"
    page.set_content(sections)
    for width in (320, 500, 600, 768, 830, 1000, 1280, 1900):
        page.set_viewport_size({"width": width, "height": 800})
        for count, rows in enumerate(page.evaluate(ROWS), start=1):
            widths = [each for row in rows for each in row]
            assert len(widths) == count
            assert max(widths) - min(widths) < 1
            most, last = len(rows[0]), len(rows[-1])
            assert all(len(row) == most for row in rows[:-1]), "in line"
            assert last > 1 or len(rows) == 1 or most == 2, (count, width)
            assert most == count or most * (150 + 14) <= width or most == 2
            assert min(widths) >= 140
    page.close()
