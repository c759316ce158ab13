"""What can be had: the catalogue at once, both hubs a moment later, and everything a hub says of one model.

No Qt, no torch: hubs are asked with httpx, which is imported at the first question. Invariant: an answer that has come
is kept until the program ends or the user asks anew; a hub that does not answer costs a bounded wait and a sentence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.services.details import without_head
from app.services.fitting import Subject
from app.services.hub_access import HubAccess
from core.errors import UserError
from core.hub import catalogue
from core.hub.catalogue import Entry
from core.hub.needed_files import Needed, needed_files
from core.hub.repository import Repository
from core.models import families
from core.models.shape import Shape
from core.sources import PLACES, Access, Place, Source

if TYPE_CHECKING:
    import httpx

    from core.hub.hubs import Row
    from core.hub.speed import Speed

SEARCH_LIMIT = 60
LOOK_S = 15.0
CARD_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be had, as the list shows it.

    entry: what the catalogue knows of it, None for one that only a search found
    downloads, likes: as the hubs count; 0 where none was asked
    """

    name: str
    sources: tuple[Source, ...]
    entry: Entry | None = None
    downloads: int = 0
    likes: int = 0
    licence: str = ""
    parameters: int = 0
    gated: bool = False
    updated: str = ""

    @property
    def id(self) -> str:
        """Of its repository; its name where it has none."""
        return self.sources[0].id if self.sources else self.name


@dataclass(frozen=True, slots=True)
class Listing:
    """What a search has found so far. waiting: hubs that have not answered yet; problems: why one has no part."""

    offers: tuple[Offer, ...]
    waiting: tuple[Place, ...] = ()
    problems: tuple[tuple[Place, UserError], ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What a hub says of one model.

    subject: what decides its memory; None where that cannot be told, for the reason in `why`
    """

    offer: Offer
    repository: Repository
    needed: Needed
    subject: Subject | None = None
    why: UserError | None = None

    @property
    def total_bytes(self) -> int:
        return self.needed.total_bytes


@dataclass(slots=True)
class _Known:
    looks: dict[tuple[Source, ...], Look] = field(default_factory=dict)
    texts: dict[tuple[Source, str], str] = field(default_factory=dict)


class DiscoveryService:
    def __init__(self, access: HubAccess) -> None:
        self._access = access
        self._client: httpx.AsyncClient | None = None
        self._client_proxy = ""
        self._making = asyncio.Lock()
        self._known = _Known()

    # --- lists -----------------------------------------------------------------------------

    def catalogue(self, text: str = "") -> tuple[Offer, ...]:
        """At once and without a network."""
        return tuple(of_entry(entry) for entry in catalogue.search(text))

    async def search(self, text: str) -> AsyncGenerator[Listing, None]:
        """The catalogue first, then what the hubs add, each time one has answered. Closing it ends what is asked."""
        own = self.catalogue(text)
        if not text.strip():
            yield Listing(own)
            return
        try:
            client, accesses = await self._asking(), await self._access.now()
        except UserError as error:  # the proxy of the settings
            yield Listing(own, (), tuple((place, error) for place in PLACES))
            return
        from core.hub import hubs
        from core.hub.naming import sources_in

        sources = sources_in(text, accesses)
        named, words = _named(sources, own), sources[0].id if sources else text
        yield Listing(named or own, tuple(access.place for access in accesses))
        async with aclosing(hubs.searching(client, accesses, words, SEARCH_LIMIT)) as results:
            async for result in results:
                problems = tuple((problem.place, problem.error) for problem in result.problems)
                is_sure = not (result.waiting or problems or any(access.token for access in accesses))
                yield Listing(_joined(named or own, result.rows, is_sure=is_sure), result.waiting, problems)

    # --- one model ---------------------------------------------------------------------------

    async def look(self, offer: Offer, *, anew: bool = False) -> Look:
        """Its files and its size, from the first of its hubs that answers.

        Raises:
            UserError: hub_*, of the first that was asked.
        """
        if not anew and (kept := self._known.looks.get(offer.sources)):
            return kept
        problem: UserError | None = None
        for source in offer.sources:
            try:
                found = await self._look(offer, source)
            except UserError as error:
                problem = problem or error
            else:
                self._known.looks[offer.sources] = found
                return found
        raise problem or UserError("not_in_catalogue", name=offer.name)

    async def _look(self, offer: Offer, source: Source) -> Look:
        client, access = await self._asking(), await self._access_to(source.place)
        from core.hub import hubs, remote_shape

        repository = await hubs.HUBS[source.place].describe(client, access, source, deadline_s=LOOK_S)
        needed = needed_files(repository)
        try:
            shape, config = await remote_shape.read_shape(client, access, repository, deadline_s=LOOK_S)
            return Look(offer, repository, needed, subject_of(offer.name, shape, config))
        except UserError as error:
            return Look(offer, repository, needed, why=error)

    def with_file(self, look: Look, path: str) -> Look:
        """The same repository, of which one GGUF file shall be fetched."""
        return replace(look, needed=needed_files(look.repository, gguf=path))

    async def card(self, look: Look) -> str:
        """Its README as Markdown, without the head that is for machines. "" where it has none.

        Raises:
            UserError: hub_*.
        """
        return without_head(await self._text(look.repository, "README.md"))

    async def licence_text(self, look: Look) -> str:
        """The text of its licence. "" where the repository has none.

        Raises:
            UserError: hub_*.
        """
        names = [file.path for file in look.repository.files if "/" not in file.path]
        found = [name for name in sorted(names) if name.lower().startswith(("license", "licence", "notice"))]
        return await self._text(look.repository, found[0]) if found else ""

    async def _text(self, repository: Repository, path: str) -> str:
        if repository.file(path) is None:
            return ""
        place = repository.source, path
        if place not in self._known.texts:
            client, access = await self._asking(), await self._access_to(repository.source.place)
            from core.hub import hubs

            hub = hubs.HUBS[repository.source.place]
            raw = await hub.read_bytes(client, access, repository, path, length=CARD_BYTES, deadline_s=LOOK_S)
            self._known.texts[place] = raw.decode("utf-8", "replace")
        return self._known.texts[place]

    async def speeds(self, look: Look) -> tuple[Speed, ...]:
        """How fast each of its sources is here, after two seconds, the fastest first."""
        client = await self._asking()
        from core.hub import hubs, speed

        repositories = [look.repository]
        for source in look.offer.sources:
            if source.place != look.repository.source.place:
                try:
                    access = await self._access_to(source.place)
                    other = await hubs.HUBS[source.place].describe(client, access, source, deadline_s=LOOK_S)
                    repositories.append(other)
                except UserError:
                    continue
        candidates = [speed.Candidate(await self._access_to(one.source.place), one) for one in repositories]
        return await speed.faster(client, candidates)

    async def page(self, source: Source) -> str:
        """Its page for people."""
        await self._asking()
        from core.hub import hubs

        return hubs.HUBS[source.place].page(await self._access_to(source.place), source)

    async def has_token(self, place: Place) -> bool:
        return bool((await self._access_to(place)).token)

    # --- the network ---------------------------------------------------------------------------

    async def _access_to(self, place: Place) -> Access:
        return next(access for access in await self._access.now() if access.place == place)

    async def _asking(self) -> httpx.AsyncClient:
        """The client, made anew after the proxy was changed. In a thread: its imports and certificates take longer than
        a frame."""
        async with self._making:
            proxy = self._access.proxy
            if self._client is None or self._client_proxy != proxy:
                self._drop_client()
                self._client, self._client_proxy = await asyncio.to_thread(_new_client, proxy), proxy
            return self._client

    def _drop_client(self) -> None:
        if self._client is not None:
            self._closing = asyncio.get_running_loop().create_task(self._client.aclose(), name="close hub client")
            self._client = None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _new_client(proxy: str) -> httpx.AsyncClient:
    from core.hub import hubs  # noqa: F401
    from core.hub.client import open_client

    return open_client(proxy)


def subject_of(name: str, shape: Shape, config: dict[str, Any]) -> Subject:
    """A model that is not here, as the questions about its memory need it."""
    family = families.family_of(config)
    return Subject(name, shape, family.key, families.lengths(config, family))


def entry_subject(entry: Entry) -> Subject | None:
    """The same for one of the catalogue, without asking a hub; None where its config is not known."""
    shape = entry.shape()
    return subject_of(entry.name, shape, entry.config) if shape is not None and entry.config is not None else None


def of_entry(entry: Entry) -> Offer:
    """What the catalogue alone says."""
    return Offer(entry.name, entry.sources, entry, licence=entry.licence, parameters=entry.parameters)


def _named(sources: tuple[Source, ...], own: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """The one repository that was typed or pasted whole, where the catalogue does not have it."""
    if not sources or any(offer.id.lower() == sources[0].id.lower() for offer in own):
        return ()
    entry = catalogue.of_source(sources[0])
    if entry is not None and not any(source.revision for source in sources):
        return (of_entry(entry),)
    return (Offer(sources[0].id.rpartition("/")[2], sources, entry), *own)


def _joined(own: tuple[Offer, ...], rows: tuple[Row, ...], *, is_sure: bool) -> tuple[Offer, ...]:
    """The catalogue's offers with what the hubs say of them, then those that only the hubs have.

    is_sure: an id that was typed and that no hub has found is none
    """
    by_id = {row.id.lower(): row for row in rows}
    if is_sure:
        own = tuple(offer for offer in own if offer.entry is not None or offer.id.lower() in by_id)
    first = tuple(_with_figures(offer, by_id.pop(offer.id.lower(), None)) for offer in own)
    return (*first, *(_of_row(row) for row in rows if row.id.lower() in by_id))


def _with_figures(offer: Offer, row: Row | None) -> Offer:
    if row is None:
        return offer
    sources = row.sources if offer.entry is None and row.sources else offer.sources or row.sources
    return Offer(
        offer.name, sources, offer.entry, row.downloads, max(found.likes for found in row.found),
        offer.licence, offer.parameters, any(found.gated for found in row.found), _day(row),
    )  # fmt: skip


def _of_row(row: Row) -> Offer:
    found = row.found
    return Offer(
        row.id.rpartition("/")[2], row.sources, None, row.downloads, max(one.likes for one in found),
        next((one.licence for one in found if one.licence), ""), max(one.parameters for one in found),
        any(one.gated for one in found), _day(row),
    )  # fmt: skip


def _day(row: Row) -> str:
    days = [f"{found.updated:%Y-%m-%d}" for found in row.found if found.updated is not None]
    return max(days, default="")
