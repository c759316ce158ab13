"""What the server has answered since the program started: the last requests, and how many there were.

Invariant: it is bounded, lives in memory only, and holds no word of any request or answer.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from app.services.events import Event
from app.services.serving import ServingService
from core.protocol.serving import RequestEnd, RequestEnded, RequestsRefused

MOST = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """
    at: time of day it ended, in seconds since 1970
    code: of the program's error, "" where there was none; count: so many alike were refused within a moment
    """

    at: float
    path: str
    client: str
    status: int
    end: RequestEnd
    code: str = ""
    model: str = ""
    prompt_tokens: int = 0
    new_tokens: int = 0
    tokens_per_s: float = 0.0
    seconds: float = 0.0
    count: int = 1


class RequestLog:
    """
    Attributes:
        entries: the last ones, newest first
        answered, failed, refused: of all since the program started; cancelled by their clients count as answered
        changed: emitted after each of them
    """

    def __init__(self, serving: ServingService) -> None:
        self.entries: deque[Entry] = deque(maxlen=MOST)
        self.answered = self.failed = self.refused = 0
        self.changed: Event[None] = Event()
        serving.ended.listen(self._on_end)
        serving.refused.listen(self._on_refusal)

    def clear(self) -> None:
        self.entries.clear()
        self.answered = self.failed = self.refused = 0
        self.changed.emit(None)

    def _on_end(self, ended: RequestEnded) -> None:
        one = ended.request
        now, figures = time.time(), (one.prompt_tokens, one.new_tokens, one.tokens_per_s, one.seconds)
        self._put(Entry(now, one.path, one.client, ended.status, ended.end, ended.code, one.model, *figures))

    def _on_refusal(self, told: RequestsRefused) -> None:
        entry = Entry(time.time(), told.path, told.client, told.status, "refused", told.code, count=told.count)
        self._put(entry)

    def _put(self, entry: Entry) -> None:
        self.entries.appendleft(entry)
        if entry.end == "refused":
            self.refused += entry.count
        elif entry.end == "failed":
            self.failed += 1
        else:
            self.answered += 1
        self.changed.emit(None)
