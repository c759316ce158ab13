"""Jobs on one worker: order, interleaving, cancel, pause, slow readers."""

from __future__ import annotations

import asyncio
import statistics
import time

import pytest

from app.supervisor import State
from core.protocol.messages import Failed, Finished, Generate, JobEvent, Progress, TextDelta
from tests.helpers.fake_worker import fake
from tests.helpers.waiting import until
from tests.workers.children import collect, ends, worker


async def test_events_arrive_in_order_and_end_once() -> None:
    async with worker() as w:
        events = await collect(w, fake("tokens", count=5000))
        assert [e.text for e in events if isinstance(e, TextDelta)] == [f"t{i} " for i in range(5000)]
        assert ends(events) == [Finished("j1", "stop")] == events[-1:]
        assert not w.is_busy
        assert ends(await collect(w, fake("twice", "j2"))) == [Finished("j2", "stop")]
        assert ends(await collect(w, fake("tokens", "j3"))) == [Finished("j3", "stop")]


async def test_two_chats_and_a_cancelled_third_interleave() -> None:
    """Three jobs on one worker: each complete and in order, none waits for another to end."""
    arrived: list[str] = []
    texts: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    async with worker() as w:

        async def read(job: Generate) -> JobEvent:
            async for event in w.run(job):
                arrived.append(job.job_id)
                if isinstance(event, TextDelta):
                    texts[job.job_id].append(event.text)
                if job.job_id == "c" and len(texts["c"]) == 50:
                    w.cancel("c")
            return event

        jobs = (fake("tokens", "a", count=3000), fake("tokens", "b", count=3000), fake("tokens", "c", count=10**9))
        last = await asyncio.gather(*(read(job) for job in jobs))
    assert last == [Finished("a", "stop"), Finished("b", "stop"), Finished("c", "cancelled")]
    for job_id, said in texts.items():
        assert said == [f"t{i} " for i in range(len(said))]
        assert len(said) == 3000 or job_id == "c"
    first_end = min(len(arrived) - arrived[::-1].index(job_id) for job_id in "abc")
    assert all(arrived[:first_end].count(job_id) > 20 for job_id in "abc")


async def test_jobs_are_listed_while_they_run() -> None:
    seen: list[tuple[str, ...]] = []
    w = worker()
    w.on_change = lambda: seen.append(w.jobs)
    async with w:
        streams = [w.run(fake("slow", job_id)) for job_id in ("a", "b")]
        for stream in streams:
            await anext(stream)
        assert w.jobs == ("a", "b") and w.is_busy
        with pytest.raises(RuntimeError, match="still at job a"):
            await collect(w, fake("slow", "a"))
        w.cancel("a")
        assert ends([e async for e in streams[0]]) == [Finished("a", "cancelled")]
        w.cancel("b")
        assert ends([e async for e in streams[1]]) == [Finished("b", "cancelled")]
    assert [jobs for jobs, before in zip(seen, [(), *seen], strict=False) if jobs != before] == [
        ("a",), ("a", "b"), ("b",), (),
    ]  # fmt: skip


async def test_a_job_that_gives_way_holds_nobody_up() -> None:
    async with worker() as w:
        idle = asyncio.create_task(collect(w, fake("idle", "idle")))
        await until(lambda: w.is_busy)
        assert len(await collect(w, fake("tokens", "j", count=100))) == 101
        w.cancel("idle")
        assert await idle == [Finished("idle", "cancelled")]


async def test_the_same_job_id_may_come_again() -> None:
    async with worker() as w:
        for _ in range(300):
            assert ends(await collect(w, fake("tokens"))) == [Finished("j1", "stop")]


async def test_cancel_reaches_a_running_job_within_50_ms() -> None:
    took: list[float] = []
    async with worker() as w:
        for _ in range(9):
            stream = w.run(fake("slow"))
            await anext(stream)
            w.cancel("some other job")
            w.cancel("j1")
            w.cancel("j1")
            begun = time.perf_counter()
            assert ends([event async for event in stream]) == [Finished("j1", "cancelled")]
            took.append(time.perf_counter() - begun)
        w.cancel("j1")
        assert not w.is_busy
    assert statistics.median(took) < 0.05


@pytest.mark.loops("asyncio")
async def test_paused_job_rests_and_the_others_go_on() -> None:
    async with worker() as w:
        stream = w.run(fake("slow", "rests"))
        assert isinstance(await anext(stream), Progress)
        w.pause("rests")
        assert len(await collect(w, fake("tokens", "other", count=50))) == 51  # it came after the pause
        resting = w._jobs["rests"]
        waiting = asyncio.create_task(anext(stream))
        while await _grew(resting, waiting):
            waiting = asyncio.create_task(anext(stream))
        w.resume("rests")
        assert isinstance(await waiting, Progress)
        w.pause("rests")
        w.cancel("rests")
        assert ends([e async for e in stream]) == [Finished("rests", "cancelled")]


async def _grew(inbox: object, waiting: asyncio.Task[JobEvent]) -> bool:
    """Whether anything came within ten steps of the job."""
    await asyncio.wait([waiting], timeout=0.2)
    return waiting.done()


async def test_leaving_the_stream_cancels_the_job() -> None:
    async with worker() as w:
        for name, count in (("slow", 1), ("tokens", 10**9)):
            async for _ in w.run(fake(name, count=count)):
                break
            await until(lambda: not w.is_busy)
        assert ends(await collect(w, fake("tokens", "j2"))) == [Finished("j2", "stop")]


async def test_cancelled_reader_cancels_the_job() -> None:
    async with worker() as w:
        task = asyncio.create_task(collect(w, fake("slow")))
        await until(lambda: w.is_busy)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not w.is_busy)


async def test_slow_reader_holds_the_worker_back_and_blames_nobody() -> None:
    async with worker() as w:
        w.STALL_S, w.TICK_S = 0.3, 0.05
        stream = w.run(fake("tokens", count=60_000))
        got = [await anext(stream)]
        await until(lambda: w._link and w._link.is_paused)
        unread = w._jobs["j1"].unread
        await asyncio.sleep(0.5)
        assert w._jobs["j1"].unread == unread < 60_000 and w.is_responsive
        got += [event async for event in stream]
        assert len(got) == 60_001 and ends(got) == [Finished("j1", "stop")]


@pytest.mark.loops("asyncio")
async def test_slow_reader_holds_up_no_other_job_and_loses_nothing() -> None:
    async with worker() as w:
        w.UNREAD_MANY = 100
        lazy = w.run(fake("tokens", "lazy", count=5000))
        got = [await anext(lazy)]
        assert len(await collect(w, fake("tokens", "keen", count=5000))) == 5001
        got += [event async for event in lazy]
        assert [e.text for e in got if isinstance(e, TextDelta)] == [f"t{i} " for i in range(5000)]


@pytest.mark.loops("asyncio")
async def test_memory_is_bounded_even_when_others_are_hungry() -> None:
    async with worker() as w:
        w.UNREAD_MANY, w.UNREAD_MOST = 100, 20_000
        lazy = w.run(fake("tokens", "lazy", count=100_000))
        got = [await anext(lazy)]
        keen = asyncio.create_task(collect(w, fake("tokens", "keen", count=50_000)))
        await until(lambda: "keen" in w.jobs and w._jobs["keen"].is_hungry and w._jobs["lazy"].unread >= 20_000)
        assert w._link and w._link.is_paused and w._jobs["lazy"].unread < 40_000
        got += [event async for event in lazy]
        assert (len(got), len(await keen)) == (100_001, 50_001)


async def test_stop_while_paused_and_unread() -> None:
    async with worker() as w:
        stream = w.run(fake("tokens", count=10**9))
        await anext(stream)
        await until(lambda: w._link and w._link.is_paused)
        await w.stop()
        assert w.state is State.STOPPED
        assert ends([e async for e in stream]) == [Finished("j1", "cancelled")]


@pytest.mark.parametrize(
    ("job", "kind", "code", "params"),
    [
        ("raises", "bug", "bug", {"what": "ValueError: no such adapter"}),
        ("forgets", "bug", "bug", {"what": "RuntimeError: Generate ended without Finished"}),
        ("refuses", "user", "disk_full", {"needed": "3 GB", "free": "1 GB"}),
        ("hungers", "oom", "out_of_memory", {}),
    ],
)
@pytest.mark.loops("asyncio")
async def test_exceptions_are_sorted_and_cost_only_their_job(
    job: str, kind: str, code: str, params: dict[str, str]
) -> None:
    async with worker() as w:
        other = asyncio.create_task(collect(w, fake("tokens", "other", count=2000)))
        events = await collect(w, fake(job))
        assert [type(e) for e in events] == [TextDelta, Failed]
        last = events[-1]
        assert isinstance(last, Failed) and (last.kind, last.code, last.params) == (kind, code, params)
        assert "Traceback" in last.detail
        assert len(await other) == 2001


@pytest.mark.loops("asyncio")
async def test_unusable_worker_reports_and_ends() -> None:
    async with worker() as w:
        other = asyncio.create_task(collect(w, fake("slow", "other")))
        await until(lambda: w.is_busy)
        last = (await collect(w, fake("breaks")))[-1]
        assert isinstance(last, Failed) and (last.kind, last.params["what"]) == (
            "bug", "RuntimeError: device-side assert",
        )  # fmt: skip
        lost = (await other)[-1]
        assert isinstance(lost, Failed) and lost.kind == "died"
        assert w.state is State.STOPPED


async def test_prints_do_not_corrupt_the_stream() -> None:
    async with worker() as w:
        assert await collect(w, fake("noisy")) == [Finished("j1", "stop")]
        said = (b"python print", b"raw fd 1 write", b"C puts", b"echo from a child"[5:])
        await until(lambda: w._link and all(text in w._link.stderr for text in said))
