"""The signer remembers, durably, what it signed; it answers, refuses or fails, and never signs two stories."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger import merkle
from engine.ledger.checkpoint import SigningKey, open_note
from engine.ledger.signer import RECORD_SIZE, Signer, SignReply, StateFile, remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
KEY = SigningKey("log.example.org/decisions/test", bytes(32))
LOG_ID = sha256(b"a log").digest()
NOW = 1_767_225_600_000_000

TREE = merkle.GrowingTree(0, b"", {})
for _index in range(300):
    TREE.add(merkle.leaf_hash(b"entry %d" % _index))


def root(size: int) -> bytes:
    return merkle.root_of(TREE.tile, size)


def proof(size1: int, size2: int) -> list[bytes]:
    return merkle.consistency_proof(TREE.tile, size1, size2)


def record(size: int, root_hash: bytes, log_id: bytes = LOG_ID) -> bytes:
    content = size.to_bytes(8, "big") + root_hash
    return content + sha256(log_id + content).digest()


def fault(call: Callable[..., object], number: int) -> Callable[..., object]:
    """Make a system call that fails once and then works."""
    left = [number]

    def failing(*arguments: object) -> object:
        if left:
            raise OSError(left.pop(), "injected")
        return call(*arguments)

    return failing


def noted(call: Callable[..., object], calls: list[str]) -> Callable[..., object]:
    """Make a system call that is written down."""

    def noting(*arguments: object) -> object:
        calls.append(call.__name__)
        return call(*arguments)

    return noting


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "signer.state"


@pytest.fixture
def state(path: Path) -> Iterator[StateFile]:
    with closing(StateFile(path, LOG_ID)) as opened:
        yield opened


@pytest.fixture
def signer(state: StateFile) -> Signer:
    return Signer(KEY, LOG_ID, state, lambda: NOW)


def test_a_new_file_is_empty_and_private(path: Path, state: StateFile) -> None:
    assert state.latest is None
    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o077 == 0


def test_records_have_the_layout_of_the_format(path: Path, state: StateFile) -> None:
    state.append(1, root(1))
    state.append(7, root(7))

    assert path.read_bytes() == record(1, root(1)) + record(7, root(7))
    assert state.latest == (7, root(7))


def test_what_was_appended_is_read_again(path: Path) -> None:
    for size in range(1, 30):
        with closing(StateFile(path, LOG_ID)) as state:
            assert state.latest == ((size - 1, root(size - 1)) if size > 1 else None)
            state.append(size, root(size))


def test_a_second_signer_is_refused_while_the_first_lives(path: Path, state: StateFile) -> None:
    with pytest.raises(LogUnavailableError, match="another process signs"):
        StateFile(path, LOG_ID)
    state.close()
    state.close()

    with closing(StateFile(path, LOG_ID)) as after:
        assert after.latest is None
    with pytest.raises(LogUnavailableError):
        state.append(1, root(1))


def test_a_place_where_no_file_can_be_is_an_unavailable_log(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "signer.state"):
        with pytest.raises(LogUnavailableError, match="cannot be opened"):
            StateFile(place, LOG_ID)


def test_c14_a_file_cut_at_any_byte_keeps_every_whole_record_and_goes_on(path: Path) -> None:
    whole = b"".join(record(size, root(size)) for size in (3, 5, 9))
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = length // RECORD_SIZE
        with closing(StateFile(path, LOG_ID)) as state:
            assert state.latest == (None, (3, root(3)), (5, root(5)), (9, root(9)))[kept]
            state.append(12, root(12))
        assert path.read_bytes() == whole[: kept * RECORD_SIZE] + record(12, root(12))


def test_c14_a_torn_record_counts_for_nothing_at_the_end_and_stops_the_start_before_it(path: Path) -> None:
    whole = b"".join(record(size, root(size)) for size in (3, 5, 9))
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        if place >= 2 * RECORD_SIZE:
            with closing(StateFile(path, LOG_ID)) as state:
                assert state.latest == (5, root(5))
        else:
            with pytest.raises(IntegrityError, match="is not what the signer wrote") as caught:
                StateFile(path, LOG_ID)
            assert caught.value.place == f"signer record {place // RECORD_SIZE}"
        assert path.read_bytes() == changed


@pytest.mark.parametrize("tail", [b"x", bytes(RECORD_SIZE), record(9, root(9))])
def test_a_bad_record_with_anything_after_it_stops_the_start(path: Path, tail: bytes) -> None:
    path.write_bytes(record(3, root(3)) + bytes(RECORD_SIZE) + tail)

    with pytest.raises(IntegrityError, match="signer record 1: is not"):
        StateFile(path, LOG_ID)
    path.write_bytes(b"")
    StateFile(path, LOG_ID).close()


def test_a_file_of_another_log_or_with_sizes_that_do_not_grow_stops_the_start(path: Path) -> None:
    path.write_bytes(record(3, root(3), b"other") + record(5, root(5), b"other"))
    with pytest.raises(IntegrityError, match="signer record 0: is not"):
        StateFile(path, LOG_ID)
    for size in (5, 4):
        path.write_bytes(record(5, root(5)) + record(size, root(size)))
        with pytest.raises(IntegrityError, match="signer record 1: has a size that does not grow"):
            StateFile(path, LOG_ID)


def test_a_long_file_is_read_to_its_end(path: Path) -> None:
    path.write_bytes(b"".join(record(size, bytes(32)) for size in range(1, 40_000)))

    with closing(StateFile(path, LOG_ID)) as state:
        assert state.latest == (39_999, bytes(32))


@pytest.mark.parametrize("call", ["pwrite", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS])
def test_c15_c16_after_a_failed_write_or_sync_nothing_is_signed_until_the_file_is_opened_again(
    path: Path, state: StateFile, signer: Signer, call: str, number: int
) -> None:
    first = signer.sign(0, [], 3, root(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, call, fault(getattr(os, call), number))
        with pytest.raises(LogUnavailableError, match="cannot be"):
            signer.sign(3, proof(3, 5), 5, root(5))
    with pytest.raises(LogUnavailableError, match="open it again"):
        signer.sign(3, proof(3, 5), 5, root(5))

    assert signer.latest() == signer.sign(3, [], 3, root(3)) == first
    state.close()
    with closing(StateFile(path, LOG_ID)) as again:
        assert again.latest in {(3, root(3)), (5, root(5))}
        reply = Signer(KEY, LOG_ID, again, lambda: NOW).sign(3, proof(3, 5), 5, root(5))
        assert (reply.tree_size, reply.note) == (5, KEY.sign_checkpoint(5, root(5)))


def test_what_the_last_process_may_not_have_synced_is_written_and_synced_before_it_counts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(record(3, root(3)))
    calls: list[str] = []
    for name in ("pwrite", "fsync"):
        monkeypatch.setattr(os, name, noted(getattr(os, name), calls))

    StateFile(path, LOG_ID).close()
    assert calls == ["pwrite", "fsync", "fsync"]  # the record, the file, the folder
    assert path.read_bytes() == record(3, root(3))
    monkeypatch.setattr(os, "fsync", fault(os.fsync, errno.EIO))
    with pytest.raises(LogUnavailableError, match="cannot be read and synced"):
        StateFile(path, LOG_ID)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_c17_a_full_disk_signs_nothing_and_serves_again_once_there_is_room(
    path: Path, signer: Signer, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    signer.sign(0, [], 3, root(3))
    monkeypatch.setattr(os, "pwrite", fault(os.pwrite, number))
    with pytest.raises(LogUnavailableError, match="cannot be written"):
        signer.sign(3, proof(3, 5), 5, root(5))

    assert path.read_bytes() == record(3, root(3))
    assert signer.sign(3, proof(3, 5), 5, root(5)).tree_size == 5
    assert path.read_bytes() == record(3, root(3)) + record(5, root(5))


def test_c17_what_cannot_be_taken_back_is_a_failed_write(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", fault(os.pwrite, errno.ENOSPC))
    monkeypatch.setattr(os, "ftruncate", fault(os.ftruncate, errno.EIO))
    for words in ("cannot be written", "open it again"):
        with pytest.raises(LogUnavailableError, match=words):
            signer.sign(0, [], 3, root(3))


def test_c17_a_sync_that_finds_the_disk_full_is_a_failed_sync(signer: Signer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", fault(os.fdatasync, errno.ENOSPC))
    for words in ("cannot be synced", "open it again"):
        with pytest.raises(LogUnavailableError, match=words):
            signer.sign(0, [], 3, root(3))


SHORT_WRITE = """
import resource, sys
from pathlib import Path
from engine.errors import LogUnavailableError
from engine.ledger.signer import StateFile

path = Path(sys.argv[1])
state = StateFile(path, bytes(32))
state.append(1, bytes(32))
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    state.append(2, bytes(32))
except LogUnavailableError as error:
    print(error, path.stat().st_size, state.latest[0])
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
state.append(3, bytes(32))
print(path.stat().st_size, state.latest[0])
"""


def test_c16_c18_a_short_write_is_taken_back(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHORT_WRITE, path], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "the signer's state file cannot be written in full 72 1\n144 3\n"


ENDLESS = """
import sys
from pathlib import Path
from engine.ledger.checkpoint import SigningKey
from engine.ledger.merkle import GrowingTree, leaf_hash
from engine.ledger.signer import Signer, StateFile

state = StateFile(Path(sys.argv[1]), bytes(32))
signer = Signer(SigningKey("test", bytes(32)), bytes(32), state, lambda: 0)
tree = GrowingTree(0, b"", {})
while True:
    size = tree.size
    tree.add(leaf_hash(b""))
    proof = tree.consistency_proof(size) if size else []
    print(signer.sign(size, proof, tree.size, tree.root()).tree_size, flush=True)
"""


@pytest.mark.parametrize("answers", [1, 2, 30])
def test_c11_whatever_a_killed_signer_answered_was_persisted_before(path: Path, answers: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(answers):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        answered = [int(line) for line in process.stdout if line.endswith("\n")]

    last = answered[-1] if answered else answers
    with closing(StateFile(path, bytes(32))) as state:
        assert state.latest is not None
        assert state.latest[0] in {last, last + 1}


class NotingKey(SigningKey):
    """A key that writes down when it signs."""

    calls: ClassVar[list[str]] = []

    def sign_checkpoint(self, tree_size: int, root_hash: bytes) -> bytes:
        self.calls.append("sign")
        return super().sign_checkpoint(tree_size, root_hash)


def test_a_tree_is_written_then_synced_then_signed(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(NotingKey, "calls", calls)
    for name in ("pwrite", "fdatasync"):
        monkeypatch.setattr(os, name, noted(getattr(os, name), calls))

    Signer(NotingKey("test", bytes(32)), LOG_ID, state, lambda: NOW).sign(0, [], 3, root(3))
    assert calls == ["pwrite", "fdatasync", "sign"]


def test_the_first_tree_needs_no_proof_and_takes_none(signer: Signer, state: StateFile) -> None:
    assert signer.latest() is None
    with pytest.raises(IntegrityError, match="without a proof"):
        signer.sign(0, [root(1)], 5, root(5))
    assert state.latest is None

    reply = signer.sign(0, [], 5, root(5))
    assert reply == SignReply(5, root(5), KEY.sign_checkpoint(5, root(5)), NOW)
    assert open_note(reply.note, KEY.verifier).tree_size == 5


def test_the_empty_tree_is_signed_and_leaves_no_record(signer: Signer, path: Path) -> None:
    assert signer.sign(0, [], 0, merkle.EMPTY_ROOT).note == KEY.sign_checkpoint(0, merkle.EMPTY_ROOT)
    with pytest.raises(IntegrityError, match="another root hash"):
        signer.sign(0, [], 0, root(1))

    assert path.read_bytes() == b""


def test_a_tree_that_grows_is_signed_at_each_size(signer: Signer, state: StateFile) -> None:
    last = 0
    for size in (1, 2, 3, 8, 9, 255, 256, 257, 300):
        reply = signer.sign(last, proof(last, size) if last else [], size, root(size))
        assert (reply.tree_size, reply.root_hash, state.latest) == (size, root(size), (size, root(size)))
        assert open_note(reply.note, KEY.verifier).root_hash == root(size)
        last = size


def test_a_proof_from_another_size_signs_nothing_and_gets_the_size_to_prove_from(signer: Signer, path: Path) -> None:
    assert signer.sign(7, proof(7, 9), 9, root(9)) == SignReply(0, merkle.EMPTY_ROOT, b"", NOW)
    signer.sign(0, [], 5, root(5))
    kept = path.read_bytes()
    for old_size in (-1, 0, 4, 6, 9, 2**64):
        assert signer.sign(old_size, proof(4, 9), 9, root(9)) == SignReply(5, root(5), b"", NOW)

    assert path.read_bytes() == kept
    assert signer.sign(5, proof(5, 9), 9, root(9)).tree_size == 9


def test_c9_the_same_or_a_smaller_tree_gets_the_last_note_again(signer: Signer, path: Path) -> None:
    last = signer.sign(0, [], 9, root(9))
    kept = path.read_bytes()

    assert signer.latest() == last
    assert signer.sign(4, [], 9, root(9)) == last
    assert signer.sign(3, proof(3, 5), 5, root(5)) == last
    assert signer.sign(0, [], 5, bytes(32)) == last
    assert path.read_bytes() == kept


def test_another_root_for_a_signed_size_is_refused(signer: Signer, path: Path) -> None:
    signer.sign(0, [], 9, root(9))
    kept = path.read_bytes()
    with pytest.raises(IntegrityError, match="another root hash was signed") as caught:
        signer.sign(9, [], 9, root(8))

    assert caught.value.place == "tree_size 9"
    assert path.read_bytes() == kept


def test_c78_growth_that_is_no_extension_is_refused(signer: Signer, state: StateFile) -> None:
    other = merkle.GrowingTree(0, b"", {})
    for index in range(12):
        other.add(merkle.leaf_hash(b"other" if index == 4 else b"entry %d" % index))
    signer.sign(0, [], 9, root(9))
    bad = proof(9, 12)
    for hashes, root_hash in (
        (merkle.consistency_proof(other.tile, 9, 12), other.root()),
        (bad, other.root()),
        (bad[:-1], root(12)),
        ([*bad, root(1)], root(12)),
        ([], root(12)),
        ([bad[0][:31], *bad[1:]], root(12)),
    ):
        with pytest.raises(IntegrityError, match="tree_size 12"):
            signer.sign(9, hashes, 12, root_hash)
        assert state.latest == (9, root(9))

    assert signer.sign(9, bad, 12, root(12)).tree_size == 12


@pytest.mark.parametrize(("size", "root_hash"), [(-1, bytes(32)), (2**63, bytes(32)), (3, bytes(31)), (3, b"")])
def test_a_tree_that_cannot_be_is_refused(signer: Signer, state: StateFile, size: int, root_hash: bytes) -> None:
    with pytest.raises(IntegrityError, match="fewer than 2"):
        signer.sign(0, [], size, root_hash)
    assert state.latest is None


def test_a_signer_takes_only_the_state_of_its_log(state: StateFile) -> None:
    with pytest.raises(IntegrityError, match="another log's"):
        Signer(KEY, bytes(32), state, lambda: NOW)


def test_many_threads_get_one_history(signer: Signer, path: Path) -> None:
    start = threading.Barrier(8)

    def grow(offset: int) -> list[SignReply]:
        replies, old = [], 0
        start.wait(timeout=30)
        for size in range(1 + offset, 200, 8):
            reply = signer.sign(old, [], size, root(size))
            while not reply.note:
                old = reply.tree_size
                reply = signer.sign(old, proof(old, size) if 0 < old < size else [], size, root(size))
            replies.append(reply)
        return replies

    with ThreadPoolExecutor(8) as pool:
        replies = [reply for each in pool.map(grow, range(8)) for reply in each]

    for reply in replies:
        assert (reply.root_hash, reply.note) == (
            root(reply.tree_size),
            KEY.sign_checkpoint(reply.tree_size, root(reply.tree_size)),
        )
    records = path.read_bytes()
    sizes = [int.from_bytes(records[at : at + 8], "big") for at in range(0, len(records), RECORD_SIZE)]
    assert sizes == sorted(set(sizes))
    assert {reply.tree_size for reply in replies} <= set(sizes)


def test_a_long_file_is_replaced_by_its_last_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.ledger.signer.LARGEST", 3 * RECORD_SIZE)
    state = StateFile(tmp_path / "state", LOG_ID)
    for size in range(1, 8):
        state.append(size, bytes([size]) * 32)

    assert (tmp_path / "state").stat().st_size <= 4 * RECORD_SIZE
    with pytest.raises(LogUnavailableError):
        StateFile(tmp_path / "state", LOG_ID)
    state.close()
    again = StateFile(tmp_path / "state", LOG_ID)
    assert again.latest == (7, bytes([7]) * 32)
    again.close()


def test_what_was_signed_last_is_read_beside_the_signer(path: Path) -> None:
    with closing(StateFile(path, LOG_ID)) as state:
        assert remembered(path, LOG_ID) is None
        for size in (3, 7):
            state.append(size, root(size))
            assert remembered(path, LOG_ID) == (size, root(size))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert remembered(path, LOG_ID) == (3, root(3)), "a torn last record was never answered"
    path.write_bytes(whole + record(9, root(9))[:-1] + b"?")
    assert remembered(path, LOG_ID) == (7, root(7))
    assert path.stat().st_size == len(whole) + RECORD_SIZE, "nothing is mended by reading"


def test_a_state_that_is_not_the_signers_is_not_taken(path: Path) -> None:
    for data in (
        record(3, root(3), bytes(32)) + record(7, root(7)),
        record(7, root(7)) + record(3, root(3)),
        bytes(RECORD_SIZE) + b"x",
    ):
        path.write_bytes(data)
        with pytest.raises(IntegrityError, match="signer record"):
            remembered(path, LOG_ID)
