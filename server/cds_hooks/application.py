"""The HTTP application: routes, and what stands around every call: limits, refusals, one log line, metrics, CORS."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.cds_hooks.outcome import UNEXPECTED, Refusal, busy, late, refusal_of
from server.cds_hooks.page import message_page
from server.interceptors.errors import place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send
    from structlog.typing import FilteringBoundLogger

    from server.cds_hooks.page import PageRoutes
    from server.cds_hooks.service import Services
    from server.cds_hooks.words import Words
    from server.interceptors.metrics import Metrics

    Endpoint = Callable[[Request], Awaitable[Response]]

REQUEST_SECONDS = 30.0
"""For the work on a request, however slowly its body comes. How long its answer may take to go out: `connection`."""


@dataclass(frozen=True)
class Surroundings:
    """What the face is told of the server around it.

    `packs` gives version by pack in force, `is_serving` whether decisions can be kept now. `monotonic` and `now` are
    clocks, in seconds; `on_unexpected` hears where something failed that nobody raised on purpose.
    """

    log: FilteringBoundLogger
    metrics: Metrics
    packs: Callable[[], Mapping[str, str]]
    is_serving: Callable[[], bool]
    on_unexpected: Callable[[str], None]
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time


class Application:
    """Everything below the public address; `base` is its path, `concurrent` how many requests may be in work."""

    def __init__(self, base: str, concurrent: int, words: Words, around: Surroundings) -> None:
        self._base = base
        self._concurrent = concurrent
        self._words = words
        self._around = around
        self._in_work = 0

    def build(
        self,
        services: Services,
        pages: PageRoutes,
        origins: Sequence[str],
        lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    ) -> ASGIApp:
        """Build it, open to browser clients of `origins`."""
        base, call = self._base, self._endpoint
        hooks, decision = f"{base}/cds-services", f"{base}/decisions/{{id}}"
        routes = [
            Route(hooks, call("discovery", services.discover), methods=["GET"]),
            Route(f"{hooks}/{{id}}", call("call", services.call), methods=["POST"]),
            Route(f"{hooks}/{{id}}/feedback", call("feedback", services.feedback), methods=["POST"]),
            Route(decision, call("page", pages.open, message_page), methods=["GET"]),
            Route(f"{decision}/answers", call("answers", pages.answer, message_page), methods=["POST"]),
            Route(f"{decision}/feedback", call("page-feedback", pages.feed_back, message_page), methods=["POST"]),
            Route(f"{base}/about", call("about", self._about), methods=["GET"]),
            Route(f"{base}/topics", call("topics", self._topics), methods=["GET"]),
            Route(f"{base}/health", self._health, methods=["GET"]),
        ]
        application = Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _unrouted})
        application.router.redirect_slashes = False
        return _CrossOrigin(application, hooks, list(origins)) if origins else application

    def _endpoint(
        self, name: str, work: Endpoint, refuse: Callable[[Refusal], Response] = Refusal.response
    ) -> Endpoint:
        """Put around an endpoint what every call gets."""
        around, metrics = self._around, self._around.metrics
        method = f"cds-hooks/{name}"

        async def answer(request: Request) -> Response:
            start = time.perf_counter()
            notes: dict[str, Any] = {}
            request.state.notes = notes
            try:
                response = await self._within_limits(work, request)
            except Exception as error:  # noqa: BLE001 - the last place that could keep a text with patient data in
                refusal = refusal_of(error)
                if refusal.reason == UNEXPECTED:
                    around.on_unexpected(place_of(error))
                notes["reason"] = refusal.reason
                response = refuse(refusal)
            seconds = time.perf_counter() - start
            metrics.seconds.labels(method).observe(seconds)
            metrics.calls.labels(method, str(response.status_code)).inc()
            around.log.info(
                "call", method=method, code=response.status_code, duration_ms=round(seconds * 1000, 3), **notes
            )
            return response

        return answer

    async def _within_limits(self, work: Endpoint, request: Request) -> Response:
        if self._in_work >= self._concurrent:
            self._around.metrics.pushed_back.inc()
            raise busy()
        self._in_work += 1
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                return await work(request)
        except TimeoutError:
            raise late() from None
        finally:
            self._in_work -= 1

    async def _about(self, _request: Request) -> Response:
        told = {
            "title": self._words.title,
            "intendedUse": self._words.usage_requirements,
            "disclaimer": self._words.closing,
            "packs": dict(self._around.packs()),
        }
        return JSONResponse(told)

    async def _topics(self, _request: Request) -> Response:
        return JSONResponse(dict(self._words.topics))

    async def _health(self, _request: Request) -> Response:
        is_serving = self._around.is_serving()
        return JSONResponse({"serving": is_serving}, 200 if is_serving else 503)


class _CrossOrigin:
    """Lets browsers of the configured origins call the services, and nothing else of the face."""

    def __init__(self, application: ASGIApp, hooks: str, origins: list[str]) -> None:
        self._application = application
        self._hooks = hooks
        self._services = CORSMiddleware(
            application,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        path = scope.get("path", "")
        is_hook = path == self._hooks or path.startswith(f"{self._hooks}/")
        await (self._services if is_hook else self._application)(scope, receive, send)


async def _unrouted(_request: Request, error: Exception) -> Response:
    known = {404: "there is nothing here", 405: "this method is not taken here"}
    status = error.status_code if isinstance(error, HTTPException) and error.status_code in known else 400
    return Refusal(status, "unrouted", known.get(status, "the request is malformed")).response()
