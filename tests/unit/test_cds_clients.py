"""The file of clients and the settings of the face say what is wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from server.cds_hooks.clients import Client, ClientsError, load_clients
from server.cds_hooks.keys import parse_keys
from server.cds_hooks.outcome import Refusal
from server.cds_hooks.trust import Replays
from server.config import SettingsError, read_settings

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"name": "ehr", "jurisdiction": "US", "issuer": "https://ehr.example.org", "jku": "https://ehr.example.org/keys"}


def write(folder: Path, *clients: dict[str, Any]) -> Path:
    file = folder / "clients.json"
    file.write_text(json.dumps({"clients": clients}))
    return file


def test_a_file_is_read_and_its_paths_count_from_it(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{}")

    (client,) = load_clients(
        write(tmp_path, {**GOOD, "jwks": "keys.json", "fhir_servers": ["https://ehr.example.org/r4/"]})
    )

    assert client.jwks == str(tmp_path / "keys.json")
    assert client.registered_server("https://ehr.example.org/r4") == "https://ehr.example.org/r4"
    assert client.registered_server("https://ehr.example.org/r4/x") == ""
    assert client.registered_server("https://ehr.example.org.evil.example/r4") == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": ""}, "name"),
        ({"jurisdiction": None}, "jurisdiction"),
        ({"jku": ""}, "issuer"),
        ({"issuer": ""}, "issuer"),
        ({"issuer": "", "jku": ""}, "certificate"),
        ({"jku": "http://ehr.example.org/keys"}, "https"),
        ({"fhir_servers": ["ftp://ehr.example.org"]}, "https"),
        ({"emergency_url": "javascript:alert(1)"}, "https"),
        ({"jwks": "nowhere.json"}, "jwks"),
        ({"color": "blue"}, "color"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(ClientsError, match=says):
        load_clients(write(tmp_path, {**GOOD, **change}))


@pytest.mark.parametrize("field", ["name", "issuer"])
def test_two_clients_cannot_be_told_apart_by_nothing(tmp_path: Path, field: str) -> None:
    other = {"name": "other", "jurisdiction": "US", "issuer": "https://other.example", "jku": "https://other.example/k"}

    with pytest.raises(ClientsError, match=field):
        load_clients(write(tmp_path, GOOD, {**other, field: GOOD[field]}))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"clients": []}'])
def test_a_file_without_clients_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "clients.json").write_text(content)

    with pytest.raises(ClientsError):
        load_clients(tmp_path / "clients.json")


def test_a_client_on_this_machine_may_use_http() -> None:
    address = "http://127.0.0.1:8080/keys"

    assert Client(name="a", jurisdiction="US", issuer="x", jku=address).jku == address


def settings(tmp_path: Path, *flags: str) -> str:
    """Give what is said of settings; empty if nothing is wrong with them."""
    (tmp_path / "clients.json").write_text("{}")
    clients = ("--cds-clients", str(tmp_path / "clients.json")) if "--no-clients" not in flags else ()
    given = [flag for flag in flags if flag != "--no-clients"]
    try:
        read_settings(["--rules", str(tmp_path), "--insecure", *clients, *given])
    except SettingsError as error:
        return str(error)
    return ""


LISTEN = ("--cds-listen", "127.0.0.1:0")
URL = ("--cds-url", "https://cds.example.org/te")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), ""),
        ((*LISTEN, *URL), ""),
        ((*LISTEN, "--cds-url", "http://127.0.0.1:9082"), ""),
        ((*LISTEN, *URL, "--cds-algorithms", "ES256", "--cds-algorithms", "RS384"), ""),
        (("--cds-listen", "nowhere", *URL), "--cds-listen"),
        (("--cds-listen", "0.0.0.0:80", *URL), "--insecure"),
        (LISTEN, "--cds-url"),
        ((*LISTEN, "--cds-url", "http://cds.example.org"), "--cds-url"),
        ((*LISTEN, "--cds-url", "https://cds.example.org/?a=1"), "--cds-url"),
        ((*LISTEN, "--cds-url", "https://user@cds.example.org/"), "--cds-url"),
        ((*LISTEN, *URL, "--no-clients"), "--cds-clients"),
        ((*LISTEN, *URL, "--cds-algorithms", "HS256"), "HS256"),
        ((*LISTEN, *URL, "--cds-algorithms", "none"), "none"),
        ((*LISTEN, *URL, "--cds-deadline-ms", "0"), "--cds-deadline-ms"),
    ],
)
def test_the_settings_of_the_face_say_what_is_wrong(tmp_path: Path, flags: tuple[str, ...], says: str) -> None:
    said = settings(tmp_path, *flags)

    assert says in said
    assert bool(says) is bool(said)


def test_symmetric_and_unnamed_keys_are_passed_over() -> None:
    curve = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    numbers = jwt.algorithms.RSAAlgorithm.to_jwk(
        rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key(), as_dict=True
    )
    keys = [
        {**curve, "kid": "a"},
        {**numbers, "kid": "b", "use": "enc"},
        {**numbers},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "c"},
    ]

    assert list(parse_keys(json.dumps({"keys": keys}).encode())) == ["a"]
    with pytest.raises(ValueError, match="no usable key"):
        parse_keys(json.dumps({"keys": keys[1:]}).encode())


def test_tokens_are_remembered_until_they_expire_and_no_longer() -> None:
    now = [1000.0]
    replays = Replays(lambda: now[0], limit=2)
    replays.take("a", 1010)
    replays.take("b", 1020)

    with pytest.raises(Refusal, match="authentication"):
        replays.take("a", 1010)
    with pytest.raises(Refusal, match="calls it takes"):
        replays.take("c", 1010)
    now[0] = 1011
    replays.take("c", 1020)
    with pytest.raises(Refusal, match="authentication"):
        replays.take("b", 1020)
