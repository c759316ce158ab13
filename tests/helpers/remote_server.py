"""A loopback server that answers as OpenAI's do, and misbehaves on request.

`server.plan = ["cut", "ok"]`: how the next chats go; the last entry goes on for ever. It keeps what it was asked, and
`left` is set once a client has gone in the middle of an answer.
"""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

GIVE_UP_S = 10
MODELS = [{"id": "Qwen/Qwen3-32B", "max_model_len": 40960}, {"id": "taught", "object": "model"}]
EXTRA = ("top_k", "repetition_penalty", "min_p", "chat_template_kwargs", "continue_final_message")
USAGE = {"prompt_tokens": 21, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 5}}


@dataclass
class RemoteServer:
    """
    Attributes:
        plan: ok, thinking, tagged (<think> in the text), uncounted (no usage), length, filtered, cut (closed amid the
            answer), torn (garbage amid it), error (told in the stream), endless (one piece, then nothing), whole (does
            not stream), html, huge (a line without end), strict (refuses fields it does not know), stricter (and
            stream_options), silent (nothing at all), busy, rejected, status:N
        models: of GET /v1/models, None for a page that is no such list
        key: what must be sent, "" for nothing
        root: where the API lies
    """

    plan: list[str] = field(default_factory=lambda: ["ok"])
    models: list[dict[str, Any]] | None = field(default_factory=lambda: list(MODELS))
    key: str = ""
    root: str = "/v1"
    tls: ssl.SSLContext | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.released, self.left = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = False
        if self.tls:
            listening = self._server.socket
            self._server.socket = self.tls.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def next_turn(self) -> str:
        return self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]


def _piece(text: str = "", reason: str | None = None, **delta: str) -> bytes:
    """An event with a part of the answer."""
    said = {"content": text, **delta} if text else delta
    choice = {"index": 0, "delta": said, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


def _handler(server: RemoteServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                super().handle()

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

        def do_GET(self) -> None:
            server.keys.append(self.headers.get("Authorization", ""))
            if server.plan[0] == "silent":
                server.released.wait(GIVE_UP_S)
            elif self._is_known() and self.path == f"{server.root}/models" and server.models is not None:
                self._say(200, {"object": "list", "data": server.models})
            elif server.models is None:
                self._page()
            else:
                self._say(404, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.bodies.append(body)
            server.keys.append(self.headers.get("Authorization", ""))
            if self._is_known():
                verb, _, number = server.next_turn().partition(":")
                self._answer(verb, int(number or 0), body)

        def _is_known(self) -> bool:
            if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                self._say(401, {"error": {"message": f"Wrong key: {self.headers.get('Authorization')}"}})
                return False
            return True

        def _answer(self, verb: str, number: int, body: dict[str, Any]) -> None:
            refused = {"strict": EXTRA, "stricter": (*EXTRA, "stream_options")}.get(verb, ())
            if unknown := [name for name in body if name in refused]:
                self._say(422, {"detail": [{"msg": "Extra inputs are not permitted", "loc": ["body", *unknown]}]})
                server.plan.insert(0, verb)
            elif verb == "silent":
                server.released.wait(GIVE_UP_S)
            elif verb == "html":
                self._page()
            elif verb == "busy":
                self._say(429, {"error": {"message": "slow down"}}, {"Retry-After": "17"})
            elif verb == "rejected":
                self._say(400, {"error": {"message": "This model's maximum context\nlength is 10"}})
            elif verb == "status":
                self._say(number, {"error": {"message": f"key {server.key or 'none'} is bad"}})
            elif verb == "whole":
                said = {"role": "assistant", "content": "All at once.", "reasoning_content": "Hm."}
                self._say(200, {"choices": [{"message": said, "finish_reason": "stop"}], "usage": USAGE})
            else:
                self._stream(verb)

        def _stream(self, verb: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream; charset=utf-8")
            self.end_headers()
            write = self.wfile.write
            write(b": a comment\n\nevent: message\nid: 1\n" + _piece(role="assistant"))
            for piece in self._pieces(verb):
                write(piece)
                self.wfile.flush()
            if verb == "huge":
                with suppress(OSError):
                    for _ in range(10 * 1024):
                        write(b"x" * 1024)
            elif verb == "endless":
                self.wfile.flush()
                self.connection.settimeout(GIVE_UP_S)
                if not self.connection.recv(1):
                    server.left.set()
            elif verb not in ("cut", "torn", "error"):
                reason = {"length": "length", "filtered": "content_filter"}.get(verb, "stop")
                write(_piece(reason=reason))
                if verb != "uncounted":
                    write(b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\r\n\r\n")
                write(b"data: [DONE]\n\n")

        def _pieces(self, verb: str) -> list[bytes]:
            words = [_piece("It is "), _piece("好"), _piece(" and round.")]
            if verb == "thinking":
                return [_piece(reasoning_content="Let me "), _piece(reasoning="see."), *words]
            if verb == "tagged":
                return [_piece("<thi"), _piece("nk>\nLet me see.</think>\n\n"), *words]
            if verb == "torn":
                return [*words[:1], b"data: {not json\n\n"]
            if verb == "error":
                return [*words[:1], b'event: error\ndata: {"error": {"message": "out of pages"}}\n\n']
            if verb == "huge":
                return [*words[:1], b"data: "]
            return words[:2] if verb in ("cut", "endless") else words

        def _page(self) -> None:
            self._send(200, "text/html", b"<html><h1>It works!</h1></html>")

        def _say(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            self._send(status, "application/json", json.dumps(body).encode(), headers)

        def _send(self, status: int, kind: str, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Type": kind, "Content-Length": str(len(data))} | (headers or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    return Handler
