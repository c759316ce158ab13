"""When to try again, and when to stop trying.

Invariant: only failures in a row without a byte count, so a download that moves at all is never given up.
"""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

from core.errors import UserError
from core.hub.fetching.remote import Network

LONGEST_REST_S = 600.0  # hubs count requests over five minutes


class Again(Exception):
    """Worth another attempt. error: what to say when there is none, where it is more than an interruption"""

    def __init__(self, error: UserError | None = None) -> None:
        super().__init__(error)
        self.error = error


class Patience:
    """Of one connection. It rests longer after each failure of its own, and looks at all bytes before it gives up."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._failures = self._silent = 0
        self._received = 0

    def worked(self) -> None:
        self._failures = 0

    def rest_s(self, gained: int, received: int) -> float | None:
        """Seconds to wait after a failure; None when it was the last.

        gained: what had come before it failed; received: what all connections have got, so far
        """
        network = self._network
        self._failures = 1 if gained else self._failures + 1
        self._silent = 1 if received > self._received else self._silent + 1
        self._received = received
        if self._silent >= (network.attempts_later if received else network.attempts):
            return None
        # From the tenth on it is the longest anyway, and 2 ** 2000 is no number to multiply with.
        return min(network.backoff_s * 2.0 ** min(self._failures - 1, 10), network.backoff_most_s)


class Hosts:
    """Which of them have asked for a rest; all connections keep to it."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def asked(self, host: str, rest_s: float) -> None:
        self._until[host] = time.monotonic() + min(rest_s, LONGEST_REST_S)

    def rest_s(self, host: str) -> float:
        return max(0.0, self._until.get(host, 0.0) - time.monotonic())


def asked_rest(retry_after: str, rate_limit: str) -> float:
    """Seconds, from `Retry-After` (a number or a date), or `RateLimit: "api";r=0;t=55` when nothing remains."""
    if spent := re.search(r"\br=0\b.*?\bt=(\d+)", rate_limit):
        return float(spent[1])
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
