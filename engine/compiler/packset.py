"""The packs that answer for one jurisdiction and payer, compiled; and the names of the nodes that no author writes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine import trials
from engine.compiler import form
from engine.compiler.check import reads
from engine.compiler.leaves import leaves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date
    from decimal import Decimal

    from engine.compiler.check import Past, Symbol
    from engine.pack import model
    from engine.pack.book import Pack

TRIAGE = "triage"
COVERAGE = "coverage"
CONVENTIONAL_FIRST = "order:conventional_first"


def in_force(name: str) -> str:
    """Name the input that says whether a dated criterion is in force."""
    return f"in_force:{name}"


def any_date(name: str) -> str:
    """Name the node that holds an indication's truth whatever its dates."""
    return f"{name}?any_date"


def status_node(option: str) -> str:
    """Name the node that holds an option's level."""
    return f"status:{option}"


def referral_node(rule: model.ReferralRule) -> str:
    """Name the node that says whether a referral rule holds."""
    return f"referral:{rule.id}"


@dataclass(frozen=True)
class PackSet:
    """The packs that answer for one jurisdiction and payer, compiled.

    Attributes:
        criteria: every criterion by id, in reading order; those of other jurisdictions left out.
        derived: every derived fact by name; `records` says for which list one is about single records.
        periods: the effective period of every dated criterion and referral, by id.
        parameters: the parameters with their values on the day that was compiled for.
        dates: comparisons of a date with a fixed day that the door answers: node, (fact, day).
        past: what observations say that are too old to count, which the door answers too, by node.
        symbols: what each patient-level name means.
        nodes: the patient's graph by name.
        reads: the names that each node reads directly.

    """

    jurisdiction: str
    payer_id: str | None
    packs: tuple[Pack, ...]
    compiled: form.Compiled
    options: tuple[model.Option, ...]
    order: model.DisplayOrder
    triage: model.Triage
    screens: tuple[model.Screen, ...]
    criteria: Mapping[str, model.Criterion]
    derived: Mapping[str, model.Derived]
    referrals: tuple[model.ReferralRule, ...]
    periods: Mapping[str, model.Period]
    parameters: Mapping[str, tuple[model.Parameter, Decimal]]
    dates: Mapping[str, tuple[str, date]]
    past: Mapping[str, Past]
    symbols: Mapping[str, Symbol]
    record_symbols: Mapping[str, Mapping[str, Symbol]]
    nodes: Mapping[str, form.Node]
    reads: Mapping[str, tuple[str, ...]]

    @cached_property
    def trial_limits(self) -> Mapping[str, int]:
        """The parameters that the enrichment of a trial needs."""
        return {name: int(self.parameters[name][1]) for name in trials.PARAMETERS}

    @cached_property
    def rule_dates(self) -> tuple[date, ...]:
        """The days on which a criterion, a referral or a parameter begins or ends to hold, in order."""
        days = {d for p in self.periods.values() for d in (p.from_, p.until) if d}
        return tuple(sorted(days | {d for p, _ in self.parameters.values() for d in p.values}))

    @cached_property
    def windows(self) -> Mapping[str, tuple[int, ...]]:
        """For each date fact, after how many days a comparison with `as_of` changes."""
        found: dict[str, set[int]] = {}
        for node in self.nodes.values():
            for leaf in leaves(node):
                symbol = self.symbols.get(leaf.node)
                if isinstance(leaf, form.Compare) and symbol is not None and symbol.kind == "date":
                    found.setdefault(leaf.node, set()).add(leaf.constant + 1)
        return {name: tuple(sorted(days)) for name, days in found.items()}

    def pack_of(self, criterion: str) -> Pack:
        """Give the pack that holds a criterion."""
        return next(p for p in self.packs if criterion in p.criteria)


def node_reads(node: form.Node) -> Iterator[str]:
    """Give the names that a node reads directly, in a settled order."""
    match node:
        case form.ConditionNode():
            yield from sorted(reads(node.expression))
            yield from (n for n in (node.except_if, node.unknown_if) if n)
        case form.EvidenceNode():
            yield from (s.node for s in node.sources)
        case form.ChoiceNode():
            for guard, _ in node.steps:
                yield from sorted(reads(guard))
