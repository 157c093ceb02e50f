"""Figures show the records: titles, numbers and pictures are read back from them, and every picture
has words.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.font_manager import findSystemFonts, get_font
from matplotlib.lines import Line2D
from tiny import is_one_sentence, noise

import sagviz as sv
from sagviz import CFG, SAG, measure, plot
from sagviz.image import MASK_COLOUR, MASK_TINT, preview
from sagviz.plot.legend import written


@pytest.fixture(scope="module")
def traces(model: sv.Model) -> tuple[sv.Trace, ...]:
    """Plain, CFG, CFG + SAG of one prompt."""
    return sv.compare(model, "a fox", steps=4, seed=3, unguided=True, progress=False)


def alts(html: str) -> list[str]:
    """The words of every picture in a page."""
    assert html.count("<img") == len(re.findall(r'alt="[^"]+"', html)), "a picture without words"
    return re.findall(r'alt="([^"]+)"', html)


def test_a_step_shows_every_quantity_in_order(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    titles = [panel.title.split()[0] for panel in plot.step_panel(traces[2], 2, model).panels]
    assert titles == [
        "noisy",
        "prediction",
        "attention",
        "mask",
        "blurred",
        "degraded",
        "CFG:",
        "SAG:",
        "guided",
    ]
    assert [panel.title.split()[0] for panel in plot.step_panel(traces[0], 2, model).panels] == [
        "noisy",
        "prediction",
        "guided",
    ]


def test_captions_carry_the_numbers_of_the_step(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    step = traces[2][1]
    words = " ".join(panel.words for panel in plot.step_panel(traces[2], 1, model).panels)
    assert step.mask is not None
    assert f"{float(step.mask.mean()):.0%} of the latent" in words
    assert f"t = {step.t:.0f}" in words


def test_the_mask_picture_is_the_mask(traces: tuple[sv.Trace, ...]) -> None:
    """Outside the mask stands the prediction, inside it is tinted, with a rim of the full colour
    where a cell that is outside touches it, and nowhere else.
    """
    step = traces[2][1]
    panels = {panel.name: panel for panel in plot.step_panel(traces[2], 1).panels}
    shown = np.asarray(panels["mask"].image, dtype=float)
    cells = step.mask[0, 0].bool().numpy()
    side = shown.shape[0] // len(cells)
    clean = np.asarray(panels["x0_hat"].image, dtype=float).repeat(side, 0).repeat(side, 1)
    inside = cells.repeat(side, 0).repeat(side, 1)
    assert 0 < inside.mean() < 1
    assert np.array_equal(shown[~inside], clean[~inside])
    full = (shown == MASK_COLOUR).all(-1) & inside
    blend = (1 - MASK_TINT) * clean + MASK_TINT * np.array(MASK_COLOUR)
    assert np.abs(shown - blend)[inside & ~full].max() <= 1
    framed = np.pad(cells, 1, mode="edge")
    touched = cells & ~(framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:])
    rim = full.reshape(len(cells), side, -1, side).any((1, 3))
    assert np.array_equal(rim, touched)
    assert "blurred" in panels["mask"]._repr_html_()


def test_clean_latents_are_decoded_and_smooth_all_else_is_in_cells(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    """Sizes have a scale of their own, its end in a number beside the bar of its colours."""
    step, panels = traces[2][1], plot.step_panel(traces[2], 1, model).panels
    smooth = {panel.name: panel.image for panel in panels if not panel.sharp}
    assert [*smooth] == ["x0_hat", "x0_blurred", "x0_guided"]
    assert smooth["x0_guided"].tobytes() == model.decode(step.x0_guided)[0].tobytes()
    by_name = {panel.name: panel for panel in panels}
    assert by_name["x_t"].image.size == step.x_t.shape[:1:-1]
    for name in ("cfg", "sag"):
        most = float(step.terms[name].square().sum(1).sqrt().max())
        assert "linear-gradient" in by_name[name].legend
        assert f"<span>{written(most)}</span>" in by_name[name].legend
        assert np.asarray(by_name[name].image).max() > 200, "its own brightest cell is bright"


def test_colours_have_one_scale_for_all_steps(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    scale = {
        re.search(r"colours from 0 to ([\d.]+)", panel.words)[1]
        for index in range(4)
        for panel in plot.step_panel(traces[2], index, model).panels
        if panel.title.startswith("attention")
    }
    assert len(scale) == 1


def test_a_loaded_trace_is_shown_without_its_model(
    traces: tuple[sv.Trace, ...], tmp_path: Path
) -> None:
    loaded = sv.Trace.load(traces[2].save(tmp_path / "a.sagtrace"))
    assert len(plot.step_panel(loaded, 0).panels) == 9
    assert len(alts(plot.film_strip(loaded)._repr_html_())) == 5 * 4
    assert alts(plot.schematic(loaded, 0)._repr_html_())


def test_a_strip_has_a_row_for_each_quantity(traces: tuple[sv.Trace, ...], model: sv.Model) -> None:
    assert [name for name, _ in plot.film_strip(traces[2], model, count=3).rows] == [
        "xₜ",
        "x̂₀",
        "Aₜ",
        "Mₜ",
        "guided x̂₀",
    ]
    assert [name for name, _ in plot.film_strip(traces[1], model, count=3).rows] == [
        "xₜ",
        "x̂₀",
        "guided x̂₀",
    ]
    assert plot.film_strip(traces[2], model, count=2).columns == ("step 1", "step 4")


def heights(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def test_curves_are_the_measures(traces: tuple[sv.Trace, ...]) -> None:
    drawing = plot.guidance_curves(traces[2])
    lengths, angle, share = [figure.axes[0] for figure in drawing.figures]
    rows = [measure.of_step(step) for step in traces[2]]
    assert [line.get_label() for line in lengths.lines] == ["CFG", "SAG"]
    np.testing.assert_allclose(heights(lengths.lines[1]), [row["sag"] for row in rows])
    np.testing.assert_allclose(heights(angle.lines[-1]), [row["cosine"] for row in rows])
    np.testing.assert_allclose(heights(share.lines[0]), [row["coverage"] for row in rows])
    assert f"{min(row['coverage'] for row in rows):.2f}" in drawing.words


def test_the_triptych_says_which_guidance_made_which_picture(traces: tuple[sv.Trace, ...]) -> None:
    panels = plot.triptych(traces).panels
    assert [panel.title for panel in panels] == ["plain", "CFG 3", "CFG 3 + SAG 1"]
    assert [panel.image.tobytes() for panel in panels] == [
        trace.image.tobytes() for trace in traces
    ]


def test_a_picture_and_noise_are_said_once(traces: tuple[sv.Trace, ...], model: sv.Model) -> None:
    first, *others = [panel.words for panel in plot.triptych(traces).panels]
    assert first == "“a fox”, seed 3, 4 steps"
    assert set(others) == {"the same prompt and noise"}
    another = sv.trace(model, "a fox", steps=1, seed=4, progress=False)
    assert "seed 4" in plot.triptych([traces[0], another]).panels[1].words


def test_another_start_says_what_is_other(model: sv.Model) -> None:
    """The noise, the size, the picture, the negative prompt; what is the same is said to be."""

    def run(**changes: Any) -> sv.Trace:
        given = {"guidance": CFG(3.0), "steps": 2, "seed": 3, "progress": False, **changes}
        return sv.trace(model, "a fox", **given)

    first = run()
    second, third = run(noise=noise(1)), run(noise=noise(1), guidance=SAG(1.0))
    begun, same = "“a fox”, seed 3, 2 steps", "the same prompt and noise"
    for others, words in (
        ([run(guidance=SAG(1.0))], [same]),
        ([run(images=2)], [same]),
        ([second, third, run()], [f"{begun}, other noise", same, same]),
        ([run(size=(48, 64))], [f"{begun}, other size"]),
        ([run(eta=0.5)], [f"{begun}, other eta"]),
        ([run(image=first.image, strength=1.0)], [f"{begun}, other strength, other image"]),
        (
            [run(negative_prompt="blur"), run(negative_prompt="blur", guidance=CFG(5.0))],
            ["“a fox”, negative prompt “blur”, seed 3, 2 steps", same],
        ),
        ([run(seed=4)], ["“a fox”, seed 4, 2 steps"]),
    ):
        panels = plot.triptych([first, *others]).panels
        assert [panel.words for panel in panels] == [begun, *words]


def test_numbers_under_a_picture_are_those_of_its_image(model: sv.Model) -> None:
    """Of a batch that is the first, whatever the others have."""
    whole = sv.trace(
        model, "a fox", steps=3, seed=3, images=3, guidance=CFG(3.0) + SAG(1.0), progress=False
    )
    first = whole.of_image(0)
    assert measure.coverage(whole[1]) != measure.coverage(first[1])
    for shown in (
        lambda trace: [panel.words for panel in plot.step_panel(trace, 1).panels],
        lambda trace: alts(plot.film_strip(trace)._repr_html_()),
        lambda trace: plot.schematic(trace, 1).words,
    ):
        assert shown(whole) == shown(first)


def test_the_difference_is_that_of_the_pixels_and_frames_the_most(
    traces: tuple[sv.Trace, ...],
) -> None:
    pixels = [np.asarray(trace.image, dtype=float) / 255 for trace in traces[1:]]
    apart = np.abs(pixels[0] - pixels[1]).mean(axis=2)
    where, *parts = plot.difference(*traces[1:]).panels
    assert f"bright is {apart.max():.0%}" in where.words
    side = min(apart.shape) // 3
    sums = {
        (y, x): apart[y : y + side, x : x + side].sum()
        for y in range(apart.shape[0] - side + 1)
        for x in range(apart.shape[1] - side + 1)
    }
    y, x = max(sums, key=lambda place: sums[place])
    for part, trace in zip(parts, traces[1:], strict=True):
        whole = np.asarray(trace.image)[y : y + side, x : x + side]
        factor = part.image.width // side
        assert np.array_equal(np.asarray(part.image)[::factor, ::factor], whole)


def test_the_blurred_picture_is_blurred_everywhere(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    """One letter, one thing: x̃₀ is that of the formula, in the panel as in the diagram."""
    step = traces[2][1]
    panels = {panel.name: panel.image for panel in plot.step_panel(traces[2], 1, model).panels}
    wanted = model.decode(step.x0_blurred)[0]
    assert np.array_equal(np.asarray(panels["x0_blurred"]), np.asarray(wanted))


def test_the_schematic_holds_this_steps_tensors(
    traces: tuple[sv.Trace, ...], model: sv.Model
) -> None:
    axes = plot.schematic(traces[2], 1, model).figures[0].axes[0]
    assert len(axes.images) == 10
    step = traces[2][1]
    noisy = np.asarray(preview(step.x_t / step.level.norm, traces[2].latent_rgb)[0])
    assert any(
        np.array_equal(np.asarray(image.get_array())[..., :3], noisy) for image in axes.images
    )


def test_no_letter_of_a_formula_stays(traces: tuple[sv.Trace, ...]) -> None:
    """In Matplotlib's fonts, which are opened once and count what they hold."""
    figure = plot.schematic(traces[2], 1)
    fonts = [get_font(file) for file in findSystemFonts([get_data_path()]) if "DejaVu" in file]
    FigureCanvasAgg(figure.figures[0]).draw()
    assert sum(font.get_num_glyphs() for font in fonts) > 20
    figure._repr_html_()
    assert not sum(font.get_num_glyphs() for font in fonts)


def test_the_schematic_of_sag_alone_has_no_conditional_box(model: sv.Model) -> None:
    trace = sv.trace(model, "a fox", steps=2, guidance=SAG(1.0), progress=False)
    assert len(plot.schematic(trace, 0, model).figures[0].axes[0].images) == 9


def test_the_schematic_says_what_predicts(families: Any, model: sv.Model) -> None:
    """A U-Net, a transformer; of a trace alone nobody knows."""
    dit = families("dit").model
    for network, shown, word in (
        (model, model, "U-Net"),
        (dit, dit, "transformer"),
        (dit, None, "network"),
    ):
        trace = sv.trace(network, "fox", steps=1, guidance=SAG(1.0), progress=False)
        drawing = plot.schematic(trace, 0, shown)
        texts = [text.get_text() for text in drawing.figures[0].axes[0].texts]
        assert texts.count(word) == 2
        assert drawing.words.count(f"the {word} predicts") == 2


def test_a_step_without_sag_has_no_schematic(traces: tuple[sv.Trace, ...], model: sv.Model) -> None:
    with pytest.raises(sv.SagvizError, match="does not act") as error:
        plot.schematic(traces[1], 0, model)
    assert is_one_sentence(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["step_panel", "film_strip", "triptych", "guidance_curves", "schematic"]
)
def test_every_plot_saves_a_png_and_says_where_it_cannot(
    kind: str, traces: tuple[sv.Trace, ...], tmp_path: Path
) -> None:
    arguments = {
        "step_panel": (traces[2], 1),
        "schematic": (traces[2], 1),
        "triptych": (traces,),
    }.get(kind, (traces[2],))
    shown = getattr(plot, kind)(*arguments)
    assert shown.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(sv.SagvizError, match="cannot write"):
        shown.save(tmp_path / "no" / "folder.png")


def test_words_of_the_user_cannot_break_the_page(model: sv.Model) -> None:
    trace = sv.trace(
        model, '"><script>alert(1)</script>', steps=1, guidance=CFG(2.0), progress=False
    )
    assert "<script" not in plot.triptych([trace])._repr_html_()
