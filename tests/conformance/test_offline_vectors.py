"""The offline verifier on published and golden vectors: notes, keys, inclusion proofs, a whole log, foreign logs.

They are data of others beside the repository, in the folder that ELIGIBILITY_VECTORS names; its README says what is
expected of each.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.ledger import offline
from tests.unit.offline_export import mth, run, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(os.environ.get("ELIGIBILITY_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors in ../shared are not beside this repository")


def read(*parts: str) -> Any:  # noqa: ANN401 - JSON of others
    return json.loads(VECTORS.joinpath(*parts).read_text(encoding="utf-8"))


def is_taken(call: Callable[..., object], *arguments: object) -> bool:
    try:
        call(*arguments)
    except offline.FaultError:
        return False
    return True


def hashes(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or []]


def test_c71_c73_inclusion_proofs() -> None:
    answers: Counter[tuple[bool, bool]] = Counter()
    for file in VECTORS.joinpath("merkle", "inclusion").rglob("*.json"):
        case = json.loads(file.read_text())
        leaf, root = hashes([case["leafHash"], case["root"]])
        place = case["leafIdx"], case["treeSize"]
        answers[is_taken(offline.check_inclusion, *place, leaf, hashes(case["proof"]), root), case["wantErr"]] += 1

    assert answers == {(True, False): 6, (False, True): 92}


@pytest.mark.parametrize(
    ("index", "size", "length", "count"),
    [
        *((0, 2, 31, 1), (0, 2, 33, 1), (0, 2, 0, 1), (0, 2, 32, 0), (0, 2, 32, 65), (1, 1, 32, 0), (-1, 2, 32, 1)),
        *((0, 0, 32, 0), (0, 2**63, 32, 63), (2**64, 2**64, 32, 64)),
    ],
)
def test_c73_impossible_inclusion_proofs(index: int, size: int, length: int, count: int) -> None:
    with pytest.raises(offline.FaultError):
        offline.check_inclusion(index, size, bytes(32), [bytes(length)] * count, bytes(32))


def foreign_entries() -> Iterator[dict[str, Any]]:
    for file in VECTORS.joinpath("rekor-bundles").rglob("bundle.sigstore.json"):
        try:
            entries = json.loads(file.read_text())["verificationMaterial"].get("tlogEntries", [])
        except json.JSONDecodeError:
            continue
        yield from (entry for entry in entries if "inclusionProof" in entry and "canonicalizedBody" in entry)


def test_c72_inclusion_proofs_of_foreign_logs() -> None:
    answers: Counter[bool] = Counter()
    for entry in foreign_entries():
        proof, leaf = entry["inclusionProof"], sha256(b"\x00" + b64decode(entry["canonicalizedBody"])).digest()
        place = int(proof.get("logIndex", 0)), int(proof["treeSize"])
        path = hashes(proof.get("hashes"))
        answers[is_taken(offline.check_inclusion, *place, leaf, path, b64decode(proof["rootHash"]))] += 1

    assert answers == {True: 60, False: 5}


def note_of(case: dict[str, Any]) -> bytes:
    if "note_b64" in case:
        return b64decode(case["note_b64"])
    return b"".join(b64decode(text) * count for text, count in case["parts"])


def test_c75_notes_and_c76_keys() -> None:
    vectors = read("checkpoint-negative", "cases.json")
    log = offline.Key(vectors["profile"]["log_vkey"])
    witnesses = [offline.Key(text, b"\x04") for text in vectors["profile"]["witness_vkeys"]]
    wrong, accepted = [], 0
    for case in vectors["cases"]:
        try:
            note = offline.Note("note", note_of(case), log, witnesses)
        except offline.FaultError:
            is_right = case["expect"] == "reject"
        else:
            is_right = (case["expect"], case.get("size"), set(case.get("signers", []))) == (
                "accept",
                str(note.size),
                note.signers,
            )
            accepted += 1
        wrong += [] if is_right else [case["id"]]

    assert (wrong, len(vectors["cases"]), accepted) == ([], 99, 11)
    taken = [key["id"] for key in vectors["bad_vkeys"] if is_taken(offline.Key, key["vkey"])]
    assert (taken, len(vectors["bad_vkeys"])) == ([], 27)


def test_c76_keys_of_low_order() -> None:
    keys = {
        (case["key"], "low_order_A" in (case["flags"] or [])) for case in read("cctv-ed25519", "ed25519vectors.json")
    }
    answers: Counter[tuple[bool, bool]] = Counter()
    for key, is_low in keys:
        raw, name = b"\x01" + bytes.fromhex(key), "log.example.org/keys"
        key_id = sha256(name.encode() + b"\n" + raw).hexdigest()[:8]
        answers[is_low, is_taken(offline.Key, f"{name}+{key_id}+{b64encode(raw).decode()}")] += 1

    assert (answers[True, False], answers[True, True]) == (14, 0)
    assert answers[False, True] > 0


def test_c72_checkpoints_of_a_foreign_log_are_read_and_its_entries_are_none_of_ours(tmp_path: Path) -> None:
    folder = VECTORS / "tessera-log"
    log = offline.Key((folder / "vkey").read_text().strip())
    for size in range(16):
        note = offline.Note("note", (folder / f"checkpoint.{size}").read_bytes(), log)
        tile = (folder / "tile" / "0" / "000.p" / str(size)).read_bytes() if size else b""
        assert (note.size, note.root) == (size, mth([tile[at : at + 32] for at in range(0, len(tile), 32)]))
    files = {name: (folder / name).read_bytes() for name in ("checkpoint", "tile/0/000.p/15", "tile/entries/000.p/15")}
    files["checkpoints/15"] = files["checkpoint"]

    verdict = run(write(files, tmp_path), "--vkey", log.text)

    assert verdict.named == (3, 0, "tile/entries/000.p/15")
    assert verdict.lines[-1]["message"] == "a header that is too short or too long"


@pytest.fixture
def golden() -> Any:  # noqa: ANN401 - JSON of others
    return read("entry-v1", "examples.json")


def export_of(golden: Any, size: int = 12) -> dict[str, bytes]:  # noqa: ANN401 - JSON of others
    """Lay the golden log out as an export of its first entries."""
    entries = golden["entries"][:size]
    headers = [bytes.fromhex(entry["leaf_data"]) for entry in entries]
    files = {f"checkpoints/{at}": entry["checkpoint_after"].encode() for at, entry in enumerate(entries, 1)}
    files["checkpoint"] = files[f"checkpoints/{size}"]
    files[f"tile/0/000.p/{size}"] = bytes.fromhex(golden["tile_0_0"])[: 32 * size]
    files[f"tile/entries/000.p/{size}"] = b"".join(len(header).to_bytes(2, "big") + header for header in headers)
    files |= {f"blob/{blob['digest']}": bytes.fromhex(blob["body"]) for blob in golden["blobs"]}
    sealed = [part for part in golden["sealing"] if part["entry"] < size]
    return files | {f"sealed/{part['body_sha256']}": bytes.fromhex(part["body"]) for part in sealed}


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 10, 11, 12])
def test_the_golden_log_is_good_at_every_size(tmp_path: Path, golden: Any, size: int) -> None:  # noqa: ANN401 - JSON of others
    (tmp_path / "since").write_text(golden["entries"][0]["checkpoint_after"])
    (tmp_path / "receipt").write_text(golden["receipt"])
    folder = write(export_of(golden, size), tmp_path / "export")
    key = ("--vkey", golden["vkey"])

    verdict = run(folder, *key, "--since", tmp_path / "since")

    assert verdict.code == 0
    root_hash = golden["entries"][size - 1]["root_after"]
    assert (verdict.lines[-1]["tree_size"], verdict.lines[-1]["root_hash"]) == (size, root_hash)
    assert offline.Key(golden["vkey"]).log_id.hex() == golden["log_id"]
    with_receipt = run(folder, *key, "--receipt", tmp_path / "receipt")
    assert with_receipt.named[:2] == ((0, None) if size == 12 else (1, size))


def test_the_golden_receipt_is_good_alone(tmp_path: Path, golden: Any) -> None:  # noqa: ANN401 - JSON of others
    (tmp_path / "receipt").write_text(golden["receipt"])

    assert run("--receipt", tmp_path / "receipt", "--vkey", golden["vkey"]).named == (0, 8, str(tmp_path / "receipt"))


def test_the_golden_log_without_what_its_tombstone_names(tmp_path: Path, golden: Any) -> None:  # noqa: ANN401 - JSON of others
    files = export_of(golden)
    patient = {f"sealed/{part['body_sha256']}" for part in golden["sealing"] if part["part"] == 1}
    caller = next(f"sealed/{part['body_sha256']}" for part in golden["sealing"] if part["part"] == 2)
    key = ("--vkey", golden["vkey"])

    erased = {name: body for name, body in files.items() if name not in patient}
    assert run(write(erased, tmp_path / "erased"), *key).code == 0
    del erased[caller]
    assert run(write(erased, tmp_path / "cut"), *key).named == (1, 8, caller)
    early = {name: body for name, body in export_of(golden, 10).items() if name not in patient}
    assert run(write(early, tmp_path / "early"), *key).named[:2] == (1, 8)
