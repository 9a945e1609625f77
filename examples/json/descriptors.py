"""Writes the descriptors that Envoy translates by: the contract's, and those of the details that errors carry.

python examples/json/descriptors.py examples/json/api.binpb
"""

import sys
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2

from server.contract import file_descriptor_set


def main(target: str) -> None:
    """Write them to a file."""
    descriptors = FileDescriptorSet.FromString(file_descriptor_set())
    known = {file.name for file in descriptors.file}
    for file in (*error_details_pb2.DESCRIPTOR.dependencies, error_details_pb2.DESCRIPTOR):
        if file.name not in known:
            copy = FileDescriptorProto()
            file.CopyToProto(copy)
            descriptors.file.append(copy)
    Path(target).write_bytes(descriptors.SerializeToString())


if __name__ == "__main__":
    main(sys.argv[1])
