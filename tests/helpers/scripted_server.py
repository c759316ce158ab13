"""Stands for the model behind the web page where an answer has to be exactly this one, or to go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from playwright.sync_api import Page, Route


class ScriptedServer:
    """
    Attributes:
        thoughts, pieces: of thinking and of text that every answer streams
        refusal: status and body instead of an answer
        is_cut: the connection ends without a word after the pieces; error: the stream ends with it
        bodies: of the requests so far
    """

    def __init__(self) -> None:
        self.thoughts: Iterable[str] = ()
        self.pieces: Iterable[str] = ()
        self.error: dict[str, Any] | None = None
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.is_cut = False
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                status, body = outer.refusal or (200, None)
                self.send_response(status)
                self.send_header("content-type", "application/json" if body else "text/event-stream")
                self.end_headers()
                for part in [json.dumps(body).encode()] if body else outer.events():
                    self.wfile.write(part)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer_for(self, page: Page) -> None:
        """From now on the page's questions come here, though it asks its own server."""
        address = f"http://127.0.0.1:{self._server.server_address[1]}/"

        def elsewhere(route: Route) -> None:
            route.continue_(url=address)

        page.route("**/v1/chat/completions", elsewhere)

    def events(self) -> Iterator[bytes]:
        for piece in self.thoughts:
            yield _event({"delta": {"reasoning_content": piece}, "finish_reason": None})
        for piece in self.pieces:
            yield _event({"delta": {"content": piece}, "finish_reason": None})
        if self.error is not None:
            yield b"data: " + json.dumps({"error": self.error}).encode() + b"\n\n"
        elif not self.is_cut:
            yield _event({"delta": {}, "finish_reason": "stop"}) + b"data: [DONE]\n\n"


def _event(choice: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"model": "starter", "choices": [choice | {"index": 0}]}).encode() + b"\n\n"
