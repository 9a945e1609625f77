"""One evaluation by two engines that must agree.

Every decision is computed by the reference interpreter and, in mode `both`, by forward chaining on durable-rules. Where
they differ on a single value there is no decision.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine import canonical
from engine.compiler.stages import compile_packs
from engine.errors import EnginesDisagree, EvaluationError, FactError
from engine.evaluator.chain import Chain
from engine.evaluator.decision import Decision, EngineReport
from engine.evaluator.encoding import encode_explanation, encode_facts
from engine.evaluator.explain import Explainer
from engine.evaluator.inputs import parameters_in_effect, prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.layout import Layout
from engine.evaluator.reach import Explorer
from engine.evaluator.timeline import changes_on
from engine.pack.book import parameters_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from engine.compiler import form
    from engine.compiler.packset import PackSet
    from engine.dictionary import FactDefinition
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook

Mode: TypeAlias = Literal["both", "interpret"]

SEMANTICS_VERSION = "3"
"""Version of the rule language; raised by a change of any decision on the same packs, or of which packs are valid.

docs/canonical-encoding.md lists the versions.
"""

NO_DIGEST = bytes(32)


@dataclass(frozen=True)
class Evaluation:
    """A decision and what it rests on. The byte strings are canonical encodings, made when they are first asked for.

    Attributes:
        decision: the answer.
        read: what was read of the patient.
        definitions: the data dictionary it was read with.
        parameters: the dated numbers in effect, with their units; canonical bytes too, made once for a pack set.
        values: what the engines concluded, node by node.
        interpret_digest: SHA-256 of what the interpreter concluded, node by node.
        chain_digest: the same of what the forward-chaining engine concluded; zeros if it was not run.

    """

    decision: Decision
    read: PatientFacts
    definitions: Mapping[str, FactDefinition]
    parameters: bytes
    values: form.Values
    interpret_digest: bytes
    chain_digest: bytes

    @cached_property
    def facts(self) -> bytes:
        """What was read of the patient."""
        return encode_facts(self.read, self.definitions)

    @cached_property
    def explanation(self) -> bytes:
        """The argument: every finding of every option, of triage and of coverage."""
        return encode_explanation(self.decision)


@dataclass(frozen=True)
class _Engines:
    packs: PackSet
    interpreter: Interpreter
    explainer: Explainer
    chain: Chain | None
    parameters: bytes


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
        for jurisdiction, payer in self.rules.pack_sets:
            if payer is None:
                self._engines_for(jurisdiction, None, as_of)
            else:
                compile_packs(self.rules, jurisdiction, payer, as_of)

    def pack_set(self, jurisdiction: str, payer_id: str | None, as_of: date) -> PackSet:
        """Give the compiled packs that answer; raises NoRulePackError."""
        return self._engines_for(jurisdiction, payer_id, as_of).packs

    def evaluate(
        self, facts: PatientFacts, jurisdiction: str, payer_id: str | None, as_of: date, *, is_full: bool = False
    ) -> Evaluation:
        """Evaluate one patient.

        Args:
            facts: what is known at `facts.as_of`, from where ages, windows and trials count.
            jurisdiction: whose rules.
            payer_id: whose coverage rules, or None.
            as_of: the day whose rules and parameters hold: that of the facts, or another one whose rules are asked
                about the same patient. Then the decision keeps the day of the facts and has no `changes_on`.
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
        inputs = prepare(self.rules, engines.packs, facts, as_of)
        try:
            values, digests = _conclude(engines, inputs)
        except EvaluationError as error:
            error.parameters = engines.parameters
            raise
        decision = engines.explainer.explain(facts, inputs, values, is_full=is_full)
        if as_of == facts.as_of:
            decision = changes_on(self.rules, engines.packs, engines.interpreter, facts, decision)
        return Evaluation(decision, facts, self.rules.facts, engines.parameters, values, *digests)

    def close(self) -> None:
        """Free the sessions of the forward-chaining engine. No evaluation may follow."""
        with self._lock:
            self._engines.clear()
            self._closers.close()

    def _engines_for(self, jurisdiction: str, payer_id: str | None, as_of: date) -> _Engines:
        packs = self.rules.packs_for(jurisdiction, payer_id)
        numbers = tuple(p.at(as_of) for p in parameters_of(packs).values())
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
        explainer = Explainer(Layout(self.rules, packs), explorer, report)
        parameters = canonical.encode_typed({n: list(v) for n, v in parameters_in_effect(packs).items()})
        return _Engines(packs, interpreter, explainer, chain, parameters)


def _conclude(engines: _Engines, inputs: form.Inputs) -> tuple[form.Values, tuple[bytes, bytes]]:
    """Run the engines; give what they conclude and the digest of each. Raises: EnginesDisagree, ChainFault.

    Bytes are compared, not values: in Python, True equals 1.
    """
    values = engines.interpreter.evaluate(inputs)
    interpreted = encode_values(values)
    digest = hashlib.sha256(interpreted).digest()
    if engines.chain is None:
        return values, (digest, NO_DIGEST)
    concluded = engines.chain.evaluate(inputs)
    chained = encode_values(concluded)
    if chained != interpreted:
        raise EnginesDisagree(_differences(values, concluded), interpreted, chained)
    return values, (digest, hashlib.sha256(chained).digest())


def encode_values(values: form.Values) -> bytes:
    """Encode what a back end concluded, canonically."""
    return canonical.encode_typed({"values": values.values, "records": values.records})


def _differences(one: form.Values, other: form.Values) -> set[str]:
    def differ(left: Mapping[str, object], right: Mapping[str, object]) -> set[str]:
        return {n for n in left.keys() | right.keys() if repr(left.get(n)) != repr(right.get(n))}

    return differ(one.values, other.values) | differ(one.records, other.records)
