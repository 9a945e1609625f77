"""The rows of the tables under rules/reference/fhir, and how a table is read with every fault at its line."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from engine.errors import Diagnostic
from engine.pack.load import validated
from engine.pack.source import Source, read_source

FOLDER = "fhir"
REFERENCE = "reference"

Certainty: TypeAlias = Literal["sets", "confirm", "suggests", "notes", "never"]
"""What a code does: `sets` a fact, sets it and asks to `confirm` it, `suggests` it, `notes` something, or nothing."""


class Row(BaseModel):
    """One row of a table. An empty cell is a cell that is not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Coded(Row):
    """A row that a code leads to. A code may hold `*` (any end) and `?` (any one character)."""

    system: str
    code: str = ""
    source: str
    status: Literal["read", "unconfirmed"]

    @property
    def matched_by(self) -> str:
        """How a fact is said to have been found by this row."""
        return "code" if self.status == "read" else "unconfirmed code"


class SystemUri(Coded):
    """A uri by which records name a code system; one with `*` names another edition, whose codes only suggest."""

    uri: str


class Unit(Row):
    """A way to write a unit, and its UCUM code; `1` is a plain score."""

    written: str
    ucum: str


class IssueWords(Row):
    """An issue code with its usual effect and its words."""

    code: str
    effect: Literal["unusable", "unconfirmed", "ignored", "noted"]
    words: str


class Reason(Row):
    """Why a record only suggests a fact."""

    name: str
    words: str


class PolicyNumber(Row):
    """A number that this engine chose; `unit` is UCUM (`d` days, `mo` months)."""

    name: str
    value: int = Field(ge=0)
    unit: Literal["d", "mo"]
    meaning: str
    source: str


class PatientCode(Row):
    """A value of an element, or of the extension with this url, of the resource Patient."""

    element: str
    code: str
    fact: str
    value: str
    certainty: Certainty
    source: str
    status: Literal["read", "unconfirmed"]


class Status(Row):
    """What a status code means for reading."""

    resource: str
    element: str
    code: str
    means: str


class ConditionCode(Coded):
    """What a diagnosis says of a fact.

    `when` it does: while `current`, while `present` (current or in remission), `ever`, by its `state` (the value is
    then `current` or `past`), while recorded as `active`, or in `remission`. `within` names the policy number that
    limits how old a record may be to settle what is now, `after` the one that says how long after its end the diagnosis
    still suggests. `refuted` is the value where the diagnosis was refuted: only codes as wide as the fact have one.
    `onset` names the fact that the onset speaks for.
    """

    fact: str
    value: str = ""
    when: Literal["current", "present", "ever", "state", "active", "remission"]
    certainty: Certainty
    within: str = ""
    after: str = ""
    refuted: str = ""
    onset: str = ""
    why: str = ""


class Phrase(Row):
    """A phrase in the text of a diagnosis that suggests a fact; without a fact, one that forbids suggestions.

    A phrase may hold `*` (some characters, or at its end the rest of a word). One that is `current` says nothing of a
    diagnosis that is past. One that counts `always` is read beside every code, and only forbidden by one that counts
    `always` too; the others are read where no code is known. `onset` names the fact that the onset speaks for.
    """

    phrase: str
    fact: str = ""
    value: str = ""
    when: Literal["ever", "current"] = "ever"
    always: bool = False
    onset: str = ""


class FactOrder(Row):
    """The values of a fact, the stronger of which stands where a record says both."""

    fact: str
    weakest_to_strongest: str


class ObservationCode(Coded):
    """Which fact an observation is of, and how its value is read.

    A `suggested` one says, as code or as value of an observation or as a flag, that there is something to ask; a `flag`
    says so as a flag only.
    """

    fact: str
    kind: Literal["score", "quantity", "pressure", "mean", "coded", "suggested", "flag"]


class PanelCode(Coded):
    """An observation that is there for its parts."""

    parts: Literal["pressure", "mean", "phq9", "c-ssrs"]


class AnswerCode(Coded):
    """What a coded value of an observation says; `within` names the policy number that limits its age."""

    fact: str
    value: str
    within: str = ""


class AllergyCode(Coded):
    """What an allergy, or the statement that there is none, says."""

    fact: str
    value: str = ""
    role: Literal["substance", "no_allergy", "no_drug_allergy"]
    certainty: Certainty = "sets"


class ProcedureCode(Coded):
    """What a procedure says; `within` names the policy number that limits its age."""

    fact: str
    value: str = ""
    certainty: Certainty
    within: str = ""
    why: str = ""


class MedicationCode(Coded):
    """What a drug says beside its being a trial; `within` names the policy number that says how recent it must be."""

    ingredient: str = ""
    fact: str = ""
    value: str = ""
    certainty: Certainty = "notes"
    within: str = ""
    why: str = ""


class Product(Row):
    """The ingredients of a product, joined by `+`."""

    code: str
    ingredients: str
    name: str
    source: str
    status: Literal["read", "unconfirmed"]


class DrugRule(Row):
    """A drug of the drug tables whose ingredient says too little, or nothing; or whose names are not its key."""

    drug: str
    certainty: Certainty
    names: str = ""
    why: str = ""
    source: str


class Timing(Row):
    """How often a day a timing code says."""

    code: str
    times_per_day: int = Field(gt=0)


class Scale(Row):
    """A fact whose date another fact repeats."""

    fact: str
    dates: str


class Behavior(BaseModel):
    """The two questions on suicidal behavior: at any time, and in the recent months; and the values they lead to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fact: str
    ever: str
    recent: str
    values: Mapping[Literal["never", "long_ago", "recent"], str]


class ScoredForm(BaseModel):
    """A questionnaire whose items are scored and added up. `answer_texts`, in lower case, only suggest a score."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str
    status: Literal["read", "unconfirmed"]
    items: tuple[str, ...] = Field(min_length=1)
    answers: Mapping[str, int]
    answer_texts: Mapping[str, int]
    score_extensions: tuple[str, ...]
    total: str
    total_fact: str
    item_facts: Mapping[str, str]


class LevelForm(BaseModel):
    """A questionnaire of yes and no, whose worst item answered yes is the level.

    `likely_answers`, by code system, and `answer_texts`, in lower case, only suggest an answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    source: str
    status: Literal["read", "unconfirmed"]
    fact: str
    levels: Mapping[str, str]
    none: str
    behavior: Behavior
    answers: Mapping[str, Literal["yes", "no"]]
    likely_answers: Mapping[str, Mapping[str, Literal["yes", "no"]]]
    answer_texts: Mapping[str, Literal["yes", "no"]]


class Forms(BaseModel):
    """The questionnaires that are read item by item."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    phq9: ScoredForm
    c_ssrs: LevelForm


T = TypeVar("T", bound=Row)


@dataclass(frozen=True)
class Table(Generic[T]):
    """A table: its file, its rows, and the line of each."""

    file: str
    rows: tuple[T, ...] = ()
    lines: tuple[int, ...] = ()

    def fault(self, position: int, code: str, message: str) -> Diagnostic:
        """Make a diagnostic about a row."""
        return Diagnostic(self.file, self.lines[position], 1, code, message)


def read_table(files: Mapping[str, bytes], name: str, kind: type[T], faults: list[Diagnostic]) -> Table[T]:
    """Read one CSV table; what is wrong is added to `faults`, and the row is left out."""
    content = _text(files, name, faults)
    if content is None:
        return Table(_place(name))
    source = Source(_place(name))
    reader = csv.DictReader(io.StringIO(content), strict=True)
    rows: list[T] = []
    places: list[int] = []
    try:
        for position, cells in enumerate(reader):
            source.places[position,] = (reader.line_num, 1)
            if None in cells or None in cells.values():
                faults.append(
                    source.fault((position,), "reference/row", "the row has more or fewer cells than the header")
                )
                continue
            written = {key: value for key, value in cells.items() if value}
            row = validated(kind, source, (position,), written, faults)
            if row is not None:
                rows.append(row)
                places.append(reader.line_num)
    except csv.Error as error:
        faults.append(Diagnostic(source.file, reader.line_num, 1, "reference/csv", f"this is not CSV: {error}"))
    return Table(source.file, tuple(rows), tuple(places))


def read_forms(files: Mapping[str, bytes], faults: list[Diagnostic]) -> Forms | None:
    """Read forms.yaml; None, with its faults added, if its shape is wrong."""
    content = _text(files, "forms.yaml", faults)
    if content is None:
        return None
    source = read_source(_place("forms.yaml"), content)
    faults += source.faults
    return None if source.faults else validated(Forms, source, (), source.data, faults)


def _text(files: Mapping[str, bytes], name: str, faults: list[Diagnostic]) -> str | None:
    content = files.get(f"{FOLDER}/{name}")
    if content is None:
        faults.append(Diagnostic(_place(name), 1, 1, "reference/missing-file", "this table is missing"))
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        faults.append(Diagnostic(_place(name), 1, 1, "reference/encoding", "the file is not UTF-8"))
        return None


def _place(name: str) -> str:
    return f"{REFERENCE}/{FOLDER}/{name}"
