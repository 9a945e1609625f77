"""The checkpoint signer in a process of its own, as the writer of the log uses it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, cast

import grpc
from google.protobuf.message import Message

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger.checkpoint import open_note, parse_vkey
from engine.ledger.signer import SignReply
from server.convert.ledger import read_time
from server.pb.eligibility.v1 import checkpoint_signer_service_pb2 as signer_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from google.protobuf.timestamp_pb2 import Timestamp

    from engine.ledger.checkpoint import VerifierKey

M = TypeVar("M", bound=Message)

SERVICE = signer_pb2.DESCRIPTOR.services_by_name["CheckpointSignerService"].full_name
TIMEOUT_SECONDS = 5.0
_REFUSED = frozenset({grpc.StatusCode.DATA_LOSS, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED})
_OPTIONS = (
    # A signer that was restarted is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class RemoteSigner:
    """A signer at `unix:PATH`, or at `HOST:PORT` over mutual TLS. For several threads.

    INVARIANT: every note that is passed on carries a valid signature of the key that the signer first named, over the
    size and root that it is said to be of.
    """

    def __init__(
        self, address: str, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
    ) -> None:
        """Prepare the connection; nothing is asked yet.

        Raises:
            ValueError: a TCP address without all of authority, certificate and key.

        """
        self._channel = connect(address, ca, certificate, key)
        self._lock = threading.Lock()
        self._key: VerifierKey | None = None

    def vkey(self) -> str:
        """Give the signer's verifier key. Raises: LogUnavailableError, IntegrityError."""
        return self._verifier().vkey

    def latest(self) -> SignReply | None:
        """Give the last note; None before the first. Raises: LogUnavailableError, IntegrityError."""
        answer = self._ask("GetLatest", signer_pb2.GetLatestRequest(), signer_pb2.GetLatestResponse)
        self._pin(answer.vkey)
        if not answer.note:
            return None
        return self._checked(answer.size, answer.root_hash, answer.note, answer.clock)

    def sign(self, old_size: int, proof: Sequence[bytes], size: int, root: bytes) -> SignReply:
        """Sign a tree, as `engine.ledger.signer.Signer` does. Raises: LogUnavailableError, IntegrityError."""
        origin = self._verifier().name
        request = signer_pb2.SignRequest(origin=origin, old_size=old_size, proof=proof, size=size, root_hash=root)
        answer = self._ask("Sign", request, signer_pb2.SignResponse)
        return self._checked(answer.size, answer.root_hash, answer.note, answer.clock)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def _verifier(self) -> VerifierKey:
        if self._key is None:
            self._pin(self._ask("GetLatest", signer_pb2.GetLatestRequest(), signer_pb2.GetLatestResponse).vkey)
        return cast("VerifierKey", self._key)

    def _pin(self, vkey: str) -> None:
        key = parse_vkey(vkey)
        with self._lock:
            if self._key is None:
                self._key = key
            elif self._key != key:
                raise IntegrityError("the signer has another key than before", "signer")

    def _checked(self, size: int, root: bytes, note: bytes, clock: Timestamp) -> SignReply:
        if note:
            checkpoint = open_note(note, self._verifier())
            if (checkpoint.tree_size, checkpoint.root_hash) != (size, root):
                raise IntegrityError("the note is not of the tree that the signer names", "signer")
        return SignReply(size, root, note, read_time(clock))

    def _ask(self, method: str, request: Message, kind: type[M]) -> M:
        call = self._channel.unary_unary(
            f"/{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=kind.FromString,
        )
        try:
            return cast("M", call(request, timeout=TIMEOUT_SECONDS))
        except grpc.RpcError as error:
            code = error.code()
            if code in _REFUSED:
                raise IntegrityError(f"the signer refuses: {error.details()}", "signer") from None
            raise LogUnavailableError(f"the signer cannot be reached or cannot sign now: {code.name}") from None


def connect(address: str, ca: Path | None, certificate: Path | None, key: Path | None) -> grpc.Channel:
    """Open a channel to a signer. Raises: ValueError."""
    if address.startswith("unix:"):
        return grpc.insecure_channel(address, _OPTIONS)
    if ca is None or certificate is None or key is None:
        message = "a signer at HOST:PORT is spoken to over mutual TLS only: its authority, a certificate and its key"
        raise ValueError(message)
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), certificate.read_bytes())
    return grpc.secure_channel(address, credentials, _OPTIONS)
