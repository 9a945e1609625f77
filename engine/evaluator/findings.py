"""Criteria as they stand for one patient: truth, sentence, facts read, sources."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.evaluator import decision as answer
from engine.evaluator import sentences
from engine.truth import word

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.dictionary import Typed
    from engine.evaluator.account import Account
    from engine.evaluator.questions import Questions
    from engine.pack.model import Criterion
    from engine.truth import Truth


ALONE = ("never_counts", "outside_episode")
"""Levels of `discounts` criteria that are reported alone, the first before the second."""


class Findings:
    """Makes the findings of one evaluation."""

    def __init__(self, account: Account, questions: Questions) -> None:
        self.account = account
        self.questions = questions
        self._made: dict[tuple[str, bool], answer.CriterionFinding] = {}

    @cached_property
    def discounted(self) -> Mapping[str, tuple[int, ...]]:
        """For each `discounts` criterion, the positions of the trials that it keeps from counting.

        A trial whose role or drug never counts, or that lies outside the episode, is reported under that reason alone.
        """
        result: dict[str, tuple[int, ...]] = {}
        for name, criterion in self.account.packs.criteria.items():
            if criterion.effect != "discounts" or criterion.gives == "unknown":
                continue
            concluded = self.account.record_values.get(criterion.of, ())
            if criterion.repeats:
                result[name] = tuple(self._repeated(criterion))
                continue
            result[name] = tuple(i for i, trial in enumerate(concluded) if trial.get(name) is True)
        return self._first_reasons(result)

    def settled(self, records: str) -> frozenset[int]:
        """Give the positions of the records that do not count whatever else is said of them."""
        criteria = self.account.packs.criteria
        alone = (
            places for n, places in self.discounted.items() if criteria[n].of == records and criteria[n].level in ALONE
        )
        return frozenset(position for places in alone for position in places)

    def _first_reasons(self, found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        result: dict[str, list[int]] = {n: [] for n in found}
        for position in sorted({p for places in found.values() for p in places}):
            names = [n for n, places in found.items() if position in places]
            alone = [n for level in ALONE for n in names if self.account.packs.criteria[n].level == level]
            for name in alone[:1] or names:
                result[name].append(position)
        return {n: tuple(p) for n, p in result.items()}

    def _repeated(self, criterion: Criterion) -> Iterator[int]:
        """Trials that failed like an earlier one of the same `repeats` value."""
        group = next(
            (o.indication.trials for o in self.account.packs.options if o.indication and o.indication.trials), ""
        )
        counts = [n for n in self.account.concepts(group) if n in self.account.layout.list_facts] if group else []
        seen: set[object] = set()
        for count in counts:
            node = self.account.packs.nodes[count]
            if not isinstance(node, form.CountNode):
                continue
            concluded = self.account.record_values.get(node.records, ())
            for position, record in enumerate(self.account.inputs.records.get(node.records) or ()):
                if concluded[position].get(node.where) is True:
                    value = record.get(criterion.repeats)
                    if value in seen:
                        yield position
                    seen.add(value)

    def finding(self, name: str, *, is_reported: bool) -> answer.CriterionFinding:
        """Make the finding of one criterion; options that share it share the finding."""
        made = self._made.get((name, is_reported))
        if made is None:
            made = self._made[name, is_reported] = self._make(name, is_reported=is_reported)
        return made

    def _make(self, name: str, *, is_reported: bool) -> answer.CriterionFinding:
        criterion = self.account.packs.criteria[name]
        truth = self._truth_of(name, criterion)
        facts = tuple(map(self.account.fact_read, self.account.leaf_facts(name)))
        because = self._because(name, criterion, truth)
        if criterion.effect == "triages" and truth is True:
            because += sentences.recorded(facts)
        return answer.CriterionFinding(
            id=name,
            title=criterion.title,
            effect=criterion.effect,
            truth=word(truth),
            side=_side(criterion, truth),
            because=because,
            facts=facts,
            references=self.account.layout.citations[name],
            strength=criterion.strength,
            confirmed=criterion.confirmed,
            contested=criterion.contested,
            visit_level=criterion.visit_level,
            is_reported=is_reported,
            note=criterion.note,
        )

    def _truth_of(self, name: str, criterion: Criterion) -> Truth:
        match criterion.effect:
            case "requires":
                return True if self.account.truth(name) else None
            case "concludes" | "discounts" | "withholds":
                return True
            case _:
                return self.account.truth(name) if name in self.account.values else True

    def _because(self, name: str, criterion: Criterion, truth: Truth) -> str:
        if criterion.effect == "discounts":
            return self._trial_sentences(name, criterion)
        if truth is True or criterion.effect in {"requires", "concludes"} or criterion.shown_if == "unknown":
            return sentences.fill(criterion.explain, self.account.words)
        if truth is None:
            if criterion.explain_unknown:
                return sentences.fill(criterion.explain_unknown, self.account.words)
            return sentences.unknown(self.account.label(n) for n in self.questions.behind_unknown(name))
        return sentences.not_met(self.account.failing(name))

    def _trial_sentences(self, name: str, criterion: Criterion) -> str:
        fields = {f.id: f for f in self.account.definitions[criterion.of].fields}
        lines = []
        for position in self.discounted[name]:
            given = self.account.facts.records[criterion.of][position].values

            def words_of(field: str, given: Mapping[str, Typed] = given) -> str:
                if field == "drug":
                    return self.account.drug(str(given.get("drug", "")))
                return fields[field].in_words(given[field], with_unit=False) if field in given else "not recorded"

            lines.append(sentences.fill(criterion.explain, words_of))
        return " ".join(dict.fromkeys(lines))

    def is_shown(self, name: str, criterion: Criterion) -> bool:
        """Say whether a plan, monitoring, dosing or note row is shown for this patient."""
        if not self.account.is_in_force(name):
            return False
        if name not in self.account.values:
            return True
        truth = self.account.truth(name)
        if criterion.needs:
            truth = True if truth else None
        return truth is (None if criterion.shown_if == "unknown" else True)

    def shown(self, name: str, criterion: Criterion) -> answer.ShownItem:
        """Make the line of a plan, monitoring, dosing or note row."""
        fixed = self.account.layout.fixed_texts.get(name)
        if fixed is not None:
            return fixed
        return answer.ShownItem(name, sentences.fill(criterion.explain, self.account.words), criterion.confirmed)


def _side(criterion: Criterion, truth: Truth) -> answer.Side:
    if truth is None:
        return "unresolved"
    match criterion.effect:
        case "concludes" | "discounts":
            return "against"
        case "plans" | "shows" | "reports":
            return "informing"
        case "indicates" | "requires" | "covers":
            return "for" if truth else "against"
        case "cautions" | "defers" | "triages" | "asks_approval":
            return "cautioning" if truth else "for"
        case _:
            return "against" if truth else "for"
