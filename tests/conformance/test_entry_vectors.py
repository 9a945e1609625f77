"""The golden log, made apart from this code: every field of it comes out of the engine byte for byte.

Random values (entry ids, batch ids, key ids, salts, nonces) are taken from it, everything else is made again.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from dataclasses import replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.body import BlobKind
from engine.ledger.checkpoint import (
    Receipt,
    SigningKey,
    format_receipt,
    open_note,
    parse_receipt,
    parse_vkey,
    verify_receipt,
)
from engine.ledger.entry import NO_PART, Header, Kind, Part
from engine.ledger.merkle import (
    GrowingTree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from engine.ledger.seal import (
    Associated,
    CallerPart,
    Context,
    MessagePart,
    PartKind,
    PatientPart,
    open_part,
    record_key,
    seal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS = Path(os.environ.get("ELIGIBILITY_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
EXAMPLES = VECTORS / "entry-v1" / "examples.json"
pytestmark = pytest.mark.skipif(
    not EXAMPLES.is_file(), reason="the golden log in ../shared is not beside this repository"
)

FIRST_TIME = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
RECORD_FEEDBACK = "/eligibility.v1.DecisionLogService/RecordFeedback"


@pytest.fixture(scope="module")
def log() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(EXAMPLES.read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="module")
def leaves(log: Mapping[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each["leaf_data"]) for each in log["entries"]]


@pytest.fixture(scope="module")
def digests(log: Mapping[str, Any]) -> dict[str, bytes]:
    return {blob["name"]: sha256(bytes.fromhex(blob["body"])).digest() for blob in log["blobs"]}


def golden_bodies(log: Mapping[str, Any], digests: Mapping[str, bytes], key_id: bytes) -> list[bodies.Body | None]:
    """Give the bodies of the twelve entries, in their own types."""
    registered = (
        (BlobKind.PACK, "pack"),
        (BlobKind.FACTS, "facts.yaml"),
        (BlobKind.PACK_SET, "pack set"),
        (BlobKind.ENGINE_MANIFEST, "engine manifest"),
        (BlobKind.SCHEMA, "schema"),
        (BlobKind.REFERENCE_DATA, "reference data"),
    )
    return [
        bodies.Genesis(log["origin"], log["vkey"]),
        *(bodies.BlobRegistered(kind, digests[name], name) for kind, name in registered),
        bodies.PackSetActivated("example", "1.0.0", "2026-01-01"),
        None,
        bodies.Feedback(8),
        bodies.Tombstone((key_id,), "subject-request", "case 17"),
        bodies.ErasureDone(10),
    ]


def golden_contents() -> list[PatientPart | MessagePart | CallerPart]:
    """Give what is sealed: both parts of the decision, then both of the feedback."""
    decision = sha256(b"canonical decision").digest()
    caller = CallerPart("caller-1", "evaluator", "care", "127.0.0.1:1", "request-1", EVALUATE, 5000, "OK")
    return [
        PatientPart(
            EVALUATE,
            b"\n\x03req",
            b"canonical facts",
            Context(date(2026, 1, 1), "Europe/Berlin"),
            b"canonical parameters",
            b"canonical decision",
            decision + decision,
            b"explanation",
            b"\n\x04resp",
        ),
        caller,
        MessagePart(RECORD_FEEDBACK, b"\n\x02fb", b""),
        replace(caller, request_id="card-1 overridden 2026-01-01T00:00:00Z", method=RECORD_FEEDBACK),
    ]


def test_blobs_are_named_by_their_digests(log: Mapping[str, Any], digests: Mapping[str, bytes]) -> None:
    assert [blob["digest"] for blob in log["blobs"]] == [digest.hex() for digest in digests.values()]
    assert {BlobKind(blob["kind"]) for blob in log["blobs"]} == set(BlobKind) - {BlobKind.REPORT}


def test_the_log_is_named_by_its_origin_and_first_key(log: Mapping[str, Any], leaves: list[bytes]) -> None:
    named = entry.log_id(log["origin"], parse_vkey(log["vkey"]).public_key).hex()

    assert named == log["log_id"]
    assert {entry.decode(leaf).log_id.hex() for leaf in leaves} == {named}


def test_headers_decode_and_encode_to_the_same_bytes(log: Mapping[str, Any], leaves: list[bytes]) -> None:
    decoded = [entry.decode(leaf) for leaf in leaves]

    assert [(header.index, header.kind) for header in decoded] == [
        (each["index"], each["kind"]) for each in log["entries"]
    ]
    assert [entry.encode(header) for header in decoded] == leaves


def test_headers_come_out_of_what_they_tell(
    log: Mapping[str, Any], leaves: list[bytes], digests: Mapping[str, bytes]
) -> None:
    origin = entry.log_id(log["origin"], parse_vkey(log["vkey"]).public_key)
    key_id, caller_key_id = leaves[8][224:240], leaves[8][240:256]
    pack_set, *rest = (digests[name] for name in ("pack set", "engine manifest", "schema", "reference data"))
    parts = {
        (each["entry"], each["part"]): golden_part(each, entry.decode(leaves[each["entry"]])) for each in log["sealing"]
    }
    made = []
    for index, body in enumerate(golden_bodies(log, digests, key_id)):
        is_sealed = index in {8, 9}
        kind = Kind.DECISION if body is None else next(k for k, t in entry.BODY_TYPES.items() if t is type(body))
        draft = Header(
            kind=kind,
            log_id=origin,
            entry_id=leaves[index][60:76],
            pack_digest=pack_set if is_sealed or kind is Kind.PACK_SET_ACTIVATED else entry.ZERO_DIGEST,
            engine_digest=rest[0] if is_sealed else entry.ZERO_DIGEST,
            schema_digest=rest[1] if is_sealed else entry.ZERO_DIGEST,
            reference_digest=rest[2] if is_sealed else entry.ZERO_DIGEST,
            key_id=key_id if is_sealed else entry.ZERO_ID,
            caller_key_id=caller_key_id if is_sealed else entry.ZERO_ID,
            seal_algorithm=int(is_sealed),
            patient=parts.get((index, 1), NO_PART),
            caller=parts.get((index, 2), NO_PART),
            body=b"" if body is None else bodies.write_body(body),
        )
        entry.check_draft(draft)
        logged_at = FIRST_TIME + max(0, index - 7) * 1_000_000
        made.append(entry.finish(draft, index, logged_at, 0, leaves[index][80:96]))

    assert made == leaves


def test_bodies_are_read_in_their_own_types(
    log: Mapping[str, Any], leaves: list[bytes], digests: Mapping[str, bytes]
) -> None:
    decoded = [entry.decode(leaf) for leaf in leaves]

    assert list(map(entry.read_body, decoded)) == golden_bodies(log, digests, decoded[8].key_id)


def golden_part(example: Mapping[str, Any], header: Header) -> Part:
    """Seal the content of an example; give what its header says of it."""
    return seal(
        bytes.fromhex(example["content"]),
        part=PartKind(example["part"]),
        data_key=bytes.fromhex(example["data_key"]),
        salt=bytes.fromhex(example["salt"]),
        nonce=bytes.fromhex(example["nonce"]),
        associated=Associated.of(header),
    ).header_part


@pytest.mark.parametrize("number", range(4))
def test_a_part_is_sealed_to_the_same_bytes_at_every_step(
    log: Mapping[str, Any], leaves: list[bytes], number: int
) -> None:
    example = {name: bytes.fromhex(value) for name, value in log["sealing"][number].items() if isinstance(value, str)}
    part, header = PartKind(log["sealing"][number]["part"]), entry.decode(leaves[log["sealing"][number]["entry"]])
    said = header.patient if part is PartKind.PATIENT else header.caller
    associated = Associated.of(header)
    sealed = seal(
        golden_contents()[number].encode(),
        part=part,
        data_key=example["data_key"],
        salt=example["salt"],
        nonce=example["nonce"],
        associated=associated,
    )

    assert golden_contents()[number].encode() == example["content"]
    assert record_key(example["data_key"], part, header.entry_id) == example["record_key"]
    assert associated.encode(part) == example["aad"]
    assert sealed.body == example["body"]
    assert sealed.header_part == said == Part(len(sealed.body), example["body_sha256"], example["commitment"])
    ciphertext = sealed.body[12:]
    plaintext = AESGCM(example["record_key"]).decrypt(example["nonce"], ciphertext, example["aad"])
    assert plaintext == example["padded_plaintext"]


@pytest.mark.parametrize("number", range(4))
def test_a_sealed_part_opens_to_what_it_tells(log: Mapping[str, Any], leaves: list[bytes], number: int) -> None:
    example = log["sealing"][number]
    content = open_part(
        bytes.fromhex(example["body"]),
        part=PartKind(example["part"]),
        data_key=bytes.fromhex(example["data_key"]),
        header=entry.decode(leaves[example["entry"]]),
    )

    assert content.hex() == example["content"]
    assert type(golden_contents()[number]).decode(content) == golden_contents()[number]


def test_there_are_four_sealed_parts(log: Mapping[str, Any]) -> None:
    assert [(each["entry"], each["part"]) for each in log["sealing"]] == [(8, 1), (8, 2), (9, 1), (9, 2)]


def test_tree_and_checkpoints_are_the_same_after_every_entry(log: Mapping[str, Any], leaves: list[bytes]) -> None:
    key = SigningKey(log["origin"], bytes.fromhex(log["log_key_seed"]))
    tree = GrowingTree(0, b"", {})
    assert key.vkey == log["vkey"]

    for leaf, expected in zip(leaves, log["entries"], strict=True):
        assert leaf_hash(leaf).hex() == expected["leaf_hash"]
        tree.add(leaf_hash(leaf))
        note = key.sign_checkpoint(tree.size, tree.root())
        assert tree.root().hex() == expected["root_after"]
        assert tree.state.hex() == expected["state_after"]
        assert note.decode() == expected["checkpoint_after"]
        opened = open_note(note, parse_vkey(log["vkey"]), origin=log["origin"])
        assert (opened.tree_size, opened.root_hash) == (tree.size, tree.root())

    assert tree.changed == {(0, 0): bytes.fromhex(log["tile_0_0"])}


def test_proofs_are_made_to_the_same_bytes_and_verify(log: Mapping[str, Any]) -> None:
    def tiles(level: int, n: int) -> bytes:
        assert (level, n) == (0, 0)
        return bytes.fromhex(log["tile_0_0"])

    roots = {each["index"] + 1: bytes.fromhex(each["root_after"]) for each in log["entries"]}
    inclusion, consistency = log["inclusion"], log["consistency"]
    index, size = inclusion["index"], inclusion["tree_size"]
    older, newer = consistency["size1"], consistency["size2"]

    included = inclusion_proof(tiles, index, size)
    consistent = consistency_proof(tiles, older, newer)

    assert [each.hex() for each in included] == inclusion["proof"]
    assert [each.hex() for each in consistent] == consistency["proof"]
    assert {size: root_of(tiles, size) for size in roots} == roots
    verify_inclusion(index, size, bytes.fromhex(log["entries"][index]["leaf_hash"]), included, roots[size])
    verify_consistency(older, newer, consistent, roots[older], roots[newer])


def test_the_receipt_is_written_to_the_same_bytes_and_verifies(log: Mapping[str, Any], leaves: list[bytes]) -> None:
    proof = tuple(bytes.fromhex(each) for each in log["inclusion"]["proof"])
    receipt = Receipt(leaves[8], 8, proof, log["entries"][11]["checkpoint_after"].encode())

    assert format_receipt(receipt).decode() == log["receipt"]
    assert parse_receipt(log["receipt"].encode()) == receipt
    checkpoint = verify_receipt(receipt, parse_vkey(log["vkey"]))
    assert (checkpoint.tree_size, checkpoint.root_hash.hex()) == (12, log["entries"][11]["root_after"])
    assert entry.decode(receipt.extra).index == receipt.index
    assert b64decode(log["receipt"].splitlines()[1].removeprefix("extra ")) == leaves[8]


def test_nothing_in_the_golden_log_is_left_out(log: Mapping[str, Any]) -> None:
    read = {"about", "origin", "vkey", "log_key_seed", "log_id", "blobs", "entries", "sealing"}

    assert set(log) == read | {"inclusion", "consistency", "receipt", "tile_0_0"}
    assert {name for each in log["entries"] for name in each} == {
        *("index", "kind", "name", "leaf_data", "leaf_hash", "root_after", "state_after", "checkpoint_after"),
    }
    assert {name for each in log["sealing"] for name in each} == {
        *("entry", "part", "data_key", "record_key", "salt", "nonce", "content", "padded_plaintext", "aad", "body"),
        *("body_sha256", "commitment"),
    }
