"""Cards: what a decision says to somebody who is busy. Source: CDS Hooks 2.0, card attributes.

Nothing is concluded here. The summary holds our own words only; what came from a record stands, escaped, in the detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from server.cds_hooks.detail import Came, write_detail, write_emergency
from server.cds_hooks.suggestions import suggestions
from server.cds_hooks.summary import write_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from engine.dictionary import FactDefinition
    from engine.evaluator.decision import OptionAnswer
    from server.cds_hooks.desk import Reading, Shown
    from server.cds_hooks.hook import HookCall
    from server.cds_hooks.words import Words

MOST_CARDS = 2
_FIRST_SUGGESTION = 3
_URGENCY = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Absolute addresses that cards name.

    `page` gives an address of the decision's page that opens once, another one each time. `pathway` is the site's own
    page on emergencies and `smart` the launch address of its SMART app; each is empty without one.
    """

    about: str
    topics: str
    page: Callable[[], str]
    pathway: str
    smart: str


@dataclass(frozen=True, slots=True)
class Card:
    """A card as it goes out, and its topic."""

    topic: str
    draft: dict[str, object]

    @property
    def urgency(self) -> int:
        """Its place among cards, the most urgent first."""
        return _URGENCY[str(self.draft["indicator"])]


class Deck:
    """Writes the cards of decisions; one for all calls."""

    def __init__(self, words: Words, definitions: Mapping[str, FactDefinition]) -> None:
        self._words = words
        self._definitions = definitions

    def may_concern(self, reading: Reading) -> bool:
        """Say whether a patient view is worth deciding: whom it may be for, or anybody with a sign of suicide risk.

        It is asked of every chart that is opened, so that no decision is made, and none logged, about everybody else.
        """
        audience = self._words.audience
        open_facts = {*(c.fact for c in reading.candidates), *(i.fact for i in reading.issues)}
        told = open_facts | reading.facts.keys()
        if any(fact in self._definitions and self._definitions[fact].area == audience.always for fact in told):
            return True
        diagnosis = reading.facts.get(audience.diagnosis.fact)
        is_settled = diagnosis is not None and diagnosis.value in audience.diagnosis.values
        return is_settled or audience.diagnosis.fact in open_facts

    def is_for(self, shown: Shown) -> bool:
        """Say whether the patient-view service may speak: an adult, as far as is known, with a possible depression.

        A missing age counts as adult. A depression that is only suggested counts, and so does a diagnosis that came and
        cannot be read, or of which only is known that there is something to ask.
        """
        audience = self._words.audience
        age = shown.facts.known.get(audience.age.fact)
        if age is not None and isinstance(age.value, int) and age.value < audience.age.at_least:
            return False
        diagnosis = shown.facts.known.get(audience.diagnosis.fact)
        if diagnosis is not None and diagnosis.value in audience.diagnosis.values:
            return True
        if any(u.fact == audience.diagnosis.fact for u in shown.facts.unusable):
            return True
        candidates = (c for c in shown.reading.candidates if c.fact == audience.diagnosis.fact)
        return any(not c.suggests or c.suggests in audience.diagnosis.values for c in candidates)

    def is_emergency(self, shown: Shown) -> bool:
        """Say whether the triage comes before everything else."""
        return shown.decision.triage.level == self._words.emergency.level

    def write(
        self, shown: Shown, call: HookCall, ordered: Sequence[str], came: Came, addresses: Addresses
    ) -> list[Card]:
        """Write the cards, most urgent first, at most two.

        Args:
            shown: the decision.
            call: what was asked; its patient is the subject of suggestions.
            ordered: the options that draft orders are of; empty at a patient view.
            came: what of the call could not be looked at.
            addresses: what cards link to.

        """
        drawn = [self._emergency(shown, addresses)] if self.is_emergency(shown) else []
        if ordered or not drawn:
            drawn += self._options(shown, call, ordered, came, addresses)
        drawn = drawn[:MOST_CARDS]
        for number, card in enumerate(drawn, 1):
            card.draft["uuid"] = card_id(shown.decision_id, number)
        return drawn

    def _options(
        self, shown: Shown, call: HookCall, ordered: Sequence[str], came: Came, addresses: Addresses
    ) -> list[Card]:
        answers = {answer.option: answer for answer in shown.decision.options}
        if ordered:
            wanted = [answers[option] for option in ordered if option in answers]
        else:
            in_order = [answers[option] for option in shown.decision.option_order if option in answers]
            wanted = [answer for answer in in_order if answer.authorization != "standard_care"][:1]
        made = [self._option(shown, answer, came, addresses, is_order=bool(ordered)) for answer in wanted]
        made.sort(key=lambda card: card.urgency)
        if made:
            self._suggest(made[0].draft, shown, wanted, call)
        return made

    def _option(self, shown: Shown, answer: OptionAnswer, came: Came, addresses: Addresses, *, is_order: bool) -> Card:
        said = self._words.statuses[answer.status]
        draft: dict[str, object] = {
            "summary": write_summary(answer, shown.decision, self._words, self._definitions),
            "detail": write_detail(answer, shown, came, self._words, self._definitions),
            "indicator": said.indicator if is_order else "info",
            "source": self._source(addresses, said.topic),
            "overrideReasons": self._reasons(said.topic),
            "links": self._links(self._words.links.page, shown, addresses),
        }
        return Card(said.topic, draft)

    def _emergency(self, shown: Shown, addresses: Addresses) -> Card:
        words = self._words.emergency
        pathway = [_link(words.pathway, addresses.pathway)] if addresses.pathway else []
        draft: dict[str, object] = {
            "summary": words.summary,
            "detail": write_emergency(shown, self._words),
            "indicator": "critical",
            "source": self._source(addresses, words.topic),
            "overrideReasons": self._reasons(words.topic),
            "links": [*pathway, *self._links(self._words.links.emergency_page, shown, addresses)],
        }
        return Card(words.topic, draft)

    def _suggest(self, card: dict[str, object], shown: Shown, wanted: Sequence[OptionAnswer], call: HookCall) -> None:
        made = suggestions(self._words, wanted, shown.decision, call)
        for number, suggestion in enumerate(made, _FIRST_SUGGESTION):
            suggestion["uuid"] = card_id(shown.decision_id, number)
        if made:
            card |= {"suggestions": made, "selectionBehavior": "any"}

    def _source(self, addresses: Addresses, topic: str) -> dict[str, object]:
        coding = {"system": addresses.topics, "code": topic, "display": self._words.topics[topic]}
        return {"label": self._words.title, "url": addresses.about, "topic": coding}

    def _links(self, label: str, shown: Shown, addresses: Addresses) -> list[dict[str, object]]:
        links = [_link(label, addresses.page())]
        if addresses.smart:
            app = {"label": self._words.links.smart, "url": addresses.smart, "type": "smart"}
            links.append({**app, "appContext": shown.decision_id})
        return links

    def _reasons(self, topic: str) -> list[dict[str, object]]:
        words = self._words
        return [
            {"system": words.reason_system, "code": code, "display": words.reasons[code]}
            for code in words.reasons_by_topic[topic]
        ]


def card_id(decision_id: str, number: int) -> str:
    """Give the id of the card or suggestion `number` (1 to 15) of a decision: the decision's id plus that number.

    INVARIANT: the last four bits of a decision's id are zero, so the id of any of them names its decision.
    """
    return str(UUID(int=UUID(decision_id).int + number))


def _link(label: str, address: str) -> dict[str, object]:
    return {"label": label, "url": address, "type": "absolute"}
