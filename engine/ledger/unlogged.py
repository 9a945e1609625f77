"""What a candidate's rules would ask that the log does not hold, and whether an answer hangs on it.

A fact is unlogged where nobody could have given it: the data dictionary of its day did not have it, or its value no
longer fits the candidate's. A fact that was missing then is missing now, and no more.

The engine lists exactly the missing facts that could change an answer, as long as each concept keeps the source that
speaks for it. An unlogged fact could also have spoken for a concept first, and then its answer hangs on the fact as
well. Where it is not sure that nothing hangs on a fact, something is said to hang on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.packset import node_reads, referral_node
from engine.evaluator.interpret import compile_test

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from engine.compiler.packset import PackSet
    from engine.dictionary import FactDefinition, Typed
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts, TrialRecord


@dataclass(frozen=True, slots=True)
class Fitted:
    """Logged facts as the candidate reads them.

    `unlogged` names facts that it asks and the log does not hold; `fields` the same of the fields of a list's records,
    for lists that have records.
    """

    facts: PatientFacts
    unlogged: frozenset[str]
    fields: Mapping[str, frozenset[str]]


def fit(facts: PatientFacts, then: Mapping[str, FactDefinition], now: Mapping[str, FactDefinition]) -> Fitted:
    """Take logged facts over into another data dictionary, without reading the request again.

    Args:
        facts: as they were read on their day.
        then: the definitions of that day.
        now: those of the candidate.

    """
    unlogged = set(now.keys() - then.keys())
    known = {}
    for name, seen in facts.known.items():
        if name in now and _fits(seen.value, then[name], now[name]):
            known[name] = seen
        elif name in now:
            unlogged.add(name)
    records, missing_fields = {}, {}
    for name, given in facts.records.items():
        if name not in now or now[name].type != "records":
            unlogged |= {name} & now.keys()
            continue
        old, new = ({f.id: f for f in definition.fields} for definition in (then[name], now[name]))
        lost = set(new.keys() - old.keys())
        records[name] = tuple(_fit_record(record, old, new, lost) for record in given)
        if given and lost:
            missing_fields[name] = frozenset(lost)
    return Fitted(replace(facts, known=known, records=records), frozenset(unlogged), missing_fields)


def fit_anew(facts: PatientFacts, then: Mapping[str, FactDefinition], now: Mapping[str, FactDefinition]) -> Fitted:
    """Take facts that the candidate's own dictionary read from the request: only what nobody was asked is unlogged."""
    fields = {
        name: frozenset(f.id for f in now[name].fields) - frozenset(f.id for f in then[name].fields)
        for name, given in facts.records.items()
        if given and name in then
    }
    unlogged = frozenset(now.keys() - then.keys())
    return Fitted(facts, unlogged, {name: lost for name, lost in fields.items() if lost})


def hangs_on(fitted: Fitted, packs: PackSet, decision: Decision, environment: dict[str, form.Value]) -> frozenset[str]:
    """Name the unlogged facts on which an answer of the candidate hangs; empty where it would be the same with them.

    Args:
        fitted: the facts, and what is unlogged.
        packs: the candidate's rules that answered.
        decision: their answer.
        environment: the value of every node of the patient's graph; None or absent is unknown.

    """
    if not fitted.unlogged and not fitted.fields:
        return frozenset()
    found = {q.fact for q in decision.missing if q.fact in fitted.unlogged or q.fact in fitted.fields}
    found.update(name for name, fields in fitted.fields.items() if fields & _read_fields(packs, name))
    resting = _resting(packs, fitted.unlogged, environment)
    unresolved = {r.kind for r in decision.referrals if r.state == "unresolved"}
    settling = [node.name for node in packs.nodes.values() if isinstance(node, form.EvidenceNode)]
    settling += [n.unknown_if for n in packs.nodes.values() if isinstance(n, form.ConditionNode) and n.unknown_if]
    settling += [referral_node(rule) for rule in packs.referrals if rule.kind in unresolved]
    return frozenset(found).union(*(resting.get(name, frozenset()) for name in settling))


def _fits(value: Typed, then: FactDefinition, now: FactDefinition) -> bool:
    if (then.type, then.unit, then.scale) != (now.type, now.unit, now.scale):
        return False
    if now.range is not None and isinstance(value, int) and not isinstance(value, bool):
        low, high = now.range
        return low <= Decimal(value).scaleb(-now.scale) <= high
    if now.values:
        return all(v in now.values for v in (value if isinstance(value, tuple) else (value,)))
    return True


def _fit_record(
    record: TrialRecord, then: Mapping[str, FactDefinition], now: Mapping[str, FactDefinition], lost: set[str]
) -> TrialRecord:
    """Keep the values that still fit; the names of the others are added to `lost`."""
    values = {}
    for name, value in record.values.items():
        if name in now and _fits(value, then[name], now[name]):
            values[name] = value
        elif name in now:
            lost.add(name)
    return replace(record, values=values)


def _resting(
    packs: PackSet, unlogged: frozenset[str], environment: dict[str, form.Value]
) -> Mapping[str, frozenset[str]]:
    """For each node that rests on unlogged facts, which ones.

    A concept rests on no source behind the first one that speaks and does not itself rest on an unlogged fact.
    """
    resting = {name: frozenset({name}) for name in unlogged}
    resting |= {node: frozenset({fact}) for node, (fact, _) in packs.dates.items() if fact in unlogged}
    for node in packs.compiled.graph.nodes:
        facts = resting.get(node.name, frozenset())
        for name in _reads(packs, node, resting, environment):
            facts |= resting.get(name, frozenset())
        if facts:
            resting[node.name] = facts
    return resting


def _reads(
    packs: PackSet, node: form.Node, resting: Collection[str], environment: dict[str, form.Value]
) -> Iterator[str]:
    match node:
        case form.CountNode():
            yield node.records
            yield packs.compiled.completeness[node.records]
        case form.EvidenceNode():
            for source in node.sources:
                yield source.node
                if source.node not in resting and _speaks(source, environment):
                    return
        case _:
            yield from node_reads(node)


def _speaks(source: form.Source, environment: dict[str, form.Value]) -> bool:
    if environment.get(source.node) is None:
        return False
    return source.mapping is None or any(_test(guard)(environment) is True for guard, _ in source.mapping)


_test = lru_cache(maxsize=4096)(compile_test)


def _read_fields(packs: PackSet, name: str) -> frozenset[str]:
    """The fields of a list's records that the rules read."""
    graph = packs.compiled.records.get(name)
    if graph is None:
        return frozenset()
    return frozenset(_fields(graph)) | frozenset(
        node.distinct for node in packs.nodes.values() if isinstance(node, form.CountNode) and node.distinct
    )


def _fields(graph: form.Graph) -> Iterator[str]:
    for node in graph.nodes:
        yield from node_reads(node)
