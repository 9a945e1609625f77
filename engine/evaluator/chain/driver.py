"""One evaluation, stratum by stratum: facts go in, conclusions come out and are the facts of the next stratum."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, assert_never

from engine.compiler.form import OPEN, Compiled, CountNode, Inputs, Value, Values
from engine.errors import ChainFault
from engine.evaluator.chain.panels import Panel, lay_out
from engine.evaluator.chain.productions import compile_graph
from engine.evaluator.chain.program import (
    FALSE,
    GREATEST,
    TRUE,
    UNKNOWN,
    Cell,
    CountCell,
    EnumCell,
    NumberCell,
    Program,
    TruthCell,
    refuse,
)
from engine.evaluator.chain.session import SESSIONS, Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.evaluator.chain.session import Ruleset, Session

WAIT_SECONDS: Final = 30.0
"""How long an evaluation waits for a session, and closing for an evaluation."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the compiled form became, for documentation and metrics.

    Attributes:
        productions: values of nodes that the engine concludes.
        terms: rules, one per term of a production.
        levels: passes over one patient.
        record_levels: by list, passes over one record.
        rulesets: rulesets of all graphs.
        properties: most properties that one fact can have.
        widest_table: most different conditions that follow one.
        stack_peak: most conditions that can be true at once and not yet followed.
    """

    productions: int
    terms: int
    levels: int
    record_levels: dict[str, int]
    rulesets: int
    properties: int
    widest_table: int
    stack_peak: int


class Chain:
    """The forward-chaining back end: durable-rules concludes every condition, piece of evidence and choice.

    Thread-safe: as many evaluations run as there are sessions, others wait. Two chains may live in one process. Fork
    only before a chain is built, or while none of its evaluations runs.
    """

    def __init__(
        self,
        compiled: Compiled,
        sessions: int = 4,
        name: str = "chain",
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Turn the compiled form into rulesets, prove that they keep to the engine's limits, and only then build them.

        Args:
            compiled: what to evaluate.
            sessions: how many evaluations may run at once; each costs about 13 KB per rule.
            name: prefix of the rulesets' names.
            wait_seconds: how long an evaluation waits for a session, and closing for an evaluation.

        Raises:
            RulePackError: if the compiled form asks for more than the engine can hold, or contradicts itself.
            ChainFault: if the engine fails.
            ValueError: if there are fewer sessions than one or more than 1000.
        """
        if not 1 <= sessions <= SESSIONS:
            message = f"sessions is {sessions}; give a number from 1 to {SESSIONS}"
            raise ValueError(message)
        programs = [compile_graph(graph) for graph in (compiled.graph, *compiled.records.values())]
        _check_counts(programs[0], dict(zip(compiled.records, programs[1:], strict=True)))
        layouts = [lay_out(program) for program in programs]
        panels = [panel for strata in layouts for stratum in strata for panel in stratum]
        self.plan = _plan(compiled, programs, layouts, panels)
        self._pool = Pool(name, [panel.rules for panel in panels], sessions, wait_seconds)
        rulesets = iter(list(self._pool.rulesets))
        runs = [_Run(program, strata, rulesets) for program, strata in zip(programs, layouts, strict=True)]
        self._patient = runs[0]
        self._records = dict(zip(compiled.records, runs[1:], strict=True))
        self._completeness = dict(compiled.completeness)

    def evaluate(self, inputs: Inputs) -> Values:
        """Conclude the value of every node for one patient. The same inputs give equal values, in the graph's order.

        Raises:
            ChainFault: if the engine fails or contradicts itself, if an input is not of its fact's type, if no session
                comes free in time, or if the chain is closed. No later evaluation is touched by it.
        """
        given = {of: inputs.records.get(of) for of in self._records}
        record_texts = {of: [self._records[of].write(record) for record in given[of] or ()] for of in self._records}
        texts = self._patient.write(inputs.values)
        with self._pool.session() as session:
            records = {
                of: tuple(self._records[of].conclude(session, each, {}) for each in written)
                for of, written in record_texts.items()
            }
            counts = {node.name: self._tally(node, inputs, records) for node in self._patient.counts}
            values = self._patient.conclude(session, texts, counts)
        return Values(values=values, records=records)

    def _tally(
        self,
        node: CountNode,
        inputs: Inputs,
        records: Mapping[str, tuple[dict[str, Value], ...]],
    ) -> tuple[int, int]:
        """Count the records that surely match and those that possibly do."""
        given = inputs.records.get(node.records)
        if given is None:
            return 0, OPEN
        sure: set[Value] = set()
        possible: set[Value] = set()
        has_unnamed = False
        for position, (record, concluded) in enumerate(zip(given, records[node.records], strict=True)):
            match = concluded[node.where] if node.where in concluded else record.get(node.where)
            if match is False:
                continue
            # A record that is told apart by its place has a pair that no value of a field is.
            place = (position, position)
            shared: Value = place
            if node.distinct is not None:
                shared = concluded[node.distinct] if node.distinct in concluded else record.get(node.distinct)
            possible.add(place if shared is None else shared)
            if match is True and shared is None:
                has_unnamed = True
            elif match is True:
                sure.add(shared)
        least = len(sure) or int(has_unnamed)
        is_complete = inputs.values.get(self._completeness.get(node.records, "")) is True
        return least, len(possible) if is_complete else OPEN

    def close(self) -> None:
        """Wait until running evaluations end, then free everything. Closing twice does nothing.

        Raises:
            ChainFault: if an evaluation does not end in time. No new one can begin; the chain can be closed again.
        """
        self._pool.close()


class _Outcome(NamedTuple):
    """What the firing of a rule means: the value of a node, and what later facts say of it."""

    slot: int
    value: bool | str
    text: str


class _Pass:
    """One ruleset of a stratum: what its fact is made of, and what its rules conclude."""

    __slots__ = ("groups", "outcomes", "pick", "ruleset")

    def __init__(self, panel: Panel, cells: Sequence[Cell], ruleset: Ruleset) -> None:
        self.ruleset = ruleset
        self.groups = panel.groups
        self.pick = itemgetter(*panel.reads)
        self.outcomes = {
            rule: _Outcome(each.slot, each.value, _text(cells[each.slot], each.value))
            for rule, each in panel.conclusions.items()
        }


class _Run:
    """A graph ready to run. Texts and values are by slot; a text is what a fact says of a node, ending in a comma."""

    def __init__(self, program: Program, strata: list[list[Panel]], rulesets: Iterator[Ruleset]) -> None:
        self.counts = tuple(program.counts)
        self._cells = tuple(program.cells)
        self._slots = dict(program.slots)
        self._answers = tuple(program.answers)
        self._answer_slots = tuple(program.slots[name] for name in program.answers)
        self._passes = [[_Pass(panel, self._cells, next(rulesets)) for panel in panels] for panels in strata]
        self._settled: list[Value] = [program.settled.get(slot) for slot in range(len(self._cells))]
        self._texts = [_text(cell, value) for cell, value in zip(self._cells, self._settled, strict=True)]
        read = {slot for panels in strata for panel in panels for slot in panel.reads}
        facts = [(node.name, slot) for node in program.facts if (slot := program.slots[node.name]) in read]
        self._truths = [
            (name, slot, {met: _text(cell, met) for met in (True, False)})
            for name, slot in facts
            if isinstance(cell := self._cells[slot], TruthCell)
        ]
        self._enums = [
            (name, slot, {value: _text(cell, value) for value in cell.codes})
            for name, slot in facts
            if isinstance(cell := self._cells[slot], EnumCell)
        ]
        self._numbers = [
            (name, slot, start := f'"{cell.prop.name}":', _text(cell, 0).removeprefix(f"{start}0"))
            for name, slot in facts
            if isinstance(cell := self._cells[slot], NumberCell)
        ]

    def write(self, given: Mapping[str, Value]) -> list[str]:
        """Write what the first fact says of each node: the values given, all others unknown as yet.

        Raises:
            ChainFault: if a value is not of its fact's type. Nothing untyped reaches the engine, which would coerce it.
        """
        texts = self._texts.copy()
        value: Value
        for name, slot, truths in self._truths:
            if (value := given.get(name)) is not None:
                texts[slot] = truths[value] if value is True or value is False else _refuse_value(name)
        for name, slot, words in self._enums:
            if (value := given.get(name)) is not None:
                texts[slot] = words[value] if isinstance(value, str) and value in words else _refuse_value(name)
        for name, slot, start, end in self._numbers:
            if (value := given.get(name)) is not None:
                is_exact = type(value) is int and -GREATEST <= value <= GREATEST
                texts[slot] = f"{start}{value}{end}" if is_exact else _refuse_value(name)
        return texts

    def conclude(self, session: Session, texts: list[str], counts: Mapping[str, tuple[int, int]]) -> dict[str, Value]:
        """Run the passes; give the value of every node that is no fact. `texts` is used up.

        Raises:
            ChainFault: if a node gets two values.
        """
        values = self._settled.copy()
        for name, interval in counts.items():
            slot = self._slots[name]
            values[slot] = interval
            texts[slot] = _text(self._cells[slot], interval)
        for passes in self._passes:
            # INVARIANT: a stratum reads only what was final before it, so its conclusions may be written down at once.
            # What it does not conclude keeps the marker of unknown, so each condition always has exactly one marker.
            for each in passes:
                outcomes = each.outcomes
                for rule in each.ruleset.fire(session, each.groups + "".join(each.pick(texts))):
                    slot, value, text = outcomes[rule]
                    if values[slot] is None:
                        values[slot] = value
                        texts[slot] = text
                    elif values[slot] != value:
                        self._refuse_contradiction(slot)
        return dict(zip(self._answers, map(values.__getitem__, self._answer_slots), strict=True))

    def _refuse_contradiction(self, contradicted: int) -> NoReturn:
        name = next(name for name, slot in self._slots.items() if slot == contradicted)
        message = f"durable-rules concluded two values of `{name}` at once"
        raise ChainFault(message)


def _text(cell: Cell, value: Value) -> str:
    """Write what a fact says of a node."""
    match cell:
        case TruthCell(prop):
            return f'"{prop.name}":{UNKNOWN if value is None else TRUE if value else FALSE},'
        case EnumCell(prop, codes):
            return f'"{prop.name}":{codes[value] if isinstance(value, str) else 0},'
        case NumberCell(prop, marker):
            stated = "" if marker is None else f'"{marker.name}":{int(value is not None)},'
            return stated if value is None else f'"{prop.name}":{value},{stated}'
        case CountCell(lower, upper):
            least, most = value if isinstance(value, tuple) else (0, OPEN)
            return f'"{lower.name}":{least},"{upper.name}":{most},'
        case _:
            assert_never(cell)


def _refuse_value(name: str) -> NoReturn:
    message = f"`{name}` was given a value that is not of its type"
    raise ChainFault(message)


def _check_counts(patient: Program, records: Mapping[str, Program]) -> None:
    for of, program in records.items():
        if program.counts:
            refuse("order", program.counts[0].name, f"counts records within a record of `{of}`", "count them outside")
    for node in patient.counts:
        if node.records not in records:
            refuse("order", node.name, f"counts the list `{node.records}`, which has no graph", "name a list")
        program = records[node.records]
        for name in (node.where, node.distinct):
            if name is not None and name not in program.slots:
                refuse("order", node.name, f"reads `{name}`, which no record of `{node.records}` has", "name a field")
        if not isinstance(program.cells[program.slots[node.where]], TruthCell):
            refuse("type", node.name, f"takes `{node.where}` for a condition", "name a condition")


def _plan(
    compiled: Compiled,
    programs: Sequence[Program],
    layouts: Sequence[list[list[Panel]]],
    panels: Sequence[Panel],
) -> Plan:
    return Plan(
        productions=sum(len(stratum) for program in programs for stratum in program.strata),
        terms=sum(len(panel.conclusions) for panel in panels),
        levels=len(layouts[0]),
        record_levels={of: len(strata) for of, strata in zip(compiled.records, layouts[1:], strict=True)},
        rulesets=len(panels),
        properties=max((panel.properties for panel in panels), default=0),
        widest_table=max((panel.table for panel in panels), default=0),
        stack_peak=max((panel.stack for panel in panels), default=0),
    )
