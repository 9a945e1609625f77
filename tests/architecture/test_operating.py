"""docs/operating.md knows every setting and its default, every role and method, every command and metric."""

from __future__ import annotations

import re
from pathlib import Path

import click
import prometheus_client

from server.command.log import log
from server.config import command
from server.interceptors.callers import OPEN_METHODS, ROLES_BY_METHOD
from server.interceptors.metrics import Metrics
from server.signer import command as signer

DOCS = Path(__file__).parents[2] / "docs"
FLAG = re.compile(r"`(--[a-z-]+)`")
MILLION = 1_000_000
OPERATING = (DOCS / "operating.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in OPERATING.splitlines() if line[:1] == "|"]


def flags(of: click.Command) -> dict[str, object]:
    return {option.opts[0]: option.default for option in of.params if isinstance(option, click.Option)}


def shown(default: object) -> str:
    number = isinstance(default, int | float)
    return f"`{default:g}`" if number and default < MILLION else f"`{default}`"  # type: ignore[operator]


def test_every_setting_is_listed_with_its_default() -> None:
    listed = {flag: row[1] for row in reversed(ROWS) for flag in FLAG.findall(row[0])}
    face = (DOCS / "cds-hooks.md").read_text()
    unknown = [f for f in (*flags(command()), *flags(signer)) if f not in listed and f"| `{f}` |" not in face]
    wrong = [
        flag
        for flag, default in flags(command()).items()
        if default and isinstance(default, str | int | float) and listed.get(flag, shown(default)) != shown(default)
    ]

    assert not unknown
    assert not wrong


def test_the_roles_of_each_method_are_those_of_the_server() -> None:
    head = next(row for row in ROWS if row[:2] == ["service", "method"])
    told = {
        method: frozenset(role for role, cell in zip(head[2:], row[2:], strict=False) if cell == "yes")
        for row in ROWS
        if len(row) == len(head)
        for method in re.findall(r"`(\w+)`", row[1])
    }
    asked = {method.rpartition("/")[2]: roles for method, roles in ROLES_BY_METHOD.items()}

    assert {method: told.get(method) for method in asked} == asked
    assert all(method.rpartition("/")[2] in told for method in OPEN_METHODS)


def test_every_command_of_the_log_is_placed() -> None:
    assert isinstance(log, click.Group)
    placed = {word for row in ROWS if len(row) == 5 for word in re.findall(r"`([a-z]+)[^`]*`", row[0])}

    assert log.commands.keys() <= placed


def test_every_metric_stands_by_the_name_that_is_scraped() -> None:
    scraped = prometheus_client.generate_latest(Metrics().registry).decode()
    names = re.findall(r"^# TYPE (\w+) (?:counter|histogram)$", scraped, flags=re.MULTILINE)
    names += ["eligibility_calls_in_work", "eligibility_log_alarms", "eligibility_log_written"]
    names += ["eligibility_certificate_not_after_seconds"]

    assert not [name for name in names if f"`{name}" not in OPERATING]
