"""One evaluation by two engines that must agree.

Every decision is computed by the reference interpreter and, in mode `both`, by forward chaining on durable-rules. Where
they differ on a single value there is no decision.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine import canonical
from engine.compiler.stages import compile_packs
from engine.errors import EnginesDisagree, FactError
from engine.evaluator.chain import Chain
from engine.evaluator.decision import Decision, EngineReport
from engine.evaluator.explain import Explainer
from engine.evaluator.inputs import parameters_in_effect, prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.layout import Layout
from engine.evaluator.reach import Explorer
from engine.evaluator.timeline import changes_on

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler import form
    from engine.compiler.packset import PackSet
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook

Mode: TypeAlias = Literal["both", "interpret"]

SEMANTICS_VERSION = "1"
"""Version of the rule language's semantics; a change of any decision on the same packs raises it."""

NO_DIGEST = bytes(32)


@dataclass(frozen=True)
class Evaluation:
    """A decision and what it rests on. The byte strings are canonical encodings, made when they are first asked for.

    Attributes:
        decision: the answer.
        read: what was read of the patient.
        numbers: the dated parameters in effect, with their units.
        values: what the engines concluded, node by node.
        is_chained: whether the forward-chaining engine ran (and agreed).

    """

    decision: Decision
    read: PatientFacts
    numbers: Mapping[str, tuple[str, str]]
    values: form.Values
    is_chained: bool

    @cached_property
    def facts(self) -> bytes:
        """What was read of the patient."""
        return encode_facts(self.read)

    @cached_property
    def parameters(self) -> bytes:
        """The dated numbers in effect."""
        return canonical.encode_typed({n: list(v) for n, v in self.numbers.items()})

    @cached_property
    def explanation(self) -> bytes:
        """The argument: every finding of every option, of triage and of coverage."""
        coverage = self.decision.coverage
        return canonical.encode_typed(
            {
                "options": {o.option: o.criteria for o in self.decision.options},
                "triage": self.decision.triage.criteria,
                "coverage": coverage.criteria if coverage else (),
            }
        )

    @cached_property
    def interpret_digest(self) -> bytes:
        """SHA-256 of the values that the interpreter concluded."""
        return hashlib.sha256(encode_values(self.values)).digest()

    @property
    def chain_digest(self) -> bytes:
        """The same of the forward-chaining engine; zeros if it was not run."""
        return self.interpret_digest if self.is_chained else NO_DIGEST


@dataclass(frozen=True)
class _Engines:
    packs: PackSet
    interpreter: Interpreter
    explainer: Explainer
    chain: Chain | None


class Evaluator:
    """Evaluates patients against one rule book. Thread safe; close it to free the chain's sessions.

    `sessions` is how many evaluations may chain at once; each costs about 17 MB for every pack set in use.
    INVARIANT: there are no more compiled sets than jurisdictions times payers times parameter epochs; none is dropped.
    """

    def __init__(self, rules: RuleBook, mode: Mode = "both", sessions: int = 2) -> None:
        self.rules = rules
        self.mode = mode
        self._sessions = sessions
        self._engines: dict[tuple[object, ...], _Engines] = {}
        self._lock = threading.Lock()
        self._closers = ExitStack()

    def warm(self, as_of: date) -> None:
        """Compile every pack set that can be asked for on `as_of`, so that faults show at start, not at the first call.

        Raises: RulePackError.
        """
        payers = [None, *sorted({p.header.payer for p in self.rules.packs.values() if p.header.payer})]
        for jurisdiction in sorted(self.rules.jurisdictions):
            for payer in payers:
                compile_packs(self.rules, jurisdiction, payer, as_of)
            self._engines_for(jurisdiction, None, as_of)

    def pack_set(self, jurisdiction: str, payer_id: str | None, as_of: date) -> PackSet:
        """Give the compiled packs that answer; raises NoRulePackError."""
        return self._engines_for(jurisdiction, payer_id, as_of).packs

    def evaluate(
        self, facts: PatientFacts, jurisdiction: str, payer_id: str | None, as_of: date, *, is_full: bool = False
    ) -> Evaluation:
        """Evaluate one patient.

        Args:
            facts: what is known at `as_of`.
            jurisdiction: whose rules.
            payer_id: whose coverage rules, or None.
            as_of: the day whose rules and parameters hold.
            is_full: explain every criterion in force, not only those that hold, decide or are unresolved.

        Raises:
            FactError: the data dictionary does not name the payer.
            NoRulePackError: no pack serves the jurisdiction.
            EnginesDisagree: the engines differ; there is no decision.
            ChainFault: durable-rules failed; there is no decision.

        """
        if unknown := self.rules.check_payer(payer_id):
            raise FactError(unknown)
        engines = self._engines_for(jurisdiction, payer_id, as_of)
        inputs = prepare(self.rules, engines.packs, facts)
        values = engines.interpreter.evaluate(inputs)
        if engines.chain is not None:
            chained = engines.chain.evaluate(inputs)
            if chained != values:
                digests = (hashlib.sha256(encode_values(v)).digest() for v in (values, chained))
                raise EnginesDisagree(_differences(values, chained), *digests)
        decision = engines.explainer.explain(facts, inputs, values, is_full=is_full)
        decision = changes_on(self.rules, engines.packs, engines.interpreter, facts, decision)
        numbers = parameters_in_effect(engines.packs)
        return Evaluation(decision, facts, numbers, values, is_chained=engines.chain is not None)

    def close(self) -> None:
        """Free the sessions of the forward-chaining engine. No evaluation may follow."""
        with self._lock:
            self._engines.clear()
            self._closers.close()

    def _engines_for(self, jurisdiction: str, payer_id: str | None, as_of: date) -> _Engines:
        packs = self.rules.packs_for(jurisdiction, payer_id)
        numbers = tuple(p.at(as_of) for pack in packs for p in pack.parameters.values())
        key = (jurisdiction, payer_id, numbers)
        found = self._engines.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._engines.get(key)
            if found is None:
                found = self._engines[key] = self._build(jurisdiction, payer_id, as_of)
            return found

    def _build(self, jurisdiction: str, payer_id: str | None, as_of: date) -> _Engines:
        packs = compile_packs(self.rules, jurisdiction, payer_id, as_of)
        interpreter = Interpreter(packs.compiled)
        chain = None
        if self.mode == "both":
            chain = Chain(packs.compiled, self._sessions, f"set-{len(self._engines)}")
            self._closers.callback(chain.close)
        explorer = Explorer(packs, interpreter, self.rules.facts, self.rules.dictionary.constraints)
        report = EngineReport(self.mode, agree=True, version=SEMANTICS_VERSION)
        return _Engines(packs, interpreter, Explainer(Layout(self.rules, packs), explorer, report), chain)


def encode_values(values: form.Values) -> bytes:
    """Encode what a back end concluded, canonically."""
    return canonical.encode_typed({"values": values.values, "records": values.records})


def encode_facts(facts: PatientFacts) -> bytes:
    """Encode what was read of a patient, canonically."""
    return canonical.encode_typed(
        {
            "as_of": facts.as_of.isoformat(),
            "known": {
                n: {
                    "value": _plain(o.value),
                    "date": o.observed_on.isoformat() if o.observed_on else None,
                    "source": o.source,
                }
                for n, o in facts.known.items()
            },
            "records": {
                n: [
                    {"values": {f: _plain(v) for f, v in r.values.items()}, "has_future_date": r.has_future_date}
                    for r in records
                ]
                for n, records in facts.records.items()
            },
            "unusable": [[u.fact, u.path, u.reason] for u in facts.unusable],
        }
    )


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else list(value) if isinstance(value, tuple) else value


def _differences(one: form.Values, other: form.Values) -> set[str]:
    names = {n for n in one.values.keys() | other.values.keys() if one.values.get(n) != other.values.get(n)}
    return names | {n for n in one.records.keys() | other.records.keys() if one.records.get(n) != other.records.get(n)}
