"""`engine.ledger.wrapping`: a file of wrapping keys is its owner's alone, and no crash or rotation loses a key."""

from __future__ import annotations

import stat
from random import Random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger.wrapping import FileWrappingKeys

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = Random(7)
KEY = b"K" * 32
LINE = f"{'ab' * 16} {'cd' * 32}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wrapping.keys"


def create(path: Path) -> FileWrappingKeys:
    return FileWrappingKeys.create(path, RANDOM.randbytes)


def test_a_wrapped_key_unwraps_in_another_process(path: Path) -> None:
    wrapping_key_id, wrapped = create(path).wrap(KEY)

    assert FileWrappingKeys.open(path).unwrap(wrapping_key_id, wrapped) == KEY


def test_wrapping_is_aes_kwp_under_the_active_key(path: Path) -> None:
    keys = create(path)
    wrapping_key_id, wrapped = keys.wrap(KEY)
    name, key = path.read_text().splitlines()[-1].split(" ")

    assert wrapping_key_id == keys.active_id == bytes.fromhex(name)
    assert aes_key_unwrap_with_padding(bytes.fromhex(key), wrapped) == KEY


def test_only_the_owner_may_use_the_file(path: Path) -> None:
    keys = create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    keys.rotate(RANDOM.randbytes)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o666])
def test_a_file_that_others_may_use_is_refused(path: Path, mode: int) -> None:
    create(path)
    path.chmod(mode)

    with pytest.raises(LogUnavailableError, match=r"wrapping\.keys` is open to others than its owner"):
        FileWrappingKeys.open(path)


def test_creating_never_replaces_a_file(path: Path) -> None:
    create(path)
    before = path.read_bytes()

    with pytest.raises(LogUnavailableError, match=r"wrapping\.keys` cannot be used: File exists"):
        create(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_or_folder_is_an_unavailable_log(path: Path) -> None:
    with pytest.raises(LogUnavailableError, match=r"wrapping\.keys` cannot be used: No such file"):
        FileWrappingKeys.open(path)
    with pytest.raises(LogUnavailableError, match="cannot be used: No such file"):
        create(path.parent / "none" / "wrapping.keys")


def test_a_file_that_goes_away_stops_wrapping(path: Path) -> None:
    keys = create(path)
    path.unlink()

    with pytest.raises(LogUnavailableError, match="cannot be used: No such file"):
        keys.wrap(KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CDS-WRAPPING-KEYS-1\n",
        LINE + "\n",
        f"CDS-WRAPPING-KEYS-2\n{LINE}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE}",
        f"CDS-WRAPPING-KEYS-1\n{LINE}\n\n",
        f"CDS-WRAPPING-KEYS-1\r\n{LINE}\r\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE.upper()}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE}\n{LINE}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE[2:]}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE[:-2]}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE}00\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE.replace(' ', ':')}\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE[:-1]}g\n",
        f"CDS-WRAPPING-KEYS-1\n{LINE}\n\xff\n",
    ],
)
def test_what_is_no_file_of_wrapping_keys_is_refused(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(IntegrityError, match="this is no file of wrapping keys"):
        FileWrappingKeys.open(path)


def test_after_a_rotation_the_new_key_wraps_and_both_unwrap(path: Path) -> None:
    keys = create(path)
    before = keys.wrap(KEY)
    added = keys.rotate(RANDOM.randbytes)
    after = keys.wrap(KEY)

    assert before[0] != after[0] == added == keys.active_id
    assert keys.unwrap(*before) == keys.unwrap(*after) == KEY


def test_a_rotation_reaches_other_processes(path: Path) -> None:
    keys = create(path)
    slow, reader = FileWrappingKeys.open(path), FileWrappingKeys.open(path)
    added = keys.rotate(RANDOM.randbytes)

    assert reader.unwrap(*keys.wrap(KEY)) == KEY
    assert slow.active_id == slow.wrap(KEY)[0] == added


def test_two_rotations_from_what_was_read_before_keep_all_keys(path: Path) -> None:
    first, second = create(path), FileWrappingKeys.open(path)
    wrapped = [first.wrap(KEY)]
    first.rotate(RANDOM.randbytes)
    wrapped.append(first.wrap(KEY))
    second.rotate(RANDOM.randbytes)
    wrapped.append(second.wrap(KEY))

    assert {FileWrappingKeys.open(path).unwrap(*each) for each in wrapped} == {KEY}
    assert len({wrapping_key_id for wrapping_key_id, _ in wrapped}) == 3


def test_what_a_crash_left_beside_the_file_goes_away(path: Path) -> None:
    keys = create(path)
    left = path.with_name(".wrapping.keys.new")
    left.write_text("half a ke")
    left.chmod(0o666)

    keys.rotate(RANDOM.randbytes)

    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert FileWrappingKeys.open(path).active_id == keys.active_id


def test_a_forgotten_key_unwraps_nothing_any_more(path: Path) -> None:
    keys = create(path)
    before = keys.wrap(KEY)
    keys.rotate(RANDOM.randbytes)
    after = keys.wrap(KEY)

    keys.forget(before[0])

    assert keys.unwrap(*after) == KEY
    with pytest.raises(LogUnavailableError, match=f"lacks the key `{before[0].hex()}`: restore it"):
        keys.unwrap(*before)


def test_the_active_key_is_not_forgotten(path: Path) -> None:
    keys = create(path)
    wrapped = keys.wrap(KEY)

    with pytest.raises(LogUnavailableError, match="the active wrapping key cannot be dropped"):
        keys.forget(keys.active_id)
    assert FileWrappingKeys.open(path).unwrap(*wrapped) == KEY


def test_what_another_key_wrapped_is_an_integrity_fault(path: Path) -> None:
    keys = create(path)
    first_id, wrapped = keys.wrap(KEY)
    second_id = keys.rotate(RANDOM.randbytes)

    with pytest.raises(IntegrityError, match="key store: a wrapped key is not one of"):
        keys.unwrap(second_id, wrapped)
    with pytest.raises(IntegrityError):
        keys.unwrap(first_id, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
