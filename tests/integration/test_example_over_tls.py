"""The Python example against servers as they are run for others: TLS, certificates or tokens, and a receipt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.server_process import serving
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENT = str(EXAMPLES / "patients" / "01-clear-yes.json")
ISSUER, AUDIENCE = "https://issuer.example.org", "eligibility"
TAMPERED = 3


@dataclass(frozen=True)
class Secured:
    """A server with TLS, what a caller whom it knows says of itself, and the key of its log."""

    address: str
    authority: str
    credentials: tuple[str, ...]
    vkey: str


def by_certificate(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the server's options and the client's, for a caller with a certificate."""
    ehr = make_certificate(folder, "ehr")
    server = ("--client-ca", str(ehr.certificate), "--certificate-role", "ehr=evaluator")
    return server, ("--cert", str(ehr.certificate), "--key", str(ehr.key))


def by_token(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the server's options and the client's, for a caller with a bearer token."""
    key = rsa.generate_private_key(65537, 2048)
    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    keys, token = folder / "jwks.json", folder / "token"
    keys.write_text(json.dumps({"keys": [{**entry, "kid": "k1", "use": "sig", "alg": "RS256"}]}))
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ehr", "exp": int(time.time()) + 300, "roles": ["evaluator"]}
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    token.write_text(jwt.encode(claims, pem, algorithm="RS256", headers={"kid": "k1"}) + "\n")
    server = ("--jwks", str(keys), "--jwt-issuer", ISSUER, "--jwt-audience", AUDIENCE)
    return server, ("--token-file", str(token))


@pytest.fixture(scope="module", params=[by_certificate, by_token])
def secured(
    request: pytest.FixtureRequest, rules: Path, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """Run a server that takes certificates, then one that takes tokens."""
    home = tmp_path_factory.mktemp("secured")
    own = make_certificate(home, "server")
    known, credentials = request.param(home)
    options = (
        *("--rules", str(rules), "--engines", "interpret"),
        *("--tls-cert", str(own.certificate), "--tls-key", str(own.key), *known),
    )
    with serving(*options, home=home, environment=environment) as event:
        yield Secured(f"localhost:{event['port']}", str(own.certificate), credentials, event["log_vkey"])


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, *command), env=environment, capture_output=True, text=True, check=False, timeout=100
    )


def test_a_known_caller_is_answered_and_the_receipt_it_keeps_is_good(
    secured: Secured, environment: dict[str, str], tmp_path: Path
) -> None:
    receipt = tmp_path / "receipt"
    where = ("--address", secured.address, "--ca", secured.authority, *secured.credentials)
    client = str(EXAMPLES / "python" / "evaluate.py")

    answer = run(environment, client, PATIENT, *where, "--purpose", "care", "--receipt", str(receipt))

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "1. Esketamine nasal spray: ELIGIBLE." in answer.stdout
    assert answer.stdout.rstrip().endswith(f", in {receipt}")
    verify = ("-m", "server.command", "log", "verify", "--receipt", str(receipt), "--vkey", secured.vkey)
    verified = run(environment, *verify)
    assert verified.returncode == 0, verified.stderr
    assert verified.stdout.startswith("good: ")
    receipt.write_bytes(re.sub(rb"(?m)^index \d+$", b"index 0", receipt.read_bytes()))
    assert run(environment, *verify).returncode == TAMPERED


def test_a_caller_who_is_not_known_is_told_so_in_one_line(secured: Secured, environment: dict[str, str]) -> None:
    client = str(EXAMPLES / "python" / "evaluate.py")
    for said in ((), ("--ca", secured.authority)):
        answer = run(environment, client, PATIENT, "--address", secured.address, *said)

        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith(f"{secured.address}: UNA")
        assert answer.stderr.count("\n") == 1
