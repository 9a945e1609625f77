"""A small site around the clinician's page: real HTTP, real rules and both engines, and no log."""

from __future__ import annotations

import secrets
import threading
from contextlib import closing, contextmanager
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from engine.evaluator.agree import Evaluator
from engine.page.clinician import (
    Actions,
    ClinicianView,
    Feedback,
    content_security_policy,
    parse_answers,
    parse_feedback,
    render_clinician,
)
from tests.unit.clinician_views import REASONS, load_book, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 100_000


class Site:
    """One patient's page. `view` is what it shows, `posts` the paths that were posted to, `feedback` what was said."""

    def __init__(self, case: dict[str, Any], evaluator: Evaluator, **more: object) -> None:
        self.case = case
        self.evaluator = evaluator
        self.more = more
        self.csrf = secrets.token_urlsafe(16)
        self.answers: dict[str, object] = {}
        self.feedback: list[Feedback] = []
        self.posts: list[str] = []
        self.address = ""
        self.view = self._view()

    def _view(self) -> ClinicianView:
        facts = {**self.case["facts"], **self.answers}
        actions = Actions("/answers", "/feedback", self.csrf)
        typed = frozenset(self.answers)
        return view_of(self.evaluator, self.case, facts, actions=actions, typed=typed, **self.more)

    def post(self, path: str, form: dict[str, str | list[str]]) -> str | None:
        """Take a form; give the page that shows what is wrong with it, None where nothing is."""
        if path == "/feedback":
            said, errors = parse_feedback(form, REASONS)
            if said is not None:
                self.feedback.append(said)
                self.view = replace(self.view, recorded=tuple(self.feedback))
        else:
            answers, errors = parse_answers(form, self.view.definitions)
            if not errors:
                self.answers |= answers
                self.view = self._view()
        return render_clinician(replace(self.view, entered=form, errors=errors)) if errors else None


@contextmanager
def serving(case: dict[str, Any], evaluator: Evaluator, **more: object) -> Iterator[Site]:
    """Serve one patient's page on loopback."""
    site = Site(case, evaluator, **more)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(HTTPStatus.OK if self.path == "/" else HTTPStatus.NOT_FOUND, render_clinician(site.view))

        def do_POST(self) -> None:
            site.posts.append(self.path)
            body = self.rfile.read(min(int(self.headers["content-length"]), MOST_BYTES)).decode()
            form: dict[str, str | list[str]] = {
                name: texts[0] if len(texts) == 1 else texts
                for name, texts in parse_qs(body, keep_blank_values=True).items()
            }
            if form.pop("csrf", "") != site.csrf:
                self._answer(HTTPStatus.FORBIDDEN, "")
            elif (page := site.post(self.path, form)) is not None:
                self._answer(HTTPStatus.BAD_REQUEST, page)
            else:
                self.send_response(HTTPStatus.SEE_OTHER)
                self.send_header("location", "/")
                self.end_headers()

        def _answer(self, status: HTTPStatus, page: str) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-security-policy", content_security_policy())
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing: what is asked for is patient data."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.address = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def both_engines() -> Iterator[Evaluator]:
    """Give an evaluator whose two engines have to agree."""
    with closing(Evaluator(load_book(), "both", sessions=1)) as evaluator:
        yield evaluator
