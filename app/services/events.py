"""A list of listeners, for services that tell pages what happened. No Qt and no thread: listeners run at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Event(Generic[T]):
    """`service.changed.listen(self._on_changed)`; the returned callable ends it."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[T], None]] = []

    def listen(self, listener: Callable[[T], None]) -> Callable[[], None]:
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def emit(self, value: T) -> None:
        """A listener's bug is reported and neither stops the others nor the work that told of the event."""
        for listener in list(self._listeners):
            try:
                listener(value)
            except Exception as error:
                sys.excepthook(type(error), error, error.__traceback__)
