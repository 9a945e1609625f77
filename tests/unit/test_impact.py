"""An impact analysis counts every entry once, and calls nothing unchanged that it could not look at."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine import canonical
from engine.errors import EntryNotFoundError, LedgerError
from engine.evaluator.agree import Evaluator
from engine.evaluator.encoding import decode_facts
from engine.ledger.body import Feedback, write_body
from engine.ledger.entry import Kind
from engine.ledger.impact import Judged, impact
from engine.ledger.impact_report import Bucket, Turn, floored, floored_turns
from engine.ledger.rulebook import blobs_of
from engine.ledger.seal import MessagePart
from engine.pack import digest as packed
from engine.pack.load import FACTS_FILE, book_from_bytes
from server.convert.replay import wire
from tests.repository import repository_rules
from tests.unit.memory_log import MemoryLog, cases, decided, request_of, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.ledger.impact_report import ImpactReport, Run
    from engine.ledger.seal import PatientPart
    from engine.pack.book import RuleBook
    from server.rules_in_force import LoadedRules

pytestmark = pytest.mark.long

RULES = Path(__file__).parents[2] / "rules"
PRESSURE = "esketamine/blood_pressure.yaml"
LOWER = ("us", "parameters.yaml", "{2019-03-05: 140}", "{2019-03-05: 100}")
NEW_FACT = (
    "",
    FACTS_FILE,
    "facts:\n",
    """facts:
  - id: long_qt
    area: vascular_medical
    type: bool
    label: long QT syndrome
    meaning: Congenital long QT syndrome.
    ask: Does the patient have congenital long QT syndrome?

""",
)
NEW_RULE = (
    "us",
    PRESSURE,
    "- id: US-ESK-WP-09\n",
    """- id: US-ESK-WP-99
  title: Long QT syndrome
  options: [esketamine]
  effect: EFFECT
  when: long_qt
  explain: Long QT syndrome is on record.
  references: [{source: S6, section: "2.1", supports: a made-up rule}]
  strength: label
  confirmed: engine

- id: US-ESK-WP-09
""",
)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture(scope="module")
def rules(book: RuleBook) -> Iterator[LoadedRules]:
    loaded = rules_of(book)
    with closing(loaded.engines):
        yield loaded


@pytest.fixture(scope="module")
def parts(rules: LoadedRules) -> list[PatientPart]:
    """Every example, and the first one again with other blood pressures, a payer and no trials."""
    first = cases()[0]
    requests = [request_of(case) for case in cases()]
    requests += [request_of(first, sbp_mmHg=sbp, dbp_mmHg=70) for sbp in (90, 100, 101, 135, 141, 250)]
    requests += [request_of({**first, "payer_id": "CIGNA"}), request_of(first, trials=[])]
    return [decided(rules, request.SerializeToString()) for request in requests]


@pytest.fixture
def log(parts: list[PatientPart], rules: LoadedRules) -> MemoryLog:
    made = MemoryLog()
    for number, part in enumerate(parts):
        made.decide(part, rules.blobs, patient=f"p{number}")
    return made


def edited(book: RuleBook, *edits: tuple[str, str, str, str]) -> RuleBook:
    """Give rules with some texts replaced; the pack of a text in facts.yaml is the empty name."""
    files = {pack.id: dict(pack.files) for pack in book.packs.values()} | {"": dict(book.facts_files)}
    for pack, path, old, new in edits:
        assert old.encode() in files[pack][path]
        files[pack][path] = files[pack][path].replace(old.encode(), new.encode(), 1)
    facts = packed.encode(files.pop(""))
    return book_from_bytes(facts, packed.encode(book.reference_files), map(packed.encode, files.values()))


def judged(log: MemoryLog, candidate: RuleBook) -> tuple[ImpactReport, list[Judged], list[Judged]]:
    heard: list[tuple[Judged, Judged]] = []

    def hear(index: int, stored: Judged, anew: Judged | None) -> None:
        assert index == len(heard)
        assert anew is not None
        heard.append((stored, anew))

    report = impact(log.view, len(log.leaves), candidate, wire=wire(), heard=hear, floor=1)
    return report, [stored for stored, _ in heard], [anew for _, anew in heard]


def nonzero(run: Run) -> dict[str, int]:
    return {str(bucket): count for bucket, count in run.buckets.items() if count}


def test_the_same_rules_change_nothing(log: MemoryLog, book: RuleBook) -> None:
    report, stored, anew = judged(log, book)

    assert nonzero(report.stored) == {"unchanged": len(log.leaves)}
    assert report.requests is not None
    assert nonzero(report.requests) == {"unchanged": len(log.leaves)}
    assert stored == anew
    assert report.candidate_digest == blobs_of(book).pack_set.digest.hex()
    for turns in report.stored.turns.values():
        assert all(turn.old == turn.new for turn, _ in turns.shown)
    assert report.stored.criteria.then == report.stored.criteria.now
    assert report.stored.criteria.lost.shown == report.stored.criteria.gained.shown == ()


def test_what_a_candidate_changes_is_what_it_decides(log: MemoryLog, parts: list[PatientPart], book: RuleBook) -> None:
    candidate = edited(book, LOWER)
    report, stored, _ = judged(log, candidate)
    expected = []
    with closing(Evaluator(candidate, "interpret")) as evaluator:
        for part in parts:
            facts = decode_facts(part.facts, book.facts)
            was = json.loads(part.decision)
            payer = was["coverage"] and was["coverage"]["payer_id"]
            now = evaluator.evaluate(facts, "US", payer, facts.as_of).decision
            pairs = {
                o.option: Turn(old["status"], o.status) for old, o in zip(was["options"], now.options, strict=True)
            }
            expected.append({option: turn for option, turn in pairs.items() if turn.old != turn.new})

    assert [j.changes for j in stored] == expected
    assert any(expected)
    changed = sum(map(bool, expected))
    assert nonzero(report.stored) == {"unchanged": len(parts) - changed, "changed": changed}
    lost = dict(report.stored.criteria.lost.shown)
    assert lost == {"US-ESK-WP-09": sum(e.get("esketamine", Turn("", "")).old == "eligible" for e in expected)}
    held, holding = dict(report.stored.criteria.then.shown), dict(report.stored.criteria.now.shown)
    assert holding.pop("US-ESK-WP-09") > held.pop("US-ESK-WP-09")
    assert holding == held


def test_a_referral_that_becomes_less_urgent_is_a_change(log: MemoryLog, book: RuleBook) -> None:
    urgent = "kind: medical_review\n    urgency: "
    candidate = edited(book, ("shared", "referrals.yaml", f"{urgent}same_day", f"{urgent}routine"))

    report, stored, _ = judged(log, candidate)

    changes = [judgment.changes["referral: medical_review"] for judgment in stored if judgment.changes]
    assert Turn("required, same_day", "required, routine") in changes
    assert all(turn.new == turn.old.replace("same_day", "routine") for turn in changes)
    assert nonzero(report.stored)["changed"] == len(changes)


def test_what_a_criterion_alone_held_down_is_gained_when_it_goes(log: MemoryLog, book: RuleBook) -> None:
    ended = ("us", PRESSURE, "effective: {from: 2019-03-05}", "effective: {from: 2019-03-05, until: 2020-01-01}")
    report, stored, _ = judged(log, edited(book, ended))
    better = [j for j in stored if j.changes.get("esketamine") == Turn("eligible_with_precautions", "eligible")]

    assert better
    assert dict(report.stored.criteria.gained.shown) == {"US-ESK-WP-09": len(better)}
    assert "US-ESK-WP-09" not in dict(report.stored.criteria.now.shown)
    assert report.stored.criteria.lost.shown == ()


def test_c89_erased_failed_and_damaged_entries_count_once_each(
    log: MemoryLog, parts: list[PatientPart], rules: LoadedRules, book: RuleBook
) -> None:
    log.fail(parts[0], rules.blobs, "engines-disagree")
    log.seal(Kind.FEEDBACK, MessagePart("/x/Y", b"", b""), (bytes([1] * 32),) * 4, "q", write_body(Feedback(0)))
    log.shred("p1")
    log.shred("p2")
    log.bodies[3, 1] = bytes(12 + 16)
    del log.keys[log.key("p4")]
    log.decide(replace(parts[0], facts=b"{}"), rules.blobs)
    log.decide(replace(parts[0], decision=b"{}"), rules.blobs)
    lost = replace(rules.blobs, facts=replace(rules.blobs.facts, body=b"lost"))
    size = log.decide(parts[0], lost) + 1
    report, stored, anew = judged(log, book)

    expected = {"shredded": 2, "unreadable": 4, "logged_error": 1, "not_a_decision": 3}
    assert nonzero(report.stored) == {"unchanged": size - sum(expected.values()), **expected}
    assert [j.bucket for j in anew] == [Bucket.UNCHANGED if j.reasons == ("facts",) else j.bucket for j in stored]
    assert dict(report.stored.reasons[Bucket.UNREADABLE].shown) == {"undecryptable": 2, "facts": 1, "decision": 1}
    assert dict(report.stored.reasons[Bucket.LOGGED_ERROR].shown) == {"engines-disagree": 1}


def test_a_log_that_lost_its_dictionary_is_unreadable_and_not_unchanged(
    log: MemoryLog, rules: LoadedRules, book: RuleBook
) -> None:
    del log.blob_rows[rules.blobs.facts.digest]
    report, _, _ = judged(log, book)

    assert nonzero(report.stored) == {"unreadable": len(log.leaves)}
    assert dict(report.stored.reasons[Bucket.UNREADABLE].shown) == {"missing-blob": len(log.leaves)}


@pytest.mark.parametrize("effect", ["contraindicates", "cautions"])
def test_c90_a_rule_over_a_fact_that_was_never_asked_is_not_evaluable_where_it_matters(
    log: MemoryLog, book: RuleBook, effect: str
) -> None:
    rule = (*NEW_RULE[:3], NEW_RULE[3].replace("EFFECT", effect))
    _, stored, anew = judged(log, edited(book, NEW_FACT, rule))
    _, unchanged, _ = judged(log, book)
    hanging = []
    for judgment in unchanged:
        assert judgment.then is not None
        status = judgment.then.outcomes["esketamine"]
        worse = ["contraindicated"] if effect == "contraindicates" else ["eligible_with_precautions", "deferred"]
        hanging.append(status == "eligible" or (effect == "contraindicates" and status not in worse))

    assert [(j.bucket, j.reasons) for j in stored if j.bucket is not Bucket.UNCHANGED] == [
        (Bucket.NOT_EVALUABLE, ("long_qt",))
    ] * sum(j.bucket is Bucket.NOT_EVALUABLE for j in stored)
    decided_now = [j.bucket is Bucket.UNCHANGED for j in stored]
    assert all(not unaffected or not hangs for unaffected, hangs in zip(decided_now, hanging, strict=True))
    assert any(decided_now)
    assert not all(decided_now)
    assert [j.bucket for j in anew] == [j.bucket for j in stored]


def test_c90_a_source_that_was_never_asked_counts_where_it_could_have_spoken_first(
    log: MemoryLog, book: RuleBook
) -> None:
    source = "  first_known:\n    - childbearing_potential\n"
    first = ("shared", "derived.yaml", source, source.replace("    - child", "    - long_qt\n    - child"))
    after = ("shared", "derived.yaml", source, f"{source}    - long_qt\n")
    _, before_all, _ = judged(log, edited(book, NEW_FACT, first))
    _, behind_one, _ = judged(log, edited(book, NEW_FACT, after))
    spoke = ["childbearing_potential" in case["facts"] for case in cases()]

    assert {j.bucket for j in before_all} == {Bucket.NOT_EVALUABLE}
    assert [j.bucket is Bucket.UNCHANGED for j in behind_one[: len(spoke)]] == spoke
    assert 0 < sum(spoke) < len(spoke)


def test_c90_a_field_of_records_that_was_never_asked_counts_where_there_are_records(
    log: MemoryLog, parts: list[PatientPart], book: RuleBook
) -> None:
    field = (
        "",
        FACTS_FILE,
        "      - id: rxnorm\n",
        """      - id: was_supervised
        type: bool
        label: supervision
        meaning: Supervised intake.

      - id: rxnorm
""",
    )
    _, unread, _ = judged(log, edited(book, field))
    assert {j.bucket for j in unread} == {Bucket.UNCHANGED}

    name = next(d.id for d in book.packs["shared"].derived if d.of == "trials" and d.when is not None)
    text = book.packs["shared"].files["derived_trials.yaml"].decode()
    item = text[text.index(f"- id: {name}\n") :].split("\n- id:")[0]
    line = next(line for line in item.splitlines() if line.lstrip().startswith("when:"))
    condition = line.split("when:", 1)[1].strip()
    use = ("shared", "derived_trials.yaml", item, item.replace(line, f"  when: {{any: [{condition}, was_supervised]}}"))
    _, read, _ = judged(log, edited(book, field, use))
    has_records = [bool(json.loads(part.facts)["records"].get("trials")) for part in parts]
    assert [j.bucket is Bucket.NOT_EVALUABLE for j in read] == has_records
    assert {j.reasons for j in read if j.reasons} == {("trials",)}


def test_a_value_that_the_candidate_cannot_read_is_unlogged_and_read_anew_is_unusable(
    log: MemoryLog, parts: list[PatientPart], book: RuleBook
) -> None:
    old = (RULES / FACTS_FILE).read_text(encoding="utf-8")
    start = old.index("  - id: sbp_mmHg\n")
    item = old[start : old.index("  - id:", start + 5)]
    line = next(line for line in item.splitlines() if line.lstrip().startswith("range:"))
    narrow = ("", FACTS_FILE, item, item.replace(line, "    range: [50, 240]"))
    told = ("shared", "derived.yaml", "sbp_mmHg: {50-300: true}", "sbp_mmHg: {50-240: true}")
    _, stored, anew = judged(log, edited(book, narrow, told))
    known = [json.loads(part.facts)["known"] for part in parts]
    is_high = [facts.get("sbp_mmHg", {"value": 0})["value"] > 240 for facts in known]

    assert sum(is_high) == 1
    assert [j.bucket is Bucket.UNCHANGED for j in stored] == [not high for high in is_high]
    assert [j.bucket is Bucket.UNCHANGED for j in anew] == [not high for high in is_high]
    place = is_high.index(True)
    assert (stored[place].bucket, stored[place].reasons) == (Bucket.NOT_EVALUABLE, ("sbp_mmHg",))
    assert anew[place].changes["esketamine"] == Turn("deferred", "insufficient_data")


def test_a_candidate_that_fails_is_an_error_for_each_decision(log: MemoryLog, book: RuleBook) -> None:
    elsewhere = ("us", "pack.yaml", "serves: US", "serves: EU")
    report, _, _ = judged(log, edited(book, elsewhere))
    assert nonzero(report.stored) == {"error": len(log.leaves)}
    assert dict(report.stored.reasons[Bucket.ERROR].shown) == {"no-rule-pack": len(log.leaves)}

    nobody = ("", FACTS_FILE, "CIGNA:", "CIGNUS:"), ("payer-cigna", "pack.yaml", "payer: CIGNA", "payer: CIGNUS")
    report, stored, _ = judged(log, edited(book, *nobody))
    assert [j.reasons for j in stored if j.bucket is Bucket.ERROR] == [("payer",)]


def test_c91_what_is_appended_or_erased_meanwhile_does_not_move_the_end(
    log: MemoryLog, parts: list[PatientPart], rules: LoadedRules, book: RuleBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.ledger.impact._AT_ONCE", 3)
    size = len(log.leaves)

    def append(index: int, _stored: Judged, _anew: Judged | None) -> None:
        log.decide(parts[0], rules.blobs)
        if index == 3:
            log.shred("p9")

    report = impact(log.view, size, book, heard=append)
    assert report.tree_size == size
    assert nonzero(report.stored) == {"unchanged": size - 1, "shredded": 1}
    assert report.requests is None
    with pytest.raises(EntryNotFoundError, match=r"has \d+ entries and not 999"):
        impact(log.view, 999, book)
    assert nonzero(impact(log.view, 0, book).stored) == {}


def test_counts_under_the_floor_are_merged_and_the_sums_hold(log: MemoryLog, book: RuleBook) -> None:
    report = impact(log.view, len(log.leaves), edited(book, LOWER), floor=4)

    for turns in report.stored.turns.values():
        assert all(count >= 4 for _, count in turns.shown)
        assert all(merged.count >= 4 for merged in turns.merged)
        assert turns.total == report.stored.compared
    assert report.stored.turns["conventional"].merged


@pytest.mark.parametrize(
    ("counts", "shown", "merged"),
    [
        ({"aa": 30, "bb": 11, "ab": 12}, {"ab": 12, "aa": 30, "bb": 11}, []),
        ({"aa": 30, "bb": 3, "cc": 2, "ab": 12}, {"ab": 12}, [("none", 3, 35)]),
        ({"aa": 30, "bb": 20, "cc": 4, "ab": 26, "ac": 3, "bc": 5}, {"ab": 26, "aa": 30, "bb": 20}, [("some", 3, 12)]),
        (
            {"aa": 30, "bb": 6, "cc": 5, "ab": 26, "ac": 6, "bc": 5},
            {"ab": 26, "aa": 30},
            [("all", 2, 11), ("none", 2, 11)],
        ),
        ({"aa": 30, "ab": 6, "ac": 5}, {"aa": 30}, [("all", 2, 11)]),
        ({"aa": 30, "bb": 12, "ab": 3}, {"aa": 30}, [("some", 2, 15)]),
        ({"aa": 30, "bb": 1, "ab": 3}, {}, [("some", 3, 34)]),
        ({"aa": 2, "ab": 40, "ac": 20}, {"ab": 40}, [("some", 2, 22)]),
        ({"ab": 40, "ac": 20, "ba": 1}, {"ab": 40}, [("all", 2, 21)]),
        ({"aa": 2}, {}, [("none", 1, 2)]),
        ({"ab": 2}, {}, [("all", 1, 2)]),
        ({}, {}, []),
    ],
)
def test_few_changes_hide_behind_the_smallest_of_what_stays(
    counts: dict[str, int], shown: dict[str, int], merged: list[tuple[str, int, int]]
) -> None:
    found = floored_turns({Turn(*name): count for name, count in counts.items()}, 11)

    assert {turn.old + turn.new: count for turn, count in found.shown} == shown
    assert [(m.changes, m.keys, m.count) for m in found.merged] == merged
    assert found.total == sum(counts.values())


@pytest.mark.parametrize(
    ("counts", "shown", "merged"),
    [
        ({}, {}, (0, 0)),
        ({"a": 30, "b": 11}, {"a": 30, "b": 11}, (0, 0)),
        ({"a": 30, "b": 6, "c": 5, "d": 0}, {"a": 30}, (2, 11)),
        ({"a": 30, "b": 12, "c": 1}, {"a": 30}, (2, 13)),
        ({"a": 30, "c": 1}, {}, (2, 31)),
        ({"c": 1}, {}, (1, 1)),
    ],
)
def test_small_counts_hide_behind_the_smallest_others(
    counts: dict[str, int], shown: dict[str, int], merged: tuple[int, int]
) -> None:
    found = floored(counts, 11)

    assert (dict(found.shown), (found.merged_keys, found.merged_count)) == (shown, merged)


def test_a_report_that_lost_an_entry_is_refused(log: MemoryLog, book: RuleBook) -> None:
    run = impact(log.view, len(log.leaves), book).stored
    run.check(len(log.leaves))

    with pytest.raises(LedgerError, match="the buckets sum to"):
        run.check(len(log.leaves) + 1)
    short = replace(run, turns={"esketamine": floored_turns({Turn("eligible", "eligible"): 1}, 1)})
    with pytest.raises(LedgerError, match="changes of `esketamine`"):
        short.check(len(log.leaves))


def test_a_report_is_plain_data_without_a_patient(log: MemoryLog, book: RuleBook) -> None:
    report = impact(log.view, len(log.leaves), edited(book, LOWER), wire=wire())
    text = canonical.encode(report.to_json())

    assert json.loads(text)["stored"]["buckets"]["changed"] == report.stored.buckets[Bucket.CHANGED] > 0
    assert json.loads(text)["requests"] == json.loads(text)["stored"]
    assert set(json.loads(text)) == {"tree_size", "floor", "candidate", "stored", "requests"}
    assert str(date(2025, 6, 2)).encode() not in text
