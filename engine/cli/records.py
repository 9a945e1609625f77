"""FHIR records as cases: files, folders and bulk exports, one patient after the other."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import click

from engine.cli.case_file import MIB, Case, UnreadableCase
from engine.cli.panel import named
from engine.errors import FactError, Violation
from engine.facts import read_facts
from engine.fhir.read import read, split
from engine.fhir.record_json import parse
from engine.fhir.terminology import Terminology, has_terminology

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date
    from pathlib import Path

    from engine.fhir.reading import Reading
    from engine.pack.book import RuleBook

MAX_FILE_BYTES = 256 * MIB
STANDARD_INPUT = "-"
_BULK = ".ndjson"
_ALONE = ".json"


@dataclass(frozen=True, slots=True)
class RecordRead:
    """One patient's record, read, and the file or folder that holds it."""

    file: str
    reading: Reading


@dataclass(frozen=True, slots=True)
class RecordRefused:
    """A file that cannot be read, or that holds no such patient, and why. No text holds patient data."""

    file: str
    id: str
    violations: tuple[Violation, ...]


Outcome: TypeAlias = RecordRead | RecordRefused


def terminology_of(book: RuleBook) -> Terminology:
    """Give what the rules say of FHIR codes.

    Raises:
        click.UsageError: the rules hold no tables for FHIR.
        RulePackError: those tables cannot be used.

    """
    if not has_terminology(book.reference_files):
        raise click.UsageError("these rules have no folder reference/fhir, so they cannot read FHIR")
    return Terminology.of(book.reference_files)


def read_records(paths: Iterable[str], book: RuleBook, as_of: date, patient: str | None = None) -> Iterator[Outcome]:
    """Read the records of every patient in files and folders, in their order.

    The NDJSON files of a folder are one export, in which each patient's resources are spread over the files; a JSON
    file stands alone.

    Args:
        paths: files, folders, or `-` for standard input.
        book: its tables say what codes mean.
        as_of: the day of the evaluation.
        patient: the id of the only patient to read; None for all.

    """
    terminology = terminology_of(book)
    for file, content in _contents(paths):
        if isinstance(content, FactError):
            yield RecordRefused(file, file, content.violations)
            continue
        records = split(content, terminology=terminology)
        wanted = [patient.removeprefix("Patient/")] if patient is not None else sorted(records)
        if not wanted:
            yield RecordRefused(file, file, (Violation("", "fhir/no-patient", "the record names no patient"),))
        for each in wanted:
            if each in records:
                part = records[each]
                yield RecordRead(
                    file, read(part, terminology=terminology, definitions=book.facts, as_of=as_of, patient=each)
                )
            else:
                message = "the record does not name this patient; leave --patient out to read all that it names"
                yield RecordRefused(file, each, (Violation("", "fhir/no-patient", message),))


def as_case(record: RecordRead, book: RuleBook, jurisdiction: str, payer_id: str | None) -> Case | UnreadableCase:
    """Make a case of a record; a record of somebody who has died is none."""
    reading = record.reading
    if reading.is_deceased:
        message = "the patient had died by the day of the evaluation, so nothing is evaluated"
        return UnreadableCase(reading.patient, (Violation("", "fhir/deceased", message),))
    raw = reading.raw_facts()
    try:
        facts = read_facts(book.facts, book.dictionary.constraints, raw, reading.as_of)
    except FactError as error:
        return UnreadableCase(reading.patient, error.violations)
    written: Mapping[str, object] = {"facts": raw}
    return Case(reading.patient, "", jurisdiction, payer_id, reading.as_of, facts, written)


def _contents(paths: Iterable[str]) -> Iterator[tuple[str, object | FactError]]:
    for text in paths:
        path = named(text)
        if text == STANDARD_INPUT:
            yield text, _parsed(sys.stdin.buffer.read(MAX_FILE_BYTES + 1))
        elif path.is_dir():
            yield from _folder(path)
        elif path.exists():
            yield text, _file(path)
        else:
            raise click.UsageError(f"file `{text}` does not exist; `-` reads standard input")


def _folder(folder: Path) -> Iterator[tuple[str, object | FactError]]:
    files = sorted(path for path in folder.iterdir() if path.suffix in {_BULK, _ALONE})
    if not files:
        raise click.UsageError(f"folder `{folder}` holds no .json or .ndjson file")
    export: list[object] = []
    for path in files:
        content = _file(path)
        if path.suffix == _ALONE or isinstance(content, FactError):
            yield str(path), content
        else:
            export += content if isinstance(content, list) else [content]
    if export:
        yield str(folder), export


def _file(path: Path) -> object | FactError:
    with path.open("rb") as stream:
        return _parsed(stream.read(MAX_FILE_BYTES + 1))


def _parsed(data: bytes) -> object | FactError:
    if len(data) > MAX_FILE_BYTES:
        message = f"is larger than {MAX_FILE_BYTES // MIB} MiB; split it by patient"
        return FactError([Violation("fhir", "fhir/too-large", message)])
    try:
        return parse(data)
    except FactError as error:
        return error
