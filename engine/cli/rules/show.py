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
from engine.cli.rules.form import form_option, place_to_json, print_json
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
    from engine.pack.model import Citation, Criterion, Derived, Parameter, Period, Reference


@click.command(
    epilog="""Example: eligibility rules show US-ESK-WP-09

The JSON: {file, line, kind, id, title, pack, version, status, written, condition, concepts, numbers, references,
read_by, cases}. `written` holds the keys of the rule file; condition and concepts are in English, and null where the
pack does not answer.

Exit codes: 0 good; 1 the packs cannot be read; 2 there is no such id."""
)
@click.argument("name", metavar="ID")
@form_option
@today_option
@folder_option
@overlay_option
def show(*, name: str, folder: Path, overlays: tuple[Path, ...], today: date, form: str) -> None:
    """Show a criterion, or a derived fact: its condition in plain English with today's numbers, sources, cases."""
    book = load_rules(folder, overlays, is_locked=False)
    for pack in book.packs.values():
        kind = next((k for k in ("criterion", "derived") if (k, name) in pack.located), None)
        if kind is not None:
            cases, _ = read_cases(folder, book, overlays)
            sheet = _Sheet(book, pack, today, [c for c in cases if c.subject == name])
            if form == "json":
                print_json({**place_to_json(folder, pack.located[kind, name]), **sheet.as_json(kind, name)})
                return
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
        derived = self._derived(name)
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

    def as_json(self, kind: str, name: str) -> dict[str, object]:
        """Give the same as plain data; where it stands is left to the caller."""
        item: Criterion | Derived
        if kind == "criterion":
            item = self.pack.criteria[name]
            title, packs = item.title, self._packs(item.jurisdictions)
        else:
            item = self._derived(name)
            title, packs = item.label, self._packs()
        is_compiled = packs is not None and (kind == "derived" or name in packs.criteria)
        sources = self._sources()
        written = item.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude={"references"})
        return {
            "kind": kind,
            "id": name,
            "title": title,
            "pack": self.pack.id,
            "version": self.pack.header.version,
            "status": self.pack.header.status,
            "written": written,
            "condition": English(packs, item.of).condition(name) if packs and is_compiled else None,
            "concepts": _concepts_to_json(packs, name, item.of) if packs and is_compiled else None,
            "numbers": [
                {
                    "name": number,
                    "label": parameter.label,
                    "value": str(parameter.at(self.today)),
                    "unit": parameter.unit,
                    "since": since.isoformat(),
                    "still_valid_on": parameter.still_valid_on.isoformat(),
                }
                for number, parameter, since in self._parameters(mentions(item))
            ],
            "references": [
                {**cited.model_dump(), **sources[cited.source].model_dump(exclude={"replaces"})}
                for cited in item.references
            ],
            "read_by": self._reader_names(name),
            "cases": dict(Counter(case.expected for case in self.cases)),
        }

    def _derived(self, name: str) -> Derived:
        return next(d for d in self.pack.derived if d.id == name)

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

    def _parameters(self, names: Container[str]) -> Iterator[tuple[str, Parameter, date]]:
        """Give the parameters among names, each with the first day of its present value."""
        every = {n: p for pack in self.book.family(self.pack) for n, p in pack.parameters.items()}
        for name, parameter in every.items():
            if f"${name}" in names:
                yield (
                    name,
                    parameter,
                    max((d for d in parameter.values if d <= self.today), default=min(parameter.values)),
                )

    def _numbers(self, names: Container[str]) -> Iterator[str]:
        lines = []
        for name, parameter, since in self._parameters(names):
            unit = f" {parameter.unit}" if parameter.unit else ""
            valid = parameter.still_valid_on.isoformat()
            value = parameter.at(self.today)
            lines.append(f"{name}: {value}{unit} since {since.isoformat()}, confirmed on {valid} ({parameter.label})")
        yield from _block("numbers", lines)

    def _sources(self) -> dict[str, Reference]:
        return {key: r for pack in self.book.family(self.pack) for key, r in pack.references.items()}

    def _references(self, citations: Sequence[Citation]) -> Iterator[str]:
        sources = self._sources()
        lines = []
        for cited in citations:
            source = sources[cited.source]
            section = f", {cited.section}" if cited.section else ""
            lines.append(f"{cited.source}: {source.title}{section}: {cited.supports}".rstrip(": "))
            more = (source.publisher, source.date, source.identifier, source.grade, source.status)
            lines.append(f"  {'; '.join(part for part in more if part)}")
        yield from _block("references", [line for line in lines if line.strip()])

    def _reader_names(self, name: str) -> list[str]:
        items: list[Criterion | Derived] = []
        for pack in self.book.packs.values():
            items += [*pack.criteria.values(), *pack.derived]
        return [item.id for item in items if item.id != name and name in mentions(item)]

    def _readers(self, derived: Derived) -> Iterator[str]:
        readers = self._reader_names(derived.id)
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


def _concepts_to_json(packs: PackSet, name: str, records: str) -> list[dict[str, object]]:
    return [
        {
            "id": concept,
            "label": packs.derived[concept].label,
            "condition": English(packs, packs.derived[concept].of).condition(concept),
        }
        for concept in English(packs, records).concepts(name)
    ]


def _block(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"  {heading}:"
        yield from (f"    {line}" for line in lines)
