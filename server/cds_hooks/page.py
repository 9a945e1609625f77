"""The clinician's page over HTTP: a link opens one decision, forms without script ask again or say what came of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qs
from uuid import UUID, uuid5

from starlette.responses import RedirectResponse, Response

from server.cds_hooks.body import FORM_TYPE, take_in
from server.cds_hooks.desk import Feedback
from server.cds_hooks.links import SESSION_SECONDS
from server.cds_hooks.outcome import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from server.cds_hooks.desk import Desk, Opened, Outcome, Shown
    from server.cds_hooks.links import Links, Session
    from server.cds_hooks.service import Threads

Form: TypeAlias = "dict[str, str | list[str]]"

COOKIE = "eligibility_session"
MAX_FORM_BYTES = 256 * 1024
MAX_FIELDS = 4000
ANSWER_SECONDS = 10.0
_ANSWERS = UUID("2f3a7f0e-5a0c-4df5-8f65-7f1f3e0b9a42")
SAFE_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}
_NOTHING_ALLOWED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Forms:
    """Where the forms of a page go, and what was posted before.

    `entered` and `errors` are by field name; `recorded` is outcome and reason of feedback that was given already.
    """

    answers: str
    feedback: str
    csrf: str
    entered: Mapping[str, str | list[str]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    recorded: Sequence[tuple[Outcome, str]] = ()


class Page(Protocol):
    """What renders a decision and reads the forms of its page."""

    @property
    def policy(self) -> str:
        """The Content-Security-Policy header that the page needs."""

    def render(self, opened: Opened, forms: Forms) -> str:
        """Render a decision as HTML."""

    def read_answers(self, form: Form) -> tuple[dict[str, object], dict[str, str]]:
        """Give the facts that were answered, and what is wrong, by field name."""

    def read_feedback(self, form: Form) -> tuple[tuple[Outcome, str, str] | None, dict[str, str]]:
        """Give outcome, code of the reason and comment, None where something is wrong; and what, by field name."""


class PageRoutes:
    """The routes below `/decisions/{id}`. `base` is the path of the public address, `is_secure` whether it is https."""

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        *,
        base: str,
        is_secure: bool,
        desk: Desk,
        page: Page,
        links: Links,
        threads: Threads,
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._base = base
        self._is_secure = is_secure
        self._desk = desk
        self._page = page
        self._links = links
        self._threads = threads
        self._monotonic = monotonic
        self._now = now

    async def open(self, request: Request) -> Response:
        """Open a decision: a link becomes a session first, so that its token is in no address that stays."""
        decision_id = request.path_params["id"]
        token = request.query_params.get("t")
        if token is None:
            session = self._session(request, decision_id)
            opened = await self._threads.run(lambda: self._desk.open(decision_id, session.caller))
            request.state.notes["decision_id"] = decision_id
            return self._rendered(opened, session)
        if request.method != "GET":
            return Response(headers=SAFE_HEADERS)  # a look at a link must not use it up
        known = request.cookies.get(COOKIE, "")
        cookie = self._links.use(token, decision_id, known)
        if cookie is None and self._links.session(known, decision_id) is not None:
            return self._redirect(decision_id)  # a second click of somebody who is in
        if cookie is None:
            raise _ended()
        response = self._redirect(decision_id)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=int(SESSION_SECONDS),
            path=f"{self._base}/decisions",
            secure=self._is_secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def answer(self, request: Request) -> Response:
        """Decide again with what a clinician answered, as a what-if of its own, and lead to its page."""
        decision_id = request.path_params["id"]
        session, form = await self._posted(request, decision_id)
        answers, errors = self._page.read_answers(form)
        opened = await self._threads.run(lambda: self._desk.open(decision_id, session.caller))
        if errors or not answers:
            return self._rendered(opened, session, form, errors, status=400 if errors else 200)
        shown = await self._threads.run(lambda: self._ask_again(opened, answers, session))
        session.add(shown.decision_id)
        request.state.notes["decision_id"] = shown.decision_id
        return self._redirect(shown.decision_id)

    async def feed_back(self, request: Request) -> Response:
        """Log what came of a decision."""
        decision_id = request.path_params["id"]
        session, form = await self._posted(request, decision_id)
        read, errors = self._page.read_feedback(form)
        if read is None:
            opened = await self._threads.run(lambda: self._desk.open(decision_id, session.caller))
            return self._rendered(opened, session, form, errors, status=400)
        outcome, reason, comment = read
        feedback = Feedback(decision_id, outcome, reason, comment, datetime.fromtimestamp(self._now(), UTC))
        deadline = self._monotonic() + ANSWER_SECONDS
        await self._threads.run(lambda: self._desk.feedback(feedback, session.caller, deadline))
        session.recorded[decision_id] = (*session.recorded.get(decision_id, ()), (outcome, reason))
        request.state.notes["decision_id"] = decision_id
        return self._redirect(decision_id)

    def _ask_again(self, opened: Opened, answers: Mapping[str, object], session: Session) -> Shown:
        explicit = {**opened.explicit, **answers}
        same = json.dumps(answers, sort_keys=True, default=str)
        digest = hashlib.sha256(f"{opened.shown.decision_id}\n{same}".encode()).hexdigest()
        return self._desk.evaluate(
            content=opened.content,
            patient=opened.patient,
            explicit=explicit,
            jurisdiction=opened.jurisdiction,
            purpose="what_if",
            request_id=str(uuid5(_ANSWERS, digest)),
            caller=session.caller,
            deadline=self._monotonic() + ANSWER_SECONDS,
        )

    def _rendered(
        self,
        opened: Opened,
        session: Session,
        entered: Form | None = None,
        errors: Mapping[str, str] | None = None,
        *,
        status: int = 200,
    ) -> Response:
        decision_id = opened.shown.decision_id
        place = f"{self._base}/decisions/{decision_id}"
        recorded = session.recorded.get(decision_id, ())
        shown = {name: value for name, value in (entered or {}).items() if name != "csrf"}
        forms = Forms(f"{place}/answers", f"{place}/feedback", session.csrf, shown, errors or {}, recorded)
        headers = {**SAFE_HEADERS, "content-security-policy": self._page.policy}
        return Response(self._page.render(opened, forms), status, headers, "text/html; charset=utf-8")

    async def _posted(self, request: Request, decision_id: str) -> tuple[Session, Form]:
        session = self._session(request, decision_id)
        form = read_form(await take_in(request, MAX_FORM_BYTES, frozenset({FORM_TYPE})))
        token = form.get("csrf", "")
        if not isinstance(token, str) or not session.is_csrf(token):
            raise Refusal(403, "csrf", "the form is not one of this page; open the page again")
        return session, form

    def _session(self, request: Request, decision_id: str) -> Session:
        session = self._links.session(request.cookies.get(COOKIE, ""), decision_id)
        if session is None:
            raise _ended()
        request.state.notes |= {"roles": sorted(session.caller.roles), "proof": session.caller.proof}
        return session

    def _redirect(self, decision_id: str) -> RedirectResponse:
        return RedirectResponse(f"{self._base}/decisions/{decision_id}", 303, SAFE_HEADERS)


def read_form(data: bytes) -> Form:
    """Read a posted form; a field that came several times is a list.

    Raises:
        Refusal: 400 for anything else than UTF-8 text of a form.

    """
    try:
        fields = parse_qs(data.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refusal(400, "malformed", "the form cannot be read; open the page again") from None
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def message_page(refusal: Refusal) -> Response:
    """Write a refusal as a page for a person."""
    text = escape(refusal.message[:1].upper() + refusal.message[1:])
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Treatment eligibility</title>'
    html = f"{head}<p>{text}.</p></html>"
    headers = {**SAFE_HEADERS, "content-security-policy": _NOTHING_ALLOWED}
    return Response(html, refusal.status, headers, "text/html; charset=utf-8")


def _ended() -> Refusal:
    message = "this link was used already, has expired, or is not for you; open it again from the patient's chart"
    return Refusal(403, "no-session", message)
