"""Who is measured, after the proof that all of them decide alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.comparable import JURISDICTION, comparable, flat_facts, without_advice
from benchmarks.host import NAME as HOST
from benchmarks.host import HostProcess
from benchmarks.measure import COMPARABLE, WHOLE, Contender, timed
from benchmarks.patients import AS_OF, Clinic, Patient
from benchmarks.rivals import RIVALS
from engine.compiler.levels import STATUS_OF_LEVEL
from engine.compiler.packset import status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluator
from engine.evaluator.chain import Chain
from engine.evaluator.interpret import Interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import ExitStack

    from benchmarks.comparable import Fact, RuleSet
    from engine.evaluator.agree import Mode
    from engine.pack.book import RuleBook

Statuses = tuple[str, ...]
NO_REASONS, TRACE, VALUES, ARGUMENT = "nothing", "a trace", "the value of every node", "the whole argument"
EXPLAINED = "this engine, explained"


def whole(book: RuleBook, patients: int, stack: ExitStack) -> list[Contender]:
    """This engine on everything that it does for the jurisdiction, on partly known patients."""
    packs = compile_packs(book, JURISDICTION, None, AS_OF)
    people = Clinic(book, packs).partly_known(patients)
    interpreter = Interpreter(packs.compiled)
    chain = Chain(packs.compiled, sessions=1)
    stack.callback(chain.close)
    inputs = [p.inputs for p in people]
    return [
        Contender("interpreter alone", WHOLE, VALUES, timed(interpreter.evaluate, inputs)),
        Contender("durable-rules chain alone", WHOLE, VALUES, timed(chain.evaluate, inputs)),
        Contender("interpreter, explained", WHOLE, ARGUMENT, timed(_explained(book, "interpret", stack), people)),
        Contender("both engines, explained", WHOLE, ARGUMENT, timed(_explained(book, "both", stack), people)),
    ]


def against_rivals(
    book: RuleBook, patients: int, stack: ExitStack, tell: Callable[[str], None]
) -> tuple[RuleSet, list[Contender]]:
    """This engine and the others on the comparable rules, fully known patients; who decides otherwise is left out."""
    reduced = without_advice(book)
    packs, rules = comparable(reduced)
    people = Clinic(reduced, packs).known(patients)
    interpreter = Interpreter(packs.compiled)
    values = [interpreter.evaluate(p.inputs) for p in people]
    ours = [tuple(STATUS_OF_LEVEL[str(v.values[status_node(o)])] for o in rules.options) for v in values]
    flat = [flat_facts(rules, packs, p.inputs, v) for p, v in zip(people, values, strict=True)]
    explain = _explained(reduced, "interpret", stack)
    contenders = [
        Contender("this engine", COMPARABLE, VALUES, timed(interpreter.evaluate, [p.inputs for p in people])),
        Contender(EXPLAINED, COMPARABLE, ARGUMENT, timed(explain, people)),
    ]
    for rival in RIVALS:
        if not rival.is_installed:
            tell(f"{rival.name}: not measured, {rival.package} is not installed")
            continue
        run = rival.build(rules)
        given = [rival.prepare(facts) for facts in flat]
        if _agrees(rival.name, rules, ours, map(run, given), tell):
            reasons = TRACE if "traced" in rival.name else NO_REASONS
            contenders.append(Contender(rival.title, COMPARABLE, reasons, timed(run, given)))
    host = _host(rules, ours, flat, stack, tell)
    return rules, contenders + ([host] if host else [])


def _host(
    rules: RuleSet,
    ours: Sequence[Statuses],
    flat: Sequence[dict[str, Fact]],
    stack: ExitStack,
    tell: Callable[[str], None],
) -> Contender | None:
    try:
        host = stack.enter_context(HostProcess(rules, flat))
        if not _agrees(HOST, rules, ours, host.holding(), tell):
            return None
    except ChildProcessError as error:
        tell(f"{HOST}: not measured, {error}")
        return None
    return Contender(HOST, COMPARABLE, NO_REASONS, host.times)


def _explained(book: RuleBook, mode: Mode, stack: ExitStack) -> Callable[[Patient], object]:
    engines = Evaluator(book, mode, sessions=1)
    stack.callback(engines.close)
    return lambda patient: engines.evaluate(patient.facts, JURISDICTION, None, AS_OF)


def _agrees(
    name: str, rules: RuleSet, ours: Sequence[Statuses], theirs: Iterable[Iterable[str]], tell: Callable[[str], None]
) -> bool:
    same = sum(rules.statuses(holding) == statuses for holding, statuses in zip(theirs, ours, strict=True))
    tell(f"{name}: decides as we do for {same} of {len(ours)} patients")
    return same == len(ours)
