"""The page that the face serves: `engine.page.clinician`, with what the rules in force say around the decision."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from engine.ledger.checkpoint import parse_receipt
from engine.page.clinician import (
    Actions,
    ClinicianView,
    Feedback,
    Receipt,
    content_security_policy,
    parse_answers,
    parse_feedback,
    render_clinician,
)
from server.convert.ledger import tree_size_of
from server.convert.messages import enum_text
from server.convert.packs import source_attributes
from server.terminologies import terminology_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.pack.book import RuleBook
    from server.cds_hooks.desk import Opened, Outcome
    from server.cds_hooks.page import Form, Forms
    from server.cds_hooks.words import Words


class ClinicianPage:
    """Renders decisions. `book` gives the rules in force, `origin` is the name of the decision log."""

    def __init__(self, book: Callable[[], RuleBook], words: Words, origin: str) -> None:
        self._book = book
        self._reasons = words.reasons
        self._origin = origin

    @cached_property
    def policy(self) -> str:
        """The Content-Security-Policy header that the page needs."""
        return content_security_policy()

    def render(self, opened: Opened, forms: Forms) -> str:
        """Render a decision as HTML."""
        book, shown = self._book(), opened.shown
        packs = [book.packs[pack.id] for pack in shown.decision.packs if pack.id in book.packs]
        size = tree_size_of(parse_receipt(shown.receipt).checkpoint) if shown.receipt else None
        return render_clinician(
            ClinicianView(
                decision=shown.decision,
                facts=shown.facts,
                definitions=book.facts,
                patient=f"Patient/{opened.patient}",
                typed=frozenset(opened.explicit),
                drugs={name: drug.display for name, drug in book.drugs.items()},
                history=opened.history,
                candidates=shown.reading.candidates,
                issues=shown.reading.issues,
                issue_words={code: row.words for code, row in terminology_of(book).issues.items()},
                packs={pack.id: pack.header for pack in packs},
                attributes={pack.id: _attributes(book, pack.id) for pack in packs},
                receipt=Receipt(shown.decision_id, self._origin, shown.index, size),
                actions=Actions(forms.answers, forms.feedback, forms.csrf),
                reasons=self._reasons,
                recorded=[Feedback(outcome, reason) for outcome, reason in forms.recorded],
                entered=forms.entered,
                errors=forms.errors,
            )
        )

    def read_answers(self, form: Form) -> tuple[dict[str, object], dict[str, str]]:
        """Give the facts that were answered, and what is wrong, by field name."""
        return parse_answers(form, self._book().facts)

    def read_feedback(self, form: Form) -> tuple[tuple[Outcome, str, str] | None, dict[str, str]]:
        """Give outcome, code of the reason and comment, None where something is wrong; and what, by field name."""
        read, errors = parse_feedback(form, self._reasons)
        return None if read is None else (read.outcome, read.reason, read.comment), errors


def _attributes(book: RuleBook, pack: str) -> Sequence[tuple[str, str]]:
    return [
        (enum_text(a.DESCRIPTOR.fields_by_name["kind"].enum_type, a.kind) or "", a.statement)
        for a in source_attributes(book, book.packs[pack])
    ]
