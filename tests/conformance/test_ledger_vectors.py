"""Published vectors of Merkle trees, signed notes and the primitives beneath, each folder in full and counted.

They are data of others beside the repository, in the folder that ELIGIBILITY_VECTORS names; its README says what is
expected of each. A count that differs means that the data or a library changed, and is to be looked at.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections import Counter
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding

from engine.errors import IntegrityError
from engine.ledger import merkle
from engine.ledger.checkpoint import VerifierKey, open_note, parse_checkpoint, parse_vkey, verify_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(os.environ.get("ELIGIBILITY_VECTORS") or Path(__file__).parents[3] / "shared" / "vectors")
pytestmark = pytest.mark.skipif(not VECTORS.is_dir(), reason="the vectors in ../shared are not beside this repository")


def is_taken(call: Callable[[], object]) -> bool:
    try:
        call()
    except IntegrityError:
        return False
    return True


def read(*parts: str) -> Any:  # noqa: ANN401 - JSON of others
    return json.loads(VECTORS.joinpath(*parts).read_text(encoding="utf-8"))


def files(*parts: str) -> list[Path]:
    return sorted(path for path in VECTORS.joinpath(*parts).rglob("*") if path.is_file())


def hashes(texts: list[str] | None) -> list[bytes]:
    return [b64decode(text) for text in texts or []]


def key_in(*parts: str) -> VerifierKey:
    return parse_vkey(VECTORS.joinpath(*parts).read_text(encoding="utf-8").strip())


def test_the_vectors_are_those_that_were_published() -> None:
    sums = dict(line.split("  ")[::-1] for line in (VECTORS / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    found = {f"./{path.relative_to(VECTORS)}": sha256(path.read_bytes()).hexdigest() for path in files()}

    assert {name: found.get(name) for name in sums} == sums
    assert found.keys() - sums.keys() == {"./SHA256SUMS"}


def test_c71_inclusion_proofs_are_taken_and_refused_as_expected() -> None:
    counts: Counter[bool] = Counter()
    for path in files("merkle", "inclusion"):
        case = read(str(path))
        leaf, root = b64decode(case["leafHash"]), b64decode(case["root"])
        call = partial(merkle.verify_inclusion, case["leafIdx"], case["treeSize"], leaf, hashes(case["proof"]), root)
        assert is_taken(call) is not case["wantErr"], path
        counts[case["wantErr"]] += 1

    assert counts == {False: 6, True: 92}


def test_c71_consistency_proofs_are_taken_and_refused_as_expected() -> None:
    counts: Counter[bool] = Counter()
    for path in files("merkle", "consistency"):
        case = read(str(path))
        roots = b64decode(case["root1"]), b64decode(case["root2"])
        call = partial(merkle.verify_consistency, case["size1"], case["size2"], hashes(case["proof"]), *roots)
        assert is_taken(call) is not case["wantErr"], path
        counts[case["wantErr"]] += 1

    assert counts == {False: 6, True: 92}


REFUSED_BUNDLES = {
    "bundle-empty-certificate-chain_fail",
    "bundle-invalid-base64-signature_fail",
    "inclusion-proof-corrupted-hash_fail",
    "incorrect-public-key_fail",
    "invalid-inclusion-proof_fail",
}
OTHER_CHECKPOINTS = {
    "checkpoint-wrong-roothash_fail",
    "rekor2-checkpoint-missing-origin_fail",
    "rekor2-checkpoint-missing-root-hash_fail",
    "rekor2-checkpoint-missing-size_fail",
}


def bundles() -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each entry of a foreign log that comes with a proof."""
    for path in files("rekor-bundles"):
        if path.name != "bundle.sigstore.json" or path.parent.name == "bundle-malformed-json_fail":
            continue
        for entry in read(str(path))["verificationMaterial"].get("tlogEntries", []):
            if "inclusionProof" in entry and "canonicalizedBody" in entry:
                yield path.parent.name, entry


def is_of(envelope: str, size: int, root: bytes) -> bool:
    """Say whether a note's text is the checkpoint of a tree."""
    try:
        found = parse_checkpoint(envelope.rpartition("\n\n")[0] + "\n")
    except IntegrityError:
        return False
    return (found.tree_size, found.root_hash) == (size, root)


def test_c72_proofs_and_checkpoints_of_foreign_logs_are_taken_and_refused_as_expected() -> None:
    refused, other, counts = set(), set(), Counter[str]()
    for name, entry in bundles():
        proof = entry["inclusionProof"]
        size, root = int(proof["treeSize"]), b64decode(proof["rootHash"])
        leaf = merkle.leaf_hash(b64decode(entry["canonicalizedBody"]))
        index = int(proof.get("logIndex", 0))
        if not is_taken(partial(merkle.verify_inclusion, index, size, leaf, hashes(proof.get("hashes")), root)):
            refused.add(name)
        elif "checkpoint" not in proof:
            counts["without a checkpoint"] += 1
        elif is_of(proof["checkpoint"]["envelope"], size, root):
            counts["with its checkpoint"] += 1
        else:
            other.add(name)

    assert len([path for path in files("rekor-bundles") if path.name == "bundle.sigstore.json"]) == 70
    assert (refused, other) == (REFUSED_BUNDLES, OTHER_CHECKPOINTS)
    assert counts == {"with its checkpoint": 55, "without a checkpoint": 1}


def raw_entries(size: int) -> list[bytes]:
    """Take a bundle of entries apart: u16 length and bytes, each."""
    data, found = VECTORS.joinpath("tessera-log", "tile", "entries", "000.p", str(size)).read_bytes(), []
    while data:
        end = 2 + int.from_bytes(data[:2], "big")
        found.append(data[2:end])
        data = data[end:]
    assert len(found) == size
    return found


def test_c71_a_whole_tiled_log_is_made_again_from_its_entries() -> None:
    key = key_in("tessera-log", "vkey")
    tree = merkle.GrowingTree(0, b"", {})
    roots = []
    for size in range(16):
        if size:
            leaves = [merkle.leaf_hash(entry) for entry in raw_entries(size)]
            path = VECTORS / "tessera-log" / merkle.tile_path(0, 0, size)
            tree.add(leaves[-1])
            assert b"".join(leaves) == path.read_bytes() == tree.tile(0, 0)
        note = (VECTORS / "tessera-log" / f"checkpoint.{size}").read_bytes()
        checkpoint = open_note(note, key)
        assert (checkpoint.tree_size, checkpoint.root_hash) == (size, tree.root())
        roots.append(tree.root())

    assert note == (VECTORS / "tessera-log" / "checkpoint").read_bytes()
    pairs = [(size1, size2) for size2 in range(1, 16) for size1 in range(1, size2)]
    assert len(pairs) == 105
    for size1, size2 in pairs:
        proof = merkle.consistency_proof(tree.tile, size1, size2)
        merkle.verify_consistency(size1, size2, proof, roots[size1], roots[size2])
        assert not is_taken(partial(merkle.verify_consistency, size1, size2, proof, roots[size2], roots[size2]))


def test_c71_a_mirror_has_the_tiles_of_its_checkpoint_and_cosignatures_open() -> None:
    mirror = VECTORS / "sunlight-mirror" / "mirror"
    times = []
    for folder in ("mirror", "witness", "witness2"):
        (config,) = VECTORS.joinpath("sunlight-mirror", folder).glob("*.v0.json")
        key = parse_vkey(json.loads(config.read_text(encoding="utf-8"))["verifier_keys"][0])
        note = (config.parent / "checkpoint").read_bytes()
        checkpoint = open_note(note, None, [key])
        assert (checkpoint.tree_size, checkpoint.signers) == (300, (key.name,))
        (line,) = [line for line in note.decode().split("\n") if line.startswith(f"— {key.name} ")]
        times.append(int.from_bytes(b64decode(line.rpartition(" ")[2])[4:12], "big"))
        if folder == "mirror":
            root = checkpoint.root_hash

    def tiles(level: int, n: int) -> bytes:
        return (mirror / merkle.tile_path(level, n, {(0, 1): 44, (1, 0): 1}.get((level, n), 256))).read_bytes()

    assert times == [1767139200] * 3
    assert merkle.root_of(tiles, 300) == root
    full = merkle.root_of(lambda level, n: tiles(0, 0) if (level, n) == (0, 0) else b"", 255)
    tree = merkle.GrowingTree(0, b"", {})
    for start in range(0, 300 * 32, 32):
        tree.add((tiles(0, 0) + tiles(0, 1))[start : start + 32])
    assert tree.changed == {key: tiles(*key) for key in ((0, 0), (0, 1), (1, 0))}
    assert full == merkle.root_of(tree.tile, 255)


def test_c75_the_published_note_opens_and_any_changed_byte_fails() -> None:
    key = key_in("c2sp-signed-note", "example.vkey")
    note = VECTORS.joinpath("c2sp-signed-note", "example.note").read_bytes()
    assert verify_note(note, [key]) == ("This is an example message.\n", ("example.com/foo",))

    for place, byte in enumerate(note):
        for other in range(256):
            if other != byte:
                changed = note[:place] + bytes([other]) + note[place + 1 :]
                assert not is_taken(partial(verify_note, changed, [key])), (place, other)


def test_c76_odd_ed25519_keys_are_refused_and_odd_signatures_counted() -> None:
    low_order, counts = set(), Counter[str]()
    for case in read("cctv-ed25519", "ed25519vectors.json"):
        key = VerifierKey("cctv", 1, bytes.fromhex(case["key"]))
        if "low_order_A" in (case["flags"] or []):
            counts["of low order"] += 1
            low_order.add(case["key"])
            assert not is_taken(partial(parse_vkey, key.vkey)), case["number"]
            continue
        is_good = is_taken(partial(key.verify, case["msg"], bytes.fromhex(case["sig"])))
        counts["taken" if is_good else "refused"] += 1

    assert len(low_order) == 14
    assert counts == {"of low order": 526, "refused": 302, "taken": 86}


def test_c75_c81_every_odd_note_is_taken_and_refused_as_expected() -> None:
    data = read("checkpoint-negative", "cases.json")
    profile = data["profile"]
    log_key, witnesses = parse_vkey(profile["log_vkey"]), [parse_vkey(text) for text in profile["witness_vkeys"]]
    counts: Counter[str] = Counter()
    for case in data["cases"]:
        parts = case.get("parts") or [[case["note_b64"], 1]]
        note = b"".join(b64decode(text) * repeats for text, repeats in parts)
        call = partial(open_note, note, log_key, witnesses, profile["origin"])
        counts[case["expect"]] += 1
        if case["expect"] == "reject":
            assert not is_taken(call), case["id"]
        else:
            found = call()
            assert (found.tree_size, sorted(found.signers)) == (int(case["size"]), sorted(case["signers"])), case["id"]

    assert counts == {"accept": 11, "reject": 88}


def test_c76_every_bad_verifier_key_is_refused() -> None:
    bad = read("checkpoint-negative", "cases.json")["bad_vkeys"]

    assert [case["id"] for case in bad if is_taken(partial(parse_vkey, case["vkey"]))] == []
    assert len(bad) == 27


def wycheproof(name: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for group in read("wycheproof", name)["testGroups"]:
        for case in group["tests"]:
            yield group, case


def octets(case: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(case[name]) for name in names]


def count(name: str, works: Callable[[dict[str, Any], dict[str, Any]], bool]) -> Counter[str]:
    """Run each case of a file, and count those that are valid and invalid once they did as they should."""
    counts: Counter[str] = Counter()
    for group, case in wycheproof(name):
        assert works(group, case) is (case["result"] == "valid"), case
        counts[case["result"]] += 1
    return counts


def test_ed25519_takes_and_refuses_as_expected() -> None:
    def works(group: dict[str, Any], case: dict[str, Any]) -> bool:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]["pk"]))
        try:
            key.verify(*octets(case, "sig", "msg"))
        except InvalidSignature:
            return False
        return True

    assert count("ed25519_test.json", works) == {"valid": 88, "invalid": 63}


def test_aes_gcm_as_it_is_used_takes_and_refuses_as_expected() -> None:
    used = {"ivSize": 96, "tagSize": 128}
    cases = [case for group, case in wycheproof("aes_gcm_test.json") if used.items() <= group.items()]
    for case in cases:
        key, nonce, aad, message, sealed, tag = octets(case, "key", "iv", "aad", "msg", "ct", "tag")
        try:
            opened = AESGCM(key).decrypt(nonce, sealed + tag, aad)
        except InvalidTag:
            assert case["result"] == "invalid", case
        else:
            assert (case["result"], opened) == ("valid", message), case
            assert AESGCM(key).encrypt(nonce, message, aad) == sealed + tag

    assert Counter(case["result"] for case in cases) == {"valid": 116, "invalid": 81}
    assert len(list(wycheproof("aes_gcm_test.json"))) == 316


def test_aes_key_wrap_takes_and_refuses_as_expected() -> None:
    def works(_group: dict[str, Any], case: dict[str, Any]) -> bool:
        key, message, wrapped = octets(case, "key", "msg", "ct")
        try:
            return aes_key_unwrap_with_padding(key, wrapped) == message
        except (InvalidUnwrap, ValueError):
            return False

    assert count("aes_kwp_test.json", works) == {"valid": 77, "invalid": 177}


def test_hkdf_takes_and_refuses_as_expected() -> None:
    def works(_group: dict[str, Any], case: dict[str, Any]) -> bool:
        secret, salt, info, expected = octets(case, "ikm", "salt", "info", "okm")
        try:
            return HKDF(SHA256(), case["size"], salt, info).derive(secret) == expected
        except ValueError:
            return False

    assert count("hkdf_sha256_test.json", works) == {"valid": 83, "invalid": 3}


def test_hmac_takes_and_refuses_as_expected() -> None:
    def works(group: dict[str, Any], case: dict[str, Any]) -> bool:
        key, message, tag = octets(case, "key", "msg", "tag")
        mac = HMAC(key, SHA256())
        mac.update(message)
        return compare_digest(mac.finalize()[: group["tagSize"] // 8], tag)

    assert count("hmac_sha256_test.json", works) == {"valid": 66, "invalid": 108}
