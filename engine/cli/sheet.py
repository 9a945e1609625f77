"""One patient's decision as text for a person at a terminal.

What cannot wait comes first: a high or emergency suicide risk stands above everything, the patient's own line included.
Sentences about the patient come from the decision; the words here only head and join them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rich.panel import Panel
from rich.text import Text

from engine.cli.documentation_sheet import checklist, standing_lines
from engine.cli.layout import bullets, indented, listed, stack
from engine.cli.strict_json import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType

    from engine.cli.case_file import Case
    from engine.evaluator.decision import CriterionFinding, Decision, OptionAnswer, Question, Referral, ShownItem
    from engine.pack.book import RuleBook

T = TypeVar("T")

PLAIN_WIDTH = 100
"""Columns where the output is no terminal."""

_DIGEST_SHOWN = 12
_SHORT = 10
_URGENT = {"high", "emergency"}
STYLES = {
    "eligible": "bold green",
    "eligible_with_precautions": "bold green",
    "deferred": "bold yellow",
    "insufficient_data": "bold yellow",
    "not_indicated": "bold",
    "not_recommended": "bold red",
    "contraindicated": "bold red",
}
_PARTS = {
    "for": "For",
    "against": "Against",
    "deferring": "What it waits for",
    "cautioning": "To weigh",
    "unresolved": "Not settled",
}
_READ = {"read", "engine"}


def print_sheet(console: Console, case: Case, decision: Decision, book: RuleBook, *, is_detailed: bool = False) -> None:
    """Print a decision.

    Args:
        console: where; it has colors only if it is a terminal.
        case: whose decision it is.
        decision: the decision.
        book: the rules it rests on, for the words of facts and referrals.
        is_detailed: with the facts that were read, the sources and the notes.

    """
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    with console.capture() as written:
        is_ascii = console.options.ascii_only
        for part in _Sheet(decision, book, is_detailed=is_detailed, is_ascii=is_ascii).parts(case):
            console.print(part)
    console.file.writelines(f"{line.rstrip()}\n" for line in written.get().splitlines())


class _Sheet:
    def __init__(self, decision: Decision, book: RuleBook, *, is_detailed: bool, is_ascii: bool) -> None:
        self.decision = decision
        self.labels = {name: definition.label for name, definition in book.facts.items()}
        packs = [book.packs[pack.id] for pack in decision.packs]
        self.kinds = {kind: words for pack in packs for kind, words in pack.referral_kinds.items()}
        self.is_detailed = is_detailed
        self.is_ascii = is_ascii
        self.titles = {option.option: option.title for option in decision.options}
        noted = [option.notes for option in decision.options if option.notes]
        self.common = [n for n in noted[0] if all(n in notes for notes in noted)] if len(noted) > 1 else []

    def parts(self, case: Case) -> Iterator[RenderableType]:
        """Everything, from what cannot wait to what it rests on."""
        decision = self.decision
        is_urgent = decision.triage.level in _URGENT
        name = f"{case.id}  {printable(case.title)}".rstrip()
        payer = f", payer {case.payer_id}" if case.payer_id else ""
        header = Text.assemble((name, "bold"), f"\n{decision.jurisdiction}{payer}, as of {decision.as_of}")
        if is_urgent:
            yield Panel(stack(self._risk()), title=Text(f"FIRST, FOR {case.id}"), border_style="bold red")
            yield header
        else:
            yield header
            yield stack(self._risk())
        yield Text()
        by_name = {option.option: option for option in decision.options}
        for place, option in enumerate(decision.option_order, 1):
            yield from self._option(place, by_name[option])
        if self.common:
            yield Text("Notes on every option", "bold")
            yield bullets(map(_item, self.common))
            yield Text()
        yield from self._coverage()
        yield from self._questions("Questions, the most useful first", decision.missing)
        yield from self._questions("Also worth asking", decision.also_ask)
        yield from self._end()

    # What cannot wait

    def _risk(self) -> Iterator[RenderableType]:
        triage = self.decision.triage
        style = "bold red" if triage.level in _URGENT else "bold"
        standing = " (provisional: what would settle it is among the questions)" if triage.provisional else ""
        yield Text.assemble("Suicide risk: ", (triage.level.upper(), style), standing)
        yield bullets(_because(finding) for finding in triage.criteria if finding.truth == "met")
        urgent = [r for r in self.decision.referrals if r.state == "unresolved" and r.urgency == "emergency"]
        yield from listed("Rule out now", (self._referral(r) for r in urgent), "bold red")
        required = [r for r in self.decision.referrals if r.state == "required"]
        yield from listed("Refer", (self._referral(r) for r in required), "bold")
        others = [r for r in self.decision.referrals if r.state == "unresolved" and r.urgency != "emergency"]
        if self.is_detailed:
            yield from listed("Referrals not settled yet", (self._referral(r) for r in others), "bold")
        elif others:
            yield indented(Text(f"Referrals not settled yet: {', '.join(self._kind(r) for r in others)}"))

    def _kind(self, referral: Referral) -> str:
        return self.kinds.get(referral.kind, _words(referral.kind))

    def _referral(self, referral: Referral) -> Text:
        heading = f"{self._kind(referral)}, {_words(referral.urgency)}: "
        return Text.assemble((heading, "bold"), referral.because, _ids(referral.criteria))

    # Options

    def _option(self, place: int, option: OptionAnswer) -> Iterator[RenderableType]:
        yield Text.assemble(
            (f"{place}. {option.title}: ", "bold"),
            (_words(option.status), STYLES[option.status]),
        )
        yield indented(Text(f"{_words(option.authorization).capitalize()}. {option.summary}"))
        others = [_words(status) for status in option.could_be if status != option.status]
        if others:
            yield indented(Text(f"It could become: {', '.join(others)}."))
        if option.missing:
            shown, rest = self._first(option.missing)
            yield indented(Text(f"Missing: {self._labels(shown)}{rest}."))
        findings = {finding.id: finding for finding in option.criteria}
        holding = [Text.assemble(findings[i].title, _ids([i])) for i in option.why_not if i in findings]
        yield from listed("Why not better", holding)
        idle = [f for f in option.criteria if _is_idle(f)]
        for part, words in _PARTS.items():
            yield from self._argument(words, [f for f in option.criteria if f.part == part and f not in idle])
        yield from listed("Looked at and not met", map(self._finding, idle))
        yield from listed("Plan", map(_item, option.plan))
        yield from listed("Dosing", map(_item, option.dosing))
        yield from listed("Monitoring", map(_item, option.monitoring))
        reported = [self._finding(f) for f in option.criteria if f.effect == "reports"]
        yield from listed("Notes", [*reported, *(_item(n) for n in option.notes if n not in self.common)])
        yield Text()

    def _argument(self, words: str, findings: Sequence[CriterionFinding]) -> Iterator[RenderableType]:
        """One side of the argument; only what is not settled is ever cut short."""
        is_open = any(finding.side == "unresolved" for finding in findings)
        shown, rest = self._first(findings) if is_open else (findings, "")
        more = [Text(rest.removeprefix(", "))] if rest else []
        yield from listed(words, [*map(self._finding, shown), *more])

    def _finding(self, finding: CriterionFinding) -> RenderableType:
        if not self.is_detailed:
            return _because(finding, _caveat(finding))
        text = _because(finding)
        lines = [text]
        read = [f"{f.label}: {_value(f.value, f.date, f.source)}" for f in finding.facts]
        if read:
            lines.append(Text(f"Read: {'; '.join(read)}.", "dim"))
        lines += [Text(f"Source: {r.title}, {r.section}: {r.supports}.", "dim") for r in finding.references]
        if finding.confirmed not in _READ:
            lines.append(Text(f"The source is {finding.confirmed}.", "dim"))
        lines += [Text(t, "dim") for t in (finding.contested and f"Contested: {finding.contested}", finding.note) if t]
        return stack(lines)

    def _coverage(self) -> Iterator[RenderableType]:
        coverage = self.decision.coverage
        if coverage is None:
            return
        yield Text.assemble((f"Coverage by {coverage.payer_id}: ", "bold"), (_words(coverage.status), "bold"))
        yield from standing_lines(coverage)
        yield bullets(self._finding(finding) for finding in coverage.criteria)
        yield from listed("Notes", map(_item, coverage.notes))
        awaited = {question.fact for question in self.decision.missing if "coverage" in question.purposes}
        yield from checklist(coverage.documentation, awaited, is_ascii=self.is_ascii)
        yield Text()

    # What is missing, and what the answer rests on

    def _first(self, items: Sequence[T]) -> tuple[Sequence[T], str]:
        """Cut a list that is too long for a short view; say how many are left."""
        left = 0 if self.is_detailed else max(0, len(items) - _SHORT)
        return items[: len(items) - left], f", and {left} more" if left else ""

    def _questions(self, heading: str, questions: Sequence[Question]) -> Iterator[RenderableType]:
        shown, rest = self._first(questions)
        rows = [
            Text.assemble(q.question, (f" ({', '.join(self.titles.get(p, p) for p in q.purposes)})", "dim"))
            if q.purposes
            else Text(q.question)
            for q in shown
        ]
        if rows:
            yield Text(heading, "bold")
            yield bullets(rows, numbered=True)
            if rest:
                yield indented(Text(f"{rest.removeprefix(', ')}; `eligibility explain` lists everything"))
            yield Text()

    def _end(self) -> Iterator[RenderableType]:
        decision = self.decision
        unusable = [Text(f"{self._labels([u.fact])}: {u.reason} ({printable(u.path)})") for u in decision.unusable]
        if unusable:
            yield Text("Came, but cannot be used as it stands", "bold")
            yield bullets(unusable)
            yield Text()
        if decision.changes_on is not None:
            change = decision.changes_on
            by = f" ({self._labels([change.fact])})" if change.fact else " (the rules change)"
            yield Text(
                f"By time alone: from {change.date} on, {self.titles.get(change.option, change.option)} would be "
                f"{_words(change.to)}{by}."
            )
        engines = decision.engines
        ran = "both engines, which agree" if engines.mode == "both" else "one engine; nothing was compared"
        packs = ", ".join(f"{p.id} {p.version} ({p.digest[:_DIGEST_SHOWN]})" for p in decision.packs)
        yield Text(f"Rules: {packs}. Computed by {ran}.", "dim")
        yield Text(decision.disclaimer, "dim italic")
        yield Text()

    def _labels(self, facts: Iterable[str]) -> str:
        return ", ".join(self.labels.get(fact, _words(fact)) for fact in facts)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: str | None, date: str, source: str) -> str:
    origin = ", ".join(filter(None, (date, printable(source))))
    shown = "not known" if value is None else printable(value)
    return f"{shown} ({origin})" if origin else shown


def _ids(ids: Iterable[str]) -> tuple[str, str]:
    return f" [{', '.join(ids)}]", "dim"


def _because(finding: CriterionFinding, caveat: str = "") -> Text:
    visit = " This concerns today's visit only." if finding.visit_level else ""
    title = "" if finding.truth == "met" else f"{finding.title}: "
    return Text.assemble(title, printable(finding.because), visit, (caveat, "dim"), _ids([finding.id]))


def _caveat(finding: CriterionFinding) -> str:
    """What weakens a statement that holds: how far its source was read, and what is contested."""
    if finding.truth != "met":
        return ""
    source = "" if finding.confirmed in _READ else f" (source {finding.confirmed})"
    return f"{source} Contested: {finding.contested}" if finding.contested else source


def _is_idle(finding: CriterionFinding) -> bool:
    """Whether it would have spoken for the option, is not met and decides nothing, such as another indication."""
    return finding.side == "against" and finding.truth == "not_met" and not finding.is_reported


def _item(item: ShownItem) -> Text:
    source = "" if item.confirmed in _READ else f" (source {item.confirmed})"
    return Text.assemble(printable(item.text), (source, "dim"), _ids([item.id]))
