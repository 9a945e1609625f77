"""`eligibility rules show`: one criterion or derived fact, with everything a person needs to judge it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date  # noqa: TC003 - click reads the annotations
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import overlay_option
from engine.cli.rules.folder import folder_option, today_option
from engine.compiler.english import English
from engine.compiler.levels import STATUS_OF_LEVEL, level_of
from engine.compiler.stages import compile_packs
from engine.evaluator.rehearse import jurisdictions_of
from engine.names import nearest
from engine.pack.cases import read_cases
from engine.pack.load import load_rules
from engine.pack.mentions import mentions

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from engine.compiler.packset import PackSet
    from engine.pack.book import Pack, RuleBook
    from engine.pack.cases import Case
    from engine.pack.model import Citation, Criterion, Derived, Period


@click.command(
    epilog="""Example: eligibility rules show US-ESK-WP-09

Exit codes: 0 good; 1 the packs cannot be read; 2 there is no such id."""
)
@click.argument("name", metavar="ID")
@today_option
@folder_option
@overlay_option
def show(*, name: str, folder: Path, overlays: tuple[Path, ...], today: date) -> None:
    """Show a criterion, or a derived fact: its condition in plain English with today's numbers, sources, cases."""
    book = load_rules(folder, overlays, is_locked=False)
    for pack in book.packs.values():
        kind = next((k for k in ("criterion", "derived") if (k, name) in pack.located), None)
        if kind is not None:
            cases, _ = read_cases(folder, book, overlays)
            sheet = _Sheet(book, pack, today, [c for c in cases if c.subject == name])
            for line in sheet.criterion(name) if kind == "criterion" else sheet.derived(name):
                click.echo(line)
            return
    if name in book.facts:
        raise click.UsageError(f"`{name}` is a fact and rests on nothing; facts.yaml describes it")
    known = [key for pack in book.packs.values() for kind, key in pack.located if kind in {"criterion", "derived"}]
    message = f"there is no criterion or derived fact `{name}`{nearest(name, known)}"
    raise click.UsageError(message)


@dataclass(frozen=True)
class _Sheet:
    book: RuleBook
    pack: Pack
    today: date
    cases: Sequence[Case]

    def criterion(self, name: str) -> Iterator[str]:
        criterion = self.pack.criteria[name]
        yield f"{name}  {criterion.title}"
        yield from self._place("criterion", name)
        yield f"  effect: {_effect(criterion)}"
        if criterion.options:
            yield f"  options: {', '.join(criterion.options)}"
        if criterion.jurisdictions:
            yield f"  only in: {', '.join(criterion.jurisdictions)}"
        yield f"  in force: {_period(criterion.effective)}"
        yield from (f"  in force in {j}: {_period(period)}" for j, period in criterion.effective_in.items())
        packs = self._packs(criterion.jurisdictions)
        if packs is not None and name in packs.criteria:
            yield from _block("condition", English(packs, criterion.of).condition(name))
            yield from _concepts(packs, name, criterion.of)
        yield from self._numbers(mentions(criterion))
        yield from _block("says", [criterion.explain])
        if criterion.explain_unknown:
            yield from _block("says while unknown", [criterion.explain_unknown])
        yield from self._references(criterion.references)
        yield f"  strength: {criterion.strength}; confirmed: {criterion.confirmed}"
        if criterion.contested:
            yield from _block("contested", [criterion.contested])
        if criterion.visit_level:
            yield "  about today's visit only"
        if criterion.note:
            yield from _block("note", [criterion.note])
        yield self._case_count()

    def derived(self, name: str) -> Iterator[str]:
        derived = next(d for d in self.pack.derived if d.id == name)
        yield f"{name}  {derived.label}"
        yield from self._place("derived", name)
        packs = self._packs()
        if packs is not None:
            yield from _block("definition", English(packs, derived.of).condition(name))
            yield from _concepts(packs, name, derived.of)
        yield from self._numbers(mentions(derived))
        if derived.unknown_if is not None:
            yield from _block("unknown while contradictory", [derived.unknown_if.says])
        yield from self._references(derived.references)
        yield from self._readers(derived)
        yield self._case_count()

    def _packs(self, jurisdictions: Sequence[str] = ()) -> PackSet | None:
        """The pack's items as they are evaluated today where they apply; None for a pack that is not active."""
        if not self.pack.is_active:
            return None
        payer = self.pack.header.payer or None
        for jurisdiction in jurisdictions_of(self.book, self.pack.id):
            if jurisdictions and jurisdiction not in jurisdictions:
                continue
            return compile_packs(self.book, jurisdiction, payer, self.today, is_whole=True)
        return None

    def _place(self, kind: str, name: str) -> Iterator[str]:
        located = self.pack.located[kind, name]
        line, _ = located.source.place(located.path)
        header = self.pack.header
        yield f"  pack: {header.id} {header.version} ({header.status}), {located.source.file}:{line}"

    def _numbers(self, names: Container[str]) -> Iterator[str]:
        every = {n: p for pack in self.book.family(self.pack) for n, p in pack.parameters.items()}
        found = {n: p for n, p in every.items() if f"${n}" in names}
        lines = []
        for name, parameter in found.items():
            since = max((d for d in parameter.values if d <= self.today), default=min(parameter.values))
            unit = f" {parameter.unit}" if parameter.unit else ""
            valid = parameter.still_valid_on.isoformat()
            value = parameter.at(self.today)
            lines.append(f"{name}: {value}{unit} since {since.isoformat()}, confirmed on {valid} ({parameter.label})")
        yield from _block("numbers", lines)

    def _references(self, citations: Sequence[Citation]) -> Iterator[str]:
        sources = {key: r for pack in self.book.family(self.pack) for key, r in pack.references.items()}
        lines = []
        for cited in citations:
            source = sources[cited.source]
            section = f", {cited.section}" if cited.section else ""
            lines.append(f"{cited.source}: {source.title}{section}: {cited.supports}".rstrip(": "))
            more = (source.publisher, source.date, source.identifier, source.grade, source.status)
            lines.append(f"  {'; '.join(part for part in more if part)}")
        yield from _block("references", [line for line in lines if line.strip()])

    def _readers(self, derived: Derived) -> Iterator[str]:
        readers: list[str] = []
        for pack in self.book.packs.values():
            items: list[Criterion | Derived] = [*pack.criteria.values(), *pack.derived]
            readers += [item.id for item in items if item.id != derived.id and derived.id in mentions(item)]
        yield from _block("read by", [", ".join(readers)] if readers else [])

    def _case_count(self) -> str:
        counts = Counter(case.expected for case in self.cases)
        words = (f"{count} {truth.replace('_', ' ')}" for truth, count in counts.items())
        return f"  cases: {', '.join(words) or 'none'}"


def _effect(criterion: Criterion) -> str:
    level = level_of(criterion)
    more = [STATUS_OF_LEVEL[level].replace("_", " ")] if level else []
    more += [x for x in (criterion.plan, criterion.as_, criterion.gives, "" if level else criterion.level) if x]
    return f"{criterion.effect} ({', '.join(more)})" if more else criterion.effect


def _period(period: Period) -> str:
    words = [f"from {period.from_.isoformat()}"] if period.from_ else []
    words += [f"until {period.until.isoformat()} (exclusive)"] if period.until else []
    return " ".join(words) or "always"


def _concepts(packs: PackSet, name: str, records: str) -> Iterator[str]:
    for concept in English(packs, records).concepts(name):
        derived = packs.derived[concept]
        yield from _block(f"where `{derived.label}` is", English(packs, derived.of).condition(concept))


def _block(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"  {heading}:"
        yield from (f"    {line}" for line in lines)
