"""The order of entries, their times, repeated requests, and callers who leave: what the log promises about each."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.errors import (
    ErasureRefusedError,
    IntegrityError,
    LedgerError,
    LogUnavailableError,
    PushbackError,
    RequestConflictError,
    ResponseErasedError,
)
from engine.ledger import entry, erasure, recovery, writer
from engine.ledger.body import Correction, SettingChanged, Tombstone
from engine.ledger.clock import LEAP, REGRESSED, UNSYNCHRONIZED
from engine.ledger.entry import FIXED_LENGTH, MAX_LENGTH, Kind
from engine.ledger.seal import CallerPart, MessagePart
from engine.ledger.store import BatchRejectedError
from engine.ledger.writer import EXPIRE_SECONDS, MAX_BATCH_BYTES, MAX_DRAFTS, Limits
from tests.conformance.ledger_world import (
    DIGESTS,
    FIRST_DECISION,
    METHOD,
    START,
    WAIT_SECONDS,
    CountingWriter,
    HeldSigner,
    World,
    account,
    append_together,
    check_receipt,
    check_whole,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.entry import Header
    from engine.ledger.log import Account, DecisionLog
    from engine.ledger.signer import SignReply
    from engine.ledger.writer import CheckpointSigner

HOUR, DAY, YEAR = 3600.0, 24 * 3600.0, 365 * 24 * 3600.0
SECOND = 1_000_000
PATIENT = b"the patient"


class Held:
    """A world whose signer can be held."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.around_signer = self._hold
        self.signers: list[HeldSigner] = []

    def _hold(self, signer: CheckpointSigner) -> CheckpointSigner:
        self.signers.append(HeldSigner(signer))
        return self.signers[-1]

    @property
    def signer(self) -> HeldSigner:
        """The signer of the log that was opened last."""
        return self.signers[-1]


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Give a world that is not open yet."""
    monkeypatch.setattr(recovery, "LogWriter", CountingWriter)
    held = Held(tmp_path)
    yield held
    for signer in held.signers:
        signer.may_go.set()
    held.world.close()


@pytest.fixture
def world(held: Held) -> World:
    """Give the world."""
    return held.world


@pytest.fixture
def log(world: World) -> DecisionLog:
    """Give its log, open, with what accounts name."""
    log = world.open()
    register(log)
    return log


def headers(log: DecisionLog, first: int = FIRST_DECISION) -> list[Header]:
    """Give the headers from an index on."""
    with log.reading() as snapshot:
        return [entry.decode(leaf_data) for _, leaf_data in snapshot.leaves(first, 2**62)]


def reopened(world: World) -> DecisionLog:
    """Close the log and open it again, as after an operator has looked."""
    world.close()
    return world.open()


def test_c34_whoever_waits_when_the_log_is_closed_is_answered(held: Held, log: DecisionLog) -> None:
    accounts = [account(number) for number in range(40)]
    futures = append_together(log, held.signer, accounts)
    closing = threading.Thread(target=log.close)
    closing.start()
    held.signer.may_go.set()
    closing.join(WAIT_SECONDS)
    assert not closing.is_alive()
    answered = {future.result(WAIT_SECONDS).index: number for number, future in enumerate(futures)}
    with pytest.raises(LogUnavailableError):
        log.append(account(99))
    again = reopened(held.world)
    assert check_whole(again, {i: accounts[number] for i, number in answered.items()}) == FIRST_DECISION + 40


def test_c34_whoever_waits_when_the_process_has_to_stop_is_refused(held: Held, log: DecisionLog) -> None:
    futures = append_together(log, held.signer, [account(number) for number in range(20)])
    log._writer.stop("store", LogUnavailableError("the disk"))  # noqa: SLF001 - as a store that fails does
    held.signer.may_go.set()
    assert futures[0].result(WAIT_SECONDS).index == FIRST_DECISION
    for future in futures[1:]:
        with pytest.raises(LogUnavailableError, match="the disk"):
            future.result(WAIT_SECONDS)
    log.close()
    assert check_whole(reopened(held.world)) == FIRST_DECISION + 1


def test_the_next_batch_waits_a_moment_for_those_whom_the_last_one_answered(
    held: Held, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GATHER_SECONDS", WAIT_SECONDS)
    sign = held.signer.sign

    def sign_slowly(old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        held.world.time.go(8 * WAIT_SECONDS)
        return sign(old_size, proof, size, root)

    monkeypatch.setattr(held.signer, "sign", sign_slowly)
    futures = append_together(log, held.signer, [account(number) for number in range(4)])
    held.signer.may_go.set()
    assert [future.result(WAIT_SECONDS).index for future in futures] == list(range(FIRST_DECISION, FIRST_DECISION + 4))
    with ThreadPoolExecutor(3) as pool:
        again = [pool.submit(log.append, account(number)) for number in (4, 5)]
        assert wait(again, 0.2).done == set()
        again.append(pool.submit(log.append, account(6)))
        assert {future.result(WAIT_SECONDS / 2).index for future in again} == {FIRST_DECISION + at for at in (4, 5, 6)}
    assert len({header.batch_id for header in headers(log, FIRST_DECISION + 4)}) == 1


def test_g8_a_full_queue_pushes_back_at_once_and_loses_nobody(held: Held) -> None:
    held.world.limits = Limits(queued=8)
    log = held.world.open()
    register(log)
    futures = append_together(log, held.signer, [account(number) for number in range(9)])
    for _ in range(3):
        with pytest.raises(PushbackError) as refused:
            log.append(account(99))
        assert refused.value.retry_after > 0
    held.signer.may_go.set()
    assert [future.result(WAIT_SECONDS).index for future in futures] == list(range(FIRST_DECISION, FIRST_DECISION + 9))
    assert log.acknowledged == log.written


@pytest.mark.parametrize("step", [-HOUR, YEAR])
def test_c35_a_clock_that_steps_stops_appends_until_a_restart_and_poisons_nothing(
    world: World, log: DecisionLog, step: float
) -> None:
    log.append(account(1))
    world.time.step(step)
    for _ in range(2):
        with pytest.raises(LogUnavailableError, match="the clock has stepped"):
            log.append(account(2, "r"))
    assert "clock" in log.alarms()
    world.time.step(-step)
    with pytest.raises(LogUnavailableError, match="the clock has stepped"):
        log.append(account(2, "r"))
    again = reopened(world)
    assert again.alarms() == ()
    again.append(account(2, "r"))
    assert [header.logged_at for header in headers(again)] == [START, START]
    check_whole(again)


def test_c35_a_clock_that_was_set_back_is_held_at_the_last_time_and_flagged(world: World, log: DecisionLog) -> None:
    log.append(account(1))
    world.time.step(-HOUR)
    again = reopened(world)
    again.append(account(2))
    world.time.go(HOUR + 10)
    again.append(account(3))
    told = [(header.logged_at, header.clock_flags) for header in headers(again)]
    assert told == [(START, 0), (START, REGRESSED), (START + 10 * SECOND, 0)]
    check_whole(again)


def test_c35_small_steps_are_taken_and_flagged(world: World, log: DecisionLog) -> None:
    log.append(account(1))
    world.time.step(-30)
    log.append(account(2))
    world.time.step(45)
    log.append(account(3))
    told = [(header.logged_at, header.clock_flags) for header in headers(log)]
    assert told == [(START, 0), (START, REGRESSED), (START + 15 * SECOND, 0)]
    assert log.alarms() == ()


def test_c35_a_clock_that_leaps_while_nothing_is_asked_makes_no_request_id_free(world: World, log: DecisionLog) -> None:
    first = log.append(account(1, "r"))
    world.time.go(EXPIRE_SECONDS + 1)
    world.time.step(2 * DAY)
    assert world.is_alarmed.wait(WAIT_SECONDS)
    assert world.alarms == ["clock"]
    world.time.step(-2 * DAY)
    again = reopened(world)
    repeated = again.append(account(1, "r"))
    assert (repeated.index, repeated.response) == (first.index, b"response 1")


class LateSigner(HeldSigner):
    """A signer whose clock is behind."""

    late = round(HOUR * SECOND)

    def latest(self) -> SignReply | None:
        """Give the last note."""
        reply = super().latest()
        return reply and replace(reply, signed_at=reply.signed_at - self.late)

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign."""
        reply = super().sign(old_size, proof, size, root)
        return replace(reply, signed_at=reply.signed_at - self.late)


def test_c35_a_new_log_whose_signer_has_another_time_stops_after_its_first_batch(world: World) -> None:
    world.around_signer = LateSigner
    log = world.open()
    with pytest.raises(LogUnavailableError, match="the clock has stepped"):
        register(log)
    assert "clock" in log.alarms()


def test_c35_a_log_whose_signer_has_another_time_takes_nothing(world: World, log: DecisionLog) -> None:
    """After a restart the clock before is not known any more, but the signer's is."""
    log.append(account(1))
    world.around_signer = LateSigner
    world.time.step(HOUR)
    again = reopened(world)
    with pytest.raises(LogUnavailableError, match="the clock has stepped"):
        again.append(account(2))
    assert [header.logged_at for header in headers(again)] == [START]


def test_c36_a_clock_that_stands_still_is_a_step(world: World, log: DecisionLog) -> None:
    log.append(account(1))
    world.time.seconds += 30
    log.append(account(2))
    world.time.seconds += 31
    with pytest.raises(LogUnavailableError, match="the clock has stepped"):
        log.append(account(3))
    assert [header.logged_at for header in headers(log)] == [START, START]


def test_c36_what_the_system_says_of_its_clock_is_kept(world: World, log: DecisionLog) -> None:
    for flags in (0, UNSYNCHRONIZED, LEAP, UNSYNCHRONIZED | LEAP):
        world.time.flags = flags
        log.append(account(flags))
    world.time.step(-1)
    log.append(account(9))
    assert [header.clock_flags for header in headers(log)] == [0, 2, 4, 6, 6 | REGRESSED]


def test_c36_a_leap_second_and_the_year_2038_are_times_like_others(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.time.now = (2**31 - 2) * SECOND
    with world.opened() as log:
        register(log)
        for number in range(6):
            log.append(account(number))
            world.time.go(1)
            if number == 3:
                world.time.step(-1)
                world.time.flags = LEAP
        times = [header.logged_at // SECOND - 2**31 for header in headers(log)]
        assert times == [-2, -1, 0, 1, 1, 2]
        check_whole(log)


def test_c37_one_request_id_at_once_is_one_entry(held: Held, log: DecisionLog) -> None:
    futures = append_together(log, held.signer, [account(0)] + [account(1, "r")] * 6)
    held.signer.may_go.set()
    answers = [future.result(WAIT_SECONDS) for future in futures[1:]]
    assert {answer.index for answer in answers} == {FIRST_DECISION + 1}
    assert Counter(answer.response for answer in answers) == {None: 1, b"response 1": 5}
    for answer in answers:
        check_receipt(answer)
    assert check_whole(log) == FIRST_DECISION + 2


def test_c38_one_request_id_for_two_requests_is_refused(held: Held, log: DecisionLog) -> None:
    futures = append_together(log, held.signer, [account(0), account(1, "r"), account(2, "r")])
    held.signer.may_go.set()
    assert futures[1].result(WAIT_SECONDS).index == FIRST_DECISION + 1
    with pytest.raises(RequestConflictError):
        futures[2].result(WAIT_SECONDS)
    with pytest.raises(RequestConflictError):
        log.append(account(2, "r"))
    assert check_whole(log) == FIRST_DECISION + 2


def test_c39_a_request_id_is_free_again_after_a_day(world: World, log: DecisionLog) -> None:
    first = log.append(account(1, "r"))
    world.time.go(DAY - 1)
    assert log.append(account(1, "r")).index == first.index
    world.time.go(2)
    second = log.append(account(2, "r"))
    assert (second.index, second.response) == (first.index + 1, None)
    repeated = log.append(account(2, "r"))
    assert (repeated.index, repeated.response) == (second.index, b"response 2")
    check_whole(log)


def test_c39_a_request_id_is_known_after_a_crash(
    world: World, log: DecisionLog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    first = log.append(account(1, "r"))
    with world.copied(tmp_path_factory.mktemp("killed") / "world").opened() as again:
        repeated = again.append(account(1, "r"))
        assert (repeated.index, repeated.response, repeated.receipt) == (first.index, b"response 1", first.receipt)
        assert check_whole(again) == FIRST_DECISION + 1


def test_c39_an_answer_whose_key_is_gone_is_refused_with_its_receipt(log: DecisionLog) -> None:
    first = log.append(account(1, "r", PATIENT))
    log.keys.destroy(log.keys.key_ids_of(0, PATIENT))
    with pytest.raises(ResponseErasedError) as refused:
        log.append(account(1, "r", PATIENT))
    check_receipt(replace(first, receipt=refused.value.receipt))


def test_c39_once_an_erasure_is_done_only_the_request_id_is_known(log: DecisionLog) -> None:
    """What is made from the request goes with the patient's data; whatever comes under its id is told so."""
    first = log.append(account(1, "r", PATIENT))
    erasure.erase(log, log.keys.key_ids_of(0, PATIENT), "request", "case 1", None)
    for number in (1, 2):
        with pytest.raises(ResponseErasedError) as refused:
            log.append(account(number, "r", PATIENT))
        check_receipt(replace(first, receipt=refused.value.receipt))
    with log.reading() as snapshot:
        assert log.open_entry(snapshot, first.index).content is None
        assert [(row.entry_index, row.request_mac) for row in snapshot.idempotency_rows()] == [(first.index, b"")]
    check_whole(log)


def test_c40_a_deadline_before_the_commit_leaves_nothing(held: Held, log: DecisionLog) -> None:
    soon = held.world.time.seconds + 1
    futures = append_together(log, held.signer, [account(0), replace(account(1, "r"), deadline=soon), account(2)])
    held.world.time.go(2)
    held.signer.may_go.set()
    with pytest.raises(LogUnavailableError):
        futures[1].result(WAIT_SECONDS)
    assert futures[2].result(WAIT_SECONDS).index == FIRST_DECISION + 1
    assert log.append(account(1, "r")).response is None
    assert check_whole(log) == FIRST_DECISION + 3


def test_c40_a_deadline_after_the_commit_leaves_the_whole_entry(held: Held, log: DecisionLog) -> None:
    """The caller leaves while the signer is awaited; a retry is answered."""
    held.signer.hold()
    told = account(1, "r")
    with pytest.raises(LogUnavailableError, match="not known yet"):
        log.append(replace(told, deadline=held.world.time.seconds + 0.05))
    assert held.signer.is_reached.wait(WAIT_SECONDS)
    held.signer.may_go.set()
    again = log.append(told)
    assert (again.index, again.response) == (FIRST_DECISION, b"response 1")
    assert check_whole(log, {again.index: told}) == FIRST_DECISION + 1


def test_c43_of_a_batch_with_one_poisoned_record_only_that_one_fails(held: Held, log: DecisionLog) -> None:
    first = log.append(account(0))
    poison = replace(account(3), entry_id=first.entry_id)
    forward = Correction(10_000, "typing")
    message = MessagePart(METHOD, b"a correction", b"done")
    corrects = replace(account(4), kind=Kind.CORRECTION, content=message, body=forward)
    accounts = [account(1), account(2, "r"), poison, corrects, account(5)]
    futures = append_together(log, held.signer, accounts)
    held.signer.may_go.set()
    with pytest.raises(BatchRejectedError):
        futures[2].result(WAIT_SECONDS)
    with pytest.raises(IntegrityError, match="not before it"):
        futures[3].result(WAIT_SECONDS)
    good = [futures[number].result(WAIT_SECONDS) for number in (0, 1, 4)]
    assert [logged.index for logged in good] == [FIRST_DECISION + 1, FIRST_DECISION + 2, FIRST_DECISION + 3]
    assert log.alarms() == ()
    assert not held.world.stops
    assert check_whole(log, {good[1].index: account(2), good[2].index: account(5)}) == FIRST_DECISION + 4


def test_c44_a_batch_in_which_nothing_is_new_adds_nothing(log: DecisionLog) -> None:
    first = log.append(account(1, "r"))
    note = log.checkpoint() or first.receipt
    for _ in range(3):
        assert log.append(account(1, "r")).receipt == first.receipt
    assert note
    assert check_whole(log) == FIRST_DECISION + 1
    assert log.written == first.index  # the genesis was written before the writer began


def test_c44_a_full_batch_is_taken_and_no_larger_one(held: Held, log: DecisionLog) -> None:
    futures = append_together(log, held.signer, [account(number) for number in range(MAX_DRAFTS + 20)])
    held.signer.may_go.set()
    indexes = [future.result(WAIT_SECONDS).index for future in futures]
    assert indexes == list(range(FIRST_DECISION, FIRST_DECISION + MAX_DRAFTS + 20))
    sizes = Counter(header.batch_id for header in headers(log))
    assert sorted(sizes.values()) == [1, 19, MAX_DRAFTS]
    check_whole(log)


def large(number: int, size: int, request_id: str = "") -> Account:
    """Make up an account with a large request."""
    told = account(number, request_id)
    return replace(told, content=replace(told.content, request=bytes([number]) * size))


def test_c44_large_requests_are_fine_alone_and_split_batches(held: Held, log: DecisionLog) -> None:
    accounts = [account(0), large(1, MAX_BATCH_BYTES + 1), large(2, 65_537, "r"), large(3, MAX_BATCH_BYTES)]
    futures = append_together(log, held.signer, accounts)
    held.signer.may_go.set()
    acked = {future.result(WAIT_SECONDS).index: accounts[number] for number, future in enumerate(futures)}
    assert len({header.batch_id for header in headers(log)}) == 4
    assert log.append(accounts[2]).response == b"response 2"
    check_whole(log, acked)


def test_c44_a_header_at_the_limit_is_taken_and_a_longer_one_refused(log: DecisionLog) -> None:
    frame_bytes = 2 * 4
    room = MAX_LENGTH - FIXED_LENGTH - frame_bytes
    size = FIRST_DECISION
    logged = log.tell(SettingChanged("clock", "x" * (room - len("clock"))))
    with log.reading() as snapshot:
        assert len(snapshot.leaf(logged.index)) == MAX_LENGTH
    with pytest.raises(IntegrityError, match="longer than"):
        log.tell(SettingChanged("clock", "x" * (room - len("clock") + 1)))
    assert check_whole(log) == size + 1


def test_c41_what_many_append_at_once_is_contiguous_and_in_real_order(log: DecisionLog) -> None:
    ended: dict[int, int] = {}
    counter = iter(range(10_000_000))
    began: dict[int, int] = {}

    def append(number: int) -> None:
        start = next(counter)
        try:
            index = log.append(account(number)).index
        except PushbackError:
            return
        began[index], ended[index] = start, next(counter)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(append, range(400)))
    assert sorted(began) == list(range(FIRST_DECISION, FIRST_DECISION + len(began)))
    for index, start in began.items():
        assert all(ended[other] > start for other in began if other > index)
    assert log.acknowledged == log.written
    check_whole(log)


def test_c95_a_hold_that_comes_just_before_a_tombstone_stands_and_the_log_opens(world: World, log: DecisionLog) -> None:
    """One officer asked whether a hold stands; another put one on; then the first went on."""
    officer = CallerPart("officer", "key_officer", "", "", "", "", 0, "OK")
    first = log.append(account(1, "", PATIENT))
    key_ids = tuple(log.keys.key_ids_of(0, PATIENT))
    erasure.hold(log, PATIENT, "court 1", officer, is_on=True)
    log.tell(Tombstone(key_ids, "request", "case 1"), officer)
    with pytest.raises(ErasureRefusedError):
        log.keys.destroy(key_ids)
    for _ in range(2):
        log = reopened(world)
        with log.reading() as snapshot:
            assert log.open_entry(snapshot, first.index).content is not None
    erasure.hold(log, PATIENT, "court 2", officer, is_on=False)
    log = reopened(world)
    with log.reading() as snapshot:
        assert log.open_entry(snapshot, first.index).content is None
    check_whole(log)


def test_g8_a_caller_part_alone_opens_after_erasure(log: DecisionLog) -> None:
    officer = CallerPart("officer", "key_officer", "", "", "", "", 0, "OK")
    first = log.append(account(1, "", PATIENT))
    erasure.erase(log, log.keys.key_ids_of(0, PATIENT), "request", "case 1", officer)
    with log.reading() as snapshot:
        opened = log.open_entry(snapshot, first.index)
    assert opened.content is None
    assert opened.caller is not None
    assert opened.caller.caller == "ehr"
    assert DIGESTS.packs == opened.header.pack_digest
    with pytest.raises(LedgerError):
        list(erasure.subject_access(log, PATIENT))
