"""The clients that are trusted: one file, agreed with each of them out of band."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from server.config import is_public_address

if TYPE_CHECKING:
    from pathlib import Path


class ClientsError(Exception):
    """The file of clients cannot be used; the message names the field and says what to write."""


class Client(BaseModel):
    """One client. Its `name` holds no space: where the log names a caller, what follows the first one is the user.

    `issuer` is what its tokens say in `iss`, `jku` the address of its keys as its tokens may name it, `jwks` a file of
    them, which wins over fetching. `certificate` is the name in its client certificate, an alternative to tokens.
    `fhir_servers` are the base addresses that may be read with a token it sends. `emergency_url` is the site's own
    page on suicide emergencies, `smart_url` the launch address of its own SMART app, which gets the decision's id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^\S+$", max_length=64)
    jurisdiction: str = Field(min_length=1)
    issuer: str = ""
    jku: str = ""
    jwks: str = ""
    certificate: str = ""
    fhir_servers: tuple[str, ...] = ()
    emergency_url: str = ""
    smart_url: str = ""

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Client:
        addresses = [a for a in (self.jku, *self.fhir_servers, self.emergency_url, self.smart_url) if a]
        if bool(self.issuer) is not bool(self.jku or self.jwks):
            msg = "`issuer` needs keys: give `jwks` (a file) or `jku` (an address), and `issuer` with either"
        elif not (self.issuer or self.certificate):
            msg = "nothing would prove who it is: give `issuer` with keys, or `certificate`"
        elif any(not is_public_address(address) for address in addresses):
            msg = "`jku`, `fhir_servers`, `emergency_url` and `smart_url` are https addresses (http only on loopback)"
        else:
            return self
        raise ValueError(msg)

    def registered_server(self, address: str) -> str:
        """Give a FHIR base address without its last slash if it is registered, otherwise an empty text."""
        asked = address.rstrip("/")
        return asked if asked in {known.rstrip("/") for known in self.fhir_servers} else ""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    clients: tuple[Client, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_once(self) -> _File:
        for name in ("name", "issuer", "certificate"):
            given = [value for client in self.clients if (value := getattr(client, name))]
            if len(set(given)) != len(given):
                msg = f"two clients have the same `{name}`"
                raise ValueError(msg)
        return self


def load_clients(file: Path) -> tuple[Client, ...]:
    """Read the file; paths in it count from its folder.

    Raises:
        ClientsError: the file or a file that it names cannot be read, or a field is wrong.

    """
    try:
        loaded = _File.model_validate(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise ClientsError(_reason(error)) from None
    clients = []
    for client in loaded.clients:
        path = file.parent / client.jwks
        if client.jwks and not path.is_file():
            message = f"`jwks` of client `{client.name}` is no file that can be read"
            raise ClientsError(message)
        clients.append(client.model_copy(update={"jwks": str(path) if client.jwks else ""}))
    return tuple(clients)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"]))
        return f"{place}: {found['msg']}".removeprefix(": ")
    return 'it cannot be read as JSON; write {"clients": [...]}'
