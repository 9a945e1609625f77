"""The services of the face: discovery, calls and feedback. Source: CDS Hooks 2.0."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid5

from starlette.responses import JSONResponse, Response

from server.cds_hooks.body import read_members, read_object, take_in
from server.cds_hooks.cards import Addresses
from server.cds_hooks.connection import CERTIFICATE
from server.cds_hooks.desk import DECEASED
from server.cds_hooks.detail import Came
from server.cds_hooks.drafts import Ordered, read_orders
from server.cds_hooks.feedback import Item, read_feedback
from server.cds_hooks.fetch import Allowance, absent_keys, complete
from server.cds_hooks.hook import check_patient, read_call
from server.cds_hooks.outcome import Refusal, busy, late, malformed
from server.cds_hooks.prefetch import templates
from server.cds_hooks.quiet import digest_of
from server.chart import Chart
from server.faults import Fault
from server.interceptors.callers import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from engine.dictionary import Dictionary
    from server.cds_hooks.cards import Deck
    from server.cds_hooks.clients import Client
    from server.cds_hooks.desk import Desk, Shown
    from server.cds_hooks.fetch import Outside
    from server.cds_hooks.hook import HookCall
    from server.cds_hooks.links import Links
    from server.cds_hooks.quiet import Quiet
    from server.cds_hooks.trust import Trust
    from server.cds_hooks.words import Service, Words
    from server.rpc.service import Pool

T = TypeVar("T")

FEEDBACK_SECONDS = 10.0
MAX_FEEDBACK_BYTES = 1024 * 1024
SMALL_BYTES = 256 * 1024
_REQUESTS = UUID("6f0d4a52-8d8e-4a3b-9f0e-0d2b8a7b5c11")
_DAY = 86_400
_ROLES = frozenset({"evaluator"})


@dataclass(frozen=True)
class Limits:
    """What a call may take: seconds once its body is there, seconds of them for reading, bytes of body and reading."""

    deadline: float
    fetch: float
    body_bytes: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which service was called, by whom, how that was shown, and until when (monotonic seconds) an answer helps."""

    service: Service
    client: Client
    proof: str
    ends: float


class Threads:
    """The threads on which a desk is asked, with room for so many calls."""

    def __init__(self, pool: Pool, limit: int) -> None:
        self._pool = pool
        self._limit = limit

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work on a thread. Raises: Refusal (503) where there is no room, and what the work raises."""
        if self._pool.load >= self._limit:
            raise busy()
        return await asyncio.wrap_future(self._pool.submit(work))


class Services:
    """All services of one server.

    `url` is the public base address, `count` hears the topic of every card that goes out, `now` gives seconds since
    1970.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        *,
        url: str,
        desk: Desk,
        words: Words,
        dictionary: Dictionary,
        deck: Deck,
        trust: Trust,
        links: Links,
        quiet: Quiet,
        outside: Outside,
        threads: Threads,
        limits: Limits,
        count: Callable[[str], None],
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._url = url
        self._desk = desk
        self._words = words
        self._deck = deck
        self._trust = trust
        self._links = links
        self._quiet = quiet
        self._outside = outside
        self._threads = threads
        self._limits = limits
        self._count = count
        self._monotonic = monotonic
        self._now = now
        self._templates = templates(words, dictionary)
        self._services = {service.id: service for service in words.services}

    async def discover(self, _request: Request) -> Response:
        """Answer discovery, to anybody: it says nothing of a patient."""
        told = [
            {
                "hook": service.hook,
                "id": service.id,
                "title": service.title,
                "description": service.description,
                "prefetch": self._templates,
                "usageRequirements": self._words.usage_requirements,
            }
            for service in self._services.values()
        ]
        return JSONResponse({"services": told})

    async def call(self, request: Request) -> Response:
        """Answer a call with cards."""
        service = self._service(request)
        client, proof = await self._authenticated(request, f"{self._url}/cds-services/{service.id}")
        data = await take_in(request, self._limits.body_bytes)
        asked = _Asked(service, client, proof, self._monotonic() + self._limits.deadline)
        try:
            async with asyncio.timeout(self._limits.deadline):
                cards = await self._cards(request, data, asked)
        except TimeoutError:
            raise late() from None
        request.state.notes["cards"] = len(cards)
        return JSONResponse({"cards": cards})

    async def feedback(self, request: Request) -> Response:
        """Store feedback; answer 400, naming the items, where some could not be stored."""
        service = self._service(request)
        client, proof = await self._authenticated(request, f"{self._url}/cds-services/{service.id}/feedback")
        items = read_feedback(read_object(await take_in(request, MAX_FEEDBACK_BYTES)))
        caller = Caller(client.name, _ROLES, proof)
        deadline = self._monotonic() + FEEDBACK_SECONDS
        try:
            async with asyncio.timeout(FEEDBACK_SECONDS):
                refused = [item for item in [await self._store(i, caller, deadline) for i in items] if item.reason]
        except TimeoutError:
            raise late() from None
        request.state.notes["items"] = len(items)
        if refused:
            message = "; ".join(f"{item.place}: {item.reason}" for item in refused[:8])
            raise malformed(f"not stored: {message}", *(item.place for item in refused))
        return JSONResponse({})

    async def _cards(self, request: Request, data: bytes, asked: _Asked) -> list[dict[str, object]]:
        service, client = asked.service, asked.client
        body, members = await self._read(data, lambda: read_members(data))
        call = read_call(body, service.hook)
        is_order = service.hook != "patient-view"
        ordered = read_orders(call, self._words) if is_order else Ordered((), has_untold=False)
        if is_order and not ordered.options:
            return []
        has_patient = check_patient(call, call.prefetch)
        allowance = Allowance(self._limits.fetch, self._limits.body_bytes)
        content = await complete(call, client, self._templates, self._outside, allowance)
        if not has_patient and not check_patient(call, content):
            message = "the Patient is neither prefetched nor can it be read with the token that came"
            raise Refusal(412, "no-patient", message, places=("prefetch.patient",))
        if content is body.get("prefetch"):
            chart = Chart(members["prefetch"], content)
        else:
            chart = await self._threads.run(lambda: Chart.of(content))
        if not is_order:
            reading = await self._read(data, lambda: self._desk.read(chart, call.patient))
            if not self._deck.may_concern(reading):
                return []
        caller = Caller(f"{client.name} {call.user}", _ROLES, asked.proof)
        try:
            shown = await self._threads.run(lambda: self._decide(chart, call, asked, caller))
        except Fault as fault:
            if fault.reason == DECEASED:
                return []
            raise
        request.state.notes["decision_id"] = shown.decision_id
        if not is_order and not self._deck.is_emergency(shown) and not self._deck.is_for(shown):
            return []
        came = Came(absent_keys(content, self._templates), ordered.has_untold)
        return self._drawn(shown, call, ordered.options, came, asked, caller)

    async def _read(self, data: bytes, work: Callable[[], T]) -> T:
        """Read what came with a call: a small body at once, since handing it to a thread costs more than it takes."""
        return work() if len(data) <= SMALL_BYTES else await self._threads.run(work)

    def _decide(self, chart: Chart, call: HookCall, asked: _Asked, caller: Caller) -> Shown:
        # A client may use one hookInstance for several calls, so the content is part of what makes a request the same.
        day, digest = int(self._now() // _DAY), hashlib.sha256(chart.data).hexdigest()
        same = "\n".join([asked.client.name, asked.service.id, call.instance, call.patient, str(day), digest])
        return self._desk.evaluate(
            content=chart.data,
            patient=call.patient,
            explicit={},
            jurisdiction=asked.client.jurisdiction,
            purpose="care",
            request_id=str(uuid5(_REQUESTS, same)),
            caller=caller,
            deadline=asked.ends,
            chart=chart,
        )

    def _drawn(
        self, shown: Shown, call: HookCall, ordered: tuple[str, ...], came: Came, asked: _Asked, caller: Caller
    ) -> list[dict[str, object]]:
        """Draw the cards that are worth showing: what conflicts or cannot wait always, what informs if it is new."""

        def page() -> str:
            token = self._links.make(shown.decision_id, caller)
            return f"{self._url}/decisions/{shown.decision_id}?t={token}"

        addresses = Addresses(
            f"{self._url}/about", f"{self._url}/topics", page, asked.client.emergency_url, asked.client.smart_url
        )
        cards = self._deck.write(shown, call, ordered, came, addresses)
        viewer = (asked.client.name, call.user, call.patient, asked.service.id, *ordered)
        if not self._quiet.is_new(viewer, digest_of(shown.decision, shown.reading)):
            cards = [card for card in cards if card.draft["indicator"] != "info"]
        for card in cards:
            self._count(card.topic)
        return [card.draft for card in cards]

    async def _store(self, item: Item, caller: Caller, deadline: float) -> Item:
        feedback = item.feedback
        if feedback is None:
            return item
        try:
            await self._threads.run(lambda: self._desk.feedback(feedback, caller, deadline))
        except Fault as fault:
            return Item(item.place, None, fault.message)
        return item

    def _service(self, request: Request) -> Service:
        service = self._services.get(request.path_params["id"])
        if service is None:
            raise Refusal(404, "unknown-service", "there is no service of this id; see discovery")
        request.state.notes["service"] = service.id
        return service

    async def _authenticated(self, request: Request, url: str) -> tuple[Client, str]:
        names = getattr(request.state, CERTIFICATE, ())
        client, proof = await self._trust.client_of(request.headers.getlist("authorization"), names, url)
        request.state.notes |= {"roles": sorted(_ROLES), "proof": proof}
        return client, proof
