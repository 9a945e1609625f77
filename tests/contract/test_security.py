"""Who may call what: TLS, client certificates, bearer tokens, roles."""

from __future__ import annotations

import hmac
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.conftest import FakeEngines, Running, Serve, Unpack

EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
LIST = "/eligibility.v1.RulePackService/ListRulePacks"
RELOAD = "/eligibility.v1.RulePackService/ReloadRulePacks"
ISSUER, AUDIENCE = "https://issuer.example.org", "eligibility"


@dataclass
class Authority:
    """Signs certificates and writes them to a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        self.path = self._write(f"{self.name}.pem", self._sign(self.subject, self.key, None, is_authority=True))

    def issue(self, name: str, *alternatives: x509.GeneralName) -> tuple[Path, Path]:
        """Give the files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._write(f"{name}.crt", self._sign(subject, key, alternatives, is_authority=False))
        secret = self.folder / f"{name}.key"
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, secret

    def _sign(self, subject: x509.Name, key: Any, names: Any, *, is_authority: bool) -> x509.Certificate:  # noqa: ANN401
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self.folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@dataclass
class Issuer:
    """Signs tokens; its key set is a file."""

    path: Path
    key: rsa.RSAPrivateKey
    key_id: str = "k1"

    def publish(self) -> None:
        """Write the key set."""
        entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        self.path.write_text(json.dumps({"keys": [entry | {"kid": self.key_id, "use": "sig", "alg": "RS256"}]}))

    def token(self, *, key: Any = None, algorithm: str = "RS256", **changes: Any) -> str:  # noqa: ANN401 - claims
        """Give a token; None takes a claim out."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ehr-1",
            "exp": int(time.time()) + 300,
            "roles": ["evaluator"],
        } | changes
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, key or self.key, algorithm=algorithm, headers={"kid": self.key_id})


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def server_files(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("localhost", x509.DNSName("localhost"))


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    made = Issuer(tmp_path_factory.mktemp("keys") / "jwks.json", rsa.generate_private_key(65537, 2048))
    made.publish()
    return made


@pytest.fixture
def token_server(serve: Serve, authority: Authority, server_files: tuple[Path, Path], issuer: Issuer) -> Running:
    return serve(
        credentials=grpc.ssl_channel_credentials(authority.path.read_bytes()),
        insecure=False,
        tls_cert=server_files[0],
        tls_key=server_files[1],
        jwks=str(issuer.path),
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )


@pytest.fixture
def certificate_server(serve: Serve, authority: Authority, server_files: tuple[Path, Path]) -> Callable[..., Running]:
    def start(client: tuple[Path, Path] | None) -> Running:
        chain, key = (client[0].read_bytes(), client[1].read_bytes()) if client else (None, None)
        return serve(
            credentials=grpc.ssl_channel_credentials(authority.path.read_bytes(), key, chain),
            insecure=False,
            tls_cert=server_files[0],
            tls_key=server_files[1],
            client_ca=authority.path,
            certificate_roles={
                "spiffe://hospital/ehr": frozenset({"evaluator"}),
                "operations": frozenset({"operator"}),
            },
        )

    return start


def _bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def test_a_good_token_is_let_in(
    token_server: Running, issuer: Issuer, request_message: service_pb2.EvaluateRequest
) -> None:
    assert token_server.evaluate(request_message, metadata=_bearer(issuer.token())).decision.options
    spaced = issuer.token(roles="auditor evaluator")
    assert token_server.evaluate(request_message, metadata=_bearer(spaced)).decision.options
    assert "ehr-1" not in token_server.log.getvalue()


def _symmetric(issuer: Issuer, token: str) -> str:
    """Sign a token's claims with the public key as if it were a shared secret; the library refuses to do so itself."""
    secret = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    header = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": issuer.key_id}).encode())
    signed = header + b"." + token.split(".")[1].encode()
    return (signed + b"." + jwt.utils.base64url_encode(hmac.digest(secret, signed, "sha256"))).decode()


def _forged(issuer: Issuer) -> dict[str, str]:
    other = rsa.generate_private_key(65537, 2048)
    good = issuer.token()
    return {
        "expired": issuer.token(exp=int(time.time()) - 3600),
        "without an end": issuer.token(exp=None),
        "not yet valid": issuer.token(nbf=int(time.time()) + 3600),
        "another issuer": issuer.token(iss="https://else.example.org"),
        "another audience": issuer.token(aud="else"),
        "nobody": issuer.token(sub=None),
        "another key": issuer.token(key=other),
        "unsigned": jwt.encode({"sub": "x"}, "", algorithm="none", headers={"kid": "k1"}),
        "symmetric with the public key": _symmetric(issuer, good),
        "changed": good[:-6] + ("AAAAAA" if not good.endswith("AAAAAA") else "BBBBBB"),
        "no token": "x.y.z",
        "empty": "",
    }


def test_bad_tokens_are_kept_out(
    token_server: Running,
    issuer: Issuer,
    request_message: service_pb2.EvaluateRequest,
    refusal: Unpack,
    engines: FakeEngines,
) -> None:
    for fault, token in _forged(issuer).items():
        with pytest.raises(grpc.RpcError) as caught:
            token_server.evaluate(request_message, metadata=_bearer(token))
        answer = refusal(caught.value)
        assert (answer.code, answer.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NOT_AUTHENTICATED"), fault
    assert engines.asked == []


@pytest.mark.parametrize("metadata", [[], [("authorization", "Basic eDp5")], [*_bearer("a"), *_bearer("b")]])
def test_what_is_not_one_bearer_token_is_kept_out(
    token_server: Running,
    request_message: service_pb2.EvaluateRequest,
    refusal: Unpack,
    metadata: list[tuple[str, str]],
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        token_server.evaluate(request_message, metadata=metadata)
    assert refusal(caught.value).code == grpc.StatusCode.UNAUTHENTICATED


def test_a_role_opens_its_own_methods_only(
    token_server: Running, issuer: Issuer, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    auditor = _bearer(issuer.token(roles=["auditor", "made-up"]))
    assert token_server.call(LIST, packs_pb2.ListRulePacksRequest(), metadata=auditor)
    for method in (EVALUATE, RELOAD):
        with pytest.raises(grpc.RpcError) as caught:
            token_server.call(method, request_message, metadata=auditor)
        assert refusal(caught.value).code == grpc.StatusCode.PERMISSION_DENIED
        assert str(caught.value.details()).endswith(": operator" if method == RELOAD else ": evaluator")
    with pytest.raises(grpc.RpcError) as caught:
        token_server.call(LIST, b"", metadata=_bearer(issuer.token(roles=None)))
    assert refusal(caught.value).reason == "ROLE_MISSING"


def test_health_needs_no_token(token_server: Running) -> None:
    assert token_server.health("") == "SERVING"


def test_a_client_certificate_gives_the_roles_of_its_names(
    certificate_server: Callable[..., Running],
    authority: Authority,
    request_message: service_pb2.EvaluateRequest,
    refusal: Unpack,
) -> None:
    ehr = certificate_server(authority.issue("ehr", x509.UniformResourceIdentifier("spiffe://hospital/ehr")))
    assert ehr.evaluate(request_message).decision.options
    with pytest.raises(grpc.RpcError) as caught:
        ehr.call(RELOAD, b"")
    assert refusal(caught.value).code == grpc.StatusCode.PERMISSION_DENIED
    operations = certificate_server(authority.issue("operations"))
    assert operations.call(RELOAD, b"")
    stranger = certificate_server(authority.issue("stranger"))
    with pytest.raises(grpc.RpcError) as caught:
        stranger.call(LIST, b"")
    assert refusal(caught.value).code == grpc.StatusCode.PERMISSION_DENIED


def test_without_a_certificate_of_the_authority_there_is_no_connection(
    certificate_server: Callable[..., Running], tmp_path: Path, request_message: service_pb2.EvaluateRequest
) -> None:
    other = Authority(tmp_path, "other")
    for client in (None, other.issue("ehr", x509.UniformResourceIdentifier("spiffe://hospital/ehr"))):
        with pytest.raises(grpc.RpcError) as caught:
            certificate_server(client).evaluate(request_message, timeout=5)
        assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_plain_connection_to_a_tls_server_is_refused(
    token_server: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{token_server.port}") as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(EVALUATE, request_serializer=None, response_deserializer=None)(
            request_message.SerializeToString(), timeout=3
        )
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_keys_that_cannot_be_read_make_the_server_unavailable_not_open(  # noqa: PLR0913, PLR0917 - one fixture each
    serve: Serve,
    authority: Authority,
    server_files: tuple[Path, Path],
    issuer: Issuer,
    tmp_path: Path,
    request_message: service_pb2.EvaluateRequest,
    refusal: Unpack,
) -> None:
    path = tmp_path / "jwks.json"
    path.write_text("not json")
    running = serve(
        credentials=grpc.ssl_channel_credentials(authority.path.read_bytes()),
        insecure=False,
        tls_cert=server_files[0],
        tls_key=server_files[1],
        jwks=str(path),
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message, metadata=_bearer(issuer.token()))
    assert (refusal(caught.value).code, refusal(caught.value).reason) == (
        grpc.StatusCode.UNAVAILABLE,
        "KEYS_UNAVAILABLE",
    )


def test_a_renewed_certificate_is_shown_to_new_connections(
    serve: Serve, authority: Authority, issuer: Issuer, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    old, renewed = (each.issue("localhost", x509.DNSName("localhost")) for each in (authority, other))
    shown = tmp_path / "shown.crt", tmp_path / "shown.key"
    for file, content in zip(shown, old, strict=True):
        file.write_bytes(content.read_bytes())
    server = serve(
        credentials=grpc.ssl_channel_credentials(authority.path.read_bytes()),
        insecure=False,
        tls_cert=shown[0],
        tls_key=shown[1],
        jwks=str(issuer.path),
        jwt_issuer=ISSUER,
        jwt_audience=AUDIENCE,
    )

    def is_trusting(roots: Authority) -> bool:
        credentials = grpc.ssl_channel_credentials(roots.path.read_bytes())
        with grpc.secure_channel(f"localhost:{server.port}", credentials) as channel:
            try:
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            except grpc.RpcError as error:
                return error.code() is not grpc.StatusCode.UNAVAILABLE
            return True

    def expires_in() -> float:
        told = server.server.metrics.registry.get_sample_value("eligibility_certificate_not_after_seconds")
        assert told is not None
        return told - time.time()

    assert is_trusting(authority)
    assert not is_trusting(other)
    assert 0 < expires_in() < 10 * 24 * 3600
    shown[0].write_bytes(renewed[0].read_bytes())
    server.wait_for("certificate refused")
    assert is_trusting(authority), "a chain whose key is not there yet is not taken"
    shown[1].write_bytes(renewed[1].read_bytes())
    server.wait_for("certificate read again")
    assert is_trusting(other)
    assert not is_trusting(authority)
