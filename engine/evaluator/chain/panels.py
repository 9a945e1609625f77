"""Productions laid out as rulesets, with a static proof that no evaluation can reach a limit of the engine.

Measured limits of durable-rules 2.0.28, none of which it checks in time: 64 conditions true at once and not yet
followed, 512 different conditions after one (at the 513th, building a ruleset never returns), 256 rules on one
condition, 254 properties in a fact, and names told apart by a 32-bit hash alone. The bounds here lie well below them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, TypeAlias

from engine.errors import Diagnostic, RulePackError
from engine.evaluator.chain.program import Conclusion, Program, properties_of, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from engine.evaluator.chain.boxes import Box, Property, Ranges

STACK: Final = 60
"""How many conditions may be true at once and not yet followed."""

TABLE: Final = 256
"""How many different conditions may follow one."""

RULES: Final = 128
"""How many rules may end in one condition."""

PROPERTIES: Final = 200
"""How many properties one fact may have."""

COMFORT: Final = 40
"""How many properties a fact has where that can be chosen: each condition that holds tries all of them on the next."""

PANEL: Final = 480
"""How many terms share a ruleset."""

GROUP: Final = 16
"""How many terms share a group marker, a condition that always holds and keeps the table after it small."""

RULE_NAME: Final = 3
"""How long each rule's name is, so that it can be cut out of a firing without a search."""

WARM_UP: Final = "W_0"
"""Property and name of the rule whose firing opens a session."""

_OWN_NAMES: Final = ("id", "sid", "$s", "$forward", WARM_UP)

Chain: TypeAlias = tuple[str, ...]
"""The conditions of one term in the engine's JSON, in the order in which they are tried."""

Tree: TypeAlias = "dict[str, Tree]"
"""What the engine makes of chains: those that begin alike share their first conditions."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A ruleset, and what it takes to use it.

    Attributes:
        rules: the ruleset as JSON.
        reads: slots of the nodes that it reads.
        groups: the group markers that each fact must carry, as the inside of a JSON object, with a comma after each.
        conclusions: by rule, what its firing concludes.
        properties: how many properties a fact has at most.
        table: how many different conditions follow one, at most.
        stack: how many conditions can be true at once and not yet followed.
    """

    rules: str
    reads: tuple[int, ...]
    groups: str
    conclusions: dict[str, Conclusion]
    properties: int
    table: int
    stack: int


def fnv(text: str) -> int:
    """Give the 32-bit FNV-1a hash by which the engine tells names, and sessions, apart."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def lay_out(program: Program) -> list[list[Panel]]:
    """Lay out the strata of a program as panels. What reads the same facts shares a panel, as long as it stays small.

    Raises:
        RulePackError: if one conclusion reads more than a fact can hold, or if two names have the same hash.
    """
    widths = [len(properties_of(cell)) for cell in program.cells]
    return [
        [_panel(conclusions, program) for conclusions in _shares(stratum, program, widths)]
        for stratum in program.strata
    ]


def _shares(stratum: Sequence[Conclusion], program: Program, widths: Sequence[int]) -> Iterator[list[Conclusion]]:
    """Share the conclusions of a stratum out to panels."""
    waiting = [(conclusion, frozenset(_reads([conclusion], program))) for conclusion in stratum]
    while waiting:
        share: list[Conclusion] = []
        read: frozenset[int] = frozenset()
        terms = 0
        while waiting:
            # The one that adds the fewest properties comes next; among equals, the first.
            at = min(range(len(waiting)), key=lambda at: sum(widths[slot] for slot in waiting[at][1] - read))
            conclusion, slots = waiting[at]
            size = sum(widths[slot] for slot in read | slots)
            if share and (size > COMFORT or terms + len(conclusion.boxes) > PANEL):
                break
            if size + -(-len(conclusion.boxes) // GROUP) + 2 > PROPERTIES:
                refuse(
                    "too-many-facts",
                    conclusion.node,
                    f"reads more facts at once than {PROPERTIES} properties hold",
                    "split its condition with derived facts",
                )
            share.append(conclusion)
            read |= slots
            terms += len(conclusion.boxes)
            del waiting[at]
        yield share


def _reads(conclusions: Iterable[Conclusion], program: Program) -> tuple[int, ...]:
    owners = program.owners
    return tuple(sorted({owners[prop.name] for each in conclusions for box in each.boxes for prop, _ in box}))


def _panel(conclusions: Sequence[Conclusion], program: Program) -> Panel:
    terms = [(_conditions(box), conclusion) for conclusion in conclusions for box in conclusion.boxes]
    shared = Counter(condition for conditions, _ in terms for condition in conditions)
    ordered = sorted(
        (
            (tuple(sorted(conditions, key=lambda text: (-shared[text], text))), number, conclusion)
            for number, (conditions, conclusion) in enumerate(terms)
        ),
        key=lambda term: ([(-shared[text], text) for text in term[0]], term[1]),
    )
    is_grouped = len(ordered) > GROUP
    chains = [
        (f'{{"$eq":{{"G{at // GROUP}":1}}}}', *conditions) if is_grouped else conditions
        for at, (conditions, _, _) in enumerate(ordered)
    ]
    groups = [f"G{number}" for number in range(-(-len(ordered) // GROUP))] if is_grouped else []
    reads = _reads(conclusions, program)
    names = [*(prop.name for slot in reads for prop in properties_of(program.cells[slot])), *groups]
    check_names(names)
    table, stack = check_chains(chains)
    rules = [f'"{at:03}":{{"all":[{{"m":{{"$and":[{",".join(chain)}]}}}}]}}' for at, chain in enumerate(chains)]
    rules.append(f'"{WARM_UP}":{{"all":[{{"m":{{"$eq":{{"{WARM_UP}":1}}}}}}]}}')
    return Panel(
        rules="{" + ",".join(rules) + "}",
        reads=reads,
        groups="".join(f'"{group}":1,' for group in groups),
        conclusions={f"{at:03}": conclusion for at, (_, _, conclusion) in enumerate(ordered)},
        properties=len(names) + 2,
        table=table,
        stack=stack,
    )


def _conditions(box: Box) -> Chain:
    return tuple(condition for prop, ranges in box for condition in _comparisons(prop, ranges))


def _comparisons(prop: Property, ranges: Ranges) -> Iterable[str]:
    """Write the comparisons that hold exactly where a property is present and holds one of these numbers."""
    first, last = ranges[0][0], ranges[-1][1]
    if first == last:
        yield f'{{"$eq":{{"{prop.name}":{first}}}}}'
        return
    left_out = [number for (_, a), (b, _) in pairwise(ranges) for number in range(a + 1, b)]
    if first > prop.low or (last == prop.high and not left_out):
        yield f'{{"$gte":{{"{prop.name}":{first}}}}}'
    if last < prop.high:
        yield f'{{"$lte":{{"{prop.name}":{last}}}}}'
    for number in left_out:
        yield f'{{"$neq":{{"{prop.name}":{number}}}}}'


def check_names(names: Sequence[str]) -> None:
    """Check that the engine can tell the names of a fact's properties apart.

    Raises:
        RulePackError: if two names have the same 32-bit hash.
    """
    names = [*names, *_OWN_NAMES]
    if len({fnv(name) for name in names}) != len(names):
        _refuse_layout("name-collision", "two property names have the same hash")


def check_chains(chains: Sequence[Chain]) -> tuple[int, int]:
    """Check that building a ruleset ends and that no fact can reach a limit of the engine.

    Returns:
        The widest table and the highest stack that can occur.

    Raises:
        RulePackError: if one of them, or the number of rules on one condition, is beyond its bound.
    """
    tree: Tree = {}
    for chain in chains:
        branch = tree
        for condition in chain:
            branch = branch.setdefault(condition, {})
    # The warm-up rule is one more condition at the root.
    table, stack = max(_table(tree), len(tree) + 1), _stack(tree)
    if table > TABLE:
        _refuse_layout("table", f"{table} different conditions follow one, and {TABLE} may")
    if stack > STACK:
        _refuse_layout("stack", f"{stack} conditions can be true at once, and {STACK} may")
    if any(count > RULES for count in Counter(chains).values()):
        _refuse_layout("rules", f"more than {RULES} rules end in one condition")
    return table, stack


def _table(tree: Tree) -> int:
    return max([len(tree), *map(_table, tree.values())])


def _stack(tree: Tree) -> int:
    # The engine takes one condition off and puts on all that follow it and hold, at worst all.
    return max(len(tree), len(tree) - 1 + max(map(_stack, tree.values()), default=0)) if tree else 0


def _refuse_layout(code: str, message: str) -> None:
    hint = "split the conditions of the packs with derived facts"
    raise RulePackError([Diagnostic("compiled", 0, 0, f"chain/{code}", message, hint)])
