"""What the commands over rule packs share: where the packs are, and which day it is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from engine.cli.invocation import RULES_VARIABLE

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def folder_option(command: F) -> F:
    """Add the folder of the rule packs."""
    return click.option(
        "--rules",
        "folder",
        type=FOLDER,
        default="rules",
        show_default=True,
        envvar=RULES_VARIABLE,
        show_envvar=True,
        help="Folder of the rule packs.",
    )(command)


def today_option(command: F) -> F:
    """Add the day on which reviews are due and whose numbers are shown."""
    return click.option(
        "--today",
        type=click.DateTime(["%Y-%m-%d"]),
        callback=lambda _context, _option, value: value.date() if value else _today(),
        help="The day to check for.  [default: today]",
    )(command)


def _today() -> date:
    return datetime.now(UTC).date()
