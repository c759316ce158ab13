"""Work that drives itself, such as a library's training loop, turned into steps that somebody else takes.

Invariant: when `tell` returns, whoever takes the steps has done with what was told, so what must be on disk before the
work goes on is there; and the thread never outlives the steps.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
POLL_S = 0.05


class Stopped(Exception):
    """Raised in the work by `tell` when nobody takes steps any more."""


class Stepped(Generic[T]):
    def __init__(self, work: Callable[[Callable[[T], None]], None], name: str) -> None:
        """work: called in a thread of its own with `tell`."""
        self._told: queue.SimpleQueue[T] = queue.SimpleQueue()
        self._taken = threading.Semaphore(0)
        self._is_over = threading.Event()
        self._error: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, name=name)

    def __iter__(self) -> Iterator[T | None]:
        """What is told, and None now and then while nothing is. Raises what the work raised."""
        self._thread.start()
        try:
            while self._thread.is_alive() or not self._told.empty():
                try:
                    told = self._told.get(timeout=POLL_S)
                except queue.Empty:
                    yield None
                    continue
                yield told
                self._taken.release()
        finally:
            self._is_over.set()
            self._taken.release()
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work(self._tell)
        except Stopped:
            pass
        except BaseException as error:  # raised again where the steps are taken
            self._error = error

    def _tell(self, what: T) -> None:
        if self._is_over.is_set():
            raise Stopped
        self._told.put(what)
        self._taken.acquire()
        if self._is_over.is_set():
            raise Stopped
