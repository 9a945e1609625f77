"""The clinician's page: one decision with its argument, what is missing as a form, and a place to say what came of it.

It has no script: every control is part of a plain form, and `content_security_policy` allows nothing but the page's own
style sheet. Nothing is concluded here: the page puts what a decision says into reading order, safety first.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from markupsafe import Markup

from engine.page.answers import MAX_COMMENT, NONE, Feedback, Form, parse_answers, parse_feedback
from engine.page.environment import environment
from engine.page.reading import Reading
from engine.page.timeline import History, read_history

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.pack.model import PackHeader

__all__ = [
    "Actions",
    "Candidate",
    "ClinicianView",
    "Feedback",
    "Form",
    "History",
    "Issue",
    "Receipt",
    "content_security_policy",
    "parse_answers",
    "parse_feedback",
    "read_history",
    "render_clinician",
]

FIRST_ASKED = 6
FIRST_SHOWN = 12
_EFFECTS: Mapping[str, str] = {
    "unusable": "cannot be used",
    "unconfirmed": "to be confirmed",
    "ignored": "left out",
    "noted": "read all the same",
}
_SHEETS = ("page.css", "clinician.css")


class Candidate(Protocol):
    """A value that the record suggests and a clinician has to confirm; the rules do not see it."""

    @property
    def fact(self) -> str:
        """The fact it would be."""

    @property
    def suggests(self) -> object:
        """The value; empty where the record only shows that there is something to ask."""

    @property
    def why(self) -> str:
        """Why the record does not settle it."""

    @property
    def sources(self) -> Sequence[str]:
        """Where it stands in the record."""


class Issue(Protocol):
    """Something in the record that was not read at face value. `count` alike were folded into one."""

    @property
    def code(self) -> str:
        """What is odd."""

    @property
    def fact(self) -> str:
        """The fact concerned; empty where none is."""

    @property
    def effect(self) -> str:
        """What was done: unusable, unconfirmed, ignored or noted."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def paths(self) -> Sequence[str]:
        """Where the first of them stand."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Where the decision is in the decision log; `tree_size` is that of a checkpoint that covers it, None before."""

    decision_id: str
    origin: str
    index: int
    tree_size: int | None = None


@dataclass(frozen=True, slots=True)
class Actions:
    """Where the forms are posted to, and the token that each carries."""

    answers: str
    feedback: str
    csrf: str


@dataclass(frozen=True)
class ClinicianView:
    """Everything that the page shows.

    Attributes:
        decision: the answer.
        facts: what was read of the patient, from the record and from answers.
        definitions: the data dictionary, by name.
        patient: how the caller names the patient; may be empty.
        purpose: what the decision was made for, in the words of the log; empty says nothing.
        typed: the facts that a clinician typed; every other one was read from the record.
        drugs: the words for each key of the drug tables.
        history: the antidepressant trials in words; None while the list is missing.
        candidates: what the record suggests and nobody has confirmed.
        issues: what was not read at face value.
        issue_words: the words for each code of an issue; a code without words is shown as it is.
        packs: the header of each pack that spoke, by id.
        attributes: the source attributes of each pack, by id: pairs of what and statement.
        receipt: where the decision is in the log; None for a page that is no record.
        actions: where the forms go; None renders a page without forms, for print or files.
        reasons: why an answer may be overridden: the words for each code.
        recorded: what was already said about the decision.
        entered: what was posted before, kept while something in it is wrong.
        errors: what is wrong with it, by field name, as `parse_answers` and `parse_feedback` give it.

    """

    decision: Decision
    facts: PatientFacts
    definitions: Mapping[str, FactDefinition]
    patient: str = ""
    purpose: str = ""
    typed: frozenset[str] = frozenset()
    drugs: Mapping[str, str] = field(default_factory=dict)
    history: History | None = None
    candidates: Sequence[Candidate] = ()
    issues: Sequence[Issue] = ()
    issue_words: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, PackHeader] = field(default_factory=dict)
    attributes: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    receipt: Receipt | None = None
    actions: Actions | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)
    recorded: Sequence[Feedback] = ()
    entered: Form = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def render_clinician(view: ClinicianView) -> str:
    """Render one decision as the page that its link opens. Serve it with `content_security_policy`."""
    template = environment().get_template("clinician.html.j2")
    return template.render(
        view=view,
        page=Reading(view),
        style=_style(),
        policy=content_security_policy(()),
        effects=_EFFECTS,
        first_asked=FIRST_ASKED,
        first_shown=FIRST_SHOWN,
        none_value=NONE,
        longest_comment=MAX_COMMENT,
    )


def content_security_policy(frame_ancestors: Sequence[str] = ("'none'",)) -> str:
    """Give the Content-Security-Policy header of the page.

    Args:
        frame_ancestors: who may show the page in a frame, as CSP sources; empty leaves the directive out, as a policy
            inside a page has to.

    """
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; base-uri 'none'"
    return f"{policy}; frame-ancestors {' '.join(frame_ancestors)}" if frame_ancestors else policy


@lru_cache(maxsize=1)
def _style() -> Markup:
    sheets = files("engine.page") / "templates"
    return Markup("").join(Markup((sheets / name).read_text(encoding="utf-8")) for name in _SHEETS)  # noqa: S704 - ours
