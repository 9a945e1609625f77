"""durable-rules by its own documented interface, `durable.engine.Host`, in a process of its own.

The host starts threads of its own that never end, and its faults can end a process; ours must not depend on either.
One rule set holds what reaches one level, since all rules at once are more than the engine takes.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from typing import TYPE_CHECKING, Any, Self

from benchmarks.comparable import simplify
from benchmarks.rivals import durable_condition
from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from multiprocessing.connection import Connection

    from benchmarks.comparable import Fact, RuleSet

NAME = "durable-rules by its Host"
_WAIT_S = 60.0
_MOST_GROUPS = 12


class HostProcess:
    """A child process that runs the rules. Use it as a context manager."""

    def __init__(self, rules: RuleSet, patients: Sequence[Mapping[str, Fact]]) -> None:
        """Start the child and let it build its rule sets. Raises: ChildProcessError."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._child = context.Process(target=_serve, args=(theirs, rules, list(patients)), daemon=True)
        self._child.start()
        theirs.close()
        self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.join()

    def holding(self) -> list[list[str]]:
        """Give, for each patient, the ids of the rules that hold."""
        return self._ask("holding")

    def times(self) -> list[int]:
        """Evaluate each patient once; give the CPU time of each in nanoseconds, threads of the host included."""
        return self._ask("times")

    def _ask(self, question: str) -> Any:  # noqa: ANN401 - two kinds of answer
        self._pipe.send(question)
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401 - as above
        try:
            if self._pipe.poll(_WAIT_S):
                answer = self._pipe.recv()
                if not isinstance(answer, str):
                    return answer
            else:
                answer = "no answer in time"
        except EOFError:
            answer = "the process died"
        raise ChildProcessError(answer)


def _serve(pipe: Connection, rules: RuleSet, patients: list[dict[str, Fact]]) -> None:
    warnings.simplefilter("ignore")
    try:
        run = _build(rules)
        pipe.send([])
        while True:
            if pipe.recv() == "holding":
                pipe.send([run(patient) for patient in patients])
                continue
            spent = []
            for patient in patients:
                before = time.process_time_ns()
                run(patient)
                spent.append(time.process_time_ns() - before)
            pipe.send(spent)
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - told to the parent
        pipe.send(f"{type(error).__name__}: {error}")


def _small_enough(expression: form.Expression) -> list[form.Expression]:
    """Write a condition as alternatives, each with no more groups than one rule may have."""
    if _groups(expression) <= _MOST_GROUPS:
        return [expression]
    if isinstance(expression, form.All):
        widest = max((p for p in expression.parts if isinstance(p, form.AnyOf)), key=_groups)
        others = tuple(p for p in expression.parts if p is not widest)
        parts = [simplify(form.All((*others, choice))) for choice in widest.parts]
    else:
        parts = list(expression.parts)  # type: ignore[union-attr]
    return [small for part in parts for small in _small_enough(part)]


def _groups(expression: form.Expression) -> int:
    match expression:
        case form.All(parts) | form.AnyOf(parts):
            return 1 + sum(map(_groups, parts))
        case form.OneOf(_, values) | form.Not(form.OneOf(_, values)):
            return int(len(values) > 1)
        case _:
            return 0


def _build(rules: RuleSet) -> Callable[[Mapping[str, Fact]], list[str]]:
    from durable.engine import Host, MessageNotHandledException  # noqa: PLC0415 - starts nothing in the parent

    found: list[str] = []
    always = {"$ex": {next(iter(rules.kinds)): 1}}

    def tell(name: str) -> Callable[[object], None]:
        return lambda _: found.append(name)

    rulesets: dict[str, dict[str, object]] = {}
    for rule in rules.rules:
        ruleset = rulesets.setdefault(f"level_{rule.level}", {})
        for position, part in enumerate(_small_enough(rule.condition)):
            condition = always if part == form.Always() else durable_condition(part)
            ruleset[f"{rule.id}_{position}"] = {"all": [{"m": condition}], "run": tell(rule.id)}
    host = Host(rulesets)

    def run(facts: Mapping[str, Fact]) -> list[str]:
        found.clear()
        for name in rulesets:
            fact = {"id": "patient", "sid": "one", **facts}
            try:
                host.assert_fact(name, fact)
            except MessageNotHandledException:
                continue
            host.retract_fact(name, fact)
        return list(dict.fromkeys(found))

    return run
