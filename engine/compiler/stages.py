"""From rule packs to the compiled form, in named, ordered stages.

1. collect   the items of the packs that answer for one jurisdiction and payer
2. type      every condition against the names it may use
3. conclude  the nodes that no author writes: what each option's criteria reach, its status, triage, coverage
4. order     nodes after what they read, without cycles, unused concepts dropped, levels counted

The answer of the whole engine is a node of the graph, so that every back end computes all of it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from engine import trials
from engine.compiler import form
from engine.compiler.check import Past, Symbol, Typing, fact_symbol
from engine.compiler.conclude import coverage_nodes, status_nodes, triage_node
from engine.compiler.levels import LEVEL_OF_EFFECT
from engine.compiler.packset import (
    CONVENTIONAL_FIRST,
    COVERAGE,
    TRIAGE,
    PackSet,
    any_date,
    in_force,
    node_reads,
    referral_node,
)
from engine.compiler.replacing import wrongly_replaced
from engine.compiler.tighten import loosened
from engine.compiler.witness import read_witnesses
from engine.errors import Diagnostic, RulePackError
from engine.pack import model
from engine.pack.book import parameters_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from engine.dictionary import FactDefinition
    from engine.pack.book import Located, Pack, RuleBook


LOGICAL = frozenset({*LEVEL_OF_EFFECT, "excludes", "indicates", "triages", "covers", "denies", "asks_approval"})
"""Effects whose dates belong to their truth; an informing row out of force is only left out of the answer."""


def compile_packs(
    book: RuleBook, jurisdiction: str, payer_id: str | None, as_of: date, *, is_whole: bool = False
) -> PackSet:
    """Compile the packs that answer for a jurisdiction and payer, with the parameters of `as_of`.

    With `is_whole` concepts that no answer reads are kept too, so that their cases can be run.

    Raises:
        NoRulePackError: no pack serves the jurisdiction.
        RulePackError: every fault of every condition, sorted by place; or what a local pack would loosen.

    """

    def compiled(packs: Sequence[Pack], numbers: Mapping[str, model.Parameter] = MappingProxyType({})) -> PackSet:
        stages = _Stages(book, packs, jurisdiction, payer_id, as_of)
        stages.collect(numbers)
        stages.type_all()
        stages.conclude()
        if stages.faults:
            raise RulePackError(stages.faults)
        return stages.order(is_whole=is_whole)

    packs = book.packs_for(jurisdiction, payer_id)
    found = compiled(packs)
    local = [p for p in packs if p.header.tightens]
    if local:
        faults = loosened(local, book.national.packs_for(jurisdiction, payer_id), found, compiled)
        if faults:
            raise RulePackError(faults)
    return found


class _Stages:
    def __init__(
        self, book: RuleBook, packs: Sequence[Pack], jurisdiction: str, payer_id: str | None, as_of: date
    ) -> None:
        self.book = book
        self.jurisdiction = jurisdiction
        self.payer_id = payer_id
        self.as_of = as_of
        self.packs = tuple(packs)
        self.faults: list[Diagnostic] = []
        self.located: dict[tuple[str, str], Located] = {}
        self.criteria: dict[str, model.Criterion] = {}
        self.derived: dict[str, model.Derived] = {}
        self.referrals: list[model.ReferralRule] = []
        self.parameters: dict[str, tuple[model.Parameter, Decimal]] = {}
        self.periods: dict[str, model.Period] = {}
        self.replaced: dict[str, list[str]] = {}
        self.dates: dict[str, tuple[str, date]] = {}
        self.past: dict[str, Past] = {}
        self.symbols: dict[str, Symbol] = {}
        self.record_symbols: dict[str, dict[str, Symbol]] = {}
        self.nodes: dict[str, form.Node] = {}
        self.record_nodes: dict[str, dict[str, form.Node]] = {}
        self.options: model.Options | None = None
        self.triage: model.Triage | None = None

    # 1. collect

    def collect(self, numbers: Mapping[str, model.Parameter]) -> None:
        """Gather the items of the packs; `numbers` stand in for parameters of the same name."""
        for pack in self.packs:
            self.located.update(pack.located)
            self.options = pack.options or self.options
            self.triage = pack.triage or self.triage
            self.derived.update((d.id, d) for d in pack.derived)
            self.referrals += (r for r in pack.referrals if self._is_here(r.jurisdictions))
            for name, criterion in pack.criteria.items():
                if self._is_here(criterion.jurisdictions):
                    self.criteria[name] = criterion.within(self.jurisdiction)
        every = parameters_of(self.packs) | dict(numbers)
        self.parameters = {name: (p, p.at(self.as_of)) for name, p in every.items()}
        if self.options is None or self.triage is None:
            message = f"the packs for `{self.jurisdiction}` lack an options.yaml or a triage.yaml"
            self.faults.append(self.packs[0].place.fault("pack/missing-file", message))
        for name in trials.PARAMETERS:
            if name not in self.parameters:
                message = f"the packs for `{self.jurisdiction}` lack the parameter `{name}`, with which trials are read"
                hint = "add it to parameters.yaml"
                self.faults.append(self.packs[0].place.fault("pack/missing-parameter", message, hint))
        self._collect_replaced()
        dated: list[tuple[str, model.Period]] = [(n, c.effective) for n, c in self.criteria.items()]
        dated += [(r.id, r.effective) for r in self.referrals]
        takers = {name for names in self.replaced.values() for name in names}
        self.periods = {n: p for n, p in dated if p.from_ or p.until or n in takers}
        self._collect_symbols()

    def _collect_replaced(self) -> None:
        for name, criterion in self.criteria.items():
            if criterion.replaces:
                self.replaced.setdefault(criterion.replaces, []).append(name)
        levels = self.triage.levels if self.triage else ()
        self.faults += wrongly_replaced(self.criteria, self.packs, self.book.packs.values(), levels)

    def _is_here(self, jurisdictions: tuple[str, ...]) -> bool:
        return not jurisdictions or self.jurisdiction in jurisdictions

    def _collect_symbols(self) -> None:
        for definition in self.book.dictionary.facts:
            if definition.type == "records":
                self._collect_record_symbols(definition.id)
                continue
            self.symbols[definition.id] = fact_symbol(definition)
            self.nodes[definition.id] = _fact_node(definition)
        for name, derived in self.derived.items():
            kind = "count" if derived.count else "enum" if derived.values else "truth"
            scope = self.record_symbols.get(derived.of) if derived.of else self.symbols
            located = self.located["derived", name]
            if scope is None:
                self.faults.append(
                    located.fault("pack/unknown-name", f"`{derived.of}` is not a list fact", "", ("of",))
                )
            elif name in scope:
                self.faults.append(located.fault("pack/duplicate-id", f"`{name}` already names a fact", "rename it"))
            else:
                scope[name] = Symbol(name, kind, derived.label, derived.values)  # type: ignore[arg-type]
        for name, criterion in self.criteria.items():
            if criterion.effect == "discounts":
                scope = self.record_symbols.get(criterion.of)
                if scope is None:
                    fault = self.located["criterion", name].fault
                    self.faults.append(fault("pack/unknown-name", f"`{criterion.of}` is not a list fact", "", ("of",)))
                elif not criterion.repeats:
                    scope[name] = Symbol(name, "truth", criterion.title)
            elif criterion.effect not in model.UNCONDITIONAL:
                self.symbols[name] = Symbol(name, "truth", criterion.title)

    def _collect_record_symbols(self, records: str) -> None:
        definition = self.book.facts[records]
        scope = {f.id: fact_symbol(f) for f in definition.fields}
        nodes: dict[str, form.Node] = {f.id: _fact_node(f) for f in definition.fields if f.type != "records"}
        improvement = scope.get("improvement_pct")
        for name in trials.ENRICHED_TRUTHS:
            scope[name] = Symbol(name, "truth", name.replace("_", " "))
            nodes[name] = form.FactNode(name, "bool")
        for name in trials.ENRICHED_NUMBERS:
            scope[name] = Symbol(
                name, "number", "best improvement", (), improvement.definition if improvement else None
            )
            nodes[name] = form.FactNode(name, "int")
        for name in trials.ENRICHED_TEXTS:
            scope[name] = Symbol(name, "text", name)
            nodes[name] = form.FactNode(name, "text")
        self.record_symbols[records] = scope
        self.record_nodes[records] = nodes

    # 2. type

    def type_all(self) -> None:
        for name, derived in self.derived.items():
            self._type_derived(name, derived)
        for name, criterion in self.criteria.items():
            self._type_criterion(name, criterion)
        for rule in self.referrals:
            typing = self._typing("referral", rule.id)
            expression = typing.condition(rule.when, ("when",))
            node = referral_node(rule)
            if rule.id in self.periods:
                expression = form.All((form.Holds(self._dated(rule.id)), expression))
            self._condition(node, expression, typing, rule.unless)
        options = self.options
        if options is not None:
            typing = Typing(self.located["options", ""], self.symbols, self.parameters, self.faults)
            when = options.order.conventional_first_when
            self._condition(CONVENTIONAL_FIRST, typing.condition(when, ("order", "conventional_first_when")), typing)
            for position, screen in enumerate(options.also_ask):
                typing.names([screen.fact], ("also_ask", position, "fact"))
                expression = typing.condition(screen.when, ("also_ask", position, "when"))
                self._condition(f"also_ask:{screen.fact}", expression, typing)

    def _typing(self, kind: str, key: str, records: str = "") -> Typing:
        scope = self.record_symbols.get(records, {}) if records else self.symbols
        return Typing(self.located[kind, key], scope, self.parameters, self.faults, self.dates)  # type: ignore[arg-type]

    def _condition(
        self,
        name: str,
        expression: form.Expression,
        typing: Typing,
        unless: object = None,
        unknown_if: model.UnknownIf | None = None,
        records: str = "",
    ) -> None:
        nodes = self.record_nodes[records] if records else self.nodes
        except_name = unknown_name = None
        if unless is not None:
            except_name = f"{name}?unless"
            nodes[except_name] = form.ConditionNode(except_name, typing.condition(unless, ("unless",)))
        if unknown_if is not None:
            unknown_name = f"{name}?contradiction"
            nodes[unknown_name] = form.ConditionNode(
                unknown_name, typing.condition(unknown_if.when, ("unknown_if", "when"))
            )
        nodes[name] = form.ConditionNode(name, expression, except_name, unknown_name)

    def _type_derived(self, name: str, derived: model.Derived) -> None:
        typing = self._typing("derived", name, derived.of)
        if derived.count:
            self._type_count(name, derived)
        elif derived.first_known:
            sources = read_witnesses(derived, typing)
            evidence_name = name if derived.unknown_if is None else f"{name}?evidence"
            nodes = self.record_nodes[derived.of] if derived.of else self.nodes
            nodes[evidence_name] = form.EvidenceNode(evidence_name, sources, derived.values, derived.otherwise)
            if derived.unknown_if is not None:
                if derived.values:
                    message = "`unknown_if` is for true-or-false concepts"
                    self.faults.append(typing.located.fault("pack/type", message, "", ("unknown_if",)))
                self._condition(name, form.Holds(evidence_name), typing, None, derived.unknown_if, derived.of)
        else:
            expression = typing.condition(derived.when, ("when",))
            self._condition(name, expression, typing, derived.unless, derived.unknown_if, derived.of)

    def _type_count(self, name: str, derived: model.Derived) -> None:
        if derived.count not in self.record_symbols:
            fault = self.located["derived", name].fault
            self.faults.append(fault("pack/unknown-name", f"`{derived.count}` is not a list fact", "", ("count",)))
            return
        typing = self._typing("derived", name, derived.count)
        where = f"{name}?where"
        self._condition(where, typing.condition(derived.where, ("where",)), typing, records=derived.count)
        if derived.distinct:
            typing.names([derived.distinct], ("distinct",))
        self.nodes[name] = form.CountNode(name, derived.count, where, derived.distinct or None)

    def _dated(self, name: str) -> str:
        node = in_force(name)
        self.nodes[node] = form.FactNode(node, "bool")
        return node

    def _type_criterion(self, name: str, criterion: model.Criterion) -> None:
        if criterion.effect in model.UNCONDITIONAL or criterion.repeats:
            return
        if criterion.effect not in LOGICAL and criterion.when == "always" and criterion.unless is None:
            return
        records = criterion.of if criterion.effect == "discounts" else ""
        typing = self._typing("criterion", name, records)
        guards: list[form.Expression] = []
        if criterion.effect in LOGICAL:
            if name in self.periods:
                guards.append(form.Holds(self._dated(name)))
            guards += (form.Not(form.Holds(self._dated(taker))) for taker in self.replaced.get(name, ()))
        if criterion.needs:
            needs = typing.names(criterion.needs, ("needs",))
            alternatives: list[form.Expression] = [form.Not(g) for g in guards]
            if criterion.given is not None:
                given = f"{name}?given"
                self.nodes[given] = form.ConditionNode(given, typing.condition(criterion.given, ("given",)))
                alternatives.append(form.Not(form.Is(given, truth=True)))
            known = form.All(tuple(form.Known(n) for n in needs))
            self._condition(name, form.AnyOf((*alternatives, known)) if alternatives else known, typing)
            return
        typing.past = self.past if criterion.effect == "triages" else None
        expression = typing.condition(criterion.when, ("when",))
        typing.past = None
        if criterion.prior_approval_if:
            typing.names([criterion.prior_approval_if], ())
        if criterion.effect == "indicates" and guards:
            undated = any_date(name)
            self._condition(undated, expression, typing, criterion.unless)
            self.nodes[name] = form.ConditionNode(name, form.All((*guards, form.Holds(undated))))
            return
        self._condition(
            name, form.All((*guards, expression)) if guards else expression, typing, criterion.unless, None, records
        )

    # 3. conclude

    def conclude(self) -> None:
        if self.faults or self.options is None or self.triage is None:
            return
        nodes = [n for option in self.options.options for n in status_nodes(option.id, self.criteria)]
        nodes.append(triage_node(self.triage, self.criteria))
        if self.payer_id:
            nodes += coverage_nodes(self.criteria, self.periods)
        self.nodes.update((node.name, node) for node in nodes)

    # 4. order

    def order(self, *, is_whole: bool) -> PackSet:
        if self.options is None or self.triage is None:
            raise RulePackError(self.faults)
        outputs = [n for n in self.nodes if ":" in n or n in self.criteria or n in {TRIAGE, COVERAGE}]
        outputs += [need for c in self.criteria.values() for need in (c.prior_approval_if,) if need]
        record_names = {c.id for c in self.criteria.values() if c.effect == "discounts" and not c.repeats}
        if is_whole:
            outputs += [n for n, d in self.derived.items() if not d.of]
            record_names |= {n for n, d in self.derived.items() if d.of}
        graph = self._graph(self.nodes, outputs, "")
        counts = [n for n in graph.nodes if isinstance(n, form.CountNode)]
        wanted = {n.where for n in counts} | {n.distinct for n in counts} | record_names
        records = {
            name: self._graph(nodes, [n for n in nodes if n in wanted], name)
            for name, nodes in self.record_nodes.items()
        }
        completeness = {f.id: f.complete_when for f in self.book.dictionary.facts if f.type == "records"}
        if self.faults:
            raise RulePackError(self.faults)
        return PackSet(
            jurisdiction=self.jurisdiction,
            payer_id=self.payer_id,
            packs=self.packs,
            compiled=form.Compiled(graph, records, completeness),
            options=self.options.options,
            order=self.options.order,
            triage=self.triage,
            screens=self.options.also_ask,
            criteria=self.criteria,
            derived=self.derived,
            referrals=tuple(self.referrals),
            periods=self.periods,
            parameters=self.parameters,
            dates=self.dates,
            past=self.past,
            symbols=self.symbols,
            record_symbols=self.record_symbols,
            nodes={n.name: n for n in graph.nodes},
            reads={n.name: tuple(dict.fromkeys(node_reads(n))) for n in graph.nodes},
        )

    def _graph(self, nodes: Mapping[str, form.Node], outputs: Iterable[str], records: str) -> form.Graph:
        ordered: dict[str, form.Node] = {}
        open_names: list[str] = []

        def visit(name: str) -> None:
            if name in ordered:
                return
            if name in open_names:
                self._cycle(open_names[open_names.index(name) :], records)
                return
            node = nodes.get(name)
            if node is None:
                node = form.FactNode(name, "bool") if name in self.dates or name in self.past else None
            if node is None:
                message = f"`{name}` cannot be read here"
                self.faults.append(self.packs[0].place.fault("pack/unknown-name", message))
                return
            open_names.append(name)
            inputs = list(node_reads(node))
            for read in inputs:
                visit(read)
            if isinstance(node, form.CountNode):
                visit(self.book.facts[node.records].complete_when)
            open_names.pop()
            level = 0
            if not isinstance(node, form.FactNode):
                level = 1 + max((ordered[r].level for r in inputs if r in ordered), default=0)
            ordered[name] = replace(node, level=level)

        for name in outputs:
            visit(name)
        return form.Graph(tuple(ordered.values()))

    def _cycle(self, names: list[str], records: str) -> None:
        base = names[0].split("?")[0]
        located = next((self.located[k, base] for k in ("derived", "criterion") if (k, base) in self.located), None)
        located = located or self.packs[0].place
        where = f" of `{records}`" if records else ""
        message = f"`{base}`{where} is defined by itself: {' → '.join(dict.fromkeys(names))}"
        self.faults.append(located.fault("pack/cycle", message, "names are defined before they are used"))


def _fact_node(definition: FactDefinition) -> form.FactNode:
    kind = "text" if definition.type == "code" else definition.type
    return form.FactNode(definition.id, kind, tuple(definition.values) if kind == "enum" else ())  # type: ignore[arg-type]
