"""Cards of real decisions: valid, short, escaped, and quiet."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from markdown_it import MarkdownIt

from server.cds_hooks.cards import Addresses, Deck, card_id
from server.cds_hooks.detail import Came
from server.cds_hooks.hook import read_call
from server.cds_hooks.markdown import escaped
from server.cds_hooks.quiet import Quiet, digest_of
from tests.contract.cds_checks import check_card
from tests.contract.cds_world import Candidate, Issue, Reading, Value, draft, order, rules, shown, view, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.cds_hooks.desk import Shown

WHOLE = Came((), has_untold_draft=False)
EXAMPLES = ["01", "02", "03", "04", "05", "06", "08", "09", "10"]
URGENCY = ["critical", "warning", "info"]
HOSTILE = "<img src=x onerror=alert(1)> | [a](javascript:x) `b`\n# c www.evil.example"


def deck() -> Deck:
    return Deck(words(), rules()[0].facts)


def addresses(pathway: str = "", smart: str = "") -> Addresses:
    return Addresses(
        "https://cds.example.org/about",
        "https://cds.example.org/topics",
        lambda: "https://cds.example.org/p",
        pathway,
        smart,
    )


def drawn(
    made: Shown,
    *ordered: str,
    pathway: str = "",
    came: Came = WHOLE,
    **context: Any,  # noqa: ANN401 - a context
) -> list[dict[str, Any]]:
    body = order(draft(), **context) if ordered else view()
    call = read_call(body, body["hook"])
    return [card.draft for card in deck().write(made, call, ordered, came, addresses(pathway))]


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("ordered", [(), ("esketamine",), ("ketamine_iv",), ("esketamine", "ketamine_iv")])
def test_every_card_is_short_and_whole(name: str, ordered: tuple[str, ...]) -> None:
    made = shown(name)
    cards = drawn(made, *ordered)

    assert 1 <= len(cards) <= 2
    assert [c["indicator"] for c in cards] == sorted((c["indicator"] for c in cards), key=URGENCY.index)
    for number, card in enumerate(cards, 1):
        assert 0 < len(card["summary"]) < 140
        assert card["uuid"] == card_id(made.decision_id, number)
        assert card["source"]["topic"]["code"].isalnum()
        assert card["detail"]
        assert card["links"][-1]["type"] == "absolute"


@pytest.mark.parametrize(
    ("name", "summary", "indicator", "topic"),
    [
        ("01", "Esketamine nasal spray (labeled): criteria met.", "info", "trdEligibility"),
        ("03", "Esketamine nasal spray (labeled): cannot be decided. Ask first: ", "warning", "trdMissingData"),
        (
            "04",
            "Esketamine nasal spray (labeled): contraindicated: Arteriovenous malformation.",
            "critical",
            "trdContraindicated",
        ),
        ("05", "Esketamine nasal spray (labeled): criteria met with precautions: ", "info", "trdEligibility"),
        ("06", "Esketamine nasal spray (labeled): not recommended: Pregnancy.", "warning", "trdNotRecommended"),
        ("10", "Esketamine nasal spray (labeled): not now: Severely raised blood pressure", "warning", "trdNotNow"),
    ],
)
def test_an_order_is_judged_by_its_status(name: str, summary: str, indicator: str, topic: str) -> None:
    card = drawn(shown(name), "esketamine")[0]

    assert card["summary"].startswith(summary)
    assert (card["indicator"], card["source"]["topic"]["code"]) == (indicator, topic)


@pytest.mark.parametrize("name", [n for n in EXAMPLES if n != "02"])
def test_a_view_only_informs(name: str) -> None:
    cards = drawn(shown(name))

    assert [card["indicator"] for card in cards] == ["info"]


def test_an_emergency_comes_first_and_points_to_the_pathway() -> None:
    view_cards, order_cards = drawn(shown("02")), drawn(shown("02"), "ketamine_iv", pathway="https://site.example/now")

    assert [c["source"]["topic"]["code"] for c in view_cards] == ["suicideRiskEmergency"]
    first, second = order_cards
    assert first["indicator"] == "critical"
    assert "emergency pathway" in first["summary"]
    assert "US-SUI-01" in first["detail"]
    assert first["links"][0] == {
        "label": "Emergency pathway of this site",
        "url": "https://site.example/now",
        "type": "absolute",
    }
    assert second["source"]["topic"]["code"] == "trdNotNow"


@pytest.mark.parametrize("name", ["01", "02"])
def test_the_app_of_the_site_gets_the_decision_and_nothing_else(name: str) -> None:
    made = shown(name)
    call = read_call(view(), "patient-view")
    card = deck().write(made, call, (), WHOLE, addresses(smart="https://site.example/launch"))[0].draft

    check_card(card)
    assert card["links"][-1]["type"] == "smart"  # type: ignore[index]
    assert card["links"][-1]["appContext"] == made.decision_id  # type: ignore[index]


def test_a_card_says_what_of_the_record_and_of_the_drafts_could_not_be_looked_at() -> None:
    whole = drawn(shown("01"), "esketamine")[0]["detail"]
    partial = drawn(shown("01"), "esketamine", came=Came(("conditions", "vitals"), has_untold_draft=True))[0]["detail"]

    assert "in part only" not in whole
    assert "The record came in part only (absent: conditions, vitals)" in partial
    assert "Another draft names a drug that cannot be told" in partial
    paged = drawn(shown("01", Reading(issues=(Issue("fhir/history-incomplete"),))), "esketamine")[0]["detail"]
    assert "The record came in part only; what did not come is treated as unknown." in paged


def test_a_go_ahead_comes_with_its_plan_and_a_conflict_with_alternatives() -> None:
    go_ahead, conflict = drawn(shown("01"), "esketamine")[0], drawn(shown("04"), "esketamine")[0]

    assert "**Dosing**" in go_ahead["detail"]
    assert "**Monitoring and warnings**" in go_ahead["detail"]
    assert "**Dosing**" not in conflict["detail"]
    assert "Also computed: Conventional care, criteria met" in conflict["detail"]
    assert "suggestions" not in conflict


def test_what_is_missing_is_asked_most_decisive_first() -> None:
    made = shown("09")
    detail = drawn(made, "esketamine")[0]["detail"]
    asked = [q for q in made.decision.missing if q.fact in made.decision.options[0].missing][:8]
    places = [detail.index(escaped(q.question)) for q in asked]

    assert len(places) == 8
    assert places == sorted(places)
    assert detail.startswith("Could still become: ")


def test_only_measurements_and_questionnaires_are_suggested() -> None:
    made = shown("09")
    card = drawn(made, "esketamine", encounterId="e-1")[0]

    assert card["selectionBehavior"] == "any"
    labels = [s["label"] for s in card["suggestions"]]
    assert labels[:2] == ["Measure blood pressure", "Ask the C-SSRS screener"]
    ids = [s["uuid"] for s in card["suggestions"]]
    assert len(set(ids)) == len(ids)
    for suggestion in card["suggestions"]:
        (action,) = suggestion["actions"]
        assert action["type"] == "create"
        assert action["resource"]["resourceType"] == "ServiceRequest"
        assert action["resource"]["status"] == "draft"
        assert "id" not in action["resource"]
        assert action["resource"]["encounter"] == {"reference": "Encounter/e-1"}
        assert UUID(suggestion["uuid"]).int >> 4 == UUID(made.decision_id).int >> 4


def test_a_draft_that_is_suggested_is_valid_fhir(tmp_path: Path) -> None:
    card = drawn(shown("09"), "esketamine", encounterId="e-1")[0]
    for number, suggestion in enumerate(card["suggestions"]):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(suggestion["actions"][0]["resource"]))
        checked = subprocess.run(
            [Path(sys.executable).parent / "fhirkit", "validate", file], check=False, capture_output=True, text=True
        )
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_precaution_of_the_visit_is_measured_again() -> None:
    card = drawn(shown("10"), "esketamine")[0]

    assert [s["label"] for s in card["suggestions"]][:1] == ["Measure blood pressure"]


def test_what_came_from_the_record_is_escaped_and_never_in_the_summary() -> None:
    reading = Reading(
        candidates=(Candidate("dx_primary", HOSTILE, HOSTILE, (HOSTILE,)),), issues=(Issue("fhir/history-incomplete"),)
    )
    made = shown("03", reading)
    option = made.decision.options[0]
    finding = option.criteria[0]
    hostile = replace(
        finding, facts=tuple(replace(f, value=HOSTILE, source=HOSTILE, date=HOSTILE) for f in finding.facts)
    )
    decision = replace(made.decision, options=(replace(option, criteria=(hostile,)), *made.decision.options[1:]))

    card = drawn(replace(made, decision=decision), "esketamine")[0]

    assert "To confirm: primary diagnosis may be" in card["detail"]
    assert "in part only" in card["detail"]
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(card["detail"])
    found = {token.type for token in [*tokens, *(child for token in tokens for child in token.children or ())]}
    assert not found & {"html_inline", "html_block", "link_open", "image", "code_inline", "heading_open"}
    assert "<" not in card["detail"]
    assert "www.evil" not in card["detail"]
    assert "img" not in card["summary"]


def test_a_summary_asks_in_order_and_skips_nothing() -> None:
    summary = drawn(shown("09"), "esketamine")[0]["summary"]

    assert summary.endswith("Ask first: suicidal ideation; suicidal behavior; and 53 more.")


def test_a_long_list_is_cut_and_says_so() -> None:
    card = drawn(shown("09"), "esketamine")[0]

    assert card["summary"].endswith(" more.")
    assert "more on the linked page." in card["detail"]


@pytest.mark.parametrize(
    ("change", "is_for"),
    [
        ({}, True),
        ({"age_years": 17}, False),
        ({"age_years": 18}, True),
        ({"age_years": None}, True),
        ({"dx_primary": "bipolar_depression"}, False),
        ({"dx_primary": None}, False),
    ],
)
def test_whom_a_view_is_for(change: dict[str, object], is_for: bool) -> None:  # noqa: FBT001 - a column
    assert deck().is_for(shown("01", None, **change)) is is_for


def test_a_depression_that_is_only_suggested_counts() -> None:
    suggested = Reading(candidates=(Candidate("dx_primary", "mdd_single"),))
    unsaid = Reading(candidates=(Candidate("dx_primary", ""),))
    other = Reading(candidates=(Candidate("dx_primary", "adjustment"), Candidate("si_level", "mdd")))

    assert deck().is_for(shown("01", suggested, dx_primary=None))
    assert deck().is_for(shown("01", unsaid, dx_primary=None))
    assert not deck().is_for(shown("01", other, dx_primary=None))


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_the_same_is_shown_once_in_a_while_to_each() -> None:
    clock = Clock()
    quiet = Quiet(100.0, clock)

    assert quiet.is_new(("ehr", "u1", "p1"), b"a")
    assert not quiet.is_new(("ehr", "u1", "p1"), b"a")
    assert quiet.is_new(("ehr", "u2", "p1"), b"a")
    assert quiet.is_new(("ehr", "u1", "p2"), b"a")
    assert quiet.is_new(("ehr", "u1", "p1"), b"b")
    clock.time = 100.0
    assert quiet.is_new(("ehr", "u1", "p1"), b"b")


def test_quiet_may_be_turned_off_and_forgets_the_oldest() -> None:
    assert all(Quiet(0.0, Clock()).is_new(("a",), b"x") for _ in range(3))
    quiet = Quiet(100.0, Clock(), limit=2)
    for viewer in ("a", "b", "c"):
        quiet.is_new((viewer,), b"x")

    assert quiet.is_new(("a",), b"x")
    assert not quiet.is_new(("c",), b"x")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, reading=Reading(candidates=(Candidate("dx_primary", "mdd_single"),))),
        lambda _: shown("01", sbp_mmHg=150),
        lambda _: shown("01", arteriovenous_malformation=None),
        lambda _: shown("02"),
    ],
)
def test_what_changes_an_answer_is_news(change: Callable[[Shown], Shown]) -> None:
    made = shown("01")
    other = change(made)

    assert digest_of(made.decision, made.reading) == digest_of(shown("01").decision, Reading())
    assert digest_of(other.decision, other.reading) != digest_of(made.decision, made.reading)


@pytest.mark.parametrize(
    ("reading", "may"),
    [
        pytest.param(Reading(), False, id="nothing"),
        pytest.param(Reading({"age_years": Value(50), "sbp_mmHg": Value(120)}), False, id="no word of a depression"),
        pytest.param(Reading({"dx_primary": Value("mdd_single")}), True, id="a depression"),
        pytest.param(Reading({"dx_primary": Value("bipolar_depression")}), False, id="another diagnosis"),
        pytest.param(Reading(candidates=(Candidate("dx_primary", "mdd_single"),)), True, id="a possible depression"),
        pytest.param(Reading(issues=(Issue("fhir/not-verified", fact="dx_primary"),)), True, id="unreadable"),
        pytest.param(Reading({"suicidal_behavior_recency": Value("within_24h")}), True, id="suicidal behavior"),
        pytest.param(Reading(candidates=(Candidate("si_level", ""),)), True, id="a sign of suicide risk"),
    ],
)
def test_a_chart_is_decided_on_only_where_there_may_be_something_to_say(reading: Reading, *, may: bool) -> None:
    assert deck().may_concern(reading) is may
