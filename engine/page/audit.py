"""One logged decision as a page for an auditor: what was asked, what was answered, by which rules, and what proves it.

The page is made of what the log holds and concludes nothing. Every text of a caller or a patient is escaped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from engine.page.environment import Words, environment, words

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_DIGEST = "00" * 32

_VERDICTS: Mapping[str, tuple[str, str]] = {
    "MATCH": ("met", "The logged decision came out again, byte for byte."),
    "MISMATCH": ("barred", "The logged decision did not come out again."),
    "SHREDDED": ("unmet", "The patient's data was erased, so nothing can be replayed."),
    "MISSING_BLOB": ("barred", "The log lacks something that the entry names."),
    "UNDECRYPTABLE": ("barred", "The sealed part does not open with its key."),
    "BAD_COMMITMENT": ("barred", "The sealed part opens to something else than was committed to."),
    "ENGINE_UNAVAILABLE": ("ask", "This build cannot replay the entry."),
    "TIMEOUT": ("ask", "The replay took too long and was given up."),
    "NOT_A_DECISION": ("unmet", "The entry is no decision."),
}
_DIGESTS: Words = {
    "packs": "Set of rule packs",
    "reference": "Reference tables",
    "engine": "Build of the engine",
    "schema": "Contract",
}


@dataclass(frozen=True, slots=True)
class Logged:
    """What was sealed for the patient, in the canonical bytes of the log; digests of the engines are hexadecimal."""

    method: str
    facts: bytes
    parameters: bytes
    decision: bytes
    explanation: bytes
    interpret_digest: str
    chain_digest: str
    context: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves that the entry is in the log: hashes are hexadecimal, the checkpoint is the signed note."""

    leaf_hash: str
    tree_size: int
    root_hash: str
    path: tuple[str, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of a replay, in the words of the log."""

    outcome: str
    stage: str = ""
    detail: str = ""
    differences: tuple[str, ...] = ()
    engine_digest: str = ""


@dataclass(frozen=True, slots=True)
class Audit:
    """One entry, opened for an auditor.

    Attributes:
        origin: the log.
        index: the entry's place in it.
        entry_id: the decision's id.
        logged_at: when it was written, a claim.
        clock: what was odd about the clock then.
        digests: of what the decision stood on, by `packs`, `reference`, `engine` and `schema`; hexadecimal.
        caller: who asked and how, by words; None where that cannot be opened.
        logged: what was sealed; None where it cannot be opened.
        tombstone_index: where the erasure is written, if it was erased.
        proof: None while no checkpoint covers the entry.
        replay: None where none was asked for.
        titles: words for options, facts and criteria by id.

    """

    origin: str
    index: int
    entry_id: str
    logged_at: str
    digests: Mapping[str, str]
    clock: tuple[str, ...] = ()
    caller: Mapping[str, str] | None = None
    logged: Logged | None = None
    tombstone_index: int | None = None
    proof: Proof | None = None
    replay: Replayed | None = None
    titles: Mapping[str, str] = field(default_factory=dict)


def render_audit(audit: Audit) -> str:
    """Render one logged decision as one self-contained HTML page.

    Raises:
        ValueError: a part of what was sealed is no JSON.

    """
    opened = _Opened(audit.logged, audit.titles) if audit.logged else None
    template = environment().get_template("audit.html.j2")
    return template.render(audit=audit, opened=opened, verdicts=_VERDICTS, digest_words=_DIGESTS, no_digest=NO_DIGEST)


@dataclass(frozen=True)
class _Opened:
    """What was sealed, in reading order."""

    logged: Logged
    titles: Mapping[str, str]

    @cached_property
    def decision(self) -> Mapping[str, Any]:
        decision: Mapping[str, Any] = json.loads(self.logged.decision)
        return decision

    @cached_property
    def parameters(self) -> Mapping[str, tuple[str, str]]:
        parameters: Mapping[str, tuple[str, str]] = json.loads(self.logged.parameters)
        return parameters

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        facts: Mapping[str, Any] = json.loads(self.logged.facts)
        return facts

    @property
    def options(self) -> tuple[Mapping[str, Any], ...]:
        """The options in the order in which they were shown."""
        order = {option: place for place, option in enumerate(self.decision["option_order"])}
        return tuple(sorted(self.decision["options"], key=lambda o: order.get(o["option"], len(order))))

    def findings(self, option: str) -> tuple[Mapping[str, Any], ...]:
        """Give an option's findings; those that held its status down come first."""
        held = next(o["why_not"] for o in self.decision["options"] if o["option"] == option)
        return tuple(sorted(self._explanation["options"].get(option, ()), key=lambda f: f["id"] not in held))

    @property
    def triage(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._explanation["triage"])

    @property
    def coverage(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(self._explanation["coverage"])

    @property
    def standing(self) -> str:
        """What the payer's rules are a copy of; empty where that was not logged."""
        return str(self.decision["coverage"].get("standing", ""))

    @property
    def dates(self) -> tuple[Mapping[str, str], ...]:
        return tuple(self.decision["coverage"].get("dates", ()))

    @property
    def documentation(self) -> tuple[Mapping[str, Any], ...]:
        """What the payer's criteria rest on; none where no payer was asked for."""
        return tuple(self._explanation.get("documentation", ()))

    @property
    def awaited(self) -> frozenset[str]:
        return frozenset(q["fact"] for q in self.decision["missing"] if "coverage" in q["purposes"])

    @cached_property
    def _explanation(self) -> Mapping[str, Any]:
        explanation: Mapping[str, Any] = json.loads(self.logged.explanation)
        return explanation

    @property
    def has_origins(self) -> bool:
        """Whether a fact came with a date or a source."""
        return any(seen["date"] or seen["source"] for seen in self.facts["known"].values())

    @cached_property
    def _in_words(self) -> Mapping[str, str]:
        """What the findings say of the facts that they read."""
        explanation = self._explanation
        listed = (*explanation["options"].values(), explanation["triage"], explanation["coverage"])
        read = (fact for findings in listed for finding in findings for fact in finding["facts"])
        return {fact["fact"]: fact["value"] for fact in read if fact["value"] is not None}

    def value(self, name: str) -> str:
        """Give a fact's value in the words of the explanation, or as it was logged where no finding read it."""
        return self._in_words.get(name) or self.said(self.facts["known"][name]["value"])

    def title(self, name: str) -> str:
        return self.titles.get(name) or words(name)

    @staticmethod
    def said(value: object) -> str:
        """Give a logged value as text; numbers stand as they were logged."""
        match value:
            case bool():
                return "yes" if value else "no"
            case list():
                return ", ".join(map(str, value)) or "none"
            case _:
                return str(value)
