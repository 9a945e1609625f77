"""Rules that are blobs of a log decide as the folder did, and are found by their bytes."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from engine.errors import IntegrityError, RulePackError
from engine.evaluator.agree import Evaluator
from engine.evaluator.encoding import encode_decision, encode_explanation
from engine.facts import read_facts
from engine.ledger.body import BlobKind
from engine.ledger.log import Blob
from engine.ledger.rulebook import MissingBlobError, blobs_of, book_of, read_pack_set
from engine.pack import digest as canonical
from engine.pack.book import Pack, RuleBook
from engine.pack.load import FACTS_FILE, book_from_bytes, load_rules
from tests.repository import repository_rules
from tests.unit.memory_log import MemoryLog, cases

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return repository_rules()


@pytest.fixture(scope="module")
def good() -> RuleBook:
    return load_rules(ROOT / "tests" / "packs" / "good")


def logged(book: RuleBook) -> MemoryLog:
    log = MemoryLog()
    log.put(*blobs_of(book).all())
    return log


def read_back(log: MemoryLog, book: RuleBook) -> RuleBook:
    blobs = blobs_of(book)
    with log.reading() as snapshot:
        return book_of(snapshot, blobs.pack_set.digest, blobs.reference.digest)


def decisions(book: RuleBook) -> list[bytes]:
    found = []
    with closing(Evaluator(book, "interpret")) as evaluator:
        for case in cases():
            day = date.fromisoformat(case["as_of"])
            facts = read_facts(book.facts, book.dictionary.constraints, case["facts"], day)
            for payer in (None, "CIGNA", "UHC"):
                made = evaluator.evaluate(facts, case["jurisdiction"], payer, day, is_full=True)
                found += [encode_decision(made.decision), encode_explanation(made.decision), made.parameters]
                found += [made.facts, made.interpret_digest]
    return found


def test_rules_from_the_log_decide_every_example_to_the_same_bytes(book: RuleBook) -> None:
    again = read_back(logged(book), book)

    assert decisions(again) == decisions(book)


def test_blobs_have_the_digests_that_the_packs_have(book: RuleBook) -> None:
    blobs = blobs_of(book)
    again = read_back(logged(book), book)

    assert {b.label.split()[0]: b.digest.hex() for b in blobs.packs} == {p.id: p.digest for p in book.packs.values()}
    assert (blobs.facts.digest.hex(), blobs.reference.digest.hex()) == (book.facts_digest, book.reference_digest)
    assert (again.facts_digest, again.reference_digest) == (book.facts_digest, book.reference_digest)
    assert blobs_of(again) == blobs


def test_a_pack_set_lists_its_packs_by_id_and_then_the_dictionary(good: RuleBook) -> None:
    blobs = blobs_of(good)
    names = [f"{pack.id} {pack.header.version} {pack.digest}" for _, pack in sorted(good.packs.items())]

    assert blobs.pack_set.body.decode().splitlines() == [f"pack {n}" for n in names] + [
        f"facts.yaml {good.facts_digest}"
    ]
    assert blobs.pack_set.digest == hashlib.sha256(blobs.pack_set.body).digest()
    assert [blob.kind for blob in blobs.all()] == [
        *[BlobKind.PACK] * len(good.packs),
        BlobKind.FACTS,
        BlobKind.REFERENCE_DATA,
        BlobKind.PACK_SET,
    ]


@pytest.mark.parametrize("place", range(4))
def test_a_blob_that_is_missing_or_has_other_bytes_is_named(good: RuleBook, place: int) -> None:
    log, blob = logged(good), blobs_of(good).all()[-1 - place]
    row = log.blob_rows[blob.digest]
    log.blob_rows[blob.digest] = row._replace(body=row.body + b"\n")
    with pytest.raises(MissingBlobError, match="other bytes") as caught:
        read_back(log, good)
    assert caught.value.digest == blob.digest

    del log.blob_rows[blob.digest]
    with pytest.raises(MissingBlobError, match=f"{blob.digest.hex()} is not in the log"):
        read_back(log, good)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [*reversed(lines[:-1]), lines[-1]],
        lambda lines: [lines[0], *lines],
        lambda lines: [lines[0].replace(" ", "  "), *lines[1:]],
        lambda lines: [lines[0][:-1], *lines[1:]],
        lambda lines: [lines[0].replace("1.", "9.", 1), *lines[1:]],
        lambda lines: ["\xff", *lines],
        lambda _: [],
    ],
)
def test_a_text_that_is_no_pack_set_or_names_other_packs_is_refused(good: RuleBook, change: object) -> None:
    lines = blobs_of(good).pack_set.body.decode().splitlines()
    text = "".join(f"{line}\n" for line in change(lines)).encode("latin-1")  # type: ignore[operator]
    log, blob = logged(good), Blob(BlobKind.PACK_SET, text, "")
    log.put(blob)

    with pytest.raises(IntegrityError, match=f"pack set {blob.digest.hex()}"), log.reading() as snapshot:
        book_of(snapshot, blob.digest, blobs_of(good).reference.digest)


def test_a_text_without_its_last_line_end_is_another_text(good: RuleBook) -> None:
    body = blobs_of(good).pack_set.body

    assert read_pack_set(body, b"").facts_digest.hex() == good.facts_digest
    with pytest.raises(IntegrityError):
        read_pack_set(body[:-1], b"")


def test_packs_stand_in_the_order_of_their_ids_however_they_were_kept(good: RuleBook) -> None:
    blobs = blobs_of(good)
    packs = [blob.body for blob in blobs.packs]
    forward = book_from_bytes(blobs.facts.body, blobs.reference.body, packs)
    backward = book_from_bytes(blobs.facts.body, blobs.reference.body, reversed(packs))

    assert list(forward.packs) == list(backward.packs) == list(good.packs) == sorted(good.packs)


def test_faults_of_bytes_are_told_at_the_packs_id(good: RuleBook) -> None:
    blobs = blobs_of(good)
    files = dict(good.packs["tiny"].files)
    files["spray/rules.yaml"] = files["spray/rules.yaml"].replace(b"effect: cautions", b"effect: warns")
    others = [blob.body for blob in blobs.packs if not blob.label.startswith("tiny")]
    with pytest.raises(RulePackError, match=r"tiny/spray/rules\.yaml:\d+:\d+: \[pack/shape\]"):
        book_from_bytes(blobs.facts.body, blobs.reference.body, [canonical.encode(files), *others])

    with pytest.raises(RulePackError, match="exists twice"):
        book_from_bytes(blobs.facts.body, blobs.reference.body, [p.body for p in blobs.packs] * 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": b"\x00"}, "ends too early"),
        ({"facts": canonical.encode({"other.yaml": b""})}, "not facts.yaml alone"),
        ({"facts": canonical.encode({FACTS_FILE: b"version: 1\n"})}, "pack/missing-key"),
        ({"reference": b""}, "drug tables cannot be read"),
        ({"packs": [canonical.encode({"rules.yaml": b""})]}, "a pack needs a pack.yaml"),
    ],
)
def test_bytes_that_make_no_rule_book_are_refused(good: RuleBook, change: dict[str, object], message: str) -> None:
    blobs = blobs_of(good)
    given = {"facts": blobs.facts.body, "reference": blobs.reference.body, "packs": [b.body for b in blobs.packs]}

    with pytest.raises(RulePackError, match=message):
        book_from_bytes(**(given | change))  # type: ignore[arg-type]


def test_c87_a_pack_of_the_same_id_with_other_bytes_is_another_pack(good: RuleBook) -> None:
    was = good.packs["tiny"]
    files = dict(was.files)
    files["spray/rules.yaml"] = files["spray/rules.yaml"] + b"\n# edited\n"
    digest = canonical.digest(files)
    other = Pack(was.header, digest, files, was.place, lambda: was.contents)
    edited = replace(good, packs={**good.packs, "tiny": other})
    log = logged(good)
    log.put(*blobs_of(edited).all())

    assert read_back(log, good).packs["tiny"].digest == good.packs["tiny"].digest
    assert read_back(log, edited).packs["tiny"].digest == digest != good.packs["tiny"].digest
