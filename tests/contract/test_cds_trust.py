"""Who may call: signed tokens of listed clients, each once, or client certificates. Anything else is a plain 401."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import ssl
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from server.config import SettingsError
from tests.contract.cds_world import ISSUER, PUBLIC, Site, World, serving, view
from tests.unit.certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VIEW = f"{PUBLIC}/cds-services/treatment-eligibility-view"
JKU = "https://ehr.example.org/keys"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Serve for all tests of this file."""
    with serving(tmp_path_factory.mktemp("trust"), client={"jku": JKU}, cds_quiet=0.0) as made:
        yield made


def unsigned(site: Site, header: dict[str, Any], sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    """Make a token by hand, as no library would."""
    now = int(time.time())
    claims = {"iss": site.issuer, "aud": VIEW, "iat": now, "exp": now + 300, "jti": str(uuid4())}

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(sign(signed))).decode()


def hs256(site: Site) -> str:
    pem = site.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return unsigned(site, {"alg": "HS256", "kid": site.key_id}, lambda m: hmac.digest(pem, m, "sha256"))


def now(offset: float = 0) -> float:
    return time.time() + offset


HOSTILE: dict[str, Callable[[Site], str]] = {
    "aud-of-another-service": lambda s: s.token(f"{PUBLIC}/cds-services/treatment-eligibility-sign"),
    "aud-of-feedback": lambda s: s.token(f"{VIEW}/feedback"),
    "aud-with-slash": lambda s: s.token(f"{VIEW}/"),
    "aud-of-host-header": lambda s: s.token("http://localhost/te/cds-services/treatment-eligibility-view"),
    "aud-missing": lambda s: s.token(VIEW, aud=None),
    "aud-empty-list": lambda s: s.token(VIEW, aud=[]),
    "iss-unknown": lambda s: s.token(VIEW, iss="https://evil.example"),
    "iss-with-slash": lambda s: s.token(VIEW, iss=f"{ISSUER}/"),
    "iss-missing": lambda s: s.token(VIEW, iss=None),
    "expired": lambda s: s.token(VIEW, iat=int(now(-400)), exp=int(now(-60))),
    "exp-missing": lambda s: s.token(VIEW, exp=None),
    "exp-infinite": lambda s: s.token(VIEW, exp=float("inf")),
    "iat-missing": lambda s: s.token(VIEW, iat=None),
    "iat-ahead": lambda s: s.token(VIEW, iat=int(now(60)), exp=int(now(300))),
    "iat-not-a-number": lambda s: s.token(VIEW, iat=float("nan")),
    "nbf-ahead": lambda s: s.token(VIEW, nbf=int(now(60))),
    "lives-too-long": lambda s: s.token(VIEW, exp=int(now(1500))),
    "jti-missing": lambda s: s.token(VIEW, jti=None),
    "jti-empty": lambda s: s.token(VIEW, jti=""),
    "jti-too-long": lambda s: s.token(VIEW, jti="x" * 300),
    "kid-unknown": lambda s: s.token(VIEW, header={"kid": "another"}),
    "kid-missing": lambda s: s.token(VIEW, header={"kid": None}),
    "key-of-somebody-else": lambda s: s.token(VIEW, key=ec.generate_private_key(ec.SECP384R1())),
    "jku-elsewhere": lambda s: s.token(VIEW, header={"jku": "https://evil.example/keys"}),
    "alg-not-listed": lambda s: s.token(VIEW, header={"alg": "ES256"}, key=ec.generate_private_key(ec.SECP256R1())),
    "alg-of-another-kind": lambda s: Site(algorithm="RS384").token(VIEW, header={"kid": s.key_id}),
    "alg-none": lambda s: unsigned(s, {"alg": "none", "kid": s.key_id}),
    "alg-none-in-capitals": lambda s: unsigned(s, {"alg": "NONE", "kid": s.key_id}),
    "alg-missing": lambda s: unsigned(s, {"kid": s.key_id}),
    "hs256-with-public-key": hs256,
    "embedded-key": lambda s: s.token(
        VIEW, header={"jwk": s.keys()["keys"][0]}, key=ec.generate_private_key(ec.SECP384R1())
    ),
    "critical-extension": lambda s: s.token(VIEW, header={"crit": ["unheard"], "unheard": 1}),
    "signature-cut": lambda s: s.token(VIEW)[:-8],
    "no-token-at-all": lambda _: "x",
    "three-empty-parts": lambda _: "..",
    "too-long": lambda s: s.token(VIEW, filler="x" * 9000),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_token_is_a_plain_401(world: World, make: Callable[[Site], str]) -> None:
    """SHALL NOT 201 and 203, SHALL 176, SHOULD 177, 195 and 205."""
    asked = len(world.desk.asked)

    answer = world.call("view", view(), token=make(world.site))

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "login", "diagnostics": "authentication is required"}],
    }
    assert len(world.desk.asked) == asked


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic eDp5", "Bearer a, Bearer b"])
def test_without_one_bearer_token_nobody_gets_in(world: World, header: str | None) -> None:
    headers = {"content-type": "application/json"} | ({"authorization": header} if header is not None else {})

    answer = world.http.post("/te/cds-services/treatment-eligibility-view", json=view(), headers=headers)

    assert answer.status_code == 401


def test_two_authorizations_are_none(world: World) -> None:
    token = f"Bearer {world.site.token(VIEW)}"
    headers = [("authorization", token), ("authorization", token), ("content-type", "application/json")]

    assert (
        world.http.post("/te/cds-services/treatment-eligibility-view", json=view(), headers=headers).status_code == 401
    )


GOOD: dict[str, Callable[[Site], str]] = {
    "plain": lambda s: s.token(VIEW),
    "aud-list": lambda s: s.token(VIEW, aud=["https://other.example", VIEW]),
    "iat-rounded-up": lambda s: s.token(VIEW, iat=int(now(1))),
    "just-expired": lambda s: s.token(VIEW, iat=int(now(-290)), exp=int(now(-3))),
    "nbf-before": lambda s: s.token(VIEW, nbf=int(now(-300)), exp=int(now(900))),
    "lives-20-minutes": lambda s: s.token(VIEW, iat=int(now()), exp=int(now()) + 1200),
    "listed-jku": lambda s: s.token(VIEW, header={"jku": JKU}),
    "with-subject": lambda s: s.token(VIEW, sub="12345678-ce08-4ac7-ac0c-12345678"),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD)
def test_a_good_token_gets_in(world: World, make: Callable[[Site], str]) -> None:
    assert world.call("view", view(), token=make(world.site)).status_code == 200


def test_a_token_is_taken_once(world: World) -> None:
    token = world.site.token(VIEW)

    assert world.call("view", view(), token=token).status_code == 200
    assert world.call("view", view(), token=token).status_code == 401


def test_the_reason_is_for_the_operators_and_the_token_for_nobody(world: World) -> None:
    token = world.site.token(f"{VIEW}/")
    world.call("view", view(), token=token)

    assert [line["reason"] for line in world.lines() if line.get("reason")][-1] == "audience"
    assert token not in world.log.getvalue()
    assert token.split(".")[1] not in world.log.getvalue()


def test_the_recommended_rsa_signature_gets_in(tmp_path: Path) -> None:
    with serving(tmp_path, site=Site(algorithm="RS384")) as made:
        assert made.call("view", view()).status_code == 200


@contextmanager
def key_server(answer: Callable[[], tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Serve keys on loopback; remember what was asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, content = answer()
            self.send_response(status)
            if status == 302:
                self.send_header("location", "/elsewhere")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_listed_keys_are_fetched_once_and_an_unknown_id_costs_one_look_a_minute(tmp_path: Path) -> None:
    """SHALL 199, SHOULD 195."""
    site = Site()
    with (
        key_server(lambda: (200, json.dumps(site.keys()).encode())) as (address, asked),
        serving(tmp_path, site=site, client={"jku": address, "jwks": ""}) as made,
    ):
        assert made.call("view", view()).status_code == 200
        assert made.call("view", view(), token=site.token(VIEW, header={"jku": address})).status_code == 200
        for number in range(5):
            token = site.token(VIEW, header={"kid": f"unknown-{number}"})
            assert made.call("view", view(), token=token).status_code == 401

        assert asked == ["/keys"]


def test_an_unlisted_address_is_never_fetched(tmp_path: Path) -> None:
    site = Site()
    with key_server(lambda: (200, json.dumps(site.keys()).encode())) as (address, asked), serving(tmp_path) as made:
        token = site.token(VIEW, header={"jku": address})

        assert made.call("view", view(), token=token).status_code == 401
        assert asked == []


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (302, b""),
        (200, b"no json"),
        (200, b"{}"),
        (200, b'{"keys":[]}'),
        (200, b'{"keys":[{"kty":"oct","kid":"k","k":"c2VjcmV0"}]}'),
        (200, b"x" * 300_000),
    ],
    ids=["error", "redirect", "no-json", "no-keys", "empty", "symmetric", "too-large"],
)
def test_keys_that_cannot_be_had_let_nobody_in(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    with (
        key_server(lambda: answer) as (address, asked),
        serving(tmp_path, client={"jku": address, "jwks": ""}) as made,
    ):
        assert made.call("view", view()).status_code == 401
        assert asked == ["/keys"]


def test_a_client_certificate_is_an_alternative_over_tls(tmp_path: Path) -> None:
    """SHALL 2, 168 and 176, MAY 175 and 179."""
    own, client = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "ehr-client")
    context = ssl.create_default_context(cafile=str(own.certificate))
    context.load_cert_chain(client.certificate, client.key)
    with serving(
        tmp_path,
        scheme="https",
        verify=ssl.create_default_context(cafile=str(own.certificate)),
        client={"certificate": "ehr-client"},
        insecure=False,
        tls_cert=own.certificate,
        tls_key=own.key,
        client_ca=client.certificate,
    ) as made:
        assert made.call("view", view()).status_code == 200, "a token still does"
        assert made.call("view", view(), authorization="").status_code == 401, "TLS alone is no proof"
        with httpx.Client(verify=context) as known:
            address = f"https://localhost:{made.face.port}/te/cds-services/treatment-eligibility-view"
            assert known.post(address, json=view()).status_code == 200
            bad = {"authorization": "Bearer x"}
            assert known.post(address, json=view(), headers=bad).status_code == 401, "a token that came is judged"
        with pytest.raises(httpx.HTTPError):
            httpx.post(address.replace("https:", "http:"), json=view())
    assert made.lines()[-2]["proof"] == "certificate"


def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    own, renewed = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "renewed")
    trusting = {name: ssl.create_default_context(cafile=str(name)) for name in (own.certificate, renewed.certificate)}
    shown = tmp_path / "shown.crt", tmp_path / "shown.key"
    for file, content in zip(shown, (own.certificate, own.key), strict=True):
        file.write_bytes(content.read_bytes())
    with serving(tmp_path, scheme="https", insecure=False, tls_cert=shown[0], tls_key=shown[1]) as made:
        assert made.certificate is not None
        address = f"https://localhost:{made.face.port}/te/cds-services"
        assert httpx.get(address, verify=trusting[own.certificate]).status_code == 200
        for file, content in zip(shown, (renewed.certificate, renewed.key), strict=True):
            file.write_bytes(content.read_bytes())
        assert made.certificate.renew()
        assert httpx.get(address, verify=trusting[renewed.certificate]).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(address, verify=trusting[own.certificate])


def test_clients_are_read_again(tmp_path: Path) -> None:
    clients = tmp_path / "clients.json"
    with serving(tmp_path, cds_quiet=0.0) as made:
        taken = made.site.token(VIEW)
        assert made.call("view", view(), token=taken).status_code == 200
        listed = json.loads(clients.read_text())
        clients.write_text(json.dumps({"clients": [{**listed["clients"][0], "issuer": "https://other.example.org"}]}))
        assert made.call("view", view()).status_code == 200, "nobody has asked for it yet"
        made.face.reload_clients()
        assert made.call("view", view()).status_code == 401, "it is listed no longer"
        clients.write_text("{")
        with pytest.raises(SettingsError, match="--cds-clients: it cannot be read as JSON"):
            made.face.reload_clients()
        assert made.call("view", view()).status_code == 401, "what could not be read changed nothing"
        clients.write_text(json.dumps(listed))
        made.face.reload_clients()
        assert made.call("view", view()).status_code == 200
        assert made.call("view", view(), token=taken).status_code == 401, "a token that was taken stays taken"


def test_a_key_that_was_withdrawn_lets_nobody_in_once_clients_are_read_again(tmp_path: Path) -> None:
    with serving(tmp_path, cds_quiet=0.0) as made:
        assert made.call("view", view()).status_code == 200
        other = Site()
        (tmp_path / "keys.json").write_text(json.dumps(other.keys()))
        made.face.reload_clients()
        assert made.call("view", view()).status_code == 401
