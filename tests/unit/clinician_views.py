"""Views of the clinician's page on the made-up patients beside the golden pages, evaluated by the real rules."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from engine.evaluator.agree import Evaluator
from engine.facts import read_facts
from engine.page.clinician import Actions, ClinicianView, Receipt, read_history
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.pack.book import RuleBook

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "golden" / "page"
REASONS = {"prefers-alternative": "another treatment is preferred", "need-more-info": "more has to be known"}
ACTIONS = Actions("/answers", "/feedback", "token")


@dataclass(frozen=True)
class Suggested:
    """A candidate, as a reader of records makes one."""

    fact: str
    suggests: object
    why: str = "text only"
    sources: tuple[str, ...] = ("Condition/43074",)


@dataclass(frozen=True)
class Oddity:
    """An issue, as a reader of records makes one."""

    code: str
    fact: str = ""
    effect: str = "noted"
    count: int = 1
    paths: tuple[str, ...] = ("Observation/7",)


def read_case(name: str) -> dict[str, object]:
    """Read a made-up patient."""
    case: dict[str, object] = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return case


def view_of(
    evaluator: Evaluator, case: Mapping[str, object], facts: Mapping[str, object] | None = None, **more: object
) -> ClinicianView:
    """Evaluate a case, or other facts in its place, and give the view of it; `more` replaces fields of the view."""
    book, as_of = evaluator.rules, date.fromisoformat(str(case["as_of"]))
    jurisdiction, payer = str(case["jurisdiction"]), case.get("payer_id")
    payer_id = payer if isinstance(payer, str) else None
    given = case["facts"] if facts is None else facts
    assert isinstance(given, dict)
    read = read_facts(book.facts, book.dictionary.constraints, given, as_of)
    evaluation = evaluator.evaluate(read, jurisdiction, payer_id, as_of)
    fields: dict[str, object] = {
        "decision": evaluation.decision,
        "facts": read,
        "definitions": book.facts,
        "patient": "Patient/1288992",
        "drugs": {key: drug.display for key, drug in book.drugs.items()},
        "history": read_history(book, evaluator.pack_set(jurisdiction, payer_id, as_of), evaluation),
        "packs": {pack.id: pack.header for pack in book.packs.values()},
        "attributes": {pack.id: (("developer", "; ".join(pack.header.authors)),) for pack in book.packs.values()},
        "receipt": Receipt("0e1c9a52-0000-4000-8000-000000000001", "log.example.org/eligibility", 4711, 4720),
        "actions": ACTIONS,
        "reasons": REASONS,
        **more,
    }
    return ClinicianView(**fields)  # type: ignore[arg-type]


def load_book() -> RuleBook:
    """Load the rules as they are, locked or not."""
    return repository_rules()


def views(book: RuleBook) -> dict[str, ClinicianView]:
    """Give the view of every made-up patient by id, computed by the reference interpreter."""
    names = sorted(path.stem for path in CASES.glob("*.json"))
    with closing(Evaluator(book, "interpret")) as evaluator:
        return {name: view_of(evaluator, read_case(name)) for name in names}
