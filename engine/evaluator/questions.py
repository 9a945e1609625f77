"""What is missing, as questions: exactly the facts that can still change an answer, best question first."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import LEVELS
from engine.compiler.packset import COVERAGE, TRIAGE, status_node
from engine.evaluator import decision as answer
from engine.evaluator.layout import RANK
from engine.pack.model import JUDGES_COVERAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from engine.evaluator.account import Account
    from engine.evaluator.search import OptionReach


class Questions:
    """The missing facts of one evaluation."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._behind: dict[str, tuple[str, ...]] = {}

    @cached_property
    def credits(self) -> Mapping[str, tuple[str, ...]]:
        """For each count, which facts to ask for when it matters what it comes to.

        The list, while one of its records leaves the count undecided; the start of the episode, where that alone keeps
        a record from being placed; whether the list is complete, unless it is.
        """
        nodes = self.account.packs.nodes.values()
        return {n.name: tuple(self._credited(n)) for n in nodes if isinstance(n, form.CountNode)}

    def _credited(self, count: form.CountNode) -> Iterator[str]:
        given = self.account.inputs.records.get(count.records)
        concluded = self.account.record_values.get(count.records, ())
        undecided = [r for r, c in zip(given or (), concluded, strict=True) if c[count.where] is None]
        unplaced = [r for r in undecided if self._needs_episode_start(r)]
        placed = [r for r in unplaced if self.account.explorer.decides(count, {**r, "in_episode": True})]
        if given is None or len(placed) < len(undecided):
            yield count.records
        if unplaced:
            yield "episode_start_date"
        complete_when = self.account.packs.compiled.completeness[count.records]
        if self.account.inputs.values.get(complete_when) is not True:
            yield complete_when

    def _needs_episode_start(self, record: Mapping[str, form.Value]) -> bool:
        return (
            "episode_start_date" not in self.account.facts.known
            and record.get("in_episode") is None
            and record.get("end_date") is not None
        )

    def behind_unknown(self, name: str) -> tuple[str, ...]:
        """The input facts whose absence makes a node unknown, in reading order."""
        cached = self._behind.get(name)
        if cached is None:
            cached = self._behind[name] = tuple(dict.fromkeys(self._absent(name)))
        return cached

    def _absent(self, name: str) -> Iterator[str]:
        if fact := self.account.layout.fact_of(name):
            if fact not in self.account.facts.known:
                yield fact
            return
        node = self.account.packs.nodes.get(name)
        match node:
            case form.CountNode():
                low, high = form.interval(self.account.values[name])
                if low != high:
                    yield from self.credits[name]
            case form.EvidenceNode() if self.account.values[name] is None:
                for source in node.sources:
                    if self.account.environment.get(source.node) is None:
                        yield from self.behind_unknown(source.node)
            case form.ConditionNode():
                criterion = self.account.packs.criteria.get(name)
                if criterion is not None and criterion.needs:
                    for need in criterion.needs:
                        yield from self.behind_unknown(need)
                elif self.account.values[name] is None and not (
                    node.unknown_if and self.account.truth(node.unknown_if) is True
                ):
                    yield from self._absent_parts(node.expression)
            case _:
                return

    def _absent_parts(self, expression: form.Expression) -> Iterator[str]:
        match expression:
            case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
                for part in parts:
                    if self.account.test(part) is None:
                        yield from self._absent_parts(part)
            case form.Not(part):
                yield from self._absent_parts(part)
            case form.Compare(node) | form.OneOf(node) | form.Holds(node):
                yield from self.behind_unknown(node)
            case _:
                return

    def _asked_by_tables(self) -> Iterator[str]:
        """The facts that the decision procedure asks for, whether or not they can still change a status."""
        for option in self.account.packs.options:
            level = str(self.account.values[status_node(option.id)])
            cap = RANK[level]
            if level == "insufficient_data":
                later = [
                    r
                    for n, _, r in self.account.layout.deciding[option.id]
                    if r and r > cap and self.account.environment[n] is True
                ]
                cap = min(later, default=len(LEVELS))
            for name, criterion, rank in self.account.layout.deciding[option.id]:
                truth = self.account.environment[name]
                if criterion.effect == "requires":
                    is_asked = truth is False and rank is not None and rank < cap
                elif rank is None:
                    is_asked = truth is None and level == "insufficient_data"
                else:
                    is_asked = truth is None and rank < cap
                if is_asked:
                    yield from self.behind_unknown(name)

    def questions(
        self, reach: Mapping[str, OptionReach]
    ) -> tuple[tuple[answer.Question, ...], tuple[answer.Question, ...]]:
        """Give the questions that matter, best first, and those that the decision tables ask beyond them."""
        purposes: dict[str, list[str]] = {}
        for option, found in reach.items():
            for fact in found.facts:
                purposes.setdefault(fact, []).append(option)
        for fact in self.account.packs.triage.asks:
            if fact not in self.account.facts.known:
                purposes.setdefault(fact, []).append("triage")
        for fact in self._coverage_facts():
            purposes.setdefault(fact, []).append("coverage")
        ordered = self.ranked(purposes, reach)
        further = [f for f in self._asked_by_tables() if f not in purposes]
        for screen in self.account.packs.screens:
            is_due = (
                self.account.truth(f"also_ask:{screen.fact}") is True and screen.fact not in self.account.facts.known
            )
            if is_due and screen.fact not in purposes:
                further.append(screen.fact)
        return (
            tuple(self._question(f, purposes[f]) for f in ordered),
            tuple(self._question(f, ()) for f in dict.fromkeys(further)),
        )

    def _question(self, fact: str, purposes: Iterable[str]) -> answer.Question:
        return answer.Question(fact, self.account.definitions[fact].ask, tuple(purposes))

    def ranked(self, facts: Iterable[str], reach: Mapping[str, OptionReach]) -> list[str]:
        """Put the best question first: suicide risk, then what blocks most, what could rule out, what touches most."""
        place = self.account.layout.places
        is_provisional = self.is_provisional()

        def rank(fact: str) -> tuple[int, int, int, int, int]:
            found = [r for r in reach.values() if fact in r.facts]
            return (
                0 if is_provisional and fact in self.account.packs.triage.asks else 1,
                -sum(fact in r.blocking for r in found),
                min((r.facts[fact] for r in found), default=len(LEVELS)),
                -len(found),
                place[fact],
            )

        return sorted(dict.fromkeys(facts), key=rank)

    def is_provisional(self) -> bool:
        """Say whether the triage level waits for something that is missing."""
        worst = self.account.packs.triage.levels[-1]
        absent = any(f not in self.account.facts.known for f in self.account.packs.triage.provisional_while_missing)
        return absent and self.account.values[TRIAGE] != worst

    def _coverage_facts(self) -> Iterator[str]:
        if self.account.packs.payer_id and self.account.values[COVERAGE] == "insufficient_data":
            for name, criterion in self.account.packs.criteria.items():
                if criterion.effect in JUDGES_COVERAGE:
                    if self.account.truth(name) is None:
                        yield from self.behind_unknown(name)
                    doubt = criterion.prior_approval_if
                    if doubt and self.account.truth(name) is True and self.account.truth(doubt) is None:
                        yield from self.behind_unknown(doubt)
