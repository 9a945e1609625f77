"""What pyproject.toml promises fits the stubs that are committed and the commands that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEPENDENCIES = {wanted.name: wanted for wanted in map(Requirement, PROJECT["dependencies"])}
STUBS = sorted((ROOT / "server" / "pb").rglob("*_pb2*.py"))


def stamps(pattern: str) -> set[str]:
    return {stamp for stub in STUBS for stamp in re.findall(pattern, stub.read_text())}


def floor(name: str) -> set[str]:
    return {limit.version for limit in DEPENDENCIES[name].specifier if limit.operator == ">="}


def test_grpcio_is_at_least_what_wrote_the_stubs() -> None:
    assert floor("grpcio") == stamps(r"GRPC_GENERATED_VERSION = '([\d.]+)'")


def test_protobuf_is_at_least_what_wrote_the_stubs() -> None:
    assert floor("protobuf") == stamps(r"# Protobuf Python Version: ([\d.]+)")


def test_every_command_has_its_function() -> None:
    for target in PROJECT["scripts"].values():
        module, function = target.split(":")
        path = ROOT / module.replace(".", "/")
        source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()

        assert re.search(rf"\b{function}\b", source), target
