"""Case files: patients as JSON, one object, one object on each line, or a list of objects.

A case is `{"id", "jurisdiction", "as_of", "payer_id", "facts": {name: value}}`; other keys are ignored here. Each case
is read on its own: what is wrong with one is told with all its violations at once and never stops the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from engine.cli.strict_json import JsonError, parse
from engine.errors import FactError, Violation
from engine.facts import PatientFacts, read_facts
from engine.names import nearest

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

MIB = 1024 * 1024
MAX_FILE_BYTES = 64 * MIB
MAX_CASE_BYTES = MIB
MAX_ID = 200

_BOM = b"\xef\xbb\xbf"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Case:
    """One patient on one day. `id` is the line or position where the file gives none.

    `written` is the case as it stands in the file, with the keys that are ignored here.
    """

    id: str
    title: str
    jurisdiction: str
    payer_id: str | None
    as_of: date
    facts: PatientFacts
    written: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class UnreadableCase:
    """A case that cannot be read, with everything that is wrong with it. No text holds patient data."""

    id: str
    violations: tuple[Violation, ...]


_EMPTY = UnreadableCase("1", (Violation("", "case/empty", "the file holds no case"),))


def read_cases(stream: BinaryIO, book: RuleBook) -> Iterator[Case | UnreadableCase]:
    """Read the cases of a stream one after the other, in their order.

    A file with one case on each line is never held as a whole. It is taken for one when its first line is a whole
    document, or when its second line begins an object too.
    """
    read = partial(_read_case, book)
    lines = _lines(stream)
    first = next(lines, None)
    if first is None:
        yield _EMPTY
        return
    second = next(lines, None)
    if first.content[:1] == b"{" and (second is None or second.content[:1] == b"{" or _is_whole(first)):
        for line in filter(None, (first, second)):
            yield read(line)
        yield from map(read, lines)
        return
    rest = b"".join(line.raw for line in (first, *filter(None, (second,)), *lines))
    yield from _read_document(rest, first, read)


@dataclass(frozen=True, slots=True)
class _Text:
    """A piece of a file that should be one case. `fault` says why it was not read at all."""

    place: int
    raw: bytes
    fault: str = ""

    @property
    def content(self) -> bytes:
        return self.raw.strip()


def _lines(stream: BinaryIO) -> Iterator[_Text]:
    """Give the lines that are not blank. Nothing longer than a file may be is ever held."""
    left = MAX_FILE_BYTES
    number = 0
    while line := stream.readline(left + 1):
        number += 1
        left -= len(line)
        if left < 0:
            message = f"the file is larger than {MAX_FILE_BYTES // MIB} MiB from here on; split it"
            yield _Text(number, b"", message)
            return
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            yield _Text(number, line)


def _is_whole(line: _Text) -> bool:
    if len(line.raw) > MAX_CASE_BYTES:
        return True
    try:
        parse(line.content)
    except JsonError:
        return False
    return True


def _read_document(
    content: bytes, first: _Text, read: partial[Case | UnreadableCase]
) -> Iterator[Case | UnreadableCase]:
    if first.content[:1] != b"[":
        yield read(_Text(first.place, content))
        return
    try:
        items, violations = parse(content)
    except JsonError as fault:
        yield UnreadableCase("1", (Violation("", "case/not-json", str(fault)),))
        return
    assert isinstance(items, list)  # noqa: S101 - it begins with a bracket
    if not items:
        yield _EMPTY
    for position, item in enumerate(items):
        mine = tuple(
            Violation(v.path.removeprefix(f"[{position}]").removeprefix("."), v.code, v.message)
            for v in violations
            if v.path.startswith(f"[{position}]")
        )
        yield read(_Text(position + 1, b""), item=(item, mine))


def _read_case(
    book: RuleBook, text: _Text, item: tuple[object, tuple[Violation, ...]] | None = None
) -> Case | UnreadableCase:
    name = str(text.place)
    if text.fault or len(text.raw) > MAX_CASE_BYTES:
        message = text.fault or f"is larger than {MAX_CASE_BYTES // MIB} MiB; a case takes a few KiB"
        return UnreadableCase(name, (Violation("", "case/too-large", message),))
    try:
        written, violations = item or parse(text.content)
    except JsonError as fault:
        return UnreadableCase(name, (Violation("", "case/not-json", str(fault)),))
    if not isinstance(written, Mapping):
        return UnreadableCase(name, (Violation("", "case/not-an-object", "a case is a JSON object"),))
    return _CaseReader(book, written, name, list(violations)).read()


class _CaseReader:
    """Reads one case; everything that is wrong with it gathers in `violations`."""

    def __init__(self, book: RuleBook, written: Mapping[str, object], place: str, violations: list[Violation]) -> None:
        self.book = book
        self.written = written
        self.violations = violations
        self.id = self._id(place)

    def read(self) -> Case | UnreadableCase:
        jurisdiction = self._chosen("jurisdiction", is_required=True)
        payer_id = self._chosen("payer_id", is_required=False)
        as_of = self._as_of()
        facts = self._facts(as_of)
        if self.violations or as_of is None or facts is None or jurisdiction is None:
            return UnreadableCase(self.id, tuple(sorted(set(self.violations))))
        title = self.written.get("title")
        return Case(
            self.id, title if isinstance(title, str) else "", jurisdiction, payer_id, as_of, facts, self.written
        )

    def _refuse(self, path: str, code: str, message: str) -> None:
        self.violations.append(Violation(path, f"case/{code}", message))

    def _id(self, place: str) -> str:
        raw = self.written.get("id")
        if raw is None:
            return place
        if isinstance(raw, int) and not isinstance(raw, bool):
            return str(raw)
        if not isinstance(raw, str) or not raw or len(raw) > MAX_ID or not raw.isprintable():
            self._refuse("id", "malformed-id", f"must be a printable text of 1 to {MAX_ID} characters, or a number")
            return place
        return raw

    def _chosen(self, name: str, *, is_required: bool) -> str | None:
        allowed = self.book.dictionary.allowed(name)
        raw = self.written.get(name)
        listed = f"one of {', '.join(allowed)}"
        if raw is None:
            if is_required:
                self._refuse(name, "missing", f"is required: {listed}")
        elif not isinstance(raw, str):
            self._refuse(name, "wrong-type", f"must be {listed}")
        elif raw not in allowed:
            self._refuse(name, "unknown-value", f"must be {listed}{nearest(raw.upper(), allowed)}")
        else:
            return raw
        return None

    def _as_of(self) -> date | None:
        raw = self.written.get("as_of")
        if raw is None:
            self._refuse("as_of", "missing", "is required: the day on which the rules are evaluated, as YYYY-MM-DD")
            return None
        try:
            if isinstance(raw, str) and _DAY.fullmatch(raw):
                return date.fromisoformat(raw)
        except ValueError:
            pass
        self._refuse("as_of", "malformed-date", "must be a day that exists, written as YYYY-MM-DD")
        return None

    def _facts(self, as_of: date | None) -> PatientFacts | None:
        raw = self.written.get("facts")
        if not isinstance(raw, Mapping):
            message = "is required: an object of facts by name; an empty one says that nothing is known"
            self._refuse("facts", "missing" if raw is None else "wrong-type", message)
            return None
        try:
            return read_facts(self.book.facts, self.book.dictionary.constraints, raw, as_of or date.max)
        except FactError as error:
            self.violations += error.violations
            return None
