"""Opening the decision log: a server with other keys than the log's is refused before it serves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.errors import LogUnavailableError
from server.config import LogSettings, SettingsError
from server.opening import open_ledger

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def first(tmp_path: Path) -> LogSettings:
    """Start a server once; it decides nothing."""
    settings = LogSettings(
        log=f"sqlite:{tmp_path}/log.db",
        keys=f"sqlite:{tmp_path}/keys.db",
        wrapping_key=f"{tmp_path}/wrapping.key",
        signer=f"{tmp_path}/state",
        signing_key=f"{tmp_path}/signing.key",
    )
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
    strangers = replace(
        first,
        log=f"sqlite:{other}/log.db",
        keys=f"sqlite:{other}/keys.db",
        wrapping_key=f"{other}/wrapping.key",
        signer=f"{other}/state",
        signing_key=f"{other}/signing.key",
    )
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
