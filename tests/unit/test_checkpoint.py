"""Notes, keys, checkpoints and receipts: what is signed opens, and every other form of it is refused."""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from engine.errors import IntegrityError
from engine.ledger import entry, merkle
from engine.ledger.checkpoint import (
    FIELD_PRIME,
    Checkpoint,
    Receipt,
    SigningKey,
    VerifierKey,
    format_receipt,
    open_note,
    parse_checkpoint,
    parse_receipt,
    parse_vkey,
    verify_note,
    verify_receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "log.example.org/decisions/golden"
SEED = bytes.fromhex("b62f5b5ea72b6f1fd607cfb7ab2389354f02cc090a033097c4dbb6437a24a7dc")
KEY = SigningKey(ORIGIN, SEED)
ROOT = b64decode("su6pt5AbzVUrrJ6B455dpX2XNTDjZu7RXQwJW6pMiS4=")
NOTE = KEY.sign_checkpoint(12, ROOT)
TEXT = f"{ORIGIN}\n12\n{b64encode(ROOT).decode()}\n"
LINE = NOTE.decode().removeprefix(TEXT + "\n")
CURVE_D = -121665 * pow(121666, -1, FIELD_PRIME) % FIELD_PRIME
WITNESS_SEED = bytes(range(32))
WITNESS = VerifierKey(
    "witness.example.org", 4, Ed25519PrivateKey.from_private_bytes(WITNESS_SEED).public_key().public_bytes_raw()
)


def signed(text: str, name: str = ORIGIN, seed: bytes = SEED, key_id: bytes = KEY.verifier.key_id) -> str:
    """Sign any text as a note's line."""
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(text.encode())
    return f"— {name} {b64encode(key_id + signature).decode()}\n"


def cosigned(text: str, time: int) -> str:
    message = f"cosignature/v1\ntime {time}\n{text}".encode()
    signature = Ed25519PrivateKey.from_private_bytes(WITNESS_SEED).sign(message)
    return f"— {WITNESS.name} {b64encode(WITNESS.key_id + time.to_bytes(8, 'big') + signature).decode()}\n"


def whole(text: str, *lines: str) -> bytes:
    return f"{text}\n{''.join(lines or [signed(text)])}".encode()


def refused(call: Callable[[], object], words: str) -> None:
    with pytest.raises(IntegrityError, match=words):
        call()


def a_tree(size: int) -> merkle.GrowingTree:
    tree = merkle.GrowingTree(0, b"", {})
    for index in range(size):
        tree.add(merkle.leaf_hash(b"header %d" % index))
    return tree


def a_receipt(index: int = 5, size: int = 9) -> Receipt:
    tree = a_tree(size)
    note = KEY.sign_checkpoint(size, tree.root())
    return Receipt(b"header %d" % index, index, tuple(tree.inclusion_proof(index)), note)


def test_a_key_and_a_note_have_the_golden_bytes() -> None:
    assert KEY.vkey == f"{ORIGIN}+9cd9c5d3+Aecx4IOubfNCa15b1Rt1kmJ5EnHhQRrE4g8qzCD7t+l2"
    assert LINE.removeprefix(f"— {ORIGIN} ") == (
        "nNnF0yeKg/wkANdzVlaf+zbGiXtdgoz2G9qsJn11JnyCi7SgLzpT5e5OqYLydQ2IOC3d2IBTkZAab0qjM/Q/6semaAg=\n"
    )
    assert whole(TEXT) == NOTE
    genesis = entry.log_id(ORIGIN, KEY.verifier.public_key)
    assert genesis.hex() == "490ff83e08d6fb2ec114d16b5b7a45520a09c321fd4255cd9488f3dcb0fdf340"


def test_a_note_opens_with_its_key() -> None:
    expected = Checkpoint(ORIGIN, 12, ROOT, (), (ORIGIN,))

    assert verify_note(NOTE, [KEY.verifier]) == (TEXT, (ORIGIN,))
    assert open_note(NOTE, parse_vkey(KEY.vkey)) == open_note(NOTE, KEY.verifier, [WITNESS], ORIGIN) == expected
    assert parse_checkpoint(TEXT) == replace(expected, signers=())


def test_a_signing_key_shows_nothing_of_its_seed() -> None:
    assert SEED.hex() not in repr(KEY)
    assert not hasattr(KEY, "__dict__")


@pytest.mark.parametrize("name", ["", "a b", "a\u2003b", "a+b", "a\nb", "a\x7fb", "a\ud800"])
def test_a_signing_key_needs_a_name_that_a_note_can_hold(name: str) -> None:
    refused(lambda: SigningKey(name, SEED), "verifier key|signing key")


@pytest.mark.parametrize("seed", [SEED[:31], SEED + b"\0", b""])
def test_a_signing_key_needs_a_seed_of_32_bytes(seed: bytes) -> None:
    refused(lambda: SigningKey(ORIGIN, seed), "32 bytes")


@pytest.mark.parametrize(("size", "root"), [(-1, ROOT), (2**63, ROOT), (1, ROOT[:31]), (1, b"")])
def test_there_is_no_checkpoint_of_a_tree_that_cannot_be(size: int, root: bytes) -> None:
    refused(lambda: KEY.sign_checkpoint(size, root), "fewer than 2")


def test_every_changed_byte_of_a_note_is_refused() -> None:
    for place in range(len(NOTE)):
        for bit in range(8):
            changed = bytearray(NOTE)
            changed[place] ^= 1 << bit
            with pytest.raises(IntegrityError):
                open_note(bytes(changed), KEY.verifier)


@pytest.mark.parametrize(
    "text",
    {
        "leading zero": TEXT.replace("\n12\n", "\n012\n"),
        "plus": TEXT.replace("\n12\n", "\n+12\n"),
        "minus": TEXT.replace("\n12\n", "\n-12\n"),
        "underscore": TEXT.replace("\n12\n", "\n1_2\n"),
        "other digits": TEXT.replace("\n12\n", "\n\u0661\u0662\n"),
        "2^63": TEXT.replace("\n12\n", f"\n{2**63}\n"),
        "long": TEXT.replace("\n12\n", f"\n{'9' * 5000}\n"),
        "no size": TEXT.replace("\n12\n", "\n"),
        "empty origin": TEXT.removeprefix(ORIGIN),
        "other origin": TEXT.replace(ORIGIN, "log.example.org/other"),
        "31 bytes": TEXT.replace(b64encode(ROOT).decode(), b64encode(ROOT[:31]).decode()),
        "unused bits": TEXT.replace("iS4=", "iS5="),
        "no padding": TEXT.replace("iS4=", "iS4"),
        "control": TEXT.replace(ORIGIN, ORIGIN + "\x07"),
        "next line": TEXT.replace(ORIGIN, ORIGIN + "\x85"),
        "CRLF": TEXT.replace("\n", "\r\n"),
        "extension": TEXT + "time 1\n",
        "empty line": TEXT + "\n",
        "two": TEXT + "\n" + TEXT,
        "no text": "",
    }.items(),
    ids=lambda case: case[0],
)
def test_c75_a_text_that_is_no_checkpoint_of_this_log_is_refused_although_signed(text: tuple[str, str]) -> None:
    refused(lambda: open_note(whole(text[1]), KEY.verifier), "checkpoint|note")


def test_c75_extension_lines_are_given_where_they_are_allowed() -> None:
    text = TEXT + "one\ntwo\n"

    assert open_note(whole(text), KEY.verifier, allow_extensions=True).extensions == ("one", "two")
    refused(lambda: open_note(whole(text + "\n"), KEY.verifier, allow_extensions=True), "an empty one")


@pytest.mark.parametrize(
    "data",
    {
        "no final newline": NOTE[:-1],
        "no empty line": NOTE.replace(b"\n\n", b"\n"),
        "no signature": NOTE[: -len(LINE.encode())],
        "nothing": b"",
        "newlines": b"\n\n\n",
        "65 lines": whole(TEXT, *[LINE] * 65),
        "over 1 MiB": whole(TEXT, *[f"— {'x' * 2**20} {b64encode(SEED).decode()}\n", LINE]),
        "not UTF-8": NOTE.replace(b"golden", b"golde\xff"),
        "hyphen": whole(TEXT, LINE.replace("—", "-")),
        "en dash": whole(TEXT, LINE.replace("—", "\u2013")),
        "no space": whole(TEXT, LINE.replace("— ", "—")),
        "no-break space": whole(TEXT, LINE.replace("— ", "—\xa0")),
        "two spaces": whole(TEXT, LINE.replace("— ", "—  ")),
        "space at the end": whole(TEXT, LINE.replace("\n", " \n")),
        "url alphabet": whole(TEXT, LINE.replace("/", "_").replace("+", "-")),
        "only a key id": whole(TEXT, f"— {ORIGIN} {b64encode(KEY.verifier.key_id).decode()}\n"),
        "63 bytes": whole(TEXT, f"— {ORIGIN} {b64encode(b64decode(LINE.split()[2])[:-1]).decode()}\n"),
        "65 bytes": whole(TEXT, f"— {ORIGIN} {b64encode(b64decode(LINE.split()[2]) + SEED[:1]).decode()}\n"),
        "line separator": whole(TEXT, LINE.replace("\n", "\u2028") + LINE),
        "garbage beside": whole(TEXT, LINE, "garbage\n"),
        "unknown key of the name": whole(TEXT, signed(TEXT, key_id=b"none")),
        "the key id elsewhere": whole(TEXT, signed(TEXT, name="elsewhere.example.org")),
        "other key of the id": whole(TEXT, signed(TEXT, seed=WITNESS_SEED)),
        "one good, one bad": whole(TEXT, LINE, signed(TEXT + "x")),
        "a witness only": whole(TEXT, cosigned(TEXT, 1)),
        "a witness, other time": whole(TEXT, LINE, cosigned(TEXT, 1).replace("AAAB", "AAAC", 1)),
        "a witness, time 0": whole(TEXT, LINE, cosigned(TEXT, 0)),
        "a witness, time 2^63": whole(TEXT, LINE, cosigned(TEXT, 2**63)),
        "a witness, cut": whole(TEXT, LINE, f"— {WITNESS.name} {b64encode(WITNESS.key_id + b'abc').decode()}\n"),
    }.items(),
    ids=lambda case: case[0],
)
def test_c75_a_note_that_is_not_strictly_one_is_refused(data: tuple[str, bytes]) -> None:
    assert open_note(whole(TEXT, LINE, cosigned(TEXT, 1)), KEY.verifier, [WITNESS]).signers == (ORIGIN, WITNESS.name)

    refused(lambda: open_note(data[1], KEY.verifier, [WITNESS]), "note|checkpoint|verify|time")


def test_c75_what_is_unknown_is_skipped_and_a_key_counts_once() -> None:
    unknown = signed("anything", name="unknown.example.org")
    note = whole(TEXT, unknown, cosigned(TEXT, 7), LINE, cosigned(TEXT, 9), LINE, *[unknown] * 59)

    assert open_note(note, KEY.verifier, [WITNESS]).signers == (WITNESS.name, ORIGIN)
    assert open_note(note, KEY.verifier).signers == (ORIGIN,)
    assert open_note(note, None, [WITNESS]).signers == (WITNESS.name,)
    assert open_note(note, None, [WITNESS], ORIGIN).origin == ORIGIN
    refused(lambda: open_note(note, None, [WITNESS], "elsewhere"), "another log")
    refused(lambda: open_note(note, None), "any known key")


def test_a_key_signs_only_what_its_kind_signs() -> None:
    refused(lambda: open_note(NOTE, WITNESS), "kind 1")
    refused(lambda: open_note(NOTE, KEY.verifier, [KEY.verifier]), "kind 4")


def times_two(x: int, y: int) -> tuple[int, int]:
    """Add a point of the curve to itself."""
    product = CURVE_D * x * x * y * y
    doubled_x = 2 * x * y * pow(1 + product, -1, FIELD_PRIME)
    return doubled_x % FIELD_PRIME, (y * y + x * x) * pow(1 - product, -1, FIELD_PRIME) % FIELD_PRIME


def x_of(y: int) -> int:
    square = (y * y - 1) * pow(CURVE_D * y * y + 1, -1, FIELD_PRIME) % FIELD_PRIME
    x = pow(square, (FIELD_PRIME + 3) // 8, FIELD_PRIME)
    if x * x % FIELD_PRIME != square:
        x = x * pow(2, (FIELD_PRIME - 1) // 4, FIELD_PRIME) % FIELD_PRIME
    assert x * x % FIELD_PRIME == square, "no point of the curve"
    return x


def test_c76_each_of_the_14_keys_of_low_order_is_refused() -> None:
    order_eight = int.from_bytes(
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
    )
    low = {0, 1, FIELD_PRIME - 1, order_eight, FIELD_PRIME - order_eight}
    for y in low:
        assert times_two(*times_two(*times_two(x_of(y), y))) == (0, 1), "eight times a point of low order is nothing"
    encodings = {
        y + shift | sign for y in low for shift in (0, FIELD_PRIME) for sign in (0, 2**255) if y + shift < 2**255
    }

    assert len(encodings) == 14
    for encoding in encodings:
        refused(partial(parse_vkey, VerifierKey(ORIGIN, 1, encoding.to_bytes(32, "little")).vkey), "weak")


@pytest.mark.parametrize("above", range(19))
def test_c76_a_key_that_is_not_canonical_is_refused(above: int) -> None:
    for sign in (0, 2**255):
        key = VerifierKey(ORIGIN, 1, (FIELD_PRIME + above | sign).to_bytes(32, "little"))
        refused(partial(parse_vkey, key.vkey), "weak")


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "a",
        "a+b",
        KEY.vkey + "\n",
        " " + KEY.vkey,
        KEY.vkey.replace("9cd9c5d3", "9CD9C5D3"),
        KEY.vkey.replace("9cd9c5d3", "9cd9c5d4"),
        KEY.vkey.replace("9cd9c5d3", "9cd9c5d"),
        KEY.vkey[:-1],
        KEY.vkey + "=",
        KEY.vkey.replace("golden", "g\ud800"),
        KEY.vkey.replace("golden", "silver"),
        "PRIVATE+KEY+" + KEY.vkey,
        VerifierKey(ORIGIN, 5, KEY.verifier.public_key).vkey,
        VerifierKey(ORIGIN, 1, KEY.verifier.public_key[:31]).vkey,
        VerifierKey(ORIGIN, 1, KEY.verifier.public_key + b"\0").vkey,
        VerifierKey("a b", 1, KEY.verifier.public_key).vkey,
        VerifierKey("a\x9fb", 1, KEY.verifier.public_key).vkey,
        VerifierKey("", 1, KEY.verifier.public_key).vkey,
        "x" * 2**21,
    ],
    ids=range(20),
)
def test_c76_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    refused(lambda: parse_vkey(vkey), "verifier key")
    assert parse_vkey(KEY.vkey) == KEY.verifier
    assert parse_vkey(WITNESS.vkey) == WITNESS


def test_c77_two_signed_roots_of_one_size_are_a_split_view() -> None:
    first, second = (open_note(KEY.sign_checkpoint(9, root), KEY.verifier) for root in (ROOT, bytes(32)))

    refused(
        lambda: merkle.verify_consistency(first.tree_size, second.tree_size, [], first.root_hash, second.root_hash),
        "two root hashes for one tree size",
    )


def test_a_receipt_is_read_as_it_was_written_and_verifies() -> None:
    receipt = a_receipt()
    data = format_receipt(receipt)

    assert data.startswith(b"c2sp.org/tlog-proof@v1\nextra aGVhZGVyIDU=\nindex 5\n")
    assert parse_receipt(data) == receipt
    assert verify_receipt(receipt, KEY.verifier).tree_size == 9
    bare = replace(receipt, extra=b"")
    assert parse_receipt(format_receipt(bare)) == bare


def test_no_bit_of_a_receipt_may_change() -> None:
    data = format_receipt(a_receipt())
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(IntegrityError):
                verify_receipt(parse_receipt(bytes(changed)), KEY.verifier)


def test_c79_a_receipt_whose_proof_is_of_another_tree_than_its_note_is_refused() -> None:
    receipt = a_receipt()
    for size in [*range(6, 9), *range(10, 20)]:
        other = replace(receipt, checkpoint=KEY.sign_checkpoint(size, a_tree(size).root()))
        refused(partial(verify_receipt, other, KEY.verifier), "entry 5")


def test_a_receipt_of_another_entry_key_or_log_is_refused() -> None:
    receipt = a_receipt()
    stranger = SigningKey(ORIGIN, WITNESS_SEED)

    refused(lambda: verify_receipt(replace(receipt, extra=b"header 6"), KEY.verifier), "entry 5")
    refused(lambda: verify_receipt(replace(receipt, index=4), KEY.verifier), "entry 4")
    refused(lambda: verify_receipt(receipt, stranger.verifier), "any known key")
    refused(lambda: verify_receipt(receipt, SigningKey("elsewhere", SEED).verifier), "any known key")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"proof@v1", b"proof@v2"),
        (b"extra ", b"Extra "),
        (b"extra aGVhZGVyIDU=\n", b"extra \n"),
        (b"extra aGVhZGVyIDU=\n", b"extra aGVhZGVyIDU=\nextra aGVhZGVyIDU=\n"),
        (b"aGVhZGVyIDU=", b"aGVhZGVyIDV="),
        (b"index 5\n", b""),
        (b"index 5", b"index 05"),
        (b"index 5", b"index -5"),
        (b"index 5", b"index 9223372036854775808"),
        (b"index 5\n", b"index 5\r\n"),
        (b"index 5\n", b"index 5\nAAAA\n"),
        (b"index 5\n", b"index 5\n" + (b64encode(ROOT) + b"\n") * 65),
        (b"index 5\n", b"index 5\n\xc3\xa9\n"),
        (b"c2sp", b"\xef\xbb\xbfc2sp"),
    ],
)
def test_what_is_not_strictly_a_receipt_is_refused(old: bytes, new: bytes) -> None:
    data = format_receipt(a_receipt())
    assert old in data

    refused(lambda: parse_receipt(data.replace(old, new, 1)), "receipt")


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"c2sp.org/tlog-proof@v1\n\nx", b"x" * 2**22, format_receipt(a_receipt())[:60]]
)
def test_what_is_no_receipt_at_all_is_refused(data: bytes) -> None:
    refused(lambda: parse_receipt(data), "receipt")
