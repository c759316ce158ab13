"""Replies when our own side fails: bugs, a store that cannot save, what must not be continued."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from app.services import replies
from core import store as ops
from core.errors import UserError
from core.protocol.messages import Finished, Generate, JobEvent, TextDelta
from core.store.store import Store
from tests.app.test_chat import scripted
from tests.helpers.waiting import until


async def good(job: Generate) -> AsyncGenerator[JobEvent, None]:
    yield TextDelta(job.job_id, "all of it")
    yield Finished(job.job_id)


async def refuses(job: Generate) -> AsyncGenerator[JobEvent, None]:
    yield TextDelta(job.job_id, "part")
    raise UserError("chat_no_model")


async def breaks(job: Generate) -> AsyncGenerator[JobEvent, None]:
    yield TextDelta(job.job_id, "part")
    raise KeyError("our bug")


async def forgets(job: Generate) -> AsyncGenerator[JobEvent, None]:
    yield TextDelta(job.job_id, "part")


async def test_an_error_of_the_users_world_ends_the_reply_in_words(tmp_path: Path) -> None:
    async with scripted(tmp_path, refuses, good) as chat:
        made = await chat.verbs.create("m")
        failed = await chat.reply_to(made.id, "q")
        assert (failed.text, failed.state, failed.error_code) == ("part", "failed", "chat_no_model")
        chat.ended.clear()
        await chat.verbs.continue_reply(failed.id)
        whole = await chat.end_of(failed.id)
        assert (whole.text, whole.state, whole.error_code) == ("partall of it", "done", "")


@pytest.mark.errors_logged
@pytest.mark.parametrize("bug", [breaks, forgets])
async def test_a_bug_ends_the_reply_keeps_its_text_and_reaches_the_crash_report(tmp_path: Path, bug: Any) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with scripted(tmp_path, bug, good) as chat:
        made = await chat.verbs.create("m")
        failed = await chat.reply_to(made.id, "q")
        assert (failed.text, failed.state, failed.error_code) == ("part", "failed", "bug")
        assert (await chat.view(made.id))[1] == failed
        assert chat.verbs.streaming() == set()
        await until(lambda: reported)
        assert isinstance(reported[0]["exception"], KeyError | RuntimeError)
        assert (await chat.reply_to(made.id, "q")).state == "done"


async def test_what_ended_by_itself_or_has_a_sequel_cannot_be_continued(tmp_path: Path) -> None:
    async with scripted(tmp_path, refuses, good) as chat:
        made = await chat.verbs.create("m")
        failed = await chat.reply_to(made.id, "q")
        done = await chat.reply_to(made.id, "q")
        with pytest.raises(UserError, match="ended by itself"):
            await chat.verbs.continue_reply(done.id)
        with pytest.raises(UserError, match="messages after it"):
            await chat.verbs.continue_reply(failed.id)
        assert chat.verbs.streaming() == set()


async def limit(store: Store, pages: int) -> None:
    """A disk that ends so many pages from here; a real refusal of SQLite's."""

    def work(s: Any) -> None:
        now = s.connection().exec_driver_sql("PRAGMA page_count").scalar()
        s.connection().exec_driver_sql(f"PRAGMA max_page_count = {now + pages}")

    await store.call(work)


async def test_a_reply_the_full_disk_refuses_stays_in_view_and_is_stored_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replies, "SAVE_S", 0.01)
    filled = asyncio.Event()

    async def long(job: Generate) -> AsyncGenerator[JobEvent, None]:
        yield TextDelta(job.job_id, "x" * 500_000)
        await filled.wait()
        yield Finished(job.job_id)

    async with scripted(tmp_path, long) as chat:
        made = await chat.verbs.create("m")
        store = chat.verbs._store
        await limit(store, 8)
        reply_id = await chat.verbs.send(made.id, "q")
        filled.set()
        told = await chat.end_of(reply_id)
        assert (told.state, told.error_code, len(told.text)) == ("failed", "store_disk_full", 500_000)
        assert (await chat.view(made.id))[1].text == told.text

        await limit(store, 10_000)
        assert (await chat.view(made.id))[1].state == "done"
        stored = await store.call(lambda s: ops.messages.get(s, reply_id))
        assert (stored.state, len(stored.text)) == ("done", 500_000)


async def test_a_growing_reply_is_saved_without_a_queue_of_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10,000 deltas while the store is held up: one save waits, not thousands, and the last text is stored."""
    monkeypatch.setattr(replies, "SAVE_S", 0.01)
    saves: list[str] = []
    real = ops.replies.save

    def counted(s: Any, message_id: int, text: str, thinking: str) -> None:
        saves.append(text)
        real(s, message_id, text, thinking)

    monkeypatch.setattr(ops.replies, "save", counted)
    pause = asyncio.Event()

    async def flood(job: Generate) -> AsyncGenerator[JobEvent, None]:
        for i in range(10_000):
            yield TextDelta(job.job_id, "w ")
            if i % 100 == 0:
                await asyncio.sleep(0.001)
        await pause.wait()
        yield Finished(job.job_id)

    async with scripted(tmp_path, flood) as chat:
        made = await chat.verbs.create("m")
        reply_id = await chat.verbs.send(made.id, "q")
        await until(lambda: len(chat.grew) == 10_000)
        await until(lambda: bool(saves) and len(saves[-1]) == 20_000)
        assert len(saves) <= 100
        stored = await chat.verbs._store.call(lambda s: ops.messages.get(s, reply_id))
        assert (stored.state, len(stored.text)) == ("streaming", 20_000)
        pause.set()
        assert (await chat.end_of(reply_id)).state == "done"


async def test_the_title_is_stored_even_of_a_paste_that_is_no_unicode(tmp_path: Path) -> None:
    async with scripted(tmp_path, good) as chat:
        made = await chat.verbs.create("m")
        await chat.reply_to(made.id, "half \ud83d of an emoji")
        assert [c.title for c in await chat.verbs.conversations()] == ["half ? of an emoji"]
