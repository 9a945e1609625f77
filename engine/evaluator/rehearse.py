"""Rehearsal of the rules: runs the cases beside them through both engines.

A case holds in every jurisdiction for which its pack speaks and in which its subject applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.packset import PackSet, in_force, referral_node
from engine.compiler.stages import LOGICAL, compile_packs
from engine.errors import FactError
from engine.evaluator.chain import Chain
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.sentences import count_in_words
from engine.facts import read_facts
from engine.pack.book import parameters_of
from engine.pack.model import UNCONDITIONAL
from engine.truth import disjoin, word

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

    from engine.evaluator.agree import Mode
    from engine.pack.book import RuleBook
    from engine.pack.cases import Case
    from engine.pack.model import Criterion, ReferralRule
    from engine.truth import Truth


@dataclass(frozen=True)
class Outcome:
    """What came of one case in one jurisdiction.

    Attributes:
        case: the case.
        actual: what its subject was found to be; empty if it could not be run.
        problem: why the case fails; empty if it passes.
        packs: the packs it was run with; None if it could not be run.
        inputs: what the engines read; None likewise.
        values: what they concluded; None likewise.

    """

    case: Case
    actual: str = ""
    problem: str = ""
    packs: PackSet | None = None
    inputs: form.Inputs | None = None
    values: form.Values | None = None


@dataclass(frozen=True)
class _Stage:
    packs: PackSet
    interpreter: Interpreter
    chain: Chain | None


class Rehearsal:
    """Runs cases. In mode `both` a case passes only if the two engines agree on every value."""

    def __init__(self, book: RuleBook, mode: Mode = "both") -> None:
        self._book = book
        self._mode = mode
        self._stages: dict[tuple[object, ...], _Stage] = {}

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the sessions of the forward-chaining engine."""
        for stage in self._stages.values():
            if stage.chain is not None:
                stage.chain.close()

    def run(self, case: Case) -> Iterator[Outcome]:
        """Run a case in each jurisdiction that it concerns; those of a pack that is not active are left out.

        Raises:
            RulePackError: the packs cannot be compiled.
            ChainFault: durable-rules failed.

        """
        if not self._book.packs[case.pack].is_active:
            return
        ran = False
        for jurisdiction in case.jurisdictions or jurisdictions_of(self._book, case.pack):
            stage = self._stage(case, jurisdiction)
            if not self._applies(case, stage.packs):
                continue
            ran = True
            yield self._outcome(case, stage)
        if not ran:
            yield Outcome(case, problem="no jurisdiction is served in which it applies")

    def _applies(self, case: Case, packs: PackSet) -> bool:
        """Say whether a pack set has the subject, and no criterion that the case cannot know of takes its place."""
        match case.kind:
            case "criterion":
                known = {name for p in self._book.family(self._book.packs[case.pack]) for name in p.criteria}
                takers = (c for c in packs.criteria.values() if c.replaces == case.subject and c.id not in known)
                return case.subject in packs.criteria and not any(c.effective.holds(case.as_of) for c in takers)
            case "referral":
                return bool(self._referrals(case, packs))
            case _:
                return case.subject in packs.derived

    def _referrals(self, case: Case, packs: PackSet) -> list[ReferralRule]:
        """Give the rules of a case's referral that hold here and that its pack knows."""
        known = [r for p in self._book.family(self._book.packs[case.pack]) for r in p.referrals]
        return [r for r in packs.referrals if r in known and f"{r.kind}/{r.urgency}" == case.subject]

    def _stage(self, case: Case, jurisdiction: str) -> _Stage:
        """Give the packs with which a case is run; a local pack has no part in the cases of others."""
        is_local = bool(self._book.packs[case.pack].header.tightens)
        book = self._book if is_local else self._book.national
        packs = book.packs_for(jurisdiction, case.payer_id)
        numbers = tuple(p.at(case.as_of) for p in parameters_of(packs).values())
        key = (is_local, jurisdiction, case.payer_id, numbers)
        if key not in self._stages:
            found = compile_packs(book, jurisdiction, case.payer_id, case.as_of, is_whole=True)
            name = f"cases-{len(self._stages)}"
            chain = Chain(found.compiled, 1, name) if self._mode == "both" else None
            self._stages[key] = _Stage(found, Interpreter(found.compiled), chain)
        return self._stages[key]

    def _outcome(self, case: Case, stage: _Stage) -> Outcome:
        records = _records_of(case, stage.packs)
        raw: dict[str, object] = {name: _json(value) for name, value in case.around.items()}
        if records:
            given = raw.get(records)
            raw[records] = [*(given if isinstance(given, list) else []), _json(case.facts)]
        else:
            raw |= {name: _json(value) for name, value in case.facts.items()}
        try:
            facts = read_facts(self._book.facts, self._book.dictionary.constraints, raw, case.as_of, str)
        except FactError as error:
            return Outcome(case, problem=f"the facts cannot be read: {error}")
        inputs = prepare(self._book, stage.packs, facts)
        values = stage.interpreter.evaluate(inputs)
        if stage.chain is not None and stage.chain.evaluate(inputs) != values:
            return Outcome(case, problem="the engines disagree", packs=stage.packs, inputs=inputs, values=values)
        actual: str
        if case.kind == "referral":
            rules = self._referrals(case, stage.packs)
            actual = word(disjoin(_truth(values.values[referral_node(r)]) for r in rules))
        else:
            actual = _conclude(case, stage.packs, inputs, values)
        problem = "" if actual == case.expected else f"expected {case.expected}, found {actual}"
        return Outcome(case, actual, problem, stage.packs, inputs, values)


def jurisdictions_of(book: RuleBook, pack_id: str) -> list[str]:
    """Give the jurisdictions for which a pack speaks: those a payer works in, else its own and those that extend it."""
    header = book.packs[pack_id].header
    if header.payer:
        return sorted(book.jurisdictions & set(header.jurisdictions or book.jurisdictions))
    return sorted(j for j in book.jurisdictions if any(p.id == pack_id for p in book.packs_for(j)))


def has_truth(criterion: Criterion) -> bool:
    """Say whether a criterion can be met by a patient, so that cases can show it."""
    return criterion.effect not in UNCONDITIONAL


def _records_of(case: Case, packs: PackSet) -> str:
    """Name the list about whose single records the subject is; empty for one about the patient."""
    if case.kind == "derived":
        return packs.derived[case.subject].of
    if case.kind == "criterion" and packs.criteria[case.subject].effect == "discounts":
        return packs.criteria[case.subject].of
    return ""


def _conclude(case: Case, packs: PackSet, inputs: form.Inputs, values: form.Values) -> str:
    records = _records_of(case, packs)
    if case.kind == "derived":
        return _in_words(values.records[records][-1][case.subject] if records else values.values[case.subject])
    return _criterion(packs.criteria[case.subject], packs, inputs, values)


def _criterion(criterion: Criterion, packs: PackSet, inputs: form.Inputs, values: form.Values) -> str:
    name = criterion.id
    if not has_truth(criterion):
        return "without a condition"
    if criterion.effect == "discounts":
        if criterion.repeats:
            return word(_repeats(criterion, packs, inputs, values))
        return word(_truth(values.records[criterion.of][-1][name]))
    if name in packs.periods and inputs.values[in_force(name)] is not True and criterion.effect not in LOGICAL:
        return "not_met"
    truth = _truth(values.values.get(name, True))
    if criterion.needs:
        return "met" if truth else "unknown"
    return word(truth)


def _repeats(criterion: Criterion, packs: PackSet, inputs: form.Inputs, values: form.Values) -> Truth:
    """Say whether the last record failed, as an earlier one with the same value of the field did."""
    groups = (o.indication.trials for o in packs.options if o.indication and o.indication.trials)
    reached: set[str] = set()
    queue = list(groups)
    while queue:
        name = queue.pop()
        reached.add(name)
        queue += packs.reads[name]
    counts = [n for n in (packs.nodes[r] for r in reached) if isinstance(n, form.CountNode)]
    *earlier, last = zip(inputs.records[criterion.of] or (), values.records[criterion.of], strict=True)
    return any(
        last[1][count.where] is True
        and any(
            concluded[count.where] is True and record.get(criterion.repeats) == last[0].get(criterion.repeats)
            for record, concluded in earlier
        )
        for count in counts
    )


def _truth(value: form.Value) -> Truth:
    return value if value is True or value is False else None


def _in_words(value: form.Value) -> str:
    match value:
        case True | False | None:
            return word(_truth(value))
        case (low, high):
            return count_in_words((low, high))
        case _:
            return str(value)


def _json(value: object) -> object:
    """Give a value of a case as a caller would send it."""
    match value:
        case date():
            return value.isoformat()
        case Decimal():
            return value
        case dict():
            return {key: _json(item) for key, item in value.items()}
        case list() | tuple():
            return [_json(item) for item in value]
        case _:
            return value
