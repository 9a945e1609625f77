"""Opening the decision log: a server with other keys than the log's is refused before it serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.errors import LogUnavailableError
from engine.ledger.body import SettingChanged
from engine.ledger.seal import CallerPart
from engine.ledger.subjects import UnknownSubjectError
from server.config import LogSettings, SettingsError
from server.convert.ledger import EVALUATE
from server.opening import name_patient, open_ledger

if TYPE_CHECKING:
    from pathlib import Path


CALLER = CallerPart("officer", "operator", "", "", "", "", 0, "OK")


def settings_in(folder: Path) -> LogSettings:
    """Place log, keys and signer in one folder."""
    return LogSettings(
        log=f"sqlite:{folder}/log.db",
        keys=f"sqlite:{folder}/keys.db",
        wrapping_key=f"{folder}/wrapping.key",
        signer=f"{folder}/state",
        signing_key=f"{folder}/signing.key",
    )


@pytest.fixture
def first(tmp_path: Path) -> LogSettings:
    """Start a server once; it decides nothing."""
    settings = settings_in(tmp_path)
    open_ledger(settings).close()
    return settings


def test_it_opens_again_with_its_own_keys(first: LogSettings) -> None:
    open_ledger(first).close()


def test_a_server_without_the_wrapping_key_makes_none(first: LogSettings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "wrapping.key"

    with pytest.raises(SettingsError, match=r"--wrapping-key: .*all of them need the same one"):
        open_ledger(replace(first, wrapping_key=str(elsewhere)))

    assert not elsewhere.exists()


def test_a_server_with_another_wrapping_key_is_refused_at_the_start(first: LogSettings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    strangers = settings_in(other)
    open_ledger(strangers).close()

    with pytest.raises(SettingsError, match=r"other/wrapping\.key` does not open what --keys holds"):
        open_ledger(replace(first, wrapping_key=strangers.wrapping_key))

    open_ledger(first).close()


def test_a_second_server_on_the_same_files_is_told_what_to_do(first: LogSettings) -> None:
    log = open_ledger(first)
    try:
        with pytest.raises(LogUnavailableError, match="stop it, or let a command ask it with --server"):
            open_ledger(first)
    finally:
        log.close()


def test_a_key_store_that_is_gone_is_not_made_again_beside_what_it_sealed(first: LogSettings, tmp_path: Path) -> None:
    log = open_ledger(first)
    log.tell(SettingChanged("clock", "looked at"), CALLER)
    log.close()
    (tmp_path / "keys.db").unlink()

    for _ in range(2):
        with pytest.raises(SettingsError, match=r"--keys: there is nothing at .*--replaces"):
            open_ledger(first)
    assert not (tmp_path / "keys.db").exists()

    (tmp_path / "keys.db").touch(0o600)
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"--keys: the key store is empty"):
            open_ledger(first)


def test_a_log_that_holds_nothing_sealed_needs_no_old_keys(first: LogSettings, tmp_path: Path) -> None:
    (tmp_path / "keys.db").unlink()
    open_ledger(first).close()


@pytest.mark.parametrize(("method", "request_"), [("/other/Method", b""), (EVALUATE, b"\xff")])
def test_a_request_that_names_nobody_that_can_be_read_is_unknown(method: str, request_: bytes) -> None:
    with pytest.raises(UnknownSubjectError):
        name_patient(method, request_)
