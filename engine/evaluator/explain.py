"""The argument ledger: from the values of the graph to a decision that a person can check line by line.

For each option the criteria for it, against it, cautioning and unresolved, each with a sentence, the facts it read and its
sources; why it is not better (`why_not`); what is missing; who else must see the patient. Nothing is concluded here: every
status, level and truth was computed as a node of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.stages import (
    CONVENTIONAL_FIRST,
    COVERAGE,
    LEVELS,
    STATUS_OF_LEVEL,
    TRIAGE,
    PackSet,
    any_date,
    in_force,
    level_of,
    node_reads,
    referral_node,
    status_node,
)
from engine.evaluator import decision as answer
from engine.evaluator import sentences
from engine.pack.model import Citation, Criterion
from engine.truth import word

if TYPE_CHECKING:
    from engine.evaluator.reach import Explorer, OptionReach
    from engine.facts import PatientFacts, Typed
    from engine.pack.load import RuleBook

_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_URGENCY = {"emergency": 0, "same_day": 1, "routine": 2}
_OPEN_STATUSES = frozenset({"eligible", "eligible_with_precautions", "deferred"})
_RULED_OUT = frozenset({"contraindicated", "not_indicated", "not_recommended"})
_PLACED = ("plan", "dosing", "monitoring", "notes")


@dataclass(frozen=True)
class Explainer:
    """Explains evaluations of one compiled pack set. Thread safe."""

    book: RuleBook
    packs: PackSet
    explorer: Explorer
    engines: answer.EngineReport

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
        return _Ledger(self, facts, inputs, values, is_full=is_full).decision()

    @cached_property
    def citations(self) -> Mapping[str, tuple[answer.Citation, ...]]:
        """The sources of each criterion."""
        references = {k: r for pack in self.packs.packs for k, r in pack.references.items()}

        def cite(c: Citation) -> answer.Citation:
            return answer.Citation(c.source, references[c.source].title, c.section, c.supports)

        return {n: tuple(map(cite, c.references)) for n, c in self.packs.criteria.items()}

    @cached_property
    def by_option(self) -> Mapping[str, tuple[tuple[str, Criterion], ...]]:
        """The criteria of each option, in reading order."""
        return {
            o.id: tuple((n, c) for n, c in self.packs.criteria.items() if o.id in c.options) for o in self.packs.options
        }

    @cached_property
    def deciding(self) -> Mapping[str, tuple[tuple[str, Criterion, int | None], ...]]:
        """The criteria of each option that hold a level or indicate it, with the rank of that level."""
        return {
            option: tuple(
                (n, c, None if (level := level_of(c)) is None else _RANK[level])
                for n, c in rows
                if c.effect == "indicates" or level_of(c) is not None
            )
            for option, rows in self.by_option.items()
        }

    @cached_property
    def informing(self) -> Mapping[str, tuple[tuple[str, Criterion], ...]]:
        """The criteria of each option that plan, show or report."""
        effects = {"plans", "shows", "reports"}
        return {option: tuple(r for r in rows if r[1].effect in effects) for option, rows in self.by_option.items()}

    @cached_property
    def plain_facts(self) -> Mapping[str, tuple[str, ...]]:
        """The input facts behind each criterion that rests on no evidence and no count; the same for every patient."""
        return {n: facts for n in self.packs.criteria if n in self.packs.nodes and (facts := self._plain(n)) is not None}

    def _plain(self, name: str) -> tuple[str, ...] | None:
        found: dict[str, None] = {}
        queue = [name]
        while queue:
            current = queue.pop(0)
            node = self.packs.nodes[current]
            if isinstance(node, form.EvidenceNode | form.CountNode):
                return None
            if current in self.book.facts:
                found[current] = None
            queue = [*self.packs.reads[current], *queue]
        return tuple(found)

    @cached_property
    def identities(self) -> tuple[answer.PackIdentity, ...]:
        """The packs that speak."""
        return tuple(answer.PackIdentity(p.id, p.header.version, p.digest) for p in self.packs.packs)

    @cached_property
    def referral_words(self) -> Mapping[str, str]:
        """Words for the kinds of referral."""
        return {k: w for pack in self.packs.packs for k, w in pack.referral_kinds.items()}

    @cached_property
    def list_facts(self) -> Mapping[str, str]:
        """For each count, the list it counts over."""
        return {n.name: n.records for n in self.packs.nodes.values() if isinstance(n, form.CountNode)}


class _Ledger:
    """One evaluation on its way to a decision."""

    def __init__(
        self, explainer: Explainer, facts: PatientFacts, inputs: form.Inputs, values: form.Values, *, is_full: bool
    ) -> None:
        self.explainer = explainer
        self.packs = explainer.packs
        self.facts = facts
        self.inputs = inputs
        self.values = values.values
        self.environment = {**inputs.values, **values.values}
        self.record_values = values.records
        self.is_full = is_full
        self.definitions = explainer.book.facts
        self._behind: dict[str, tuple[str, ...]] = {}
        self._read: dict[str, answer.FactRead] = {}

    # The whole

    def decision(self) -> answer.Decision:
        reach = self.explainer.explorer.explore(self.inputs, form.Values(self.values, self.record_values), self.credits)
        options = {o.id: self._option(o.id, reach[o.id]) for o in self.packs.options}
        missing, also_ask = self._questions(reach)
        coverage = self._coverage()
        return answer.Decision(
            as_of=self.facts.as_of.isoformat(),
            jurisdiction=self.packs.jurisdiction,
            options=tuple(options.values()),
            triage=self._triage(),
            referrals=self._referrals(),
            coverage=coverage,
            missing=missing,
            also_ask=also_ask,
            unusable=self._unusable(),
            changes_on=None,
            option_order=self._order({o: a.status for o, a in options.items()}),
            packs=self.explainer.identities,
            engines=self.explainer.engines,
            disclaimer=sentences.DISCLAIMER,
        )

    def _truth(self, name: str) -> bool | None:
        value = self.environment.get(name)
        return value if value is True or value is False else None

    def _is_in_force(self, name: str) -> bool:
        return name not in self.packs.periods or self.inputs.values[in_force(name)] is True

    # Options

    def _option(self, option: str, reach: OptionReach) -> answer.OptionAnswer:
        level = str(self.values[status_node(option)])
        status: answer.Status = STATUS_OF_LEVEL[level]  # type: ignore[assignment]
        reported = list(self._reported(option, level, status))
        findings = {f.id: f for f in self._findings(option, level, reported)}
        shown: dict[str, list[answer.ShownItem]] = {place: [] for place in _PLACED}
        for name, criterion in self.explainer.informing[option]:
            place = self._place(criterion, status)
            if place and self._is_shown(name, criterion):
                shown[place].append(self._shown(name, criterion))
        could_be = tuple(sorted(reach.statuses, key=lambda s: min(_RANK[v] for v in LEVELS if STATUS_OF_LEVEL[v] == s)))
        return answer.OptionAnswer(
            option=option,
            title=next(o.title for o in self.packs.options if o.id == option),
            authorization=next(o.authorization for o in self.packs.options if o.id == option),
            status=status,
            could_be=tuple(reversed(could_be)),  # type: ignore[arg-type]
            summary=sentences.summary(status, len(reach.facts)),
            criteria=tuple(findings.values()),
            missing=tuple(self._ranked(reach.facts, {option: reach})),
            why_not=tuple(self._why_not(option, level, reported)),
            **{place: tuple(items) for place, items in shown.items()},  # type: ignore[arg-type]
        )

    def _reported(self, option: str, level: str, status: str) -> Iterator[str]:
        """The criteria that the deciding step reports (the last column of the decision tables)."""
        group = next(o.indication for o in self.packs.options if o.id == option)
        indicated = self.values[f"indicated:{option}"]
        is_undecided = indicated is None or (indicated is False and self.values[f"prepared:{option}"] is None)
        is_against = indicated is False and self.values[f"prepared:{option}"] is False
        contradicted = False
        for name, criterion, rank in self.explainer.deciding[option]:
            truth = self.environment[name]
            if criterion.effect == "requires":
                if truth is False and level == "insufficient_data":
                    yield name
                    contradicted = contradicted or self._rests_on_contradiction(name)
            elif truth is True and (rank >= _RANK[level] if rank is not None else status in _OPEN_STATUSES):
                yield name
        for name, criterion in self.explainer.informing[option]:
            if criterion.effect == "plans" and self._is_shown(name, criterion):
                yield name
        if group is not None and level == "not_indicated_indication" and is_against:
            yield group.not_met
            yield from self._trial_reasons(group.trials)
            dated = (n for n, c in self.explainer.by_option[option] if c.effect == "indicates")
            if group.out_of_date and any(self._truth(any_date(n)) is True for n in dated):
                yield group.out_of_date
        if group is not None and level == "insufficient_data" and is_undecided:
            yield group.unknown
            contradicted = contradicted or self._rests_on_contradiction(f"indicated:{option}")
        if contradicted:
            yield from {d.unknown_if.report for d in self.packs.derived.values() if d.unknown_if}
        already = {group.not_met, group.unknown} if group else set()
        for name, criterion in self.explainer.informing[option]:
            if criterion.effect == "reports" and self._is_report_due(name, criterion, option, status, level, already):
                yield name

    def _is_report_due(  # noqa: PLR0913 - what a report depends on
        self, name: str, criterion: Criterion, option: str, status: str, level: str, already: set[str]
    ) -> bool:
        if not self._is_in_force(name) or (criterion.at and status not in criterion.at):
            return False
        truth = True if criterion.when == "always" and name not in self.values else self._truth(name)
        if (truth is None) is not (criterion.shown_if == "unknown") or truth is False:
            return False
        if criterion.beside:
            if not already & set(criterion.beside) or level != "insufficient_data":
                return False
            wanted = set(self.packs.reads.get(name, ()))
            undecided = (n for n, c in self.explainer.by_option[option] if c.effect == "indicates")
            return any(self._truth(n) is None and wanted & self._concepts(n) for n in undecided)
        return True

    def _concepts(self, name: str) -> set[str]:
        """Every node behind a node, itself included."""
        reached: set[str] = set()
        queue = [name]
        while queue:
            current = queue.pop()
            if current not in reached and current in self.packs.nodes:
                reached.add(current)
                queue += self.packs.reads[current]
        return reached

    def _rests_on_contradiction(self, name: str) -> bool:
        if any(self._truth(n) is True for n in self._concepts(name) if n.endswith("?contradiction")):
            return True
        unusable = {u.fact for u in self.facts.unusable}
        paired = {n for c in self.explainer.book.dictionary.constraints if c.together for n in c.together}
        return any(n in unusable & paired for n in self._concepts(name))

    def _trial_reasons(self, concept: str) -> Iterator[str]:
        if not concept or self._truth(concept) is not False:
            return
        yield from (n for n, trials in self.discounted.items() if trials and self._is_in_force(n))

    @cached_property
    def discounted(self) -> Mapping[str, tuple[int, ...]]:
        """For each `discounts` criterion, the positions of the trials that it keeps from counting.

        A trial whose role or drug never counts, or that lies outside the episode, is reported under that reason alone.
        """
        result: dict[str, tuple[int, ...]] = {}
        for name, criterion in self.packs.criteria.items():
            if criterion.effect != "discounts" or criterion.gives == "unknown":
                continue
            concluded = self.record_values.get(criterion.of, ())
            if criterion.repeats:
                result[name] = tuple(self._repeated(criterion))
                continue
            result[name] = tuple(i for i, trial in enumerate(concluded) if trial.get(name) is True)
        return self._first_reasons(result)

    def _first_reasons(self, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        records = self.inputs.records.get("trials") or ()
        result: dict[str, list[int]] = {n: [] for n in found}
        for position, record in enumerate(records):
            names = [n for n, places in found.items() if position in places]
            never = [n for n in names if self.packs.criteria[n].level == "never_counts"]
            outside = [n for n in names if self.packs.criteria[n].level == "outside_episode"]
            del record
            for name in (never or outside or names)[: 1 if never or outside else None]:
                result[name].append(position)
        return {n: tuple(p) for n, p in result.items()}

    def _repeated(self, criterion: Criterion) -> Iterator[int]:
        """Trials that failed like an earlier one of the same `repeats` value."""
        group = next((o.indication.trials for o in self.packs.options if o.indication and o.indication.trials), "")
        counts = [n for n in self._concepts(group) if n in self.explainer.list_facts] if group else []
        seen: set[object] = set()
        for count in counts:
            node = self.packs.nodes[count]
            assert isinstance(node, form.CountNode)  # noqa: S101 - list_facts holds counts only
            concluded = self.record_values.get(node.records, ())
            for position, record in enumerate(self.inputs.records.get(node.records) or ()):
                if concluded[position].get(node.where) is True:
                    value = record.get(criterion.repeats)
                    if value in seen:
                        yield position
                    seen.add(value)

    def _why_not(self, option: str, level: str, reported: Iterable[str]) -> Iterator[str]:
        """The criteria that hold the status down."""
        for name in reported:
            criterion = self.packs.criteria[name]
            if level_of(criterion) == level or criterion.effect == "concludes":
                yield name
            elif level == "deferred" and criterion.gives == "deferred":
                yield name
        del option

    def _findings(
        self, option: str, level: str, reported: list[str]
    ) -> Iterator[answer.CriterionFinding]:
        listed = dict.fromkeys(reported)
        for name in listed:
            yield self._finding(name, is_reported=True)
        cap = len(LEVELS) if level == "insufficient_data" else _RANK[level]
        for name, criterion, rank in self.explainer.deciding[option]:
            if name in listed or not self._is_in_force(name):
                continue
            truth = self.environment[name]
            if criterion.effect == "requires":
                is_open = truth is False
            else:
                is_open = rank is None or truth is True or (truth is None and rank < cap)
            if is_open or self.is_full:
                yield self._finding(name, is_reported=False)

    def _finding(self, name: str, *, is_reported: bool) -> answer.CriterionFinding:
        criterion = self.packs.criteria[name]
        truth = self._truth_of(name, criterion)
        return answer.CriterionFinding(
            id=name,
            title=criterion.title,
            effect=criterion.effect,
            truth=word(truth),
            side=_side(criterion, truth),
            because=self._because(name, criterion, truth),
            facts=tuple(map(self._fact_read, self._leaf_facts(name))),
            references=self.explainer.citations[name],
            strength=criterion.strength,
            confirmed=criterion.confirmed,
            contested=criterion.contested,
            visit_level=criterion.visit_level,
            is_reported=is_reported,
            note=criterion.note,
        )

    def _truth_of(self, name: str, criterion: Criterion) -> bool | None:
        match criterion.effect:
            case "requires":
                return True if self._truth(name) else None
            case "concludes" | "discounts" | "withholds":
                return True
            case _:
                return self._truth(name) if name in self.values else True

    def _because(self, name: str, criterion: Criterion, truth: bool | None) -> str:
        if criterion.effect == "discounts":
            return self._trial_sentences(name, criterion)
        if truth is True or criterion.effect in {"requires", "concludes"} or criterion.shown_if == "unknown":
            return sentences.fill(criterion.explain, self._words)
        if truth is None:
            if criterion.explain_unknown:
                return sentences.fill(criterion.explain_unknown, self._words)
            return sentences.unknown(self._label(n) for n in self._behind_unknown(name))
        return sentences.not_met(self._failing(name))

    def _trial_sentences(self, name: str, criterion: Criterion) -> str:
        fields = {f.id: f for f in self.definitions[criterion.of].fields}
        lines = []
        for position in self.discounted[name]:
            given = self.facts.records[criterion.of][position].values

            def words_of(field: str, given: Mapping[str, Typed] = given) -> str:
                if field == "drug":
                    return self._drug(str(given.get("drug", "")))
                return fields[field].in_words(given[field], with_unit=False) if field in given else "not recorded"

            lines.append(sentences.fill(criterion.explain, words_of))
        return " ".join(dict.fromkeys(lines))

    def _drug(self, key: str) -> str:
        drug = self.explainer.book.drugs.get(key)
        return drug.display if drug else key or "the drug"

    # Facts and concepts in words

    def _words(self, name: str) -> str:
        seen = self.facts.known.get(name)
        if seen is not None:
            return self.definitions[name].in_words(seen.value, with_unit=False)
        value = self.values.get(name)
        return "not recorded" if value is None else self._value_words(value)

    @staticmethod
    def _value_words(value: form.Value) -> str:
        match value:
            case bool():
                return "yes" if value else "no"
            case (low, high):
                return sentences.count_in_words((low, high))
            case _:
                return str(value).replace("_", " ")

    def _label(self, name: str) -> str:
        definition = self.definitions.get(name)
        if definition is not None:
            return definition.label
        symbol = self.packs.symbols.get(name)
        return symbol.label if symbol else name.replace("_", " ")

    def _failing(self, name: str) -> Iterator[tuple[str, str]]:
        """Labels and values of what keeps a condition from being met."""
        node = self.packs.nodes.get(name)
        if not isinstance(node, form.ConditionNode):
            return
        if node.except_if and self._truth(node.except_if) is True:
            yield from self._holding(node.except_if)
            return
        yield from self._parts(node.expression, is_wanted=True)

    def _holding(self, name: str) -> Iterator[tuple[str, str]]:
        node = self.packs.nodes.get(name)
        if isinstance(node, form.ConditionNode):
            yield from self._parts(node.expression, is_wanted=False)

    def _parts(self, expression: form.Expression, *, is_wanted: bool) -> Iterator[tuple[str, str]]:
        """The leaves that make an expression other than `is_wanted`."""
        match expression:
            case form.Not(part):
                yield from self._parts(part, is_wanted=not is_wanted)
            case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
                for part in parts:
                    if self._test(part) is (not is_wanted):
                        yield from self._parts(part, is_wanted=is_wanted)
            case form.Holds(node) if node.endswith("?any_date"):
                yield from self._failing(node)
            case form.Holds(node) if node.startswith("in_force:"):
                yield "in force on this date", "no"
            case form.Compare(node) | form.OneOf(node) | form.Holds(node):
                yield self._label(node), self._fact_read(node).value or "not recorded" if node in self.definitions else self._words(node)
            case _:
                return

    def _test(self, expression: form.Expression) -> bool | None:
        return self.explainer.explorer.test(expression, self.environment)

    def _fact_read(self, fact: str) -> answer.FactRead:
        read = self._read.get(fact)
        if read is None:
            read = self._read[fact] = self._read_fact(fact)
        return read

    def _read_fact(self, fact: str) -> answer.FactRead:
        definition = self.definitions[fact]
        if definition.type == "records":
            return answer.FactRead(fact, definition.label, self._list_words(fact) if fact in self.facts.records else None)
        seen = self.facts.known.get(fact)
        if seen is None:
            return answer.FactRead(fact, definition.label, None)
        observed_on = seen.observed_on.isoformat() if seen.observed_on else ""
        return answer.FactRead(fact, definition.label, definition.in_words(seen.value), seen.path, observed_on, seen.source)

    def _list_words(self, fact: str) -> str:
        given = self.facts.records[fact]
        names = [self._drug(str(r.values.get("drug", ""))) for r in given]
        return sentences.join(names) or "none recorded"

    def _leaf_facts(self, name: str) -> tuple[str, ...]:
        """The input facts that a node rests on here: of evidence only the source that spoke, or all that could have."""
        plain = self.explainer.plain_facts.get(name)
        if plain is not None:
            return plain
        found: dict[str, None] = {}
        visited: set[str] = set()

        def visit(current: str) -> None:
            if current in visited:
                return
            visited.add(current)
            if current in self.definitions:
                found[current] = None
                return
            node = self.packs.nodes.get(current)
            match node:
                case form.EvidenceNode():
                    for source in self._speaking(node):
                        visit(source)
                case form.CountNode():
                    found[node.records] = None
                    found[self.definitions[node.records].complete_when] = None
                case form.ConditionNode() | form.ChoiceNode():
                    for read in self.packs.reads[current]:
                        if not read.startswith("in_force:"):
                            visit(read)
                case _:
                    return

        criterion = self.packs.criteria.get(name)
        if criterion is not None and criterion.effect == "discounts":
            return (criterion.of,)
        visit(name)
        return tuple(found)

    def _speaking(self, node: form.EvidenceNode) -> Iterator[str]:
        for source in node.sources:
            value = self.environment.get(source.node)
            if value is None:
                if self.values[node.name] is None or node.otherwise is not None:
                    yield source.node
                continue
            mapped = source.mapping is None or any(self._test(guard) for guard, _ in source.mapping)
            if mapped:
                yield source.node
                return

    # Missing facts

    @cached_property
    def credits(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """For each list, which facts to ask for when its content, or whether it is complete, matters."""
        result: dict[str, dict[str, tuple[str, ...]]] = {}
        for name, complete_when in self.packs.compiled.completeness.items():
            given = self.inputs.records.get(name)
            content: list[str] = []
            if given is None:
                content = [name]
            else:
                wheres = [n.where for n in self.packs.nodes.values() if isinstance(n, form.CountNode) and n.records == name]
                undecided = [
                    i for i, r in enumerate(self.record_values.get(name, ())) if any(r.get(w) is None for w in wheres)
                ]
                if undecided:
                    unplaced = [i for i in undecided if self._lacks_only_episode_start(name, given[i])]
                    content = [] if len(unplaced) == len(undecided) else [name]
                    if any(self._needs_episode_start(given[i]) for i in undecided):
                        content.append("episode_start_date")
            is_complete = self.inputs.values.get(complete_when) is True
            result[name] = {"content": tuple(content), "completeness": () if is_complete else (complete_when,)}
        return result

    def _needs_episode_start(self, record: Mapping[str, form.Value]) -> bool:
        return (
            "episode_start_date" not in self.facts.known
            and record.get("in_episode") is None
            and record.get("end_date") is not None
        )

    def _lacks_only_episode_start(self, records: str, record: Mapping[str, form.Value]) -> bool:
        placed = {**record, "in_episode": True}
        return self._needs_episode_start(record) and self.explainer.explorer.decides_records(records, placed)

    def _behind_unknown(self, name: str) -> tuple[str, ...]:
        """The input facts whose absence makes a node unknown, in reading order."""
        cached = self._behind.get(name)
        if cached is None:
            cached = self._behind[name] = tuple(dict.fromkeys(self._absent(name)))
        return cached

    def _absent(self, name: str) -> Iterator[str]:
        if name in self.definitions:
            if name not in self.facts.known:
                yield name
            return
        node = self.packs.nodes.get(name)
        match node:
            case form.CountNode():
                low, high = self.values[name]  # type: ignore[misc]
                if low != high:
                    for facts in self.credits[node.records].values():
                        yield from facts
            case form.EvidenceNode() if self.values[name] is None:
                for source in node.sources:
                    if self.environment.get(source.node) is None:
                        yield from self._absent(source.node)
            case form.ConditionNode():
                criterion = self.packs.criteria.get(name)
                if criterion is not None and criterion.needs:
                    for need in criterion.needs:
                        yield from self._absent(need)
                elif self.values[name] is None and not (node.unknown_if and self._truth(node.unknown_if) is True):
                    yield from self._absent_parts(node.expression)
            case _:
                return

    def _absent_parts(self, expression: form.Expression) -> Iterator[str]:
        match expression:
            case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
                for part in parts:
                    if self._test(part) is None:
                        yield from self._absent_parts(part)
            case form.Not(part):
                yield from self._absent_parts(part)
            case form.Compare(node) | form.OneOf(node) | form.Holds(node):
                yield from self._absent(node)
            case _:
                return

    def _asked_by_tables(self) -> Iterator[str]:
        """The facts that the decision procedure asks for, whether or not they can still change a status."""
        for option in self.packs.options:
            level = str(self.values[status_node(option.id)])
            cap = _RANK[level]
            if level == "insufficient_data":
                later = [r for n, _, r in self.explainer.deciding[option.id] if r and r > cap and self.environment[n] is True]
                cap = min(later, default=len(LEVELS))
            for name, criterion, rank in self.explainer.deciding[option.id]:
                truth = self.environment[name]
                if criterion.effect == "requires":
                    is_asked = truth is False and rank is not None and rank < cap
                elif rank is None:
                    is_asked = truth is None and level == "insufficient_data"
                else:
                    is_asked = truth is None and rank < cap
                if is_asked:
                    yield from self._behind_unknown(name)

    def _questions(
        self, reach: Mapping[str, OptionReach]
    ) -> tuple[tuple[answer.Question, ...], tuple[answer.Question, ...]]:
        purposes: dict[str, list[str]] = {}
        for option, found in reach.items():
            for fact in found.facts:
                purposes.setdefault(fact, []).append(option)
        for fact in self.packs.triage.asks:
            if fact not in self.facts.known:
                purposes.setdefault(fact, []).append("triage")
        for fact in self._coverage_facts():
            purposes.setdefault(fact, []).append("coverage")
        ordered = self._ranked(purposes, reach)
        further = [f for f in self._asked_by_tables() if f not in purposes]
        for screen in self.packs.screens:
            is_due = self._truth(f"also_ask:{screen.fact}") is True and screen.fact not in self.facts.known
            if is_due and screen.fact not in purposes:
                further.append(screen.fact)
        return (
            tuple(self._question(f, purposes[f]) for f in ordered),
            tuple(self._question(f, ()) for f in dict.fromkeys(further)),
        )

    def _question(self, fact: str, purposes: Iterable[str]) -> answer.Question:
        return answer.Question(fact, self.definitions[fact].ask, tuple(purposes))

    def _ranked(self, facts: Iterable[str], reach: Mapping[str, OptionReach]) -> list[str]:
        """Best question first: suicide risk, then what blocks most, then what could rule out, then what touches most."""
        place = {f: i for i, f in enumerate(self.definitions)}
        is_provisional = self._is_provisional()

        def rank(fact: str) -> tuple[int, int, int, int, int]:
            found = [r for r in reach.values() if fact in r.facts]
            return (
                0 if is_provisional and fact in self.packs.triage.asks else 1,
                -sum(fact in r.blocking for r in found),
                min((r.facts[fact] for r in found), default=len(LEVELS)),
                -len(found),
                place[fact],
            )

        return sorted(dict.fromkeys(facts), key=rank)

    # Triage, referrals, coverage, order, unusable input

    def _is_provisional(self) -> bool:
        worst = self.packs.triage.levels[-1]
        absent = any(f not in self.facts.known for f in self.packs.triage.provisional_while_missing)
        return absent and self.values[TRIAGE] != worst

    def _triage(self) -> answer.TriageAnswer:
        level = str(self.values[TRIAGE])
        rows = [(n, c) for n, c in self.packs.criteria.items() if c.effect == "triages"]
        listed = [n for n, c in rows if c.level == level and self._truth(n) is True]
        ranks = {name: rank for rank, name in enumerate(self.packs.triage.levels)}
        unresolved = [n for n, c in rows if self._truth(n) is None and ranks[c.level] > ranks[level]]
        findings = [self._finding(n, is_reported=True) for n in listed]
        findings += [self._finding(n, is_reported=False) for n in unresolved]
        return answer.TriageAnswer(level, self._is_provisional(), tuple(findings))  # type: ignore[arg-type]

    def _referrals(self) -> tuple[answer.Referral, ...]:
        found: dict[tuple[str, str], list[tuple[int, str, tuple[str, ...], str]]] = {}
        for rule in self.packs.referrals:
            truth = self._truth(referral_node(rule))
            if truth is False:
                continue
            state = "required" if truth else "unresolved"
            because = (
                sentences.fill(rule.explain, self._words)
                if truth
                else sentences.unknown(self._label(n) for n in self._behind_unknown(referral_node(rule)))
            )
            found.setdefault((rule.kind, state), []).append((_URGENCY[rule.urgency], rule.urgency, rule.criteria, because))
        referrals = []
        for (kind, state), rules in found.items():
            rank, urgency, _, _ = min(rules)
            required = found.get((kind, "required"))
            if state == "unresolved" and required and min(required)[0] <= rank:
                continue
            ids = tuple(dict.fromkeys(i for r in sorted(rules) for i in r[2]))
            texts = " ".join(dict.fromkeys(r[3] for r in sorted(rules)))
            referrals.append(answer.Referral(kind, urgency, state, ids, texts))  # type: ignore[arg-type]
        return tuple(sorted(referrals, key=lambda r: (r.state == "unresolved", _URGENCY[r.urgency], r.kind)))

    def _coverage(self) -> answer.CoverageAnswer | None:
        if not self.packs.payer_id:
            return None
        result = str(self.values[COVERAGE])
        findings = tuple(self._finding(n, is_reported=True) for n in self._coverage_reported(result))
        notes = tuple(
            self._shown(n, c)
            for n, c in self.packs.criteria.items()
            if c.effect == "shows" and self.packs.pack_of(n).header.payer and self._is_shown(n, c)
        )
        return answer.CoverageAnswer(self.packs.payer_id, result, findings, notes)  # type: ignore[arg-type]

    def _coverage_reported(self, result: str) -> Iterator[str]:
        step = next((n for n, _ in self._coverage_steps() if self._truth(n) is True), "")
        denies = [n for n, c in self.packs.criteria.items() if c.effect == "denies"]
        covers = [n for n, c in self.packs.criteria.items() if c.effect == "covers"]
        withholds = [n for n, c in self.packs.criteria.items() if c.effect == "withholds"]
        read = set(self.packs.reads.get(step, ()))
        if read & {status_node(self.packs.criteria[n].option) for n in withholds}:
            yield from withholds
            return
        wanted = None if result == "insufficient_data" else True
        if result == "not_met":
            yield from (n for n in covers if self._is_in_force(n))
            return
        for name in (*denies, *covers):
            if name in read and (self._truth(name) is wanted or (wanted is None and self._truth(name) is True)):
                yield name

    def _coverage_steps(self) -> tuple[tuple[str, str], ...]:
        node = self.packs.nodes[COVERAGE]
        assert isinstance(node, form.ChoiceNode)  # noqa: S101 - the compiler made it one
        return tuple((next(iter(node_reads(form.ConditionNode("", guard)))), value) for guard, value in node.steps)

    def _coverage_facts(self) -> Iterator[str]:
        if self.packs.payer_id and self.values[COVERAGE] == "insufficient_data":
            for name, criterion in self.packs.criteria.items():
                if criterion.effect in {"covers", "denies"}:
                    if self._truth(name) is None:
                        yield from self._behind_unknown(name)
                    doubt = criterion.prior_approval_if
                    if doubt and self._truth(name) is True and self._truth(doubt) is None:
                        yield from self._behind_unknown(doubt)

    def _order(self, statuses: Mapping[str, str]) -> tuple[str, ...]:
        order = self.packs.order
        groups = {status: rank for rank, group in enumerate(order.groups) for status in group}
        within = list(order.within_group)
        first = [o for o in within if groups[statuses[o]] == 0]
        if self._truth(CONVENTIONAL_FIRST) is True and "conventional" in first:
            within.remove("conventional")
            within.insert(0, "conventional")
        listed = sorted(within, key=lambda o: groups[statuses[o]])
        labeled, off_label = "esketamine", "ketamine_iv"
        if (
            statuses[labeled] in order.ketamine_behind_esketamine_while
            and listed.index(off_label) < listed.index(labeled)
        ):
            listed.remove(off_label)
            listed.insert(listed.index(labeled) + 1, off_label)
        return tuple(listed)

    def _unusable(self) -> tuple[answer.UnusableInput, ...]:
        found = [answer.UnusableInput(u.fact, u.reason, u.path) for u in self.facts.unusable]
        for name, derived in self.packs.derived.items():
            if derived.unknown_if and self._truth(f"{name}?contradiction") is True:
                facts = self._leaf_facts(f"{name}?contradiction")
                found += [
                    answer.UnusableInput(f, derived.unknown_if.says, self.facts.known[f].path)
                    for f in facts
                    if f in self.facts.known
                ]
        for name, records in self.record_values.items():
            for position, concluded in enumerate(records):
                for rule, criterion in self.packs.criteria.items():
                    if criterion.gives == "unknown" and criterion.of == name and concluded.get(rule) is True:
                        path = self.facts.records[name][position].path
                        found.append(answer.UnusableInput(name, sentences.fill(criterion.title, self._words), path))
        return tuple(dict.fromkeys(found))

    # What is shown with an answer

    @staticmethod
    def _place(criterion: Criterion, status: str) -> str | None:
        if criterion.effect == "plans":
            return "plan"
        if criterion.effect != "shows" or status not in _OPEN_STATUSES:
            return None
        return {"dosing": "dosing", "monitoring": "monitoring", "warning": "monitoring", "note": "notes"}[criterion.as_]

    def _is_shown(self, name: str, criterion: Criterion) -> bool:
        if not self._is_in_force(name):
            return False
        if name not in self.values:
            return True
        truth = self._truth(name)
        if criterion.needs:
            truth = True if truth else None
        return truth is (None if criterion.shown_if == "unknown" else True)

    def _shown(self, name: str, criterion: Criterion) -> answer.ShownItem:
        return answer.ShownItem(name, sentences.fill(criterion.explain, self._words), criterion.confirmed)


def _side(criterion: Criterion, truth: bool | None) -> answer.Side:
    if criterion.effect in {"plans", "shows", "reports", "discounts", "concludes"} and truth is not None:
        return "against" if criterion.effect in {"concludes", "discounts"} else "informing"
    if truth is None:
        return "unresolved"
    if criterion.effect in {"indicates", "requires", "covers"}:
        return "for" if truth else "against"
    if truth is False:
        return "for"
    return "cautioning" if criterion.effect in {"cautions", "defers", "triages"} else "against"

