"""Requests from outside as jobs of this worker: their queue, what is known of each, and their events on another loop.

Lives on the loop of the door's thread; only Stream.put is called by the thread that steps the jobs. Invariant: at most
MOST_RUNNING requests have a job at a time, each leaves when its job ends however slow its reader is, and those that
wait come in turn.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable

from msgspec.structs import replace

from core.protocol.messages import Finished, JobEvent, PromptRead, TextDelta
from core.protocol.serving import (
    OutsideRequest,
    RequestEnd,
    RequestEnded,
    RequestsChanged,
    RequestsRefused,
    RequestState,
)
from core.serving.refusals import Refusal

MOST_RUNNING = 16  # as many as the engine takes in one pass
TELL_S = 0.25
MOST_KINDS = 32  # of refusals told at once; whoever knocks at will shall not fill the pipe
News = RequestsChanged | RequestEnded | RequestsRefused


class Stream:
    """The events of one job, from the thread that makes them to the loop that sends them.

    Attributes:
        id: of the job
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.id = f"outside-{uuid.uuid4().hex}"
        self._loop = loop
        self._events: deque[JobEvent] = deque()
        self._is_called = False
        self._arrived = asyncio.Event()

    def put(self, event: JobEvent) -> None:
        """From any thread. The loop is called once for all that comes until it has looked."""
        self._events.append(event)
        if not self._is_called:
            self._is_called = True
            try:
                self._loop.call_soon_threadsafe(self._arrived.set)
            except RuntimeError:  # the loop is closed: nobody reads any more
                pass

    async def take(self) -> list[JobEvent]:
        """What has come since the last time, one event at least."""
        taken: list[JobEvent] = []
        while not taken:
            await self._arrived.wait()
            self._arrived.clear()
            self._is_called = False
            while self._events:
                taken.append(self._events.popleft())
        return taken


class Live:
    """One request under way, until it leaves."""

    def __init__(self, request: OutsideRequest, leave: Callable[[Live], None], changed: Callable[[], None]) -> None:
        self._request, self._leave, self._changed = request, leave, changed
        self._began = time.monotonic()
        self._first_token_at = 0.0
        self.cancel: Callable[[], None] = lambda: None  # of its job, once it has one
        self.end: RequestEnd = "cancelled"  # unless it is known to have ended otherwise
        self.status, self.code, self.malformed_calls = 499, "", 0
        self.holds_slot = False

    @property
    def id(self) -> str:
        return self._request.id

    def leave(self) -> None:
        """It is over; may be said again."""
        self._leave(self)

    def note(self, event: JobEvent) -> None:
        request = self._request
        if isinstance(event, PromptRead):
            self._request = replace(request, state="answering", prompt_tokens=event.prompt_tokens)
            self._changed()
        elif isinstance(event, TextDelta):
            self._first_token_at = self._first_token_at or time.monotonic()
            self._request = replace(request, new_tokens=request.new_tokens + event.tokens)
        elif isinstance(event, Finished) and event.figures is not None:
            figures = event.figures
            self._request = replace(request, new_tokens=figures.new_tokens, tokens_per_s=figures.tokens_per_s)

    def enter(self, state: RequestState, model: str) -> None:
        self._request = replace(self._request, state=state, model=model)

    def shown(self) -> OutsideRequest:
        now, request = time.monotonic(), self._request
        took = now - self._first_token_at if self._first_token_at else 0.0
        rate = request.tokens_per_s or ((request.new_tokens - 1) / took if took > 0 and request.new_tokens > 1 else 0.0)
        return replace(request, seconds=now - self._began, tokens_per_s=rate)


class Requests:
    """All requests of one door."""

    def __init__(self, job_id: str, most_waiting: int, tell: Callable[[News], None]) -> None:
        """tell: called with news for the front."""
        self._job_id, self._most_waiting, self._tell = job_id, most_waiting, tell
        self._live: dict[str, Live] = {}
        self._slots = asyncio.Semaphore(MOST_RUNNING)
        self._waiting = 0
        self._is_stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._refused: Counter[tuple[str, str, int, str]] = Counter()
        self._refusing: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return len(self._live) - self._waiting

    @property
    def waiting(self) -> int:
        return self._waiting

    def stop(self) -> None:
        """Nobody comes in any more, and what runs ends at its next token."""
        self._is_stopping = True
        if self._refusing is not None:
            self._refusing.cancel()
            self._tell_refused()
        for live in list(self._live.values()):
            live.cancel()

    def arrive(self, path: str, model: str, client: str) -> Live:
        """
        Raises:
            Refusal: api_busy, api_stopping.
        """
        if self._is_stopping:
            raise Refusal("api_stopping")
        if self._slots.locked() and self._waiting >= self._most_waiting:
            raise Refusal("api_busy", waiting=self._waiting)
        live = Live(OutsideRequest(uuid.uuid4().hex[:12], path, model, client), self._leave, self._news)
        self._live[live.id] = live
        self._news()
        return live

    async def turn(self, live: Live) -> None:
        """Returns when it may run.

        Raises:
            Refusal: api_stopping.
        """
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        live.holds_slot = True
        if self._is_stopping:
            raise Refusal("api_stopping")

    def refuse(self, refusal: Refusal, path: str, client: str) -> None:
        """It was sent away before it was under way: told soon, together with others like it. path: "" for one that
        the API does not have."""
        kind = (path, client, refusal.status, refusal.code)
        if kind not in self._refused and len(self._refused) >= MOST_KINDS:
            kind = ("", "", refusal.status, refusal.code)
        self._refused[kind] += 1
        if self._refusing is None:
            self._refusing = asyncio.get_running_loop().call_later(TELL_S, self._tell_refused)

    def _tell_refused(self) -> None:
        self._refusing = None
        refused, self._refused = self._refused, Counter()
        for (path, client, status, code), count in refused.items():
            self._tell(RequestsRefused(self._job_id, path, client, status, code, count))

    def _leave(self, live: Live) -> None:
        if self._live.pop(live.id, None) is None:
            return
        if live.holds_slot:
            self._slots.release()
        self._tell(RequestEnded(self._job_id, live.shown(), live.end, live.status, live.code, live.malformed_calls))
        self._news()

    def _news(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell(RequestsChanged(self._job_id, tuple(live.shown() for live in self._live.values())))
        if self._live:
            self._timer = asyncio.get_running_loop().call_later(TELL_S, self._news)
