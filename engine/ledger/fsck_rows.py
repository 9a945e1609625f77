"""Rows of a table as a pass over the entries takes them: in their order, the next in view."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class Cursor(Generic[T]):
    """Rows in their order, the next of them in view."""

    def __init__(self, rows: Iterator[T]) -> None:
        self._rows = rows
        self.row: T | None = next(rows, None)

    def take(self) -> T:
        """Give the row in view and go on to the next."""
        row = self.row
        if row is None:
            raise StopIteration
        self.row = next(self._rows, None)
        return row

    def rest(self) -> Iterator[T]:
        """Give what is left."""
        while self.row is not None:
            yield self.take()


class PairCursor(Cursor[T]):
    """The next two rows in view."""

    def __init__(self, rows: Iterator[T]) -> None:
        super().__init__(rows)
        self.following: T | None = next(rows, None)

    def take(self) -> T:
        """Give the row in view and go on to the next."""
        row = self.row
        if row is None:
            raise StopIteration
        self.row, self.following = self.following, next(self._rows, None)
        return row

    def skip_two(self) -> None:
        """Go on past the two rows in view."""
        self.row, self.following = next(self._rows, None), next(self._rows, None)
