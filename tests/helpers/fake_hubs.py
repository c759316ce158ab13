"""Hubs and a queue of downloads that do what a test says, in the window's own services: slow, silent, refusing.

Only answers are made up; what the services make of them (rows, badges, files that are needed) is the program's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

from app.services.details import without_head
from app.services.discovery import DiscoveryService, Listing, Look, Offer, entry_subject
from app.services.downloads import Item
from app.services.transfers import Transfer
from core.errors import Param, UserError
from core.hub import catalogue
from core.hub.needed_files import needed_files
from core.hub.repository import RepoFile, Repository
from core.hub.speed import Speed
from core.protocol.messages import FileProgress, Progress
from core.sources import PLACES, Place, Source
from core.store.records import Download, DownloadState

CARD = "---\nlicense: apache-2.0\n---\n# A model\n\nMade for **tests**. [Its page](https://example.org/model).\n"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIDES = (
    ("config.json", 700), ("generation_config.json", 240), ("tokenizer.json", 11_420_000),
    ("tokenizer_config.json", 9_700), ("vocab.json", 2_780_000), ("merges.txt", 1_670_000), ("README.md", 14_000),
    ("LICENSE", 11_400),
)  # fmt: skip


def unreachable(place: Place) -> UserError:
    names = {"huggingface": ("Hugging Face", "huggingface.co"), "modelscope": ("ModelScope", "modelscope.cn")}
    return UserError("hub_unreachable", hub=names[place][0], host=names[place][1])


def repository(
    id: str, *sizes: int, place: Place = "huggingface", extra: tuple[tuple[str, int], ...] = (), **facts: object
) -> Repository:
    """With so many parts of weights in safetensors."""
    count = len(sizes)
    names = [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    if count == 1:
        names = ["model.safetensors"]
    parts = [RepoFile(name, size, "ab" * 32) for name, size in zip(names, sizes, strict=True)]
    index = [RepoFile("model.safetensors.index.json", 32_000)] if count > 1 else []
    sides = [RepoFile(name, size) for name, size in (*SIDES, *extra)]
    known: dict[str, object] = {"licence": "apache-2.0", "licence_link": "https://example.org/licence", **facts}
    return Repository(Source(place, id), COMMIT, (*sides, *index, *parts), **known)  # type: ignore[arg-type]


@dataclass
class Answers:
    """
    Attributes:
        found: rows of a search, besides the catalogue
        repositories: by id in lower case; of a catalogue's model one is made up where there is none
        silent: hubs that never answer a search, refuse: those that cannot be reached
        asked: what was asked of the hubs, in order
    """

    found: tuple[Offer, ...] = ()
    repositories: dict[str, Repository] = field(default_factory=dict)
    silent: set[Place] = field(default_factory=set)
    refuse: set[Place] = field(default_factory=set)
    delay_s: float = 0.0
    speeds: dict[Place, float] = field(default_factory=lambda: {"modelscope": 47.8e6, "huggingface": 3.1e6})
    card: str = CARD
    licence: str = "The licence of the model.\n\nYou may use it."
    token: bool = False
    asked: list[str] = field(default_factory=list)
    why: UserError | None = None


class FakeDiscovery(DiscoveryService):
    def __init__(self, real: DiscoveryService) -> None:
        super().__init__(real._access)
        self.answers = Answers()

    async def search(self, text: str) -> AsyncGenerator[Listing, None]:
        answers, own = self.answers, self.catalogue(text)
        answers.asked.append(f"search {text}")
        yield Listing(own, PLACES)
        await asyncio.sleep(answers.delay_s)
        problems = tuple((place, unreachable(place)) for place in PLACES if place in answers.refuse)
        waiting = tuple(place for place in PLACES if place in answers.silent)
        there = {offer.id.lower() for offer in own}
        words = text.casefold().split()
        found = [offer for offer in answers.found if all(word in offer.id.casefold() for word in words)]
        if len(problems) < len(PLACES):
            own = tuple(replace(offer, downloads=1_234_567) if offer.sources else offer for offer in own)
            own += tuple(offer for offer in found if offer.id.lower() not in there)
        yield Listing(own, waiting, problems)
        if waiting:
            await asyncio.Event().wait()

    async def look(self, offer: Offer, *, anew: bool = False) -> Look:
        answers = self.answers
        answers.asked.append(f"look {offer.id}")
        await asyncio.sleep(answers.delay_s)
        refused = [source for source in offer.sources if source.place in answers.refuse]
        if len(refused) == len(offer.sources):
            raise unreachable(offer.sources[0].place)
        found = answers.repositories.get(offer.id.lower()) or _made_up(offer)
        subject = entry_subject(offer.entry) if offer.entry is not None else None
        why = answers.why or (None if subject else UserError("hub_no_shape", id=offer.id))
        return Look(offer, found, needed_files(found), subject, why)

    async def card(self, look: Look) -> str:
        return without_head(self.answers.card)

    async def licence_text(self, look: Look) -> str:
        return self.answers.licence

    async def speeds(self, look: Look) -> tuple[Speed, ...]:
        self.answers.asked.append(f"speeds {look.offer.id}")
        await asyncio.sleep(self.answers.delay_s)
        found = []
        for source in look.offer.sources:
            rate = self.answers.speeds.get(source.place, 0.0)
            found.append(Speed(source, rate, None if rate else unreachable(source.place)))
        return tuple(sorted(found, key=lambda speed: -speed.bytes_per_s))

    async def page(self, source: Source) -> str:
        return f"https://example.org/{source.id}"

    async def has_token(self, place: Place) -> bool:
        return self.answers.token


def _made_up(offer: Offer) -> Repository:
    total = offer.entry.download_bytes if offer.entry is not None else 4_000_000_000
    parts = max(1, total // 5_000_000_000)
    return repository(offer.id, *([total // parts] * parts))


def gguf(id: str, *names: str) -> Repository:
    """A repository with these GGUF files of one, two, three... GB."""
    files = [RepoFile(name, (place + 1) * 1_000_000_000, "cd" * 32) for place, name in enumerate(names)]
    return Repository(Source("huggingface", id), COMMIT, (RepoFile("README.md", 900), *files), licence="apache-2.0")


def offer_of(name: str) -> Offer:
    """One of the catalogue."""
    from app.services.discovery import of_entry

    return of_entry(catalogue.find(name))


def item(
    id: int, name: str, state: DownloadState = "running", *, done: int = 0, total: int = 9_900_000_000,
    place: Place = "modelscope", code: str = "", **params: Param,
) -> Item:  # fmt: skip
    """One of the queue as the service would show it; a running one with its figures."""
    import time
    from datetime import UTC, datetime

    source = (Source(place, f"Qwen/{name}"),)
    now = datetime.now(UTC)
    record = Download(id, name, source, "", "", "", False, state, done, total, code, params, now, None)
    found = Item(record)
    if state == "running":
        found.transfer = transfer(name, done, total, time.monotonic())
    return found


def transfer(name: str, done: int, total: int, now: float, rate: float = 47.8e6, parts: int = 4) -> Transfer:
    """Under way for three seconds."""
    made = Transfer(name, "job")
    size = total // parts
    files = []
    for part in range(parts):
        come = max(0, min(size, done - part * size))
        files.append(FileProgress(f"model-{part + 1:05}-of-{parts:05}.safetensors", come, size))
    for seconds in (3.0, 2.0, 1.0, 0.0):
        progress = Progress(
            "job", max(0, done - round(rate * seconds)), total, "downloading", "bytes", "", tuple(files)
        )
        made.update(progress, now - seconds)
    return made
