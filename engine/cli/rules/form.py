"""What the commands over rule packs print for machines: one JSON value, with keys that stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engine.errors import Diagnostic
    from engine.pack.book import Located

F = TypeVar("F", bound=Callable[..., Any])


def form_option(command: F) -> F:
    """Add the choice between text and JSON, as `form`."""
    return click.option(
        "--format",
        "form",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="json: one value for programs. What keeps the command from running is told on standard error in any case.",
    )(command)


def print_json(value: object) -> None:
    """Print a JSON value to standard output."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def place_to_json(folder: Path, located: Located) -> Mapping[str, object]:
    """Give where an item stands: its file, from the working folder, and its line."""
    line, _ = located.source.place(located.path)
    return {"file": (folder / located.source.file).as_posix(), "line": line}


def diagnostic_to_json(folder: Path, fault: Diagnostic) -> Mapping[str, object]:
    """Give a fault or a warning as plain data."""
    return {
        "file": (folder / fault.file).as_posix(),
        "line": fault.line,
        "column": fault.column,
        "code": fault.code,
        "message": fault.message,
        "hint": fault.hint,
    }
