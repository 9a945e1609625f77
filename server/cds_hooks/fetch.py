"""Reading from other servers: a client's keys, and the resources that it did not prefetch.

Bounded in size and time; redirects are not followed; a FHIR server is read only below the base address that is
registered for the client, and only with the token that came with the call. Source: CDS Hooks 2.0, FHIR resource access.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpx

from server.cds_hooks.body import read_object
from server.cds_hooks.hook import BUNDLE, resources
from server.cds_hooks.outcome import Refusal
from server.cds_hooks.prefetch import filled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.cds_hooks.clients import Client
    from server.cds_hooks.hook import FhirAccess, HookCall

REQUEST_SECONDS = 5.0
MAX_PAGES = 10
_LARGE = 1024 * 1024
"""Bytes above which an answer is parsed away from the event loop."""

_AT_ONCE = 8
_LEADING_OUT = re.compile(r"%(2f|5c|25)", re.IGNORECASE)
"""A slash, a backslash and the escape itself, escaped."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Seconds and bytes for everything that one call reads."""

    seconds: float
    size: int


class FetchError(Exception):
    """Nothing usable came; the message names neither address nor content."""


class Outside:
    """Requests to other servers: no redirects, no proxies or credentials of the environment."""

    def __init__(self) -> None:
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        self._http = httpx.AsyncClient(
            verify=httpx.create_ssl_context(),
            follow_redirects=False,
            trust_env=False,
            timeout=httpx.Timeout(REQUEST_SECONDS),
            limits=limits,
        )

    async def get(self, address: str, headers: Mapping[str, str], limit: int) -> bytes:
        """Get at most `limit` bytes.

        Raises:
            FetchError: no connection, another status than 200, or more bytes.

        """
        parts: list[bytes] = []
        size = 0
        try:
            async with self._http.stream("GET", address, headers=dict(headers)) as response:
                if response.status_code != httpx.codes.OK:
                    message = "the server answered with another status than 200"
                    raise FetchError(message)
                async for part in response.aiter_bytes():
                    size += len(part)
                    if size > limit:
                        message = "the answer is too large"
                        raise FetchError(message)
                    parts.append(part)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            message = "the server cannot be read"
            raise FetchError(message) from None
        return b"".join(parts)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._http.aclose()


async def complete(
    call: HookCall, client: Client, templates: Mapping[str, str], outside: Outside, allowance: Allowance
) -> Mapping[str, object]:
    """Give the prefetched content with what could be read of the rest in time; itself where nothing was read.

    What cannot be read stays absent, which is missing, never no. Prefetched content is not changed, but that the pages
    after its first are added.

    Args:
        call: the call.
        client: the client, with its registered FHIR servers.
        templates: what may be read, by key.
        outside: what requests go out with.
        allowance: what may be read in all.

    """
    content = call.prefetch
    server = client.registered_server(call.access.server) if call.access else ""
    if not server or call.access is None:
        return content
    reader = _Reader(server, call.access, outside, allowance.size)
    addresses = {
        key: f"{server}/{_quoted(query)}"
        for key in absent_keys(content, templates)
        if (query := filled(templates[key], call.context)) is not None
    }
    addresses |= {f"{key} next": link for key, value in content.items() if (link := next_link(value))}
    tasks = {key: asyncio.create_task(reader.read(address)) for key, address in addresses.items()}
    if not tasks:
        return content
    _, late = await asyncio.wait(tasks.values(), timeout=allowance.seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    read = {key: task.result() for key, task in tasks.items() if not task.cancelled() and task.exception() is None}
    if not read:
        return content
    completed = dict(content)
    for key, pages in read.items():
        _add(completed, key, pages)
    return completed


def next_link(value: object) -> str:
    """Give the address of a Bundle's next page; empty without one."""
    links = value.get("link") if isinstance(value, dict) else None
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return ""


class _Reader:
    """Reads resources and all their pages from one server, with one token and one allowance of bytes."""

    def __init__(self, server: str, access: FhirAccess, outside: Outside, limit: int) -> None:
        self._server = server
        self._headers = {"accept": "application/fhir+json", "authorization": f"Bearer {access.token}"}
        self._outside = outside
        self._left = limit
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def read(self, address: str) -> list[dict[str, object]]:
        """Give a resource, or the pages of a search; all of them or nothing."""
        pages: list[dict[str, object]] = []
        while address:
            target = urljoin(f"{self._server}/", address)
            if len(pages) == MAX_PAGES or not _is_below(target, self._server):
                message = "the pages lead too far"
                raise FetchError(message)
            async with self._gate:
                data = await self._outside.get(target, self._headers, self._left)
            self._left -= len(data)
            try:
                page = await asyncio.to_thread(read_object, data) if len(data) > _LARGE else read_object(data)
            except Refusal:
                message = "the answer is no JSON object"
                raise FetchError(message) from None
            if page.get("resourceType") == "OperationOutcome":
                message = "the answer is an outcome"
                raise FetchError(message)
            pages.append(page)
            address = next_link(page)
        return pages


def _add(content: dict[str, object], key: str, pages: list[dict[str, object]]) -> None:
    """Put what was read into the content; pages that were read whole no longer point to the next one."""
    for page in pages:
        if next_link(page):
            page.pop("link")
    first = key.removesuffix(" next")
    if first != key:
        bundle = content[first]
        if isinstance(bundle, dict):
            content[first] = {name: value for name, value in bundle.items() if name != "link"}
    for number, page in enumerate(pages, 1):
        name = key if number == 1 else f"{key} {number}"
        while name in content and name != first:
            name += " more"
        content[name] = page


def absent_keys(content: Mapping[str, object], templates: Mapping[str, str]) -> tuple[str, ...]:
    """Give the keys of the templates whose data did not come, neither under the key nor under one of the site's own.

    An OperationOutcome is a failed query, and so is what holds no resource. None is the answer that there is no data.
    """
    return tuple(key for key, template in templates.items() if _is_short(key, template, content, templates))


def _is_short(key: str, template: str, content: Mapping[str, object], templates: Mapping[str, str]) -> bool:
    if key in content:
        value = content[key]
        is_answer = value is None or (isinstance(value, dict) and value.get("resourceType") == BUNDLE)
        return not is_answer and all(r["resourceType"] == "OperationOutcome" for r in resources(value))
    kind = template.partition("?")[0].partition("/")[0]
    renamed = (value for name, value in content.items() if name not in templates)
    return not any(r["resourceType"] == kind for value in renamed for r in resources(value))


def _origin(address: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(address)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "", "", None
    if parts.username or parts.password:
        return "", "", None
    return parts.scheme, parts.hostname or "", port


def _is_below(address: str, base: str) -> bool:
    """Say whether an address is a base address or below it, however a server reads paths.

    A path in which dots, slashes or their escapes could lead out again is not.
    """
    if not address.isascii() or not address.isprintable() or _origin(address) != _origin(base):
        return False
    path, top = urlsplit(address).path, urlsplit(base).path.rstrip("/")
    steps = [step.partition(";")[0] for step in unquote(path).split("/")]
    if "\\" in path or _LEADING_OUT.search(path) or {".", ".."}.intersection(steps):
        return False
    return f"{unquote(path)}/".startswith(f"{unquote(top)}/")


def _quoted(query: str) -> str:
    return quote(query, safe="/?&=,:|-_.~")
