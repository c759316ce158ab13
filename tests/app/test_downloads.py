"""The queue of downloads: nothing is forgotten, what a network breaks goes on by itself, the user has the last word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.services.downloads import DownloadService, Item
from app.services.installed import Wanted
from app.services.library import LibraryService
from core.errors import UserError
from core.hub import staging
from core.hub.needed_files import Needed
from core.hub.repository import RepoFile, Repository
from core.hub.staging import Plan
from core.sources import Access, Source
from core.store.store import Store
from tests.helpers.fake_downloads import ARGV, TOTAL, tries

PATIENCE_S = 20.0
SOURCE = Source("huggingface", "Qwen/Qwen3-0.6B")


async def _accesses() -> tuple[Access, ...]:
    return (Access("huggingface"),)


@asynccontextmanager
async def opened(home: Path, *, at_once: int = 2) -> AsyncIterator[DownloadService]:
    store = Store(home / "workbench.db", home / "backups")
    library = LibraryService(home / "models", argv=ARGV)
    service = DownloadService(store, library, _accesses, at_once=at_once, first_pause_s=0.05)
    await service.open()
    try:
        yield service
    finally:
        await service.close()
        await library.close()
        await store.close()


async def until(service: DownloadService, reached: Callable[[], bool]) -> None:
    """Wait for changes of the queue until `reached`."""
    changed = asyncio.Event()
    end = service.changed.listen(lambda _: changed.set())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not reached():
                await changed.wait()
                changed.clear()
    finally:
        end()


def states(service: DownloadService) -> dict[str, str]:
    return {item.record.name: item.state for item in service.items}


async def add(service: DownloadService, name: str) -> Item:
    return await service.add(Wanted(name, (SOURCE,)), TOTAL)


async def test_what_is_asked_for_arrives(home: Path) -> None:
    async with opened(home) as service:
        arrived: list[str] = []
        service.arrived.listen(arrived.append)
        item = await add(service, "quick-1")
        await until(service, lambda: item.state == "done")
        assert arrived == ["quick-1"]
        assert (item.done_bytes, item.total_bytes) == (TOTAL, TOTAL)
        with pytest.raises(UserError) as told:
            await add(service, "quick-1")
        assert told.value.code == "name_taken"
        await service.clear()
        assert service.items == []


async def test_two_run_at_a_time_in_the_order_of_the_queue(home: Path) -> None:
    async with opened(home) as service:
        a, b, c = [await add(service, f"endless-{name}") for name in "abc"]
        await until(service, lambda: a.done_bytes > 0 and b.done_bytes > 0)
        assert states(service) == {"endless-a": "running", "endless-b": "running", "endless-c": "waiting"}
        await service.pause(a.id)
        await until(service, lambda: c.state == "running")
        assert a.state == "paused" and a.done_bytes >= TOTAL // 4


@pytest.mark.loops("asyncio")
async def test_another_model_of_the_same_name_does_not_continue_it(home: Path) -> None:
    async with opened(home) as service:
        await add(service, "endless-1")
        with pytest.raises(UserError) as told:
            await service.add(Wanted("endless-1", (Source("huggingface", "other/endless-1"),)), TOTAL)
        assert told.value.code == "name_taken"


@pytest.mark.loops("asyncio")
async def test_a_download_stays_in_the_folder_it_began_in(home: Path) -> None:
    async with opened(home) as service:
        item = await add(service, "offline-1")
        await until(service, lambda: item.state == "waiting" and bool(item.record.error_code))
        service._library.move_to(home / "elsewhere")
        await until(service, lambda: item.state == "done")
    assert (home / "models" / "offline-1").is_dir() and not (home / "elsewhere").exists()


async def test_another_order_counts_at_once(home: Path) -> None:
    async with opened(home, at_once=1) as service:
        first = await add(service, "endless-1")
        await add(service, "quick-2")
        last = await add(service, "quick-3")
        await service.move(last.id, -1)
        assert list(states(service)) == ["endless-1", "quick-3", "quick-2"]
        await service.cancel(first.id)
        await until(service, lambda: set(states(service).values()) == {"done", "cancelled"})
        ended = sorted((item for item in service.items if item.state == "done"), key=lambda item: item.id)
        assert [item.record.name for item in ended] == ["quick-2", "quick-3"]


async def test_the_next_start_goes_on_with_the_same_queue(home: Path) -> None:
    async with opened(home) as service:
        running = await add(service, "endless-1")
        paused = await add(service, "endless-2")
        await until(service, lambda: running.done_bytes > 0 and paused.done_bytes > 0)
        await service.pause(paused.id)
    async with opened(home) as service:
        await until(service, lambda: states(service)["endless-1"] == "running")
        assert states(service) == {"endless-1": "running", "endless-2": "paused"}
        assert service.items[1].done_bytes >= TOTAL // 4
        await until(service, lambda: tries(home / "models", "endless-1") == 2)
        assert tries(home / "models", "endless-2") == 1


@pytest.mark.parametrize("name", ["offline-1", "dies-1"])
@pytest.mark.loops("asyncio")
async def test_what_passes_by_itself_needs_nobody(home: Path, name: str) -> None:
    async with opened(home) as service:
        item = await add(service, name)
        await until(service, lambda: item.record.error_code != "")
        assert item.state == "waiting" and str(item.error())
        await until(service, lambda: item.state == "done")
        assert item.error() is None


@pytest.mark.loops("asyncio")
async def test_what_does_not_pass_is_said_and_can_be_tried_again(home: Path) -> None:
    async with opened(home) as service:
        item = await add(service, "full-1")
        await until(service, lambda: item.state == "failed")
        assert "9 GB" in str(item.error())
        await service.resume(item.id)
        await until(service, lambda: tries(home / "models", "full-1") == 2 and item.state == "failed")


@pytest.mark.loops("asyncio")
@pytest.mark.errors_logged
async def test_a_bug_of_a_worker_costs_its_own_download(home: Path) -> None:
    async with opened(home) as service:
        broken, other = await add(service, "bug-1"), await add(service, "quick-1")
        await until(service, lambda: broken.state == "failed" and other.state == "done")


@pytest.mark.loops("asyncio")
async def test_a_cancelled_one_can_be_taken_back_until_the_program_ends(home: Path) -> None:
    async with opened(home) as service:
        item = await add(service, "endless-1")
        folder = staging.staging_folder(home / "models", "endless-1")
        folder.mkdir(parents=True)
        await service.cancel(item.id)
        assert item.state == "cancelled" and folder.exists()
        again = await add(service, "endless-1")
        assert again is item
        await until(service, lambda: item.state == "running")
        await service.cancel(item.id)
    assert not folder.exists()
    async with opened(home) as service:
        assert service.items == []


@pytest.mark.loops("asyncio")
async def test_stopping_before_the_worker_is_there_stops_it_all_the_same(home: Path) -> None:
    async with opened(home) as service:
        item = await add(service, "endless-1")
        async with asyncio.timeout(PATIENCE_S):
            await service.pause(item.id)
        assert item.state == "paused" and not service._tasks


@pytest.mark.loops("asyncio")
async def test_bytes_that_no_queue_knows_are_found_again(home: Path) -> None:
    folder = staging.staging_folder(home / "models", "lost")
    folder.mkdir(parents=True)
    file = RepoFile("model.safetensors", TOTAL, "0" * 64)
    plan = Plan(Repository(SOURCE, "c" * 40, (file,)), Needed("safetensors", (file,), (file.path,), (), ()))
    staging.write_plan(folder, plan)
    async with opened(home) as service:
        assert states(service) == {"lost": "paused"}
        assert service.items[0].total_bytes == TOTAL and service.items[0].record.sources == (SOURCE,)
    async with opened(home) as service:
        assert states(service) == {"lost": "paused"}
