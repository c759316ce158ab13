"""The queue of downloads: what is fetched, in which order, and what became of it.

Owns the rows of the store's queue and runs the first few of them. Invariant: a download that was asked for is in the
store before its first byte is, so a restart shows the same queue and goes on with it; its bytes outlive everything but
the user's own cancel, and that can be undone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.services.events import Event
from app.services.installed import Wanted
from app.services.library import LibraryService
from app.services.transfers import Transfer
from core import store
from core.errors import Param, UserError
from core.hub import staging
from core.models import manifest, shelf
from core.protocol.messages import Failed, Finished, JobEvent, Progress
from core.sources import Access, Source
from core.store.records import Download, DownloadState
from core.store.store import Store

log = logging.getLogger("downloads")

AT_ONCE = 2
SAVED_EVERY_S = 2.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0
# What a network that comes back mends: tried again by itself, later and later.
PASSING = ("hub_unreachable", "hub_slow", "hub_busy", "download_interrupted", "source_unreachable", "pip_late")


@dataclass(slots=True)
class Item:
    """One row of the queue as pages show it.

    transfer: its figures while it runs; again_at: of one that waits for the network, when it is tried again (seconds of
    the monotonic clock)
    """

    record: Download
    transfer: Transfer | None = None
    again_at: float | None = None
    failures: int = field(default=0, repr=False)

    @property
    def id(self) -> int:
        return self.record.id

    @property
    def state(self) -> DownloadState:
        return self.record.state

    @property
    def done_bytes(self) -> int:
        return self.transfer.done if self.transfer and self.transfer.stage == "downloading" else self.record.done_bytes

    @property
    def total_bytes(self) -> int:
        return (self.transfer and self.transfer.total) or self.record.total_bytes

    def error(self) -> UserError | None:
        """Why it failed or waits."""
        record = self.record
        return UserError(record.error_code, **record.error_params) if record.error_code else None


class DownloadService:
    """
    Attributes:
        items: the queue in order, with those that are done until they are cleared away
        changed: emitted after the queue or a figure in it changed
        arrived: emitted with the name of a model that is whole now
    """

    def __init__(
        self,
        the_store: Store,
        library: LibraryService,
        accesses: Callable[[], Awaitable[Sequence[Access]]],
        *,
        at_once: int = AT_ONCE,
        first_pause_s: float = FIRST_PAUSE_S,
    ) -> None:
        self.items: list[Item] = []
        self.changed: Event[None] = Event()
        self.arrived: Event[str] = Event()
        self._store, self._library, self._accesses = the_store, library, accesses
        self._at_once, self._first_pause_s = at_once, first_pause_s
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._is_closing = False

    async def open(self) -> None:
        """Read the queue and go on with it. What lies in the models folder and in no queue is taken in, paused."""
        records = await self._store.call(lambda s: store.downloads.all_(s))
        gone = [record.id for record in records if record.state in ("done", "cancelled")]  # of the last time
        names = {record.name for record in records if record.id not in gone}
        for record in records:
            if record.state == "cancelled" and record.name not in names:
                await asyncio.to_thread(_discard, record)
        await self._store.call(lambda s: store.downloads.forget(s, gone))
        asked = {item.id for item in self.items}  # before the queue was read
        self.items = [*(Item(one) for one in records if one.id not in asked and one.id not in gone), *self.items]
        await self._adopt(names | {item.record.name for item in self.items if item.state != "done"})
        for item in self.items:
            if item.state == "running" and item.id not in self._tasks:
                item.record = replace(item.record, state="waiting")
        self._advance()

    async def _adopt(self, known: set[str]) -> None:
        folder = self._library.folder
        left = await asyncio.to_thread(staging.left_over, folder)
        for name, plan in left.items():
            if name not in known:
                sources, total = (plan.repository.source,), plan.needed.total_bytes
                record = await self._store.call(
                    lambda s, name=name, sources=sources, total=total: store.downloads.add(  # type: ignore[misc]
                        s, name, sources, str(folder), total_bytes=total, state="paused"
                    )
                )
                self.items.append(Item(record))

    def find(self, name: str) -> Item | None:
        """The download of that name which has not ended."""
        found = self._unfinished(name)
        return found if found is not None and found.state != "cancelled" else None

    # --- verbs -----------------------------------------------------------------------------

    async def add(self, wanted: Wanted, total_bytes: int = 0) -> Item:
        """At the end of the queue. One that is in it already is continued instead.

        Raises:
            UserError: name_unusable, name_taken when the library has a model of that name.
        """
        wanted = replace(wanted, name=shelf.safe_name(wanted.name))
        item = self._unfinished(wanted.name)
        if item is not None and _ids(item.record.sources) == _ids(wanted.sources):
            await self.resume(item.id)
            return item
        folder = self._library.folder
        if (item is not None and item.state != "cancelled") or (folder / wanted.name / manifest.FILE_NAME).exists():
            raise UserError("name_taken", name=wanted.name)
        record = await self._store.call(
            lambda s: store.downloads.add(
                s, wanted.name, wanted.sources, str(folder), file=wanted.file, base=wanted.base,
                convert_pickle=wanted.convert_pickle, total_bytes=total_bytes,
            )
        )  # fmt: skip
        item = Item(record)
        self.items.append(item)
        self._advance()
        return item

    async def pause(self, download_id: int) -> None:
        """What has come is kept."""
        await self._halt(download_id, "paused")

    async def resume(self, download_id: int) -> None:
        """Also of one that failed."""
        item = self._item(download_id)
        if item.state in ("paused", "failed", "cancelled", "waiting"):
            item.failures = 0
            self._forget_timer(item)
            await self._note(item, "waiting")
            self._advance()

    async def cancel(self, download_id: int) -> None:
        """Out of the queue. Its bytes go when the program ends, so until then resume() undoes it."""
        await self._halt(download_id, "cancelled")

    async def move(self, download_id: int, by: int) -> None:
        """Earlier (negative) or later in the queue, among those that have not ended."""
        open_ = [item for item in self.items if item.state not in ("done", "cancelled")]
        place = open_.index(self._item(download_id))
        target = max(0, min(len(open_) - 1, place + by))
        open_.insert(target, open_.pop(place))
        self.items = open_ + [item for item in self.items if item not in open_]
        ids = [item.id for item in self.items]
        await self._store.call(lambda s: store.downloads.order(s, ids))
        self._advance()

    async def clear(self) -> None:
        """Take those that are done off the list."""
        done = [item.id for item in self.items if item.state == "done"]
        self.items = [item for item in self.items if item.id not in done]
        await self._store.call(lambda s: store.downloads.forget(s, done))
        self.changed.emit(None)

    async def close(self) -> None:
        """What runs is stopped where it is and goes on at the next start."""
        self._is_closing = True
        for timer in self._timers.values():
            timer.cancel()
        for item in self.items:
            if item.id in self._tasks and item.transfer:
                self._library.cancel(item.transfer.name)
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))
        for item in self.items:
            if item.state == "cancelled":
                await asyncio.to_thread(_discard, item.record)

    # --- running ----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Start what has its turn."""
        for item in self.items:
            if self._is_closing or len(self._tasks) >= self._at_once:
                break
            if item.state == "waiting" and item.id not in self._tasks and item.again_at is None:
                item.record = replace(item.record, state="running")
                self._tasks[item.id] = asyncio.get_running_loop().create_task(self._run(item), name=item.record.name)
        self.changed.emit(None)

    async def _run(self, item: Item) -> None:
        try:
            if item.state == "running":  # nobody has stopped it before it began
                await self._note(item, "running")
                await self._follow(item)
        finally:
            item.transfer = None
            del self._tasks[item.id]
            self._advance()

    async def _follow(self, item: Item) -> None:
        """One attempt, from its first event to what became of it."""
        saved = time.monotonic()
        end: JobEvent | None = None
        try:
            async with aclosing(await self._events(item)) as events:
                async for event in events:
                    end = event
                    if item.state != "running" or self._is_closing:  # asked for before the worker knew the job
                        self._library.cancel(item.record.name)
                    if not isinstance(event, Progress):
                        continue
                    item.transfer = self._library.transfers.get(item.record.name)
                    if event.stage == "downloading" and time.monotonic() - saved > SAVED_EVERY_S:
                        saved = time.monotonic()
                        await self._note_progress(item, event)
                    self.changed.emit(None)
        except UserError as error:
            end = Failed("", "user", error.code, error.params)
        await self._ended(item, end)

    async def _events(self, item: Item) -> AsyncGenerator[JobEvent, None]:
        record = item.record
        wanted = Wanted(record.name, record.sources, record.file, record.base, record.convert_pickle)
        if not wanted.sources:
            return self._library.pull(wanted.name, Path(record.models_folder))
        return self._library.download(wanted, await self._accesses(), Path(record.models_folder))

    async def _ended(self, item: Item, end: JobEvent | None) -> None:
        if item.transfer is not None and item.transfer.stage == "downloading":
            await self._note_progress(item, Progress("", item.transfer.done, item.transfer.total))
        if isinstance(end, Failed):
            await self._failed(item, end)
        elif isinstance(end, Finished) and end.reason != "cancelled":
            total = item.total_bytes
            await self._store.call(lambda s: store.downloads.note_progress(s, item.id, total, total))
            item.record = replace(item.record, done_bytes=total, total_bytes=total)
            await self._note(item, "done")
            self.arrived.emit(item.record.name)

    async def _failed(self, item: Item, failed: Failed) -> None:
        if item.state != "running":
            return  # paused or taken out meanwhile
        if failed.kind == "bug":
            log.error("%s: %s", item.record.name, failed.detail)
        if failed.code in PASSING or failed.kind == "died":
            pause = min(self._first_pause_s * 2**item.failures, LONGEST_PAUSE_S)
            item.failures += 1
            await self._note(item, "waiting", failed.code, failed.params)
            if not self._is_closing:
                item.again_at = time.monotonic() + pause
                self._timers[item.id] = asyncio.get_running_loop().call_later(pause, self._try_again, item)
        else:
            await self._note(item, "failed", failed.code, failed.params)

    def _try_again(self, item: Item) -> None:
        self._forget_timer(item)
        self._advance()

    def _forget_timer(self, item: Item) -> None:
        item.again_at = None
        if timer := self._timers.pop(item.id, None):
            timer.cancel()

    async def _halt(self, download_id: int, state: DownloadState) -> None:
        item = self._item(download_id)
        if item.state == "done":
            return
        self._forget_timer(item)
        await self._note(item, state)
        if (task := self._tasks.get(item.id)) is not None:
            self._library.cancel(item.record.name)
            await asyncio.wait([task])
        self._advance()

    # --- the store ----------------------------------------------------------------------------

    async def _note(
        self, item: Item, state: DownloadState, code: str = "", params: dict[str, Param] | None = None
    ) -> None:
        item.record = replace(item.record, state=state, error_code=code, error_params=params or {})
        await self._store.call(lambda s: store.downloads.note_state(s, item.id, state, code, params))
        self.changed.emit(None)

    async def _note_progress(self, item: Item, progress: Progress) -> None:
        done, total = progress.done, progress.total or item.record.total_bytes
        item.record = replace(item.record, done_bytes=done, total_bytes=total)
        await self._store.call(lambda s: store.downloads.note_progress(s, item.id, done, total))

    def _item(self, download_id: int) -> Item:
        """
        Raises:
            UserError: download_unknown.
        """
        for item in self.items:
            if item.id == download_id:
                return item
        raise UserError("download_unknown")

    def _unfinished(self, name: str) -> Item | None:
        for item in self.items:
            if item.record.name.lower() == name.lower() and item.state != "done":
                return item
        return None


def _discard(record: Download) -> None:
    staging.discard(Path(record.models_folder), record.name)


def _ids(sources: Sequence[Source]) -> set[str]:
    return {source.id.lower() for source in sources}
