"""Local packs may only make answers stricter: what they hold is checked here, and which way their numbers move answers.

A hospital's pack adds hazards, deferrals, requirements, cautions, notes and referrals, and may set a stricter number
where the packs that it extends name one. New criteria cannot loosen anything: an option's status is the worst that a
criterion reaches. A number is compared by what it does: every criterion that reads it, through however many concepts,
must be met by more patients if it stands in an option's way, and by fewer if it opens one. What cannot be told is
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from engine import trials
from engine.compiler import form
from engine.compiler.levels import LEVEL_OF_EFFECT
from engine.compiler.packset import node_reads, referral_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from decimal import Decimal

    from engine.compiler.packset import PackSet
    from engine.errors import Diagnostic
    from engine.pack import model
    from engine.pack.book import Pack

Move: TypeAlias = Literal["same", "up", "down", "mixed"]
"""Which way a truth goes, not met < unknown < met, for every patient; `mixed` where that cannot be told."""

ADDS = frozenset({*LEVEL_OF_EFFECT, "excludes", "shows"})
"""Effects that a local pack may add."""
_HOLDS_BACK = frozenset({"contraindicates", "excludes", "advises_against", "requires", "defers"})
_NAMED = frozenset({"criterion", "derived", "referral", "reference"})
"""Items that would stand in the place of another pack's of the same id."""
_FLIPPED: Mapping[Move, Move] = {"same": "same", "up": "down", "down": "up", "mixed": "mixed"}
_STRICTER: Mapping[str, frozenset[Move]] = {
    **dict.fromkeys(
        ("contraindicates", "excludes", "advises_against", "defers", "cautions"), frozenset({"same", "up"})
    ),
    **dict.fromkeys(("triages", "denies"), frozenset({"same", "up"})),
    **dict.fromkeys(("indicates", "covers", "requires"), frozenset({"same", "down"})),
    **dict.fromkeys(("discounts", "asks_approval"), frozenset({"same"})),
}
"""Which way a criterion may move; the node of `requires` is met while nothing is lacking. Others only inform."""


def loosened(
    local: Sequence[Pack],
    national: Sequence[Pack],
    found: PackSet,
    compiled: Callable[[Sequence[Pack], Mapping[str, model.Parameter]], PackSet],
) -> list[Diagnostic]:
    """List what local packs hold that could make an answer better than it is without them.

    Each is held against all others, other local packs included, so that none takes back what another one made stricter.

    Args:
        local: the packs that tighten.
        national: the packs that answer without them.
        found: all of them, compiled.
        compiled: compiles packs with other parameters.

    """
    faults: list[Diagnostic] = []
    for pack in local:
        faults += _forbidden(pack, found)
        faults += _brought(pack, national, found)
        faults += (fault for other in found.packs if other is not pack for fault in _taken(pack, other))
        rest = [other for other in found.packs if other is not pack and pack.id not in _bases(other, found.packs)]
        before = compiled(rest, {}) if pack.parameters else found
        for name in pack.parameters:
            rivals = [other.id for other in local if other is not pack and name in other.parameters]
            if rivals:
                message = f"local pack `{rivals[0]}` sets `{name}` too"
                hint = "keep it in one local pack, with the stricter number"
                faults.append(pack.located["parameter", name].fault("local/conflict", message, hint))
            elif name in before.parameters:
                faults += _loosening_number(pack, name, before, rest, compiled)
    return faults


def _bases(pack: Pack, packs: Iterable[Pack]) -> set[str]:
    """Give the ids of what a pack extends, through however many packs."""
    by_id = {other.id: other for other in packs}
    found: set[str] = set()
    waiting = list(pack.header.extends)
    while waiting:
        base = waiting.pop()
        if base in by_id and base not in found:
            found.add(base)
            waiting += by_id[base].header.extends
    return found


def _forbidden(pack: Pack, found: PackSet) -> Iterator[Diagnostic]:
    standard = {o.id for o in found.options if o.authorization == "standard_care"}
    for kind in ("options", "triage"):
        if (kind, "") in pack.located:
            message = f"a local pack cannot bring its own {kind}.yaml"
            yield pack.located[kind, ""].fault("local/loosens", message, "add criteria and referrals instead")
    for name, criterion in pack.criteria.items():
        located = pack.located["criterion", name]
        if criterion.effect not in ADDS:
            hint = f"a local pack adds {', '.join(sorted(ADDS))} and referrals"
            yield located.fault("local/loosens", f"`{criterion.effect}` could loosen an answer", hint, ("effect",))
        if criterion.replaces:
            message = f"`{name}` would take the place of `{criterion.replaces}`"
            yield located.fault("local/loosens", message, "leave out `replaces`", ("replaces",))
        if criterion.effect in _HOLDS_BACK and standard & set(criterion.options):
            message = f"`{name}` would hold back standard care, and leave a patient with nothing"
            yield located.fault("local/no-care-left", message, "use `cautions`", ("options",))


def _brought(pack: Pack, national: Sequence[Pack], found: PackSet) -> Iterator[Diagnostic]:
    """Find packs that would answer only because the local pack extends them."""
    alone = {p.id for p in found.packs if not p.header.tightens} - {p.id for p in national}
    for base in pack.header.extends:
        if base in alone:
            message = f"`{pack.id}` would let `{base}` answer for {found.jurisdiction}"
            hint = "extend packs that answer in every jurisdiction that `tightens` names"
            yield pack.place.fault("local/loosens", message, hint, ("extends",))


def _taken(pack: Pack, other: Pack) -> Iterator[Diagnostic]:
    """Find what would take the place of another pack's item, whether or not the local pack extends that one."""
    for kind, key in pack.located:
        if kind in _NAMED and (kind, key) in other.located:
            message = f"{kind} `{key}` would take the place of that of pack `{other.id}`"
            yield pack.located[kind, key].fault("local/loosens", message, "ids are never reused; choose another")
    for kind in sorted(pack.referral_kinds.keys() & other.referral_kinds.keys()):
        message = f"the words for `{kind}` would take the place of those of pack `{other.id}`"
        yield pack.place.fault("local/loosens", message, "leave the kind out of `kinds`")


def _loosening_number(
    pack: Pack,
    name: str,
    before: PackSet,
    rest: Sequence[Pack],
    compiled: Callable[[Sequence[Pack], Mapping[str, model.Parameter]], PackSet],
) -> Iterator[Diagnostic]:
    located = pack.located["parameter", name]
    given, own = before.parameters[name][0], pack.parameters[name]
    if name in trials.PARAMETERS:
        message = f"`{name}` decides how trials are read, which a local pack cannot change"
        yield located.fault("local/loosens", message)
        return
    tightened = given.tightened(own)
    days = (day for day in (*given.values, *own.values) if day >= min(own.values))
    steps = {(given.at(day), tightened.at(day)) for day in days}
    for old, new in sorted(step for step in steps if step[0] != step[1]):
        without, with_it = (compiled(rest, {name: _constant(own, value)}) for value in (old, new))
        moves = _moves(without, with_it)
        for subject, move, allowed in _watched(without, moves):
            if move not in allowed:
                says = "could be met by more or fewer patients" if move == "mixed" else "would loosen"
                message = f"with {new} for `{name}` in place of {old}, `{subject}` {says}"
                hint = "a local number is stricter in every criterion that reads it, on every day"
                yield located.fault("local/loosens", message, hint)


def _constant(parameter: model.Parameter, value: Decimal) -> model.Parameter:
    return parameter.model_copy(update={"values": {min(parameter.values): value}})


def _watched(packs: PackSet, moves: Mapping[str, Move]) -> Iterator[tuple[str, Move, frozenset[Move]]]:
    """Give what bears on an answer, which way it goes, and which way it may."""
    prepared = {o for c in packs.criteria.values() if c.effect == "indicates" and c.gives for o in c.options}
    for name, criterion in packs.criteria.items():
        allowed = _STRICTER.get(criterion.effect)
        if allowed is not None:
            is_followed = _is_followed(criterion, prepared)
            yield name, moves.get(name, "same"), frozenset({"same"}) if is_followed else allowed
        if criterion.prior_approval_if:
            yield criterion.prior_approval_if, moves.get(criterion.prior_approval_if, "same"), frozenset({"same", "up"})
    for rule in packs.referrals:
        yield f"{rule.kind}/{rule.urgency}", moves.get(referral_node(rule), "same"), frozenset({"same", "up"})


def _is_followed(criterion: model.Criterion, prepared: AbstractSet[str]) -> bool:
    """Say whether something better may decide once a criterion that opens an answer is out of the question.

    While an indication is open, or a payer's rule that comes first, the answer waits for it. Once it cannot be met,
    a step before the indication defers, or a later rule covers.
    """
    match criterion.effect:
        case "indicates":
            return not criterion.gives and not prepared.isdisjoint(criterion.options)
        case "covers":
            return criterion.before_status or bool(criterion.prior_approval_if)
        case _:
            return False


def _moves(before: PackSet, after: PackSet) -> dict[str, Move]:
    """Give which way each node goes from one compiled form of the same packs to another with other numbers."""
    moves: dict[str, Move] = {}
    graphs = [(g, after.compiled.records[name]) for name, g in before.compiled.records.items()]
    for old, new in (*graphs, (before.compiled.graph, after.compiled.graph)):
        others = {n.name: n for n in new.nodes}
        for node in old.nodes:
            moves[node.name] = _move(node, others.get(node.name), moves)
    return moves


def _move(node: form.Node, other: form.Node | None, moves: Mapping[str, Move]) -> Move:
    match node, other:
        case form.FactNode(), form.FactNode():
            return "same"
        case form.ConditionNode(), form.ConditionNode():
            parts = [_compared(node.expression, other.expression, moves)]
            if node.except_if:
                parts.append(_FLIPPED[moves[node.except_if]])
            if node.unknown_if and moves[node.unknown_if] != "same":
                return "mixed"
            return _joined(parts)
        case form.CountNode(), form.CountNode() if not node.distinct or moves[node.distinct] == "same":
            return moves[node.where]
        case _:
            is_same = node == other and all(moves.get(read, "same") == "same" for read in node_reads(node))
            return "same" if is_same else "mixed"


def _compared(one: form.Expression, other: form.Expression, moves: Mapping[str, Move]) -> Move:
    match one, other:
        case form.Compare(node, operator, constant), form.Compare():
            return _joined([_of_value(moves[node], operator), _of_constant(constant, other.constant, operator)])
        case form.Not(part), form.Not(changed):
            return _FLIPPED[_compared(part, changed, moves)]
        case (form.All(parts), form.All(others)) | (form.AnyOf(parts), form.AnyOf(others)):
            return _joined(_compared(p, q, moves) for p, q in zip(parts, others, strict=True))
        case form.AtLeast(_, parts), form.AtLeast(_, others):
            return _joined(_compared(p, q, moves) for p, q in zip(parts, others, strict=True))
        case form.Holds(node) | form.Is(node, True), _:
            return moves[node]
        case form.Is(node, False), _:
            return _FLIPPED[moves[node]]
        case form.Always(), _:
            return "same"
        case form.Is(node) | form.Known(node) | form.OneOf(node), _:
            return "same" if moves[node] == "same" else "mixed"
    return "mixed"


def _of_value(move: Move, operator: form.Operator) -> Move:
    """Which way a comparison goes when its number does."""
    if operator == "==":
        return "same" if move == "same" else "mixed"
    return move if operator in {">", ">="} else _FLIPPED[move]


def _of_constant(old: int, new: int, operator: form.Operator) -> Move:
    if old == new:
        return "same"
    if operator == "==":
        return "mixed"
    return "up" if (new < old) == (operator in {">", ">="}) else "down"


def _joined(moves: Iterable[Move]) -> Move:
    found = set(moves) - {"same"}
    return found.pop() if len(found) == 1 else "mixed" if found else "same"
