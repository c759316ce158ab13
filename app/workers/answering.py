"""One answer over HTTP: the job's events to a body or a stream of events, and its end when the client is gone.

Invariants: the status is chosen when the first event of the job is there, so that no error hides in a stream that could
have had a status; a job whose client has left is cancelled at once; a client that reads slowly holds up nobody, for
reading the job and sending are two tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.workers.keeper_line import KeeperLine
from app.workers.outside import Live, Requests, Stream
from core.errors import UserError
from core.protocol.messages import Failed, Finished, JobEvent, PromptRead, TextDelta
from core.serving.refusals import Refusal
from core.serving.replies import Delta, Envelope, Telling, error_event, joined

RETRY_AFTER_S = {429: "1", 503: "5"}
HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


@dataclass(slots=True)
class Order:
    """What has to be done for one request once it is its turn.

    begin: gives the job to the worker; the returned callable cancels it. Raises Refusal and UserError
    """

    path: str
    model: str
    envelope: Envelope
    begin: Callable[[Stream], Any]
    is_stream: bool
    echo: str = ""


class Answering(Response):
    """An ASGI answer that is made while it is sent."""

    def __init__(self, order: Order, requests: Requests, keeper: KeeperLine) -> None:
        super().__init__()
        self._order, self._requests, self._keeper = order, requests, keeper
        self._deltas: list[Delta] = []
        self._end: Finished | None = None
        self._refusal: Refusal | None = None
        self._is_read = False  # the prompt; from then on a stream may begin
        self._grown = asyncio.Event()
        self._telling: Telling | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = (scope.get("client") or ("", 0))[0]
        work = asyncio.create_task(self._answer(scope, send, client))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                task.cancel()
            outcomes = await asyncio.gather(work, gone, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    async def _answer(self, scope: Scope, send: Send, client: str) -> None:
        try:
            live = self._requests.arrive(self._order.path, self._order.model, client)
        except Refusal as refusal:
            self._requests.refuse(refusal, self._order.path, client)
            await _send_json(send, refusal.status, refusal.body)
            return
        pump: asyncio.Task[None] | None = None
        try:
            pump = asyncio.create_task(self._pump(live))
            with self._keeper.kept(scope) as begun:
                while not (self._is_over or (self._is_read and self._order.is_stream)):
                    await self._next()
                if self._refusal is None and self._order.is_stream:
                    await self._stream(send, begun)
                    return
            await self._whole(send)
        finally:
            if pump is not None:
                pump.cancel()
                await asyncio.gather(pump, return_exceptions=True)
            live.leave()

    # --- the job -----------------------------------------------------------------

    async def _pump(self, live: Live) -> None:
        """Read the job to its end, whoever reads us."""
        try:
            await self._requests.turn(live)
            stream = Stream(asyncio.get_running_loop())
            self._telling, cancel = await self._order.begin(stream)
            live.cancel = cancel
            live.enter("reading", self._order.model)
            try:
                while not self._is_over:
                    for event in await stream.take():
                        self._take(event, live, cancel)
                    self._grown.set()
            finally:
                cancel()
        except UserError as error:
            self._refusal = Refusal.of(error)
        except Refusal as refusal:
            self._refusal = refusal
        except Exception:
            self._refusal = Refusal("bug", what="the request could not be answered")
            raise
        finally:
            self._note_end(live)
            live.leave()
            self._grown.set()

    def _take(self, event: JobEvent, live: Live, cancel: Callable[[], None]) -> None:
        assert self._telling is not None
        live.note(event)
        match event:
            case PromptRead():
                self._is_read = True
            case TextDelta(text=text, thinking=is_thinking):
                self._deltas += self._telling.text(text, is_thinking=is_thinking)
                if self._telling.is_over:
                    cancel()
            case Finished(reason="cancelled") if not self._telling.is_over:
                self._refusal = Refusal("api_stopping")
            case Finished(reason=reason):
                self._deltas += self._telling.end(reason)
                self._end = event
            case Failed(kind="bug"):
                self._refusal = Refusal("bug", what="see the log of the program")
            case Failed(code=code, params=params):
                self._refusal = Refusal(code, None, **params)
            case _:
                pass

    def _note_end(self, live: Live) -> None:
        if self._telling is not None:
            live.malformed_calls = self._telling.malformed_calls
        if self._refusal is not None:
            live.end = "refused" if self._refusal.status < 500 else "failed"
            live.status, live.code = self._refusal.status, self._refusal.code
        elif self._end is not None:
            live.end, live.status = "done", 200

    @property
    def _is_over(self) -> bool:
        return self._end is not None or self._refusal is not None

    # --- the client --------------------------------------------------------------

    async def _next(self) -> None:
        await self._grown.wait()
        self._grown.clear()

    async def _whole(self, send: Send) -> None:
        if self._refusal is not None:
            await _send_json(send, self._refusal.status, self._refusal.body)
            return
        assert self._end is not None and self._telling is not None
        deltas = joined([*self._echoed(), *self._deltas])
        body = self._order.envelope.whole(deltas, self._telling.finish_reason, self._end.figures)
        await _send_json(send, 200, body)

    async def _stream(self, send: Send, begun: Callable[[], None]) -> None:
        envelope = self._order.envelope
        headers = HEADERS | {"content-type": "text/event-stream; charset=utf-8"}
        await send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})
        begun()
        await _send_part(send, envelope.begin() + envelope.chunks(self._echoed()))
        while True:
            deltas, self._deltas = self._deltas, []
            is_over = self._is_over
            if deltas:
                await _send_part(send, envelope.chunks(deltas))
            if is_over and not self._deltas:
                break
            if not is_over:
                await self._next()
        await send({"type": "http.response.body", "body": self._last(), "more_body": False})

    def _last(self) -> bytes:
        if self._refusal is not None:
            return error_event(self._refusal.body)
        assert self._end is not None and self._telling is not None
        return self._order.envelope.finish(self._telling.finish_reason, self._end.figures)

    def _echoed(self) -> list[Delta]:
        return [{"content": self._order.echo}] if self._order.echo else []


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_part(send: Send, data: bytes) -> None:
    if data:
        await send({"type": "http.response.body", "body": data, "more_body": True})


async def _send_json(send: Send, status: int, body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    headers = {"content-type": "application/json", "content-length": str(len(data))}
    if status in RETRY_AFTER_S:
        headers["retry-after"] = RETRY_AFTER_S[status]
    await send({"type": "http.response.start", "status": status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": data})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
