"""The certificate that the server shows: files that cannot be used are told of by their flag, changed ones are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.certificate import Certificate
from server.config import SettingsError
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

LOCKED = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    .decode()
)


def test_it_says_until_when_it_is_valid(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, "server")
    left = Certificate(made.certificate, made.key).not_after - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(days=1)


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("server.crt", None, "--tls-cert: the TLS files cannot be read: No such file or directory"),
        ("server.key", None, "--tls-cert: the TLS files cannot be read: No such file or directory"),
        ("server.crt", "no certificate", "--tls-cert: the file holds no certificate in PEM"),
        ("server.crt", "", "--tls-cert: the file holds no certificate in PEM"),
        ("server.key", "no key", "--tls-key: the file holds no private key in PEM that opens without a password"),
        ("server.key", LOCKED, "--tls-key: the file holds no private key in PEM that opens without a password"),
        ("server.key", "other", "--tls-key: the key is not the one of the certificate"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, file: str, content: str | None, fault: str) -> None:
    made, other = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "other")
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(other.key.read_text() if content == "other" else content)
    with pytest.raises(SettingsError) as refused:
        Certificate(made.certificate, made.key)
    assert str(refused.value) == fault


def test_changed_files_are_read_once(tmp_path: Path) -> None:
    made, other = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "other")
    certificate = Certificate(made.certificate, made.key)
    assert not certificate.renew()
    made.certificate.write_bytes(made.certificate.read_bytes())
    assert not certificate.renew(), "written again, and the same"
    made.certificate.write_bytes(other.certificate.read_bytes())
    with pytest.raises(SettingsError, match="the key is not the one"):
        certificate.renew()
    assert not certificate.renew(), "told once"
    made.key.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        certificate.renew()
    made.key.write_bytes(other.key.read_bytes())
    assert certificate.renew()
    assert not certificate.renew()
