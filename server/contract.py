"""The contract as one file descriptor set, so that the log can show years later what the bytes in it mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.pb.eligibility.v1 import decision_log_service_pb2, eligibility_service_pb2, rule_pack_service_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

_ENTRIES = (eligibility_service_pb2, decision_log_service_pb2, rule_pack_service_pb2)
_FIELD = b"\x0a"
"""Field 1 of FileDescriptorSet, length-delimited."""


def file_descriptor_set() -> bytes:
    """Give a FileDescriptorSet of every file of the contract, each after those it imports.

    It is joined from the bytes that the stubs carry, so that the same contract always gives the same bytes.
    """
    ordered: dict[str, FileDescriptor] = {}

    def add(file: FileDescriptor) -> None:
        for needed in file.dependencies:
            add(needed)
        ordered.setdefault(file.name, file)

    for module in _ENTRIES:
        add(module.DESCRIPTOR)
    return b"".join(_FIELD + _varint(len(file.serialized_pb)) + file.serialized_pb for file in ordered.values())


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
