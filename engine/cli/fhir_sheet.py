"""One patient's reading as text for a person at a terminal: what was read, what to confirm, what was not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from engine.cli.layout import bullets
from engine.cli.sheet import PLAIN_WIDTH
from engine.cli.strict_json import printable
from engine.facts import read_facts
from engine.fhir.reading import SOURCES_SHOWN, TRIALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from engine.dictionary import FactDefinition
    from engine.fhir.reading import Issue, Reading, Sourced
    from engine.fhir.terminology import Terminology
    from engine.pack.book import RuleBook

_TRIAL_WORDS = {
    "max_dose_mg": "at most {} mg a day",
    "start_date": "from {}",
    "end_date": "to {}",
}


def print_reading(console: Console, reading: Reading, book: RuleBook, terminology: Terminology) -> None:
    """Print a reading.

    Args:
        console: where; it has colors only if it is a terminal.
        reading: what was read.
        book: the data dictionary, for the words of facts.
        terminology: for the words of issues.

    """
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    with console.capture() as written:
        for part in _ReadingSheet(reading, book, terminology).parts():
            console.print(part)
    console.file.writelines(f"{line.rstrip()}\n" for line in written.get().splitlines())


class _ReadingSheet:
    def __init__(self, reading: Reading, book: RuleBook, terminology: Terminology) -> None:
        self.reading = reading
        self.definitions = book.facts
        self.terminology = terminology
        self.drugs = book.drugs
        self.facts = read_facts(book.facts, book.dictionary.constraints, reading.raw_facts(), reading.as_of)

    def parts(self) -> Iterator[RenderableType]:
        """Everything, from what the record settles to what was not read at face value."""
        reading = self.reading
        yield Text.assemble(
            (f"Patient {printable(reading.patient) or 'not known'}", "bold"), f", as of {reading.as_of}"
        )
        if reading.is_deceased:
            yield Text("The patient had died by then; nothing is evaluated.", "bold red")
        yield from self._listed(f"Read ({len(reading.facts)})", [*self._facts()])
        yield from self._listed(f"To confirm ({len(reading.candidates)})", [*self._candidates()])
        yield from self._listed(f"Not read at face value ({len(reading.issues)})", [*map(self._issue, reading.issues)])
        yield Text()

    def _listed(self, heading: str, rows: Sequence[RenderableType]) -> Iterator[RenderableType]:
        if rows:
            yield Text()
            yield Text(heading, "bold")
            yield bullets(rows)

    def _facts(self) -> Iterator[Text]:
        unusable = {each.fact: each.reason for each in self.facts.unusable}
        for name, fact in self.reading.facts.items():
            if name == TRIALS:
                yield from self._trials(fact)
                continue
            definition = self.definitions[name]
            observed = self.facts.known.get(name)
            came = definition.values.get(str(fact.value), fact.value)
            shown = (
                definition.in_words(observed.value)
                if observed
                else f"{came}, not usable: {unusable.get(name, 'not known')}"
            )
            written = f", written as {fact.raw}" if fact.raw is not None else ""
            way = "" if fact.matched_by in {"code", "element"} else fact.matched_by
            told = [fact.date, _sources(fact.sources), way]
            yield Text.assemble(
                (f"{definition.label}: ", "bold"), f"{shown}{written}", (f" ({'; '.join(filter(None, told))})", "dim")
            )

    def _trials(self, fact: Sourced) -> Iterator[Text]:
        labels = {field.id: field.label for field in self.definitions[TRIALS].fields}
        for trial in fact.value if isinstance(fact.value, list) else ():
            words = [form.format(trial[name]) for name, form in _TRIAL_WORDS.items() if name in trial]
            words += ["still taken"] if trial.get("ongoing") else []
            lacking = ", ".join(labels[name] for name in trial["missing"])
            yield Text.assemble(
                (f"trial of {self.drugs[trial['drug']].display}: ", "bold"),
                ", ".join([*words, trial["adequacy"]]),
                f"; missing: {lacking}",
                (f" ({_sources(trial['sources'])})", "dim"),
            )

    def _candidates(self) -> Iterator[Text]:
        for each in self.reading.candidates:
            definition = self.definitions[each.fact]
            shown = self._suggested(definition, each.suggests)
            yield Text.assemble(
                (f"{definition.label}{': ' if shown else ''}", "bold"),
                f"{shown}: {each.why}" if shown else f": {each.why}",
                (f" ({_sources(each.sources)})", "dim"),
            )

    def _suggested(self, definition: FactDefinition, suggests: str) -> str:
        if definition.id == TRIALS:
            return self.drugs[suggests].display if suggests in self.drugs else suggests
        return definition.values.get(suggests, {"true": "yes", "false": "no"}.get(suggests, suggests))

    def _issue(self, issue: Issue) -> Text:
        label = f"{self.definitions[issue.fact].label}: " if issue.fact in self.definitions else ""
        times = f", {issue.count} times" if issue.count > 1 else ""
        places = printable(", ".join(filter(None, issue.paths)))
        return Text.assemble(
            (label, "bold"),
            f"{self.terminology.words(issue.code)}{times}; {issue.effect}",
            (f" [{issue.code}]{f' ({places})' if places else ''}", "dim"),
        )


def _sources(sources: Sequence[str]) -> str:
    more = f" and {len(sources) - SOURCES_SHOWN} more" if len(sources) > SOURCES_SHOWN else ""
    return printable(", ".join(sources[:SOURCES_SHOWN])) + more
