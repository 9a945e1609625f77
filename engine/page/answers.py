"""What a clinician answers on the page: the control that fits each fact, and the reading of what was posted.

Pure on both sides. "Not known" and an empty field yield no fact; nothing is defaulted and nothing is cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine.errors import FactError
from engine.facts import MAX_TEXT, read_facts
from engine.page.timeline import TRIALS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.dictionary import FactDefinition, Typed

Form: TypeAlias = Mapping[str, str | list[str]]

NONE = "(none)"
"""What is posted for an empty list; not known is posted as an empty text."""
MAX_COMMENT = 2000
_NOT_KNOWN = frozenset({"", "unknown"})

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,9})?")
_FACT = re.compile(r"fact\.(.+)", re.DOTALL)
_TRIAL = re.compile(r"trial\.([0-9]{1,3})\.(.+)", re.DOTALL)
_RECORD_PATH = re.compile(rf"{TRIALS}\[([0-9]+)\](?:\.(.+))?", re.DOTALL)
_TRUTHS = {"true": True, "false": False}


class _UnreadableError(Exception):
    """A text that is no value of its fact; its message says what to write."""


@dataclass(frozen=True, slots=True)
class Control:
    """One field of the form. `entered` holds what was typed before, `error` what was wrong with it."""

    name: str
    definition: FactDefinition
    choices: tuple[tuple[str, str], ...] = ()
    entered: tuple[str, ...] = ()
    error: str = ""

    @property
    def anchor(self) -> str:
        """Its place on the page."""
        return self.name.replace(".", "-")

    @property
    def text(self) -> str:
        """What was typed, for a field of one value."""
        return self.entered[0] if self.entered else ""

    @property
    def range(self) -> str:
        """The numbers that can be, with their unit; empty for anything else."""
        if self.definition.range is None:
            return ""
        low, high = (self.definition.scaled(end) or 0 for end in self.definition.range)
        return f"{self.definition.in_words(low, with_unit=False)} to {self.definition.in_words(high)}"


def control(
    name: str, definition: FactDefinition, entered: Form, errors: Mapping[str, str], drugs: Mapping[str, str]
) -> Control:
    """Make the control of a fact or of a field of a trial.

    Args:
        name: its name in the form.
        definition: the fact or field.
        entered: what was posted before.
        errors: what was wrong, by field.
        drugs: the words for each key of the drug tables.

    """
    choices: Iterable[tuple[str, str]] = definition.values.items()
    if definition.type == "bool":
        choices = (("true", "yes"), ("false", "no"))
    elif definition.table:
        choices = sorted(drugs.items(), key=lambda pair: pair[1])
    return Control(name, definition, tuple(choices), tuple(_texts(entered.get(name, ""))), errors.get(name, ""))


def posted_text(definition: FactDefinition, value: Typed) -> str:
    """Write a value of one field as the form would post it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | date():
            return definition.in_words(value, with_unit=False)
        case _:
            return str(value)


def posted_rows(form: Form) -> list[int]:
    """Give the numbers of the trials of which a post holds a field, in order."""
    return sorted({int(found[1]) for name in form if (found := _TRIAL.fullmatch(name))})


def parse_answers(form: Form, definitions: Mapping[str, FactDefinition]) -> tuple[dict[str, object], dict[str, str]]:
    """Read the answers of a post.

    Args:
        form: field names to what was posted: `fact.<name>`, `trial.<n>.<field>`; others are not looked at.
        definitions: the data dictionary, by name.

    Returns:
        The facts that were answered, as `read_facts` takes them, and what is wrong, by field name. A field with an
        error yields no fact; one of a trial withholds the whole list. No message repeats what was typed.

    """
    facts: dict[str, object] = {}
    errors: dict[str, str] = {}
    rows: dict[int, dict[str, object]] = {}
    for name, posted in form.items():
        texts = [text.strip() for text in _texts(posted) if text.strip() not in _NOT_KNOWN]
        found, place = _FACT.fullmatch(name), _TRIAL.fullmatch(name)
        if not texts or not (found or place):
            continue
        try:
            if place:
                fields = {f.id: f for f in definitions[TRIALS].fields} if TRIALS in definitions else {}
                rows.setdefault(int(place[1]), {})[place[2]] = _raw(fields.get(place[2]), texts)
            elif found:
                facts[found[1]] = _raw(definitions.get(found[1]), texts)
        except _UnreadableError as fault:
            errors[name] = str(fault)
    if rows and TRIALS in facts:
        errors[f"fact.{TRIALS}"] = "say that there was none only where no trial is filled in"
    elif rows:
        facts[TRIALS] = [rows[n] for n in sorted(rows)]
    errors |= _faults(facts, definitions, sorted(rows))
    wrong = {TRIALS if name.startswith("trial.") else name.removeprefix("fact.") for name in errors}
    return {name: value for name, value in facts.items() if name not in wrong}, errors


def _texts(posted: str | list[str]) -> list[str]:
    return [posted] if isinstance(posted, str) else posted


def _raw(definition: FactDefinition | None, texts: Sequence[str]) -> object:
    """Read what was posted for one field. An unknown field is passed on, for the data dictionary to refuse."""
    if any(len(text) > MAX_TEXT for text in texts):
        msg = f"is longer than {MAX_TEXT} characters"
        raise _UnreadableError(msg)
    if definition is not None and definition.type in {"set", "records"}:
        return _listed(definition, texts)
    if len(texts) > 1:
        msg = "choose one answer"
        raise _UnreadableError(msg)
    text = texts[0]
    match definition.type if definition else None:
        case "bool":
            if text not in _TRUTHS:
                msg = "choose yes, no or not known"
                raise _UnreadableError(msg)
            return _TRUTHS[text]
        case "int" | "decimal":
            if not _NUMBER.fullmatch(text):
                msg = "write a plain number, with a point before any decimals"
                raise _UnreadableError(msg)
            number = Decimal(text)
            return int(number) if number == number.to_integral_value() else number
        case _:
            return text


def _listed(definition: FactDefinition, texts: Sequence[str]) -> list[str]:
    if NONE in texts:
        if len(set(texts)) > 1:
            msg = "choose either none of these or what applies"
            raise _UnreadableError(msg)
        return []
    if definition.type == "records":
        msg = "is answered trial by trial, or by none"
        raise _UnreadableError(msg)
    return list(texts)


def _faults(
    facts: Mapping[str, object], definitions: Mapping[str, FactDefinition], rows: Sequence[int]
) -> dict[str, str]:
    """Say what the data dictionary finds wrong, by field; dates are compared with no day."""
    try:
        read = read_facts(definitions, (), facts, date.max, str)
    except FactError as error:
        wrong = {v.path.partition("[")[0] for v in error.violations}
        rest = {name: value for name, value in facts.items() if name not in wrong}
        return {_field(v.path, rows): v.message for v in error.violations} | _faults(rest, definitions, rows)
    return {_field(u.path, rows): u.reason for u in read.unusable}


def _field(path: str, rows: Sequence[int]) -> str:
    found = _RECORD_PATH.fullmatch(path)
    if found is None:
        return f"fact.{path}"
    return f"trial.{rows[int(found[1])]}.{found[2] or 'drug'}"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What came of a decision. `reason` is a code and `comment` patient data; both are empty where it was accepted."""

    outcome: Literal["accepted", "overridden"]
    reason: str = ""
    comment: str = ""


def parse_feedback(form: Form, reasons: Mapping[str, str]) -> tuple[Feedback | None, dict[str, str]]:
    """Read the post that says what came of a decision.

    Args:
        form: `outcome` (accepted or overridden), `reason`, `comment`.
        reasons: the words for each code of a reason.

    Returns:
        The feedback, None where something is wrong; and what is wrong, by field name.

    """
    outcome, reason, comment = (
        "".join(_texts(form.get(name, ""))).strip() for name in ("outcome", "reason", "comment")
    )
    errors = {}
    if outcome not in {"accepted", "overridden"}:
        errors["outcome"] = "say whether the answer was accepted or overridden"
    if outcome == "overridden" and reason not in reasons:
        errors["reason"] = "choose a reason"
    if len(comment) > MAX_COMMENT:
        errors["comment"] = f"is longer than {MAX_COMMENT} characters"
    if errors:
        return None, errors
    if outcome == "accepted":
        return Feedback("accepted"), {}
    return Feedback("overridden", reason, comment), {}
