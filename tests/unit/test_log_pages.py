"""Pages of the log as a server would show them, checked: what was not signed is not taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from engine.errors import IntegrityError
from engine.ledger.body import SettingChanged
from engine.ledger.checkpoint import SigningKey, parse_vkey
from server.command.log.asking import LocalReading
from server.command.log.pages import check_page, read_pages
from server.config import LogSettings
from server.opening import open_ledger, open_store
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.rpc.log_reading import MAX_PAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.checkpoint import VerifierKey

SIZE = 40
ORIGIN = "pages.example.org/decisions/1"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogSettings, VerifierKey]:
    """Give a log of 40 entries, of which every tree up to the last was signed, and its key."""
    settings = settings_of(tmp_path_factory.mktemp("pages"))
    log = open_ledger(settings)
    for number in range(1, SIZE):
        log.tell(SettingChanged("clock", str(number)))
    log.close()
    return settings, parse_vkey(log.vkey)


def settings_of(folder: Path) -> LogSettings:
    """Give the settings of a log in a folder."""
    return LogSettings(
        log=f"sqlite:{folder}/log.db",
        keys=f"sqlite:{folder}/keys.db",
        wrapping_key=f"{folder}/wrapping.key",
        signer=f"{folder}/signer.state",
        signing_key=f"{folder}/signing.key",
        origin=ORIGIN,
    )


@pytest.fixture
def key(written: tuple[LogSettings, VerifierKey]) -> VerifierKey:
    """Give the log's key."""
    return written[1]


@pytest.fixture
def reading(written: tuple[LogSettings, VerifierKey]) -> Iterator[LocalReading]:
    """Give what answers for the log."""
    store = open_store(written[0], is_writer=False)
    yield LocalReading(store)
    store.close()


@pytest.fixture
def page(reading: LocalReading) -> log_pb2.ListDecisionsResponse:
    """Give a page of entries 3 to 8."""
    return reading.ask("ListDecisions", PAGE, log_pb2.ListDecisionsResponse)


PAGE = log_pb2.ListDecisionsRequest(first_index=3, page_size=6)
Lie = Callable[[log_pb2.ListDecisionsResponse], object]


def _leave_out(answer: log_pb2.ListDecisionsResponse) -> None:
    del answer.entries[2]


def _leave_out_and_renumber(answer: log_pb2.ListDecisionsResponse) -> None:
    del answer.entries[5]
    answer.next_index -= 1


def _swap(answer: log_pb2.ListDecisionsResponse) -> None:
    one, other = answer.entries[1].leaf_data, answer.entries[2].leaf_data
    answer.entries[1].leaf_data, answer.entries[2].leaf_data = other, one


def _change_time(answer: log_pb2.ListDecisionsResponse) -> None:
    leaf_data = bytearray(answer.entries[2].leaf_data)
    leaf_data[58] ^= 1
    answer.entries[2].leaf_data = bytes(leaf_data)


def _empty(answer: log_pb2.ListDecisionsResponse) -> None:
    answer.ClearField("entries")
    answer.next_index = 3


LIES: dict[str, Lie] = {
    "an entry between is left out": _leave_out,
    "the last entry is left out": _leave_out_and_renumber,
    "two headers are swapped": _swap,
    "a header is changed": _change_time,
    "a field says something else than the header": lambda a: a.entries[3].ClearField("entry_id"),
    "the page ends before it begins": lambda a: setattr(a, "next_index", 2),
    "the page ends behind the tree": lambda a: setattr(a, "next_index", a.tree_size + 1),
    "the page is empty": _empty,
    "the tree has another size": lambda a: setattr(a, "tree_size", a.tree_size - 1),
    "the proofs are gone": lambda a: a.ClearField("edge_proofs"),
    "a proof is of another place": lambda a: a.edge_proofs.first.__setitem__(0, bytes(32)),
    "a proof has a hash of 31 bytes": lambda a: a.edge_proofs.last.__setitem__(0, bytes(31)),
    "a proof is too long": lambda a: a.edge_proofs.last.append(bytes(32)),
    "the checkpoint is no note": lambda a: setattr(a, "checkpoint", b"\xff\n\n"),
}


def test_an_honest_page_is_taken(page: log_pb2.ListDecisionsResponse, key: VerifierKey) -> None:
    checked = check_page(PAGE, page, key)
    assert [item.index for item in checked.entries] == [3, 4, 5, 6, 7, 8]
    assert checked.is_complete


@pytest.mark.parametrize("lie", LIES)
def test_c61_a_page_that_is_not_what_was_signed_is_refused(page: log_pb2.ListDecisionsResponse, lie: str) -> None:
    LIES[lie](page)
    with pytest.raises(IntegrityError):
        check_page(PAGE, page, None)


def test_c77_a_tree_that_another_key_signed_is_refused(page: log_pb2.ListDecisionsResponse) -> None:
    with pytest.raises(IntegrityError, match="not signed"):
        check_page(PAGE, page, SigningKey(ORIGIN, b"\x07" * 32).verifier)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 16, 17])
def test_every_range_of_a_tree_is_proven(reading: LocalReading, key: VerifierKey, size: int) -> None:
    for first in range(size):
        for count in range(1, size - first + 1):
            request = log_pb2.ListDecisionsRequest(first_index=first, page_size=count, tree_size=size)
            answer = reading.ask("ListDecisions", request, log_pb2.ListDecisionsResponse)
            assert answer.tree_size == size
            assert len(check_page(request, answer, key).entries) == count


def test_pages_are_read_to_the_end_of_one_tree(reading: LocalReading, key: VerifierKey) -> None:
    pages = list(read_pages(reading, log_pb2.ListDecisionsRequest(tree_size=30), key))
    assert [item.index for page in pages for item in page.entries] == list(range(30))
    some = list(read_pages(reading, log_pb2.ListDecisionsRequest(first_index=35, page_size=3), key))
    assert [item.index for page in some for item in page.entries] == [35, 36, 37]


def test_a_page_ends_where_the_answer_would_grow_too_large(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    log = open_ledger(settings)
    for _ in range(12):
        log.tell(SettingChanged("clock", "x" * 60_000))
    log.close()
    store = open_store(settings, is_writer=False)
    reading, key = LocalReading(store), parse_vkey(log.vkey)

    first = reading.ask("ListDecisions", log_pb2.ListDecisionsRequest(), log_pb2.ListDecisionsResponse)
    assert first.next_index == 1 + MAX_PAGE_BYTES // 60_407 < 13
    filtered = log_pb2.ListDecisionsRequest(kinds=[log_pb2.ENTRY_KIND_SETTING_CHANGED])
    for request in (log_pb2.ListDecisionsRequest(), filtered):
        pages = list(read_pages(reading, request, key))
        assert len(pages) > 1
        assert [item.index for page in pages for item in page.entries][-12:] == list(range(1, 13))
    store.close()
