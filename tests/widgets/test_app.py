"""The app's parts without a browser: whose turn it is, what a run may ask for, and that nothing of
a visitor stays.
"""

from __future__ import annotations

import gc
import json
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import comm
import pytest
from ipywidgets import widget_serialization

import sagviz as sv
from sagviz import describe
from sagviz.errors import ArgumentError, SagvizError
from sagviz.widgets.app.classroom import Classroom
from sagviz.widgets.app.comms import serve_visitors
from sagviz.widgets.app.limits import Limits
from sagviz.widgets.app.turns import Turns
from sagviz.widgets.app.visitor import Visitor
from sagviz.widgets.common.host import current_host, hosted_by
from sagviz.widgets.common.notice import Notice
from sagviz.widgets.common.still import still
from sagviz.widgets.common.worker import Worker


class Pupil:
    def __init__(self, name: str) -> None:
        self.name, self.served, self.places = name, 0, list[int]()

    def tell_place(self, before: int) -> None:
        self.places.append(before)


def queue(turns: Turns, pupils: list[Pupil], stops: dict[int, threading.Event]) -> list[str]:
    """Runs of these pupils, asked for in this order while another is under way: the order in which
    they were done.
    """
    done, threads, host = list[str](), list[threading.Thread](), Pupil("host")

    def run(pupil: Pupil, stop: threading.Event) -> None:
        try:
            with turns.turn(pupil, stop):
                done.append(pupil.name)
        except SagvizError:
            done.append(f"{pupil.name} stopped")

    with turns.turn(host, threading.Event()):
        for number, pupil in enumerate(pupils):
            stop = stops.get(number, threading.Event())
            threads.append(threading.Thread(target=run, args=(pupil, stop)))
            threads[-1].start()
            deadline = time.monotonic() + 5
            while turns.waiting <= number and time.monotonic() < deadline:
                time.sleep(0.005)
        for stop in stops.values():
            stop.set()
        while stops and not any("stopped" in name for name in done):
            time.sleep(0.01)
    for thread in threads:
        thread.join(5)
    return done


def test_everyone_has_a_first_run_before_anyone_has_a_second() -> None:
    a, b, c = (Pupil(name) for name in "abc")
    assert queue(Turns(), [a, a, a, b, b, c], {}) == ["a", "b", "c", "a", "b", "a"]
    assert c.places[0] == 3, "the host's, a's first and b's first come before"
    assert c.places[-1] == 0


def test_who_was_served_longest_ago_comes_first() -> None:
    turns, a, b = Turns(), Pupil("a"), Pupil("b")
    queue(turns, [a], {})
    assert queue(turns, [a, b], {}) == ["b", "a"]


def test_a_waiting_run_can_be_cancelled() -> None:
    a, b = Pupil("a"), Pupil("b")
    assert queue(Turns(), [a, b], {0: threading.Event()}) == ["a stopped", "b"]
    assert a.places[-1] == 0


def test_limits_are_refused_with_a_sentence(model: sv.Model) -> None:
    limits = Limits(steps=10, pictures=2)
    large = tuple(2 * side for side in model.default_size)
    limits.check([sv.sampling.prepare.prepare(model, steps=10, images=2)])
    for options, words in (
        ({"steps": 11}, "asks for 11 steps; .* may have 10"),
        ({"images": 3}, "asks for 3 pictures; .* may have 2"),
        ({"size": large}, "pixels are more than this class may draw"),
    ):
        with pytest.raises(ArgumentError, match=words):
            limits.check([sv.sampling.prepare.prepare(model, **{"steps": 2, **options})])
    with pytest.raises(ArgumentError, match="visitors is 0"):
        Limits(visitors=0)


def test_work_in_a_thread_is_the_visitors_and_elsewhere_nobodys() -> None:
    found, worker = list[object](), Worker()
    with hosted_by(marker := Any):  # type: ignore[arg-type]
        worker.start(lambda: found.append(current_host()))
    worker.wait(5)
    worker.start(lambda: found.append(current_host()))
    assert found == [marker, None]


@pytest.fixture
def classroom(model: sv.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Classroom:
    monkeypatch.setattr(comm, "create_comm", comm.create_comm)  # put back after `serve_visitors`
    serve_visitors()
    pairs = [sv.compare(model, "a fox", seed=seed, steps=2, progress=False) for seed in (0, 1)]
    return Classroom(model, pairs, Limits(visitors=2), tmp_path)


def test_the_first_run_is_one_that_the_class_may_make(classroom: Classroom) -> None:
    """After Reset and a click on an example, too."""
    for limit, steps in ((200, 50), (20, 20)):
        classroom.limits = Limits(steps=limit, visitors=2)
        visitor, _sent = visit(classroom)
        with hosted_by(visitor):
            playground = visitor.page.playground
            assert playground.steps == steps
            playground.set({"steps": 2})
            playground.reset()
            assert playground.steps == steps
        visitor.leave()


def visit(classroom: Classroom) -> tuple[Visitor, list[dict[str, Any]]]:
    """A visitor whose page is open, and what went to the page."""
    sent: list[dict[str, Any]] = []
    visitor = Visitor(classroom, lambda text, _: sent.append(json.loads(text)))
    visitor.open()
    return visitor, sent


def widget(name: str) -> Any:
    """The widget of an id, as a page's messages name it."""
    return widget_serialization["from_json"](f"IPY_MODEL_{name}", None)


def use(visitor: Visitor) -> None:
    """A run in the Playground, the Microscope on it, and a vote."""
    page = visitor.page
    with hosted_by(visitor):
        for tab in (1, 2):
            (waiting,) = page.tabs.children[tab].children
            assert waiting.value == "Opening ...", "until what takes a moment is made"
            page.tabs.selected_index = tab
        (playground,) = page.tabs.children[0].children
        playground.set({"steps": 2})
        playground.run()
        page.tabs.selected_index = 0
        page.tabs.selected_index = 1
        (scope,) = page.tabs.children[1].children
        assert scope.trace.steps is playground.traces[-1].steps, "the run that was just made"
        assert describe.of_run(scope.trace) in "".join(still(each) for each in scope.children)
        playground.explain()
        page.vote.vote("left")


@pytest.mark.slow
def test_nothing_of_a_visitor_stays(classroom: Classroom) -> None:
    """Nor does anything grow over visits."""
    counts = list[int]()
    for _ in range(2):
        visitor, _sent = visit(classroom)
        use(visitor)
        (playground,) = visitor.page.tabs.children[0].children
        names = tuple(visitor.comms)
        held = [
            weakref.ref(each) for each in (visitor, visitor.page, playground, *playground.traces)
        ]
        del playground
        visitor.leave()
        del visitor
        gc.collect()
        assert [each() for each in held] == [None] * len(held)
        assert all(isinstance(widget(name), str) for name in names), "ipywidgets forgot them, too"
        counts.append(len(comm.get_comm_manager().comms))
    assert len(set(counts)) == 1
    assert classroom.present == 0


@pytest.mark.slow
def test_a_run_ends_when_its_visitor_leaves(classroom: Classroom) -> None:
    visitor, _ = visit(classroom)
    (playground,) = visitor.page.tabs.children[0].children
    with hosted_by(visitor):
        playground.set({"steps": 200})
        playground.buttons["run"].click()
    visitor.leave()
    assert playground.worker.wait(20)
    assert not playground.traces or len(playground.traces[0]) < 200


@pytest.mark.slow
def test_a_page_reaches_its_own_widgets_alone(classroom: Classroom) -> None:
    (one, _), (other, _) = visit(classroom), visit(classroom)
    (playground,) = one.page.tabs.children[0].children
    prompt = next(
        name for name in one.comms if getattr(widget(name), "description", "") == "Prompt"
    )
    message = {
        "id": "1",
        "comm": prompt,
        "data": {"method": "update", "state": {"value": "a rocket"}, "buffer_paths": []},
    }
    before = playground.settings.prompt
    other.take(message, [])
    assert playground.settings.prompt == before != "a rocket"
    one.take(message, [])
    assert playground.settings.prompt == "a rocket"
    with pytest.raises(SagvizError, match="class is full: 2 pages"):
        visit(classroom)
    for visitor in (one, other):
        visitor.leave()


@pytest.mark.slow
@pytest.mark.parametrize("data", [{}, {"method": "code"}, {"method": "update", "state": 3}, None])
def test_a_page_may_say_anything(classroom: Classroom, data: object) -> None:
    visitor, sent = visit(classroom)
    visitor.take({"id": "9", "comm": visitor.page.model_id, "data": data}, [])
    assert sent[-1] == {"type": "done", "id": "9", "buffers": 0}
    visitor.leave()


@pytest.mark.slow
def test_a_trace_stays_on_the_server(
    classroom: Classroom, capsys: pytest.CaptureFixture[str]
) -> None:
    visitor, _ = visit(classroom)
    with hosted_by(visitor):
        notice = Notice()
        notice.attempt(lambda: 1 / 0)
    assert "division by zero" in notice.value
    assert __file__ not in notice.value
    assert __file__ in capsys.readouterr().err
    visitor.leave()


@pytest.mark.slow
def test_votes_come_together(classroom: Classroom, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        visitor, _sent = visit(classroom)
        visitor.page.tabs.selected_index = 2
        for _vote in classroom.pairs:
            visitor.page.vote.vote("tie")
        visitor.take({"id": "1", "comm": "", "data": {}}, [])
        visitor.leave()
    assert (classroom.result.people, classroom.result.ties) == (2, 4)
    saved = json.loads(classroom.folder.with_name(f"{classroom.folder.name}.json").read_text())
    assert (saved["people"], saved["ties"]) == (2, 4)
    assert len(list(classroom.folder.iterdir())) == 2
    assert "2 people: CFG 0, CFG + SAG 0, tie 4." in capsys.readouterr().out
