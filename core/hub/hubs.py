"""Both hubs behind one set of questions, and a search of both at once.

Invariant: a search ends within its deadline, whatever one of the hubs does; the rows of the other one are shown
meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import httpx

from core.errors import UserError
from core.hub import huggingface, modelscope
from core.hub.asking import DEADLINE_S, Answer, slow
from core.hub.naming import sources_in
from core.hub.repository import Found, Repository
from core.sources import PLACES, Access, Place, Source

SEARCH_S = 3.0
MARGIN_S = 0.1  # of the deadline, for a hub to say by itself that it was too slow


class Hub(Protocol):
    """What a hub answers; see core.hub.huggingface."""

    def search(
        self, client: httpx.AsyncClient, access: Access, words: str, limit: int, *, deadline_s: float = DEADLINE_S
    ) -> Awaitable[list[Found]]: ...

    def describe(
        self, client: httpx.AsyncClient, access: Access, source: Source, *, deadline_s: float = DEADLINE_S
    ) -> Awaitable[Repository]: ...

    def read_bytes(
        self,
        client: httpx.AsyncClient,
        access: Access,
        repository: Repository,
        path: str,
        start: int = 0,
        length: int | None = None,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> Awaitable[bytes]: ...

    def address(self, access: Access, repository: Repository, path: str) -> str: ...

    def headers(self, access: Access) -> dict[str, str]: ...

    def page(self, access: Access, source: Source) -> str: ...

    def refusal(self, access: Access, answer: Answer, source: Source | None, path: str = "") -> UserError | None: ...


HUBS: dict[Place, Hub] = {"huggingface": huggingface, "modelscope": modelscope}


@dataclass(frozen=True, slots=True)
class Row:
    """One model as a search shows it: the same repository on both hubs is one row."""

    found: tuple[Found, ...]

    @property
    def id(self) -> str:
        return self.found[0].source.id

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(found.source for found in self.found)

    @property
    def downloads(self) -> int:
        return max(found.downloads for found in self.found)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one of the hubs has no part in the rows."""

    place: Place
    error: UserError


@dataclass(frozen=True, slots=True)
class Results:
    """waiting: hubs that have not answered yet; none when this is the last one."""

    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()
    waiting: tuple[Place, ...] = ()


async def search_all(
    client: httpx.AsyncClient, accesses: Iterable[Access], words: str, limit: int, deadline_s: float = SEARCH_S
) -> Results:
    """What both hubs have under `words`, after at most `deadline_s`."""
    last = Results()
    async with aclosing(searching(client, accesses, words, limit, deadline_s)) as stages:
        async for stage in stages:
            last = stage
    return last


async def searching(
    client: httpx.AsyncClient, accesses: Iterable[Access], words: str, limit: int, deadline_s: float = SEARCH_S
) -> AsyncGenerator[Results, None]:
    """What is known so far, each time a hub has answered. Closing it ends what is still asked; close it (aclosing)."""
    until = time.monotonic() + deadline_s
    asked = _asked(words)
    within = max(deadline_s - MARGIN_S, deadline_s / 2)
    tasks = {
        asyncio.ensure_future(HUBS[access.place].search(client, access, asked, limit, deadline_s=within)): access
        for access in accesses
    }
    found: list[Found] = []
    problems: list[Problem] = []
    waiting = set(tasks)
    try:
        while waiting:
            left = until - time.monotonic()
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                problems += [Problem(tasks[task].place, slow(tasks[task], deadline_s)) for task in waiting]
                waiting = set()
            for task in done:
                try:
                    found += task.result()
                except UserError as error:
                    problems.append(Problem(tasks[task].place, error))
            places = tuple(sorted(tasks[task].place for task in waiting))
            yield Results(merged(found, words)[:limit], tuple(problems), places)
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def merged(found: Iterable[Found], words: str) -> tuple[Row, ...]:
    """One row for each repository, those that fit the words best first, then the most fetched. The hubs write the same
    name in different cases (qwen/Qwen-7B-Chat, Qwen/Qwen-7B-Chat)."""
    by_name: dict[str, list[Found]] = {}
    for one in found:
        by_name.setdefault(one.source.id.lower(), []).append(one)
    rows = [Row(tuple(sorted(same, key=lambda one: PLACES.index(one.source.place)))) for same in by_name.values()]
    wanted = (sources_in(words)[0].id if sources_in(words) else words).lower().split()
    return tuple(sorted(rows, key=lambda row: (_distance(row.id.lower(), wanted), -row.downloads, row.id.lower())))


def _distance(id: str, wanted: list[str]) -> int:
    """How far an id is from what was asked for."""
    name, whole = id.rpartition("/")[2], "-".join(wanted)
    if not wanted or whole in (id, name):
        return 0
    if name.startswith(whole):
        return 1
    if all(word in name for word in wanted):
        return 2
    return 3 if all(word in id for word in wanted) else 4


def _asked(words: str) -> str:
    """The hubs search names, one of them only their beginnings, so the owner of a whole id is left out."""
    named = sources_in(words)
    return named[0].id.rpartition("/")[2] if named else " ".join(words.split())
