"""QuestionnaireResponse: its answers by the code of their items, however deep these stand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

from engine.fhir import shape

Answers: TypeAlias = dict[str, list[shape.Element]]

_LOINC_AT_END = re.compile(r"(?:^|[^0-9])([0-9]{1,7}-[0-9])$")
_UNREADABLE: shape.Element = {"valueUnreadable": {}}
"""Stands for an answer that is there and is no object, so that it does not pass for one that is missing."""


@dataclass
class Response:
    """The answers of a response.

    Attributes:
        answers: by the code of their items.
        numbered: by the number of their items, where these have no code.
        is_torn: whether something that stands among the items is none.

    """

    answers: Answers = field(default_factory=dict)
    numbered: dict[int, list[shape.Element]] = field(default_factory=dict)
    is_torn: bool = False


def read_response(response: shape.Element) -> Response:
    """Gather the answers of a response."""
    found = Response()
    waiting = [response.get("item")]
    while waiting:
        told = waiting.pop()
        if isinstance(told, list):
            waiting += told
        elif isinstance(told, dict):
            said = shape.elements(told.get("answer"))
            _add(found, told, said or ([_UNREADABLE] if told.get("answer") else []))
            waiting += [told.get("item"), *(answer.get("item") for answer in said)]
        else:
            found.is_torn |= told is not None
    return found


def _add(found: Response, item: shape.Element, said: list[shape.Element]) -> None:
    code, link = _code_of(item), shape.code(item.get("linkId"))
    if code:
        found.answers.setdefault(code, []).extend(said)
    elif len(link) == 1 and link.isdecimal():
        found.numbered.setdefault(int(link), []).extend(said)


def _code_of(item: shape.Element) -> str:
    """Give the LOINC code that an item's link id or definition ends in."""
    return _code_in(item.get("linkId")) or _code_in(item.get("definition"))


def _code_in(written: object) -> str:
    match = _LOINC_AT_END.search(shape.text(written))
    return match[1] if match else ""


def questionnaire(response: shape.Element) -> str:
    """Give what a response names as its questionnaire: the LOINC code that this ends in, else as it is."""
    named = response.get("questionnaire")
    told = shape.text(shape.element(named).get("reference")) or shape.text(named)
    return _code_in(told.partition("|")[0]) or told or ("?" if named else "")
