"""`make faults` and `make hostile`: run their tests at length, and write what each has measured as
a section of docs/evidence.md.

A line is a test by its name; what it says by `record_property("measured", ...)` stands beside it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator

import pytest
from evidence import Line, record

SECTIONS: dict[str, tuple[str, list[str]]] = {
    "faults": (
        "Faults",
        [
            "tests/faults",
            "tests/sweeps/test_sweep.py::test_two_processes_share_a_store",
            "tests/sweeps/test_cluster.py::test_a_worker_killed_in_the_middle_of_a_hundred_cells",
            "tests/sweeps/test_cluster.py::test_a_cell_that_kills_its_worker_ends_as_failed",
            "tests/reports/test_report.py::test_a_kernel_that_dies_is_one_sentence",
            "tests/reports/test_report.py::test_finished_work_is_kept_where_the_disk_is_full",
            "tests/models/test_oom.py",
        ],
    ),
    "hostile": (
        "Hostile input",
        ["tests/hostile", "tests/test_html.py", "tests/browser/test_injection.py"],
    ),
}


class Collector:
    """What a run of pytest says, by the names of its tests without their parameters."""

    def __init__(self) -> None:
        self.reports = defaultdict[str, list[pytest.TestReport]](list)
        self.said = defaultdict[str, list[str]](list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        claim = name.removeprefix("test_").replace("_", " ")
        if report.when == "call" or not report.passed:
            self.reports[claim].append(report)
        if report.when == "teardown":  # a fixture measures, too
            self.said[claim] += [str(value) for _, value in report.user_properties]

    @property
    def lines(self) -> Iterator[Line]:
        for claim, reports in self.reports.items():
            ran = [report for report in reports if not report.skipped]
            passed = sum(report.passed for report in ran)
            cases = f"{passed} of {len(ran)} cases" if ran else "could not be tried here"
            yield Line(
                claim, "; ".join(self.said[claim]) or cases, bool(ran) and passed == len(ran)
            )


def main(name: str) -> int:
    title, tests = SECTIONS[name]
    collector = Collector()
    status = pytest.main(["-p", "no:cacheprovider", *tests], plugins=[collector])
    record(title, f"make {name}", collector.lines)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
