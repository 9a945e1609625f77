"""The nodes that no author writes: what each option's criteria reach, its status, the triage level, coverage.

They are nodes like any other, so that every back end computes the whole answer and is compared on all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import COVERAGE, TRIAGE, in_force, status_node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from engine.pack import model


def status_nodes(option: str, criteria: Mapping[str, model.Criterion]) -> Iterator[form.Node]:
    """Give the nodes behind one option's status: whether it is indicated, the levels its criteria reach, the worst.

    Full indications decide before steps towards one: a step that is met prevents `not_indicated` and alone defers.
    """
    mine = {n: c for n, c in criteria.items() if option in c.options}
    full = [n for n, c in mine.items() if c.effect == "indicates" and c.gives != "deferred"]
    steps = [n for n, c in mine.items() if c.effect == "indicates" and c.gives == "deferred"]
    indicated, prepared = f"indicated:{option}", f"prepared:{option}"
    yield form.ConditionNode(indicated, form.AnyOf(tuple(map(form.Holds, full))))
    yield form.ConditionNode(prepared, form.AnyOf(tuple(map(form.Holds, steps))))
    reached: dict[str, list[form.Expression]] = {level: [] for level in LEVELS}
    for name, criterion in mine.items():
        level = level_of(criterion)
        if level is not None:
            reached[level].append(form.Is(name, truth=criterion.effect != "requires"))
    is_not = form.Is(indicated, truth=False)
    reached["not_indicated_indication"].append(form.All((is_not, form.Is(prepared, truth=False))))
    reached["insufficient_data"] += [
        form.Is(indicated, truth=None),
        form.All((is_not, form.Is(prepared, truth=None))),
    ]
    reached["deferred"].append(form.All((is_not, form.Is(prepared, truth=True))))
    choices = []
    for level in LEVELS[:-1]:
        if reached[level]:
            node = f"reached:{option}:{level}"
            yield form.ConditionNode(node, form.AnyOf(tuple(reached[level])))
            choices.append((form.Is(node, truth=True), level))
    yield form.ChoiceNode(status_node(option), tuple(choices), LEVELS[-1])


def triage_node(triage: model.Triage, criteria: Mapping[str, model.Criterion]) -> form.Node:
    """Give the node of the triage level: the worst that a criterion reaches, else the first level."""
    rows = {n: c.level for n, c in criteria.items() if c.effect == "triages"}
    worst_first = reversed(triage.levels[1:])
    steps = tuple((_any_met(n for n, reached in rows.items() if reached == level), level) for level in worst_first)
    return form.ChoiceNode(TRIAGE, steps, triage.levels[0])


def coverage_nodes(criteria: Mapping[str, model.Criterion], dated: Iterable[str]) -> Iterator[form.Node]:
    """Give the nodes of a payer's answer, step by step.

    First what holds whatever the clinical status, then exclusions, that status, and the payer's positive rows.
    `dated` names the criteria whose dates are inputs of the graph.
    """
    steps = [*_steps_before_status(criteria), *_steps_from_exclusions(criteria, frozenset(dated))]
    choices = []
    for position, (result, expression) in enumerate(steps):
        node = f"coverage:{position}:{result}"
        yield form.ConditionNode(node, expression)
        choices.append((form.Is(node, truth=True), result))
    yield form.ChoiceNode(COVERAGE, tuple(choices), "insufficient_data")


def _steps_before_status(criteria: Mapping[str, model.Criterion]) -> Iterator[tuple[str, form.Expression]]:
    approvals = [n for n, c in criteria.items() if c.effect == "asks_approval"]
    covers = [n for n, c in criteria.items() if c.effect == "covers" and c.before_status]
    denies = [n for n, c in criteria.items() if c.effect == "denies" and c.before_status]
    for result, names in (("prior_approval", approvals), ("covered", covers), ("not_covered", denies)):
        if names:
            yield result, _any_met(names)
            yield "insufficient_data", _any_unknown(names)


def _steps_from_exclusions(
    criteria: Mapping[str, model.Criterion], dated: frozenset[str]
) -> Iterator[tuple[str, form.Expression]]:
    covers = {n: c for n, c in criteria.items() if c.effect == "covers" and not c.before_status}
    denies = [n for n, c in criteria.items() if c.effect == "denies" and not c.before_status]
    yield "not_covered", _any_met(denies)
    for criterion in criteria.values():
        if criterion.effect == "withholds":
            held = frozenset(level for level, status in STATUS_OF_LEVEL.items() if status in criterion.statuses)
            yield "not_met", form.OneOf(status_node(criterion.option), held)
    yield "insufficient_data", _any_unknown(denies)
    yield "covered", _any_met(n for n, c in covers.items() if not c.prior_approval_if)
    for name, criterion in covers.items():
        if criterion.prior_approval_if:
            met, doubt = form.Is(name, truth=True), criterion.prior_approval_if
            yield "covered", form.All((met, form.Is(doubt, truth=False)))
            yield "prior_approval", form.All((met, form.Is(doubt, truth=True)))
            yield "insufficient_data", form.All((met, form.Is(doubt, truth=None)))
    yield "insufficient_data", _any_unknown(covers)
    yield "not_met", form.AnyOf(tuple(form.Holds(in_force(n)) if n in dated else form.Always() for n in covers))


def _any_met(names: Iterable[str]) -> form.Expression:
    return form.AnyOf(tuple(form.Is(n, truth=True) for n in names))


def _any_unknown(names: Iterable[str]) -> form.Expression:
    return form.AnyOf(tuple(form.Is(n, truth=None) for n in names))
