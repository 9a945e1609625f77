"""With ELIGIBILITY_REQUIRE=all a skipped test fails, so that a machine that lacks a tool cannot look green.

Only tests over data beside the repository may still skip there; their reason names `../shared`. With
`--regenerate-golden` only the tests of a file under tests/golden run, and write it anew before they compare.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

# A loaded machine must not fail a test that says nothing about time; the same examples are drawn in every run.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

MAY_BE_ABSENT = "../shared"
LONG = {"conformance", "integration", "property"}
"""Folders whose tests are all marked `long`."""
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate-golden", action="store_true", help="write tests/golden anew; read the diff")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if LONG.intersection(item.path.parts):
            item.add_marker(pytest.mark.long)
    if config.getoption("--regenerate-golden"):
        items[:] = [item for item in items if "check_golden" in getattr(item, "fixturenames", ())]


@pytest.fixture
def check_golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Give a check that a text is, to the byte, what the file of that name under tests/golden holds."""

    def check(name: str, text: str) -> None:
        file = GOLDEN / name
        if pytestconfig.getoption("--regenerate-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert text == file.read_text(encoding="utf-8"), f"tests/golden/{name} differs: see --regenerate-golden"

    return check


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure, unless the reason names what may be absent or a failure was expected."""
    if os.environ.get("ELIGIBILITY_REQUIRE") != "all" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if MAY_BE_ABSENT not in reason:
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report
