"""Which source is faster at the moment: a slice of the same model from each, at the same time, for two seconds.

Invariant: nothing is kept of it, and it ends in time whatever a source does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from core.errors import UserError
from core.hub.asking import Answer, failure, refused, slow
from core.hub.hubs import HUBS
from core.hub.repository import Repository
from core.sources import Access, Source

PROBE_S = 2.0
SLICE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    access: Access
    repository: Repository


@dataclass(frozen=True, slots=True)
class Speed:
    """bytes_per_s: from the question on, so what it takes to get there counts; 0 with the reason in `error`."""

    source: Source
    bytes_per_s: float = 0.0
    error: UserError | None = None


async def faster(
    client: httpx.AsyncClient, candidates: Sequence[Candidate], seconds: float = PROBE_S
) -> tuple[Speed, ...]:
    """The sources, the fastest first, after at most `seconds`."""
    speeds = await asyncio.gather(*(_measured(client, candidate, seconds) for candidate in candidates))
    return tuple(sorted(speeds, key=lambda speed: -speed.bytes_per_s))


async def _measured(client: httpx.AsyncClient, candidate: Candidate, seconds: float) -> Speed:
    source = candidate.repository.source
    if not candidate.repository.files:
        return Speed(source, error=UserError("hub_no_model", id=source.id))
    probe = _Probe(client, candidate)
    start = time.monotonic()
    error: UserError | None = None
    try:
        async with asyncio.timeout(seconds):
            await probe.run(seconds)
    except TimeoutError:
        error = slow(candidate.access, seconds)
    except (httpx.HTTPError, httpx.InvalidURL) as found:
        error = failure(candidate.access, found, probe.address, seconds)
    except UserError as found:
        error = found
    if not probe.received:
        return Speed(source, error=error or slow(candidate.access, seconds))
    return Speed(source, probe.received / max(time.monotonic() - start, 1e-3))


class _Probe:
    """One source being measured. received: bytes so far, also of one that is cut off then."""

    def __init__(self, client: httpx.AsyncClient, candidate: Candidate) -> None:
        self.received = 0
        self._client = client
        self._candidate = candidate
        self._path = max(candidate.repository.files, key=lambda file: file.size_bytes).path
        self.address = HUBS[candidate.access.place].address(candidate.access, candidate.repository, self._path)

    async def run(self, seconds: float) -> None:
        access, hub = self._candidate.access, HUBS[self._candidate.access.place]
        headers = hub.headers(access) | {"Accept-Encoding": "identity", "Range": f"bytes=0-{SLICE_BYTES - 1}"}
        async with self._client.stream(
            "GET", self.address, headers=headers, follow_redirects=True, timeout=httpx.Timeout(None, connect=seconds)
        ) as response:
            if response.status_code >= 400:
                answer = Answer(response.status_code, response.headers, await response.aread())
                raise hub.refusal(access, answer, self._candidate.repository.source, self._path) or refused(
                    access, answer
                )
            async for chunk in response.aiter_raw():
                self.received += len(chunk)
                if self.received >= SLICE_BYTES:  # one that ignores ranges
                    await response.aclose()
                    return
