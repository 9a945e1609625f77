"""The argument ledger: from the values of the graph to a decision that a person can check line by line.

For each option the criteria for it, against it, cautioning and unresolved, each with a sentence, the facts it read
and its sources; why it is not better (`why_not`); what is missing; who else must see the patient. Nothing is
concluded here: every status, level and truth was computed as a node of the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import (
    CONVENTIONAL_FIRST,
    COVERAGE,
    TRIAGE,
    any_date,
    node_reads,
    referral_node,
    status_node,
)
from engine.evaluator import decision as answer
from engine.evaluator import sentences
from engine.evaluator.account import Account
from engine.evaluator.documentation import Documentation
from engine.evaluator.findings import Findings
from engine.evaluator.layout import RANK, Layout
from engine.evaluator.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.evaluator.reach import Explorer
    from engine.evaluator.search import OptionReach
    from engine.facts import PatientFacts
    from engine.pack.model import Criterion, IndicationGroup, ReferralRule

_URGENCY = {"emergency": 0, "same_day": 1, "routine": 2}
_OPEN_STATUSES = frozenset({"eligible", "eligible_with_precautions", "deferred"})
_PLACED = ("plan", "dosing", "monitoring", "notes")


class Explainer:
    """Explains evaluations of one compiled pack set. Thread safe."""

    def __init__(self, layout: Layout, explorer: Explorer, engines: answer.EngineReport) -> None:
        self._layout = layout
        self._explorer = explorer
        self._engines = engines

    def explain(
        self, facts: PatientFacts, inputs: form.Inputs, values: form.Values, *, is_full: bool = False
    ) -> answer.Decision:
        """Build the decision.

        Args:
            facts: what was read at the door.
            inputs: what the back ends read.
            values: what they concluded.
            is_full: list every criterion in force, not only those that hold, decide or are unresolved.

        """
        account = Account(self._layout, self._explorer, facts, inputs, values)
        return _Ledger(account, self._engines, is_full=is_full).decision()


class _Ledger:
    """One evaluation on its way to a decision."""

    def __init__(self, account: Account, engines: answer.EngineReport, *, is_full: bool) -> None:
        self.account = account
        self.engines = engines
        self.questions = Questions(account)
        self.findings = Findings(account, self.questions)
        self.is_full = is_full

    def decision(self) -> answer.Decision:
        account = self.account
        reach = account.explorer.explore(
            account.inputs, form.Values(account.values, account.record_values), self.questions.credits
        )
        options = {o.id: self._option(o.id, reach[o.id]) for o in account.packs.options}
        missing, also_ask = self.questions.questions(reach)
        unusable = self._unusable()
        return answer.Decision(
            as_of=account.facts.as_of.isoformat(),
            jurisdiction=account.packs.jurisdiction,
            options=tuple(options.values()),
            triage=self._triage(),
            referrals=self._referrals(),
            coverage=self._coverage(unusable),
            missing=missing,
            also_ask=also_ask,
            unusable=unusable,
            changes_on=None,
            option_order=self._order({o: a.status for o, a in options.items()}),
            packs=account.layout.identities,
            engines=self.engines,
            disclaimer=sentences.DISCLAIMER,
        )

    def _option(self, option: str, reach: OptionReach) -> answer.OptionAnswer:
        level = str(self.account.values[status_node(option)])
        status: answer.Status = STATUS_OF_LEVEL[level]  # type: ignore[assignment]
        reported = list(self._reported(option, level, status))
        findings = {f.id: f for f in self._findings(option, level, reported)}
        shown: dict[str, list[answer.ShownItem]] = {place: [] for place in _PLACED}
        for name, criterion in self.account.layout.informing[option]:
            place = self._place(criterion, status)
            if place and self.findings.is_shown(name, criterion):
                shown[place].append(self.findings.shown(name, criterion))
        could_be = tuple(sorted(reach.statuses, key=lambda s: min(RANK[v] for v in LEVELS if STATUS_OF_LEVEL[v] == s)))
        return answer.OptionAnswer(
            option=option,
            title=self.account.layout.options[option].title,
            authorization=self.account.layout.options[option].authorization,
            status=status,
            could_be=tuple(reversed(could_be)),  # type: ignore[arg-type]
            summary=sentences.summary(status, len(reach.facts)),
            criteria=tuple(findings.values()),
            missing=tuple(self.questions.ranked(reach.facts, {option: reach})),
            why_not=tuple(self._why_not(level, reported)),
            **{place: tuple(items) for place, items in shown.items()},
        )

    def _reported(self, option: str, level: str, status: str) -> Iterator[str]:
        """The criteria that the deciding step reports (the last column of the decision tables)."""
        group = self.account.layout.options[option].indication
        indicated = self.account.values[f"indicated:{option}"]
        is_undecided = indicated is None or (indicated is False and self.account.values[f"prepared:{option}"] is None)
        is_against = indicated is False and self.account.values[f"prepared:{option}"] is False
        contradicted = False
        for name, criterion, rank in self.account.layout.deciding[option]:
            truth = self.account.environment[name]
            if criterion.effect == "requires":
                if truth is False and level == "insufficient_data":
                    yield name
                    contradicted = contradicted or self.account.rests_on_contradiction(name)
            elif truth is True and (rank >= RANK[level] if rank is not None else status in _OPEN_STATUSES):
                yield name
        for name, criterion in self.account.layout.informing[option]:
            if criterion.effect == "plans" and self.findings.is_shown(name, criterion):
                yield name
        if group is not None and level == "not_indicated_indication" and is_against:
            yield group.not_met
            yield from self._trial_reasons(group.trials)
            dated = (n for n, c in self.account.layout.by_option[option] if c.effect == "indicates")
            if group.out_of_date and any(self.account.truth(any_date(n)) is True for n in dated):
                yield group.out_of_date
        if group is not None and level == "insufficient_data" and is_undecided:
            yield group.unknown
            contradicted = contradicted or self.account.rests_on_contradiction(f"indicated:{option}")
        if contradicted:
            yield from dict.fromkeys(d.unknown_if.report for d in self.account.packs.derived.values() if d.unknown_if)
        already = self._concluded(group, level, is_against=is_against)
        for name, criterion in self.account.layout.informing[option]:
            if criterion.effect == "reports" and self._is_report_due(name, criterion, option, status, already):
                yield name

    @staticmethod
    def _concluded(group: IndicationGroup | None, level: str, *, is_against: bool) -> set[str]:
        """What the indications of an option conclude together, where that decides."""
        if group is not None and level == "insufficient_data":
            return {group.unknown}
        if group is not None and level == "not_indicated_indication" and is_against:
            return {group.not_met}
        return set()

    def _is_report_due(self, name: str, criterion: Criterion, option: str, status: str, already: set[str]) -> bool:
        if not self.account.is_in_force(name) or (criterion.at and status not in criterion.at):
            return False
        truth = True if criterion.when == "always" and name not in self.account.values else self.account.truth(name)
        if (truth is None) is not (criterion.shown_if == "unknown") or truth is False:
            return False
        if criterion.beside and not already & set(criterion.beside):
            return False
        if criterion.beside and criterion.shown_if == "unknown":
            wanted = self.account.concepts(name)
            undecided = (n for n, c in self.account.layout.by_option[option] if c.effect == "indicates")
            return any(self.account.truth(n) is None and wanted & self.account.concepts(n) for n in undecided)
        return True

    def _trial_reasons(self, concept: str) -> Iterator[str]:
        if not concept or self.account.truth(concept) is not False:
            return
        yield from (n for n, trials in self.findings.discounted.items() if trials and self.account.is_in_force(n))

    def _why_not(self, level: str, reported: Iterable[str]) -> Iterator[str]:
        """The criteria that hold the status down."""
        for name in reported:
            criterion = self.account.packs.criteria[name]
            is_step = level == "deferred" and criterion.gives == "deferred"
            if level_of(criterion) == level or criterion.effect == "concludes" or is_step:
                yield name

    def _findings(self, option: str, level: str, reported: list[str]) -> Iterator[answer.CriterionFinding]:
        listed = dict.fromkeys(reported)
        for name in listed:
            yield self.findings.finding(name, is_reported=True)
        cap = len(LEVELS) if level == "insufficient_data" else RANK[level]
        for name, criterion, rank in self.account.layout.deciding[option]:
            if name in listed or not self.account.is_in_force(name):
                continue
            truth = self.account.environment[name]
            if criterion.effect == "requires":
                is_open = truth is False
            else:
                is_open = rank is None or truth is True or (truth is None and rank < cap)
            if is_open or self.is_full:
                yield self.findings.finding(name, is_reported=False)

    def _triage(self) -> answer.TriageAnswer:
        level = str(self.account.values[TRIAGE])
        rows = [(n, c) for n, c in self.account.packs.criteria.items() if c.effect == "triages"]
        listed = [n for n, c in rows if c.level == level and self.account.truth(n) is True]
        ranks = {name: rank for rank, name in enumerate(self.account.packs.triage.levels)}
        unresolved = [n for n, c in rows if self.account.truth(n) is None and ranks[c.level] > ranks[level]]
        findings = [self.findings.finding(n, is_reported=True) for n in listed]
        findings += [self.findings.finding(n, is_reported=False) for n in unresolved]
        return answer.TriageAnswer(level, self.questions.is_provisional(), tuple(findings))  # type: ignore[arg-type]

    def _referrals(self) -> tuple[answer.Referral, ...]:
        due: dict[tuple[str, answer.ReferralState], list[ReferralRule]] = {}
        for rule in self.account.packs.referrals:
            truth = self.account.truth(referral_node(rule))
            if truth is not False:
                due.setdefault((rule.kind, "required" if truth else "unresolved"), []).append(rule)
        referrals = []
        for (kind, state), rules in due.items():
            rules.sort(key=lambda rule: _URGENCY[rule.urgency])
            urgency = rules[0].urgency
            required = due.get((kind, "required"), [])
            if state == "unresolved" and any(_URGENCY[r.urgency] <= _URGENCY[urgency] for r in required):
                continue
            criteria = tuple(dict.fromkeys(i for rule in rules for i in rule.criteria))
            title = self.account.layout.referral_words.get(kind, kind.replace("_", " "))
            referrals.append(answer.Referral(kind, title, urgency, state, criteria, self._referral_text(state, rules)))
        return tuple(sorted(referrals, key=lambda r: (r.state == "unresolved", _URGENCY[r.urgency], r.kind)))

    def _referral_text(self, state: str, rules: Iterable[ReferralRule]) -> str:
        if state == "required":
            return " ".join(dict.fromkeys(sentences.fill(rule.explain, self.account.words) for rule in rules))
        absent = (f for rule in rules for f in self.questions.behind_unknown(referral_node(rule)))
        return sentences.unknown(self.account.label(fact) for fact in absent)

    def _coverage(self, unusable: Sequence[answer.UnusableInput]) -> answer.CoverageAnswer | None:
        packs = self.account.packs
        if not packs.payer_id:
            return None
        result = str(self.account.values[COVERAGE])
        findings = tuple(self.findings.finding(n, is_reported=True) for n in self._coverage_reported(result))
        theirs = {n: c for pack in packs.packs if pack.header.payer for n, c in pack.criteria.items()}
        notes = tuple(
            self.findings.shown(n, c)
            for n, c in packs.criteria.items()
            if c.effect == "shows" and n in theirs and self.findings.is_shown(n, c)
        )
        listed = [*(f.id for f in findings), *(n.id for n in notes)]
        return answer.CoverageAnswer(
            payer_id=packs.payer_id,
            status=result,  # type: ignore[arg-type]
            criteria=findings,
            notes=notes,
            standing=" ".join(p.header.standing for p in packs.packs if p.header.payer) or sentences.NO_COPY,
            dates=tuple(_dates(packs.criteria[n]) for n in listed if n in theirs),
            documentation=Documentation(self.account, unusable).items(),
        )

    def _coverage_reported(self, result: str) -> Iterator[str]:
        step = next((n for n, _ in self._coverage_steps() if self.account.truth(n) is True), "")
        approvals = [n for n, c in self.account.packs.criteria.items() if c.effect == "asks_approval"]
        denies = [n for n, c in self.account.packs.criteria.items() if c.effect == "denies"]
        covers = [n for n, c in self.account.packs.criteria.items() if c.effect == "covers"]
        withholds = [n for n, c in self.account.packs.criteria.items() if c.effect == "withholds"]
        read = set(self.account.packs.reads.get(step, ()))
        if read & {status_node(self.account.packs.criteria[n].option) for n in withholds}:
            yield from withholds
            return
        wanted = None if result == "insufficient_data" else True
        if result == "not_met":
            yield from (n for n in covers if self.account.is_in_force(n))
            return
        for name in (*approvals, *denies, *covers):
            if name in read and (
                self.account.truth(name) is wanted or (wanted is None and self.account.truth(name) is True)
            ):
                yield name

    def _coverage_steps(self) -> tuple[tuple[str, str], ...]:
        node = self.account.packs.nodes[COVERAGE]
        if not isinstance(node, form.ChoiceNode):
            return ()
        return tuple((next(iter(node_reads(form.ConditionNode("", guard)))), value) for guard, value in node.steps)

    def _order(self, statuses: Mapping[str, str]) -> tuple[str, ...]:
        order = self.account.packs.order
        groups: dict[str, int] = {status: rank for rank, group in enumerate(order.groups) for status in group}
        within = list(order.within_group)
        first = [o for o in within if groups[statuses[o]] == 0]
        if self.account.truth(CONVENTIONAL_FIRST) is True and "conventional" in first:
            within.remove("conventional")
            within.insert(0, "conventional")
        listed = sorted(within, key=lambda o: groups[statuses[o]])
        labeled, off_label = "esketamine", "ketamine_iv"
        if statuses[labeled] in order.ketamine_behind_esketamine_while and listed.index(off_label) < listed.index(
            labeled
        ):
            listed.remove(off_label)
            listed.insert(listed.index(labeled) + 1, off_label)
        return tuple(listed)

    def _unusable(self) -> tuple[answer.UnusableInput, ...]:
        found = [
            answer.UnusableInput(u.fact, self.account.label(u.fact), u.reason, u.path)
            for u in self.account.facts.unusable
        ]
        for node, says in self.account.layout.contradictions.items():
            if self.account.truth(node) is True:
                facts = (f for f in self.account.leaf_facts(node) if f in self.account.facts.known)
                found += [
                    answer.UnusableInput(f, self.account.label(f), says, self.account.facts.known[f].path)
                    for f in facts
                ]
        for name, records in self.account.record_values.items():
            settled = self.findings.settled(name)
            for position, concluded in enumerate(records):
                for rule, criterion in self.account.layout.undeciding[name]:
                    if concluded.get(rule) is True and position not in settled:
                        path = self.account.facts.records[name][position].path
                        found.append(answer.UnusableInput(name, self.account.label(name), criterion.title, path))
        return tuple(dict.fromkeys(found))

    @staticmethod
    def _place(criterion: Criterion, status: str) -> str | None:
        if criterion.effect == "plans":
            return "plan"
        if criterion.effect != "shows" or status not in _OPEN_STATUSES:
            return None
        return {"dosing": "dosing", "monitoring": "monitoring", "warning": "monitoring", "note": "notes"}[criterion.as_]


def _dates(criterion: Criterion) -> answer.CriterionDates:
    begins, ends = criterion.effective.from_, criterion.effective.until
    return answer.CriterionDates(criterion.id, begins.isoformat() if begins else "", ends.isoformat() if ends else "")
