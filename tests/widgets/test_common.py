"""What all widgets are built of, without a page: traits that teach, controls, notices, a thread."""

from __future__ import annotations

import threading
import warnings

import ipywidgets as W
import pytest
import traitlets
from ipywidgets.widgets import widget as core
from PIL import Image

from sagviz.errors import ArgumentError, SagvizError, SagvizWarning, warn
from sagviz.image import to_jpeg, to_png
from sagviz.widgets.common.controls import Number, button, control
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.picture import Picture
from sagviz.widgets.common.settings import WidgetSettings
from sagviz.widgets.common.traits import Amount, Choice, Whole
from sagviz.widgets.common.view import View
from sagviz.widgets.common.worker import Worker


class SampleSettings(WidgetSettings):
    widget = "Sample"

    steps = Whole(50, min=1, max=999, help="how many steps, 1 to 999 (50)")
    scale = Amount(3.0, min=0.0, max=10.0, help="a scale, 0 to 10 (3)")
    kind = Choice(["plain", "fancy"], "plain", help="which kind (plain)")
    prompt = traitlets.Unicode("", help="words (none)")
    fixed = traitlets.Bool(False, help="whether it stays (no)")


class Sample(View):
    settings_type = SampleSettings

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.parts = {
            name: control(self.settings, name, name.title(), 1 if name == "steps" else 0.1)
            for name in self.options()
        }
        self.fill(*self.parts.values(), Picture("A picture"), button("Go", "do it"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps is 0; give a whole number from 1 to 999"),
        ({"steps": 2.5}, "steps is 2.5; give a whole number"),
        ({"scale": 11}, "scale is 11; give a number from 0 to 10"),
        ({"scale": "3"}, "scale is '3'; give a number"),
        ({"kind": "odd"}, "kind is 'odd'; give one of 'plain', 'fancy'"),
        ({"prompt": 3}, "unicode string"),
        ({"stesp": 3}, "Sample has no argument 'stesp'; did you mean steps?"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(options: dict[str, object], words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Sample(**options)


def test_a_refused_value_leaves_the_widget_as_it_was() -> None:
    sample = Sample(steps=7)
    with pytest.raises(ArgumentError):
        sample.steps = 1000
    assert sample.steps == sample.parts["steps"].slider.value == 7


def test_every_control_moves_its_trait_and_back() -> None:
    """A slider counts its steps, here of 0.1."""
    sample = Sample()
    number = sample.parts["scale"]
    number.slider.value = 45
    assert (sample.scale, number.box.value) == (4.5, 4.5)
    number.box.value = 2.3
    assert (sample.scale, number.slider.value) == (2.3, 23)
    sample.scale = 9
    assert (number.slider.value, number.box.value) == (90, 9.0)
    number.slider.value = 3
    assert sample.scale == 0.3, "not 3 * 0.1, which is a little more"
    sample.parts["kind"].value, sample.parts["prompt"].value, sample.parts["fixed"].value = (
        "fancy",
        "a fox",
        True,
    )
    assert (sample.kind, sample.prompt, sample.fixed) == ("fancy", "a fox", True)


@pytest.mark.parametrize("value", [7.25, 0.33, 1.234, 1 / 3, 0.1 + 0.2, 9.9999999])
def test_a_number_between_the_slider_s_steps_stays_as_it_is(value: float) -> None:
    """The slider shows the nearest step; what it then says of itself, it has been told."""
    for sample in (Sample(scale=value), Sample()):
        sample.scale = value
        number = sample.parts["scale"]
        assert (sample.scale, number.box.value, number.slider.value) == (
            value,
            value,
            round(10 * value),
        )
        number.slider.set_trait("value", number.slider.value)
        number.box.value = value
        assert sample.scale == value
        number.slider.value += 1 if number.slider.value < number.slider.max else -1
        assert sample.scale == number.slider.value / 10


def test_a_number_that_cannot_be_is_refused_in_words() -> None:
    sample = Sample()
    for name, typed, words in (
        ("scale", 11, "Scale is 11; give a number from 0 to 10"),
        ("scale", float("nan"), "Scale is nan; give a number"),
        ("steps", 1.5, "Steps is 1.5; give a whole number from 1 to 999"),
    ):
        before, number = getattr(sample, name), sample.parts[name]
        number.box.value = typed
        assert getattr(sample, name) == number.box.value == before
        assert words in number.refusal.value
        assert number.refusal.layout.display is None
        number.box.value = before + 1
        assert getattr(sample, name) == before + 1
        assert number.refusal.layout.display == "none"


def test_a_slider_reaches_both_ends_of_a_range_that_its_steps_do_not_meet() -> None:
    number = Number("Scale", 7.25, -0.33, 7.25, 0.1)
    for place, end in ((number.slider.max, 7.25), (number.slider.min, -0.33)):
        number.slider.value = place - 1 if place > 0 else place + 1
        number.slider.value = place
        assert number.value == end


def test_every_control_has_a_label_and_its_help_as_tooltip() -> None:
    sample = Sample()
    for name, part in sample.parts.items():
        named = getattr(part, "box", part)
        assert named.description == name.title()
        assert named.tooltip == sample.traits()[name].help


def test_picture_keeps_its_place_and_says_what_it_shows() -> None:
    picture = Picture("Left", ratio=0.5)
    assert "aspect-ratio:1/0.5" in picture.value
    for content in (to_png(Image.new("RGB", (4, 2))), to_jpeg(Image.new("RGB", (4, 2)))):
        picture.show(content, 'a "fox" <b>')
        assert 'alt="Left: a &quot;fox&quot; &lt;b&gt;"' in picture.value
        assert "aspect-ratio:1/0.5" in picture.value


def test_notice_escapes_and_tells_errors_apart() -> None:
    notice = Notice()
    notice.fail(ArgumentError("steps is <0>"))
    assert "steps is &lt;0&gt;" in notice.value
    assert "Traceback" not in notice.value
    notice.fail(KeyError("<key>"))
    assert "KeyError" in notice.value
    assert "<key>" not in notice.value


def test_guarded_shows_errors_and_our_warnings_and_passes_other_warnings_on() -> None:
    sample = Sample()
    with sample.notice.guarded():
        raise ArgumentError("no such thing")
    assert "no such thing" in sample.notice.value

    def work() -> None:
        with sample.notice.guarded():
            warn("ours")
            warn("ours")
            warnings.warn("theirs", RuntimeWarning, stacklevel=1)

    with pytest.warns(RuntimeWarning, match="theirs"):
        work()
    assert sample.notice.value.count("ours") == 1
    assert "no such thing" not in sample.notice.value


def test_close_frees_all_that_a_widget_is_made_of() -> None:
    before = set(core._instances)
    sample = Sample()
    assert len(set(core._instances) - before) > 20
    sample.close()
    assert set(core._instances) == before


def test_bundle_has_the_widget_and_the_static_face() -> None:
    class Faced(Sample):
        def static_html(self) -> str:
            return "<p>still here</p>"

    bundle = Faced()._repr_mimebundle_()
    assert bundle["text/html"] == "<p>still here</p>"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]


def test_a_button_has_words_and_a_tooltip() -> None:
    made = button("Go", "do it")
    assert (made.description, made.tooltip, type(made)) == ("Go", "do it", W.Button)


def test_worker_does_one_thing_at_a_time() -> None:
    worker, go = Worker(threaded=True), threading.Event()
    worker.start(lambda: (go.wait(10), None)[1])
    assert worker.busy
    with pytest.raises(SagvizError, match="under way"):
        worker.start(lambda: None)
    assert not worker.wait(0.01)
    go.set()
    assert worker.wait(10)
    worker.start(lambda: None)
    assert worker.wait(10)


def test_worker_works_here_where_there_is_no_kernel_and_is_free_after_an_error() -> None:
    worker, threads = Worker(), []

    def fails() -> None:
        raise ZeroDivisionError

    worker.start(lambda: threads.append(threading.current_thread()))
    with pytest.raises(ZeroDivisionError):
        worker.start(fails, here=True)
    assert threads == [threading.current_thread()]
    assert not worker.busy


def test_cancel_of_a_run_does_not_stop_the_next() -> None:
    worker, seen = Worker(), []
    worker.cancel()
    worker.start(lambda: seen.append(worker.stop.is_set()))
    assert seen == [False]


def test_warnings_of_two_threads_go_to_their_own_notices_and_others_are_given() -> None:
    """Though the first to begin ends first, as where a button is pressed while a slider works."""
    state = warnings.showwarning, list(warnings.filters)
    notices, began, go_on = (Notice(), Notice()), threading.Event(), threading.Event()

    def slow() -> None:
        warn("of the slider")
        began.set()
        go_on.wait(10)

    def late() -> None:
        warn("of the button")
        go_on.set()
        thread.join(10)

    thread = threading.Thread(target=notices[0].attempt, args=(slow,))
    thread.start()
    assert began.wait(10)
    notices[1].attempt(late)
    assert "of the slider" in notices[0].value
    assert "of the button" not in notices[0].value
    assert "of the button" in notices[1].value
    assert (warnings.showwarning, warnings.filters) == state
    with pytest.warns(SagvizWarning, match="afterwards"):
        warn("afterwards")
