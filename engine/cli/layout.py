"""Headings, bullets and indentation of a text at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import RenderableType

_NOTHING = Text(end="")


def listed(heading: str, rows: Iterable[RenderableType], style: str = "") -> Iterator[RenderableType]:
    """Give an indented heading and its bullets; nothing at all without rows."""
    items = list(rows)
    if items:
        yield indented(Text(heading, style))
        yield bullets(items, indent=4)


def bullets(rows: Iterable[RenderableType], *, numbered: bool = False, indent: int = 2) -> RenderableType:
    """Give rows with a dash or a number before each, wrapped lines aligned behind it."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=1)
    for place, row in enumerate(rows, 1):
        grid.add_row(f"{place}." if numbered else "-", row)
    return Padding(grid, (0, 0, 0, indent)) if grid.row_count else _NOTHING


def indented(part: RenderableType) -> RenderableType:
    """Give a part that stands a little to the right."""
    return Padding(part, (0, 0, 0, 2))


def stack(parts: Iterable[RenderableType]) -> RenderableType:
    """Give parts one below the other, as one."""
    grid = Table.grid()
    for part in parts:
        if part is not _NOTHING:
            grid.add_row(part)
    return grid
