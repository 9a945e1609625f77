"""`missing` and `could_be` of one patient by trying every completion, sharing no code with the engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import STATUS_OF_LEVEL
from engine.compiler.packset import PackSet, status_node
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from tests.property.completions import COMPARE, Axis, Completions
from tests.property.thresholds import leaves_of, thresholds_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.pack.book import RuleBook
    from tests.property.patients import Patient, Patients

MOST_COMPLETIONS = 400_000
TRIALS_COUNT = "failed_trials_6_49"
"""The one count behind the statuses."""


@dataclass(frozen=True)
class Answer:
    """For each option the statuses within reach, and the facts that matter."""

    could_be: Mapping[str, frozenset[str]]
    missing: Mapping[str, frozenset[str]]


class BruteForce:
    """Tries every completion."""

    def __init__(self, book: RuleBook, packs: PackSet) -> None:
        self.book = book
        self.packs = packs
        self.interpreter = Interpreter(packs.compiled)
        self.statuses = {option.id: status_node(option.id) for option in packs.options}
        self.thresholds = thresholds_of(packs.compiled.graph)
        self.leaves: dict[str, list[form.Compare | form.OneOf]] = {}
        self.spoken: set[str] = set()
        for node in packs.compiled.graph.nodes:
            for leaf in leaves_of(node):
                self.leaves.setdefault(leaf.node, []).append(leaf)
            if isinstance(node, form.EvidenceNode):
                self.spoken |= {source.node for source in node.sources if source.mapping is None}
        self.readers: dict[str, list[str]] = {}
        for name, reads in packs.reads.items():
            for read in reads:
                self.readers.setdefault(read, []).append(name)

    def answer(self, patients: Patients, patient: Patient, *, is_strict: bool = False) -> Answer | None:
        """Give what brute force finds; None where there are too many completions to try."""
        inputs = prepare(self.book, self.packs, patients.read(patient))
        values = self.interpreter.evaluate(inputs)
        base = {**inputs.values, **values.values}
        axes = [axis for axis in self._axes(inputs, values, base) if self._reaches_a_status(axis, base)]
        size = 1
        for axis in axes:
            size *= len(axis.ways)
        if size > MOST_COMPLETIONS:
            return None
        tried = Completions(self.packs, base, axes, is_strict=is_strict)
        for constraint in self.book.dictionary.constraints:
            together = tried.all if constraint.never else 0
            for name, value in constraint.never.items():
                together &= tried.of(name).get(value, 0)
            tried.valid &= ~together
        could_be, missing = {}, {}
        for option, node in self.statuses.items():
            outcomes: dict[str, int] = {}
            for level, bits in tried.of(node).items():
                word = STATUS_OF_LEVEL[str(level)]
                outcomes[word] = outcomes.get(word, 0) | (bits & tried.valid)
            could_be[option] = frozenset(word for word, bits in outcomes.items() if bits)
            missing[option] = frozenset(
                fact
                for place, axis in enumerate(axes)
                if tried.matters(place, outcomes)
                for fact in axis.name.split("+")
            )
        return Answer(could_be, missing)

    def axes_of(self, missing: Collection[str]) -> Iterator[Axis]:
        """Give the axes of missing facts, lists left out."""
        pairs = [constraint.together for constraint in self.book.dictionary.constraints if constraint.together]
        paired = {name for pair in pairs for name in pair}
        for first, second in pairs:
            if first in missing:
                ways = {
                    (self._told_apart(first, one), self._told_apart(second, other)): {first: one, second: other}
                    for one in self._values(self.book.facts[first])
                    for other in self._values(self.book.facts[second])
                    if one > other  # type: ignore[operator]
                }
                yield Axis(f"{first}+{second}", ({}, *ways.values()))
        for name, definition in self.book.facts.items():
            if definition.type != "records" and name not in paired and name in missing:
                yield Axis(name, ({}, *({name: value} for value in self.domain(definition))))

    def counts_of(self, names: Collection[str]) -> Iterator[Axis]:
        """Give the axis of how many trials failed, none in the first way, if it is among some names."""
        if TRIALS_COUNT in names:
            most = max(self.thresholds[TRIALS_COUNT]) + 1
            yield Axis(TRIALS_COUNT, ({}, *({TRIALS_COUNT: (n, n)} for n in range(1, most + 1))))

    def _axes(self, inputs: form.Inputs, values: form.Values, base: Mapping[str, form.Value]) -> Iterator[Axis]:
        yield from self.axes_of([name for name in self.book.facts if base.get(name) is None])
        low, high = form.interval(base[TRIALS_COUNT])
        credited = "+".join(self._credited(inputs, values))
        if low != high and credited:
            highest = min(high, max(self.thresholds[TRIALS_COUNT]) + 1)
            yield Axis(credited, ({}, *({TRIALS_COUNT: (n, n)} for n in range(low, highest + 1))))

    def domain(self, definition: FactDefinition) -> list[form.Value]:
        """Its values, or thresholds and their neighbours; of those that no condition tells apart, one."""
        if definition.type == "bool":
            return [False, True]
        return list({self._told_apart(definition.id, value): value for value in self._values(definition)}.values())

    def _told_apart(self, fact: str, value: int | str) -> tuple[object, ...]:
        tests: list[object] = [value] if fact in self.spoken else []
        for leaf in self.leaves.get(fact, ()):
            if isinstance(leaf, form.OneOf):
                tests.append(value in leaf.values)
            else:
                tests.append(COMPARE[leaf.operator](int(value), leaf.constant))
        return tuple(tests)

    def _values(self, definition: FactDefinition) -> Sequence[int | str]:
        near = {c + step for c in self.thresholds.get(definition.id, ()) for step in (-1, 0, 1)}
        match definition.type:
            case "enum":
                return [value for value in definition.values if value not in definition.missing_values]
            case "int" | "decimal":
                low, high = (int(n * 10**definition.scale) for n in definition.range or ())
                return sorted({low, high} | {n for n in near if low <= n <= high})
            case _:
                return sorted({0, 1} | {n for n in near if n >= 0})

    def _credited(self, inputs: form.Inputs, values: form.Values) -> Iterator[str]:
        """The facts to ask for: what is undecided in a trial, where it is placed, whether the list is whole."""
        given = inputs.records["trials"]
        node = next(n for n in self.packs.compiled.graph.nodes if n.name == TRIALS_COUNT)
        assert isinstance(node, form.CountNode)
        needs_content = given is None
        needs_start = False
        for record, concluded in zip(given or (), values.records["trials"], strict=True):
            if concluded[node.where] is not None:
                continue
            is_unplaced = (
                inputs.values.get("episode_start_date") is None
                and record.get("in_episode") is None
                and record.get("end_date") is not None
            )
            placed = self.interpreter.conclude_record("trials", {**record, "in_episode": True})
            needs_start |= is_unplaced
            needs_content |= not (is_unplaced and placed[node.where] is not None)
        yield from ["trials"] if needs_content else []
        yield from ["episode_start_date"] if needs_start else []
        yield from ["trial_history_complete"] if inputs.values.get("trial_history_complete") is not True else []

    def _reaches_a_status(self, axis: Axis, base: Mapping[str, form.Value]) -> bool:
        reached: set[str] = set()
        queue = list(axis.nodes)
        while queue:
            for reader in self.readers.get(queue.pop(), ()):
                is_settled = isinstance(self.packs.nodes[reader], form.EvidenceNode) and base[reader] is not None
                if reader not in reached and not is_settled:
                    reached.add(reader)
                    queue.append(reader)
        return not reached.isdisjoint(self.statuses.values())
