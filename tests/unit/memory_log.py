"""A log in memory, with real headers, seals, rules and decisions, for tests of what only reads logs.

It has no tree: proofs are tested with the stores. `MemoryLog` pickles, so that other processes can read it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine import canonical
from engine.errors import EntryNotFoundError
from engine.evaluator.agree import SEMANTICS_VERSION, Evaluator
from engine.ledger import entry
from engine.ledger.body import BlobKind, DecisionError, Tombstone, write_body
from engine.ledger.decisions import LogView
from engine.ledger.entry import Header, Kind
from engine.ledger.log import Blob
from engine.ledger.replay import Replayer
from engine.ledger.seal import Associated, CallerPart, Context, PartKind, PatientPart, seal
from engine.ledger.store import BlobRow, Head, SealedRow, SearchRow, Wanted, search_row
from examples.python.evaluate import write_request
from server.convert.ledger import EVALUATE, EVALUATE_STREAM
from server.convert.replay import wire
from server.evaluation import Circumstances, evaluate
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rules_in_force import LoadedRules, rules_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.evaluator.agree import Mode
    from engine.ledger.body import Body
    from engine.ledger.replay import ReplayResult
    from engine.ledger.rulebook import RuleBlobs
    from engine.ledger.seal import MessagePart
    from engine.ledger.store import BatchRow, IdempotencyRow, Snapshot
    from engine.pack.book import RuleBook

PATIENTS = Path(__file__).parents[2] / "examples" / "patients"
MOMENT = datetime(2025, 6, 2, 8, 30, tzinfo=UTC)
CALLER = CallerPart("ehr", "evaluator", "treatment", "ipv4:127.0.0.1", "r-1", EVALUATE, 0, "OK")
MANIFEST = Blob(BlobKind.ENGINE_MANIFEST, canonical.encode({"semantics_version": SEMANTICS_VERSION}), "engine")
SCHEMA = Blob(BlobKind.SCHEMA, b"a schema", "schema")


def cases() -> list[dict[str, Any]]:
    """Give the made-up patients of the examples."""
    found = []
    for file in sorted(PATIENTS.iterdir()):
        text = file.read_text(encoding="utf-8")
        found += [json.loads(line) for line in (text.splitlines() if file.suffix == ".jsonl" else [text])]
    return found


def request_of(case: dict[str, Any], request_id: str = "r-1", **changes: Any) -> service_pb2.EvaluateRequest:  # noqa: ANN401 - any JSON values
    """Make the request about a patient, with other facts where `changes` name them."""
    request = service_pb2.EvaluateRequest()
    write_request({**case, "facts": {**case["facts"], **changes}}, request)
    request.request_id = request_id
    return request


def decided(
    rules: LoadedRules, data: bytes, moment: datetime = MOMENT, time_zone: str = "UTC", position: int | None = None
) -> PatientPart:
    """Decide for a request as the server does, and give what it would seal."""
    circumstances = Circumstances("0f8b1c52-3d6a-4e7f-9a10-5b2c3d4e5f60", moment, time_zone, position)
    kept = evaluate(data, rules, circumstances, 100, lambda: None).evaluated
    return PatientPart(
        EVALUATE if position is None else EVALUATE_STREAM,
        kept.request_bytes,
        kept.facts,
        Context.decode(kept.context),
        kept.parameters,
        kept.decision,
        kept.interpret_digest + kept.chain_digest,
        kept.explanation,
        kept.response_bytes,
    )


def rules_of(book: RuleBook, mode: Mode = "interpret") -> LoadedRules:
    """Give rules in force; close their engines."""
    return LoadedRules(book, Evaluator(book, mode, sessions=1), rules_digest(book))


@dataclass
class MemoryLog:
    """Entries, sealed bodies, blobs and keys."""

    leaves: list[bytes] = field(default_factory=list)
    bodies: dict[tuple[int, int], bytes | None] = field(default_factory=dict)
    blob_rows: dict[bytes, BlobRow] = field(default_factory=dict)
    keys: dict[bytes, bytes] = field(default_factory=dict)
    log_id: bytes = hashlib.sha256(b"a log").digest()

    @property
    def view(self) -> LogView:
        """The log, to read."""
        return LogView(self.reading, self.keys.get)

    def own_view(self) -> LogView:
        """Open the log, as a process of its own does."""
        return self.view

    @contextmanager
    def reading(self) -> Iterator[Snapshot]:
        """Read the log as it is now."""
        yield MemorySnapshot(self, len(self.leaves))

    def put(self, *blobs: Blob) -> None:
        """Keep blobs, without entries that register them."""
        self.blob_rows.update({blob.digest: BlobRow(blob.digest, blob.kind, blob.body) for blob in blobs})

    def key(self, patient: str) -> bytes:
        """Give the key id of a patient, with a key."""
        key_id = hashlib.sha256(patient.encode()).digest()[:16]
        self.keys.setdefault(key_id, hashlib.sha256(b"key" + key_id).digest())
        return key_id

    def tell(self, kind: Kind, body: Body) -> int:
        """Append an entry without sealed parts."""
        return self._add(Header(kind, self.log_id, index=len(self.leaves), body=write_body(body)))

    def decide(
        self, content: PatientPart | MessagePart, rules: RuleBlobs, *, patient: str = "p", engine: Blob = MANIFEST
    ) -> int:
        """Append a decision, with the blobs that it names."""
        self.put(*rules.all(), engine, SCHEMA)
        digests = (rules.pack_set.digest, engine.digest, SCHEMA.digest, rules.reference.digest)
        return self.seal(Kind.DECISION, content, digests, patient)

    def fail(self, content: PatientPart, rules: RuleBlobs, code: str) -> int:
        """Append a decision error."""
        digests = (rules.pack_set.digest, MANIFEST.digest, SCHEMA.digest, rules.reference.digest)
        return self.seal(Kind.DECISION_ERROR, content, digests, "p", write_body(DecisionError(code)))

    def seal(
        self,
        kind: Kind,
        content: PatientPart | MessagePart,
        digests: tuple[bytes, bytes, bytes, bytes],
        patient: str,
        body: bytes = b"",
    ) -> int:
        """Append an entry with both sealed parts."""
        index = len(self.leaves)
        random = hashlib.sha512(index.to_bytes(8, "big")).digest()
        key_id, caller_key_id = self.key(patient), self.key("callers")
        header = Header(
            kind,
            self.log_id,
            index,
            entry_id=random[:15] + b"\0",
            pack_digest=digests[0],
            engine_digest=digests[1],
            schema_digest=digests[2],
            reference_digest=digests[3],
            key_id=key_id,
            caller_key_id=caller_key_id,
            seal_algorithm=1,
            body=body,
        )
        sealed = [
            seal(
                part_content,
                part=part,
                data_key=self.keys[key],
                salt=random[:32],
                nonce=random[32:44],
                associated=Associated.of(header),
            )
            for part, part_content, key in (
                (PartKind.PATIENT, content.encode(), key_id),
                (PartKind.CALLER, CALLER.encode(), caller_key_id),
            )
        ]
        self.bodies |= {(index, part): done.body for part, done in zip(PartKind, sealed, strict=True)}
        return self._add(replace(header, patient=sealed[0].header_part, caller=sealed[1].header_part))

    def shred(self, patient: str) -> int:
        """Erase a patient, tombstone first."""
        key_id = self.key(patient)
        index = self.tell(Kind.TOMBSTONE, Tombstone((key_id,), "request", "case 1"))
        del self.keys[key_id]
        for number, leaf_data in enumerate(self.leaves):
            if entry.decode(leaf_data).key_id == key_id:
                self.bodies[number, PartKind.PATIENT] = None
        return index

    def _add(self, header: Header) -> int:
        self.leaves.append(entry.encode(header))
        return header.index


def _absent(*_: object) -> NoReturn:
    message = "a log in memory has no tree and no derived tables"
    raise AssertionError(message)


@dataclass(frozen=True)
class MemorySnapshot:
    """The first entries of a log."""

    log: MemoryLog
    size: int

    def damage(self) -> list[str]:
        return []

    def head(self) -> Head:
        return Head(self.size, b"", 0, 0)

    def meta(self) -> dict[str, bytes]:
        return {"log_id": self.log.log_id}

    def leaf(self, index: int) -> bytes:
        if not 0 <= index < self.size:
            message = f"the log has no entry {index}"
            raise EntryNotFoundError(message)
        return self.log.leaves[index]

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        return ((index, self.log.leaves[index]) for index in range(first, min(end, self.size)))

    def sealed(self, index: int, part: int) -> bytes | None:
        return self.log.bodies.get((index, part))

    def sealed_rows(self, first: int, end: int) -> Iterator[SealedRow]:
        return (SealedRow(*place, body) for place, body in sorted(self.log.bodies.items()) if first <= place[0] < end)

    def blob(self, digest: bytes) -> BlobRow | None:
        return self.log.blob_rows.get(digest)

    def blobs(self) -> Iterator[BlobRow]:
        return (row for _, row in sorted(self.log.blob_rows.items()))

    def find(self, wanted: Wanted) -> list[SearchRow]:
        rows = (search_row(*leaf) for leaf in self.leaves(wanted.first, wanted.end))
        return [row for row in rows if not wanted.kinds or row.kind in wanted.kinds][: wanted.limit]

    def index_of(self, entry_id: bytes) -> int | None:
        return next((row.entry_index for row in self.search_rows() if row.entry_id == entry_id), None)

    def search_rows(self) -> Iterator[SearchRow]:
        return iter(self.find(Wanted(0, self.size, self.size)))

    def tile(self, level: int, number: int) -> bytes:
        _absent(level, number)

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        _absent()

    def checkpoint(self, tree_size: int | None = None) -> tuple[int, bytes] | None:
        _absent(tree_size)

    def checkpoints(self, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        _absent(end)

    def cosigned(self) -> Iterator[int]:
        _absent()

    def idempotency_rows(self) -> Iterator[IdempotencyRow]:
        _absent()

    def batch_rows(self) -> Iterator[BatchRow]:
        _absent()


def replayed(log: MemoryLog, index: int) -> ReplayResult:
    """Replay an entry with engines that are built for it."""
    with closing(Replayer(log.view, wire(), MANIFEST.digest)) as replayer:
        return replayer.replay(index)


class Bench:
    """A log with a replayer whose engines stay ready: each call logs one decision and replays it."""

    def __init__(self, rules: LoadedRules) -> None:
        self.blobs = rules.blobs
        self.log = MemoryLog()
        self.replayer = Replayer(self.log.view, wire(), MANIFEST.digest)

    def __call__(self, content: PatientPart, engine: Blob = MANIFEST) -> ReplayResult:
        """Log and replay."""
        return self.replayer.replay(self.log.decide(content, self.blobs, engine=engine))
