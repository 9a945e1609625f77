"""The pages for auditors say what the log and the report hold, and no text in either can become markup."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import canonical
from engine.ledger.impact_report import (
    Bucket,
    CriterionCounts,
    Floored,
    ImpactReport,
    MergedTurns,
    Run,
    Turn,
    Turns,
)
from engine.ledger.replay import Outcome
from engine.page.audit import NO_DIGEST, Audit, Logged, Proof, Replayed, render_audit
from engine.page.charts import BAR_WIDTH, MERGED, bar, flow
from engine.page.impact import BUCKETS, render_impact
from tests.repository import repository_rules
from tests.unit.memory_log import cases, decided, request_of, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>\"' {{ 7*7 }} \u202egnp.exe\x00"
VOID = {"meta", "path", "circle", "rect", "br"}
CHOSEN = {"status", "could_be", "truth", "side", "level", "urgency", "state", "option", "option_order", "mode", "to"}
"""Fields of a decision that hold one of a few words; `option` names a member of the same record."""


class Structure(HTMLParser):
    """Reads a page, refuses tags that do not close in order, and keeps tags and words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def poisoned(value: Any, name: str = "") -> Any:  # noqa: ANN401 - JSON of any shape
    """Poison every text of JSON data that is not one of a few words; names of facts too."""
    match value:
        case dict():
            return {key: poisoned(item, key) for key, item in value.items()}
        case list() if name != "criteria" or not value or isinstance(value[0], dict):
            return [poisoned(item, name) for item in value]
        case str() if name not in CHOSEN and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
            return value + HOSTILE
    return value


@pytest.fixture(scope="module")
def logged() -> Logged:
    """A real decision on a record with gaps, a payer and a hostile note of where a fact came from."""
    rules = rules_of(repository_rules())
    request = request_of({**cases()[2], "payer_id": "CIGNA"})
    request.patient_history.fact_provenance["age_years"].source = HOSTILE[:150]
    request.patient_history.vascular_medical.sbp_mmHg = 999
    request.patient_history.vascular_medical.dbp_mmHg = 80
    with closing(rules.engines):
        part = decided(rules, request.SerializeToString())
    seen = {name: value.decode() for name, value in part.context.seen}
    digests = part.digests[:32].hex(), part.digests[32:].hex()
    return Logged(part.method, part.facts, part.parameters, part.decision, part.explanation, *digests, seen)


@pytest.fixture
def audit(logged: Logged) -> Audit:
    return Audit(
        origin="cds.example.org/decisions/prod-1",
        index=41,
        entry_id="0f8b1c52-3d6a-4e7f-9a10-5b2c3d4e5f60",
        logged_at="2025-06-02T08:30:00.123456Z",
        digests={"packs": "a1" * 32, "reference": "b2" * 32, "engine": "c3" * 32, "schema": "d4" * 32},
        caller={"caller": "ehr", "request_id": "r-1", "purpose": ""},
        logged=logged,
        proof=Proof("e5" * 32, 97, "f6" * 32, ("07" * 32, "18" * 32), "cds.example.org\n97\nroot\n\n— signature\n"),
        replay=Replayed("MATCH", engine_digest="c3" * 32),
    )


def test_the_page_shows_what_was_asked_answered_and_proven(audit: Audit, logged: Logged) -> None:
    page = render_audit(audit)
    text = Structure(page).text
    decision = json.loads(logged.decision)

    for option in decision["options"]:
        assert option["title"] in text
        assert option["summary"] in text
        assert all(name in text for name in option["why_not"])
    for findings in json.loads(logged.explanation)["options"].values():
        assert all(" ".join(finding["because"].split()) in text for finding in findings)
    assert all(name in text for name in json.loads(logged.facts)["known"])
    assert all(pack["digest"] in text and pack["version"] in text for pack in decision["packs"])
    assert all(number in text for number, _ in json.loads(logged.parameters).values())
    assert logged.interpret_digest in text
    assert all(value in text for value in (*audit.digests.values(), "e5" * 32, "f6" * 32, "07" * 32, "18" * 32))
    assert "— signature" in page
    assert "purpose not given" in text.lower()
    assert "The logged decision came out again, byte for byte." in text
    assert "did not run" in text
    assert "Came and could not be used" in text


def test_a_page_stands_alone(audit: Audit) -> None:
    for page in (render_audit(audit), render_impact(report().to_json())):
        structure = Structure(page)
        assert not structure.tags & {"script", "link", "img", "iframe", "form", "object"}
        assert "default-src 'none'" in page
        assert not [value for name, value in structure.attributes if name in {"src", "style"} or "http" in value]
        places = [value for name, value in structure.attributes if name == "id"]
        assert len(places) == len(set(places))
        assert {f"#{place}" for place in places} >= {v for n, v in structure.attributes if n == "href"}
        assert set(places) >= {value for name, value in structure.attributes if name == "aria-labelledby"}


def test_no_text_of_a_patient_or_caller_becomes_markup(audit: Audit, logged: Logged) -> None:
    poison = {
        name: canonical.encode(poisoned(json.loads(getattr(logged, name))))
        for name in ("facts", "parameters", "decision", "explanation")
    }
    hostile = replace(
        audit,
        origin=HOSTILE,
        entry_id=HOSTILE,
        logged_at=HOSTILE,
        clock=(HOSTILE,),
        caller={HOSTILE: HOSTILE},
        logged=replace(replace(logged, **poison), method=HOSTILE, context={HOSTILE: HOSTILE}),  # type: ignore[arg-type]
        proof=Proof(HOSTILE, 97, HOSTILE, (HOSTILE,), HOSTILE),
        replay=Replayed("MISMATCH", "facts", HOSTILE, (HOSTILE,), HOSTILE),
        titles={"age_years": HOSTILE},
    )
    page = render_audit(hostile)
    structure = Structure(page)

    assert structure.tags <= Structure(render_audit(audit)).tags | {"ul", "circle"}
    assert "<script" not in page
    assert "<img" not in page
    assert "onerror" not in {name for name, _ in structure.attributes}
    assert "{{ 7*7 }}" in page
    assert "\u202e" not in page
    assert "[U+202E]gnp.exe" in page


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_of_a_replay_has_its_words(audit: Audit, outcome: Outcome) -> None:
    replayed = Replayed(str(outcome), "decision", "the decision differ", ("options[0].status",), "99" * 32)
    text = Structure(render_audit(replace(audit, replay=replayed))).text

    assert f"Replay: {outcome.lower().replace('_', ' ')}" in text
    assert ("byte for byte" in text) is (outcome is Outcome.MATCH)
    assert "The first stage that differs: decision" in text
    assert "options[0].status" in text
    assert f"another build than the one that decided, {'99' * 32}" in text


def test_what_was_erased_leaves_only_its_place_and_proof(audit: Audit, logged: Logged) -> None:
    erased = replace(audit, logged=None, caller=None, tombstone_index=77, replay=Replayed("SHREDDED"))
    page = render_audit(erased)
    text = Structure(page).text

    assert "The erasure is written at entry 77." in text
    assert "It was erased." in text
    assert "The caller's part cannot be opened." in text
    assert "f6" * 32 in text
    assert "esketamine" not in text.lower()
    assert not [name for name in json.loads(logged.facts)["known"] if f">{name}<" in page]
    assert "It cannot be opened." in Structure(render_audit(replace(audit, logged=None, replay=None))).text


def test_an_entry_without_a_checkpoint_is_not_called_proven(audit: Audit) -> None:
    text = Structure(render_audit(replace(audit, proof=None, replay=None))).text

    assert "Not yet proven" in text
    assert "proven below" not in text


def test_engines_that_agree_differ_or_did_not_run_are_told_apart(audit: Audit, logged: Logged) -> None:
    for chain, words in ((logged.interpret_digest, "agrees"), ("ff" * 32, "differs"), (NO_DIGEST, "did not run")):
        text = Structure(render_audit(replace(audit, logged=replace(logged, chain_digest=chain)))).text
        assert [word for word in ("Agrees", "Differs", "did not run") if word in text] == [
            words.capitalize() if words != "did not run" else words
        ]


def report(requests: Run | None = None) -> ImpactReport:
    buckets = dict(zip(Bucket, (360, 34, 12, 1, 3, 1, 14, 9), strict=True))
    turns = {
        "esketamine": Turns(
            (
                (Turn("eligible", "eligible_with_precautions"), 22),
                (Turn("insufficient_data", "insufficient_data"), 340),
            ),
            (MergedTurns("some", 3, 32),),
        ),
        "triage": Turns(((Turn("none", "none"), 394),)),
        "referral: crisis_line": Turns(((Turn("absent", "required"), 12), (Turn("absent", "absent"), 382))),
    }
    criteria = CriterionCounts(
        Floored((("US-ESK-CI-05", 90), ("US-ESK-WP-09", 28))),
        Floored((("US-ESK-CI-05", 90), ("US-ESK-WP-09", 71))),
        Floored((("US-ESK-WP-09", 22),), 2, 12),
        Floored((), 0, 0),
    )
    reasons = {Bucket.NOT_EVALUABLE: Floored((("long_qt", 12),)), Bucket.LOGGED_ERROR: Floored((), 2, 14)}
    stored = Run(buckets, turns, criteria, reasons)
    made = ImpactReport(434, 11, "a1" * 32, "b2" * 32, ("us 1.1.0",), stored, requests)
    made.stored.check(434)
    return made


def test_the_whole_impact_page_is_as_it_was(check_golden: Callable[[str, str], None]) -> None:
    made = report()
    titles = {"esketamine": "Esketamine nasal spray", "US-ESK-WP-09": "Blood pressure above 140/90 before the dose"}

    check_golden("page/impact.html", render_impact(replace(made, requests=made.stored).to_json(), titles))


def test_every_count_of_the_report_is_on_the_page() -> None:
    text = Structure(render_impact(report().to_json())).text

    assert "34 of 394 decisions would differ" in text
    assert "12 decisions are not evaluable" in text
    for bucket, words in BUCKETS.items():
        assert f"{bucket.replace('_', ' ')} {report().stored.buckets[Bucket(bucket)]} {words}" in text
    assert "sum 434 every entry under the tree size, each once" in text
    assert "Eligible Eligible with precautions 22" in text
    assert "a few that would differ, among others that would not 32" in text
    assert "at least 22 of 394 would differ" in text
    assert "absent required 12" in text
    assert "Nothing moves for: triage." in text
    assert "US-ESK-WP-09 28 71 22 \N{EN DASH}" in text
    assert "Hold as many as before 1 US-ESK-CI-05 90" in text
    assert "few of each, merged \N{EN DASH} \N{EN DASH} 12 in 2 \N{EN DASH}" in text
    assert "long_qt 12" in text
    assert "few of each: 14" in text
    assert "On the requests" not in text


def test_a_second_run_stands_apart() -> None:
    page = render_impact(replace(report(), requests=report().stored).to_json())

    assert Structure(page).text.count("Where all 434 entries went") == 2
    assert Structure(page).text.count("On the requests, read anew by the candidate") == 2


def test_nothing_in_a_report_becomes_markup() -> None:
    made = report()
    turns = {HOSTILE: Turns(((Turn(HOSTILE, HOSTILE + "!"), 394),))}
    criteria = CriterionCounts(*(Floored(((HOSTILE, 20),), 1, 1) for _ in range(4)))
    run = replace(made.stored, turns=turns, criteria=criteria, reasons={Bucket.ERROR: Floored(((HOSTILE, 1),))})
    hostile = replace(made, candidate=(HOSTILE,), candidate_digest=HOSTILE, stored=run)
    page = render_impact(hostile.to_json(), {HOSTILE: HOSTILE})
    structure = Structure(page)

    assert structure.tags <= Structure(render_impact(made.to_json())).tags
    assert str(escape("<img")) in page
    assert "<img" not in page
    assert "\u202e" not in page


def test_a_report_over_nothing_is_a_page_too() -> None:
    nothing: Floored[str] = Floored(())
    run = Run(dict.fromkeys(Bucket, 0), {}, CriterionCounts(*[nothing] * 4), {})
    text = Structure(render_impact(ImpactReport(0, 11, "", "", (), run, None).to_json())).text

    assert "0 of 0 decisions would differ" in text
    assert "Where all 0 entries went" in text


@given(st.dictionaries(st.sampled_from(list(BUCKETS)), st.integers(0, 10**6), max_size=8))
def test_a_bar_is_full_and_shows_every_count(counts: dict[str, int]) -> None:
    segments = bar(counts)

    assert {s.name: s.count for s in segments} == {name: count for name, count in counts.items() if count}
    assert all(segment.width > 0 for segment in segments)
    if segments:
        assert abs(sum(segment.width for segment in segments) - BAR_WIDTH) < 1
        assert abs(segments[-1].x + segments[-1].width - BAR_WIDTH) < 1


NAMES = st.sampled_from(["eligible", "deferred", "contraindicated", "none", "something else", MERGED])


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.integers(1, 10**5), max_size=12))
def test_ribbons_fill_their_nodes_and_nodes_do_not_touch(counts: dict[tuple[str, str], int]) -> None:
    made = flow([(old, new, count) for (old, new), count in counts.items()])

    assert sum(r.count for r in made.ribbons) == sum(counts.values())
    for x in {node.x for node in made.nodes}:
        side = [node for node in made.nodes if node.x == x]
        assert sum(node.count for node in side) == sum(counts.values())
        assert all(upper.y + upper.height < lower.y for upper, lower in pairwise(side))
        assert all(node.y + node.height <= made.height for node in side)
    for ribbon in made.ribbons:
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", ribbon.path)]
        assert 0 <= min(numbers) <= max(numbers) <= max(made.height, BAR_WIDTH)
