"""The life of a child worker: one test per way to start, to stop and to die; each on asyncio and on qasync."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import sys
import time

import pytest

from app.supervisor import State, WorkerDied, WorkerSupervisor
from core import translation
from core.errors import UserError
from core.protocol.messages import Failed, Finished, Progress, TextDelta
from tests.helpers.fake_worker import fake
from tests.helpers.waiting import is_dead, until
from tests.workers.children import collect, ends, pid, worker


@pytest.fixture(autouse=True)
def _english() -> None:
    translation.use("en")


async def test_states() -> None:
    seen: list[State] = []
    w = worker(on_change=lambda: seen.append(w.state))
    async with w:
        with pytest.raises(RuntimeError, match="inference is ready"):
            await w.start()
    assert [state.value for state in seen] == ["starting", "ready", "stopped"]
    assert w.outcome and (w.outcome.code, w.outcome.exit_code) == ("worker_ended", 0)
    with pytest.raises(RuntimeError, match="inference is stopped"):
        await collect(w, fake("tokens"))


@pytest.mark.loops("asyncio")
async def test_hello_comes_within_400_ms() -> None:
    took: list[float] = []
    w = worker()
    for _ in range(5):
        begun = time.perf_counter()
        await w.start()
        took.append(time.perf_counter() - begun)
        await w.stop()
    assert statistics.median(took) < 0.4


async def test_segfault_fails_every_job_and_the_next_start_works() -> None:
    async with worker() as w:
        other = asyncio.create_task(collect(w, fake("idle", "other")))
        await until(lambda: w.is_busy)
        events = await collect(w, fake("segfault"))
        assert [type(e) for e in events] == [TextDelta, Failed]
        for job_id, last in (("j1", events[-1]), ("other", (await other)[-1])):
            assert isinstance(last, Failed)
            assert (last.job_id, last.kind, last.code) == (job_id, "died", "worker_crashed")
            assert translation.say(f"error.{last.code}", **last.params).startswith(
                "The model process crashed (SIGSEGV)."
            )
            assert "Segmentation fault" in last.detail and "fake_worker.py" in last.detail
        assert w.state is State.STOPPED and not w.is_busy
        await w.start()
        assert ends(await collect(w, fake("tokens"))) == [Finished("j1", "stop")]


@pytest.mark.loops("asyncio")
async def test_exit_amid_a_job() -> None:
    async with worker() as w:
        last = (await collect(w, fake("exits")))[-1]
    assert isinstance(last, Failed) and (last.code, last.params["status"]) == ("worker_exited", 7)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, "worker_killed"), (signal.SIGTERM, "worker_terminated")])
@pytest.mark.loops("asyncio")
async def test_ended_from_outside(number: signal.Signals, code: str) -> None:
    async with worker() as w:
        async for event in w.run(fake("deaf")):
            if isinstance(event, Progress):
                os.kill(pid(w), number)
        assert isinstance(event, Failed) and event.code == code
        assert str(w.outcome).startswith("The model process was ")
        translation.use("zh")
        assert str(w.outcome).startswith("模型进程被")


@pytest.mark.parametrize(
    ("job", "rung"), [("deaf", "SIGTERM"), ("stubborn", "SIGKILL"), ("slow", "")], ids=["term", "kill", "shutdown"]
)
async def test_stop_ladder(job: str, rung: str) -> None:
    """A hang that ignores cancel, Shutdown and SIGTERM still ends."""
    w = worker(grace_s=0.4)
    w.RUNG_S = 0.4
    await w.start()
    stream = w.run(fake(job))
    await anext(stream)
    w.cancel("j1")
    begun = time.perf_counter()
    if rung:
        await asyncio.sleep(0.2)
        assert w.is_busy  # cancel was ignored
    await asyncio.gather(w.stop(), w.stop())
    assert time.perf_counter() - begun < 2.0
    last = [event async for event in stream][-1]
    if rung:
        assert isinstance(last, Failed) and (last.code, last.params["signal"]) == ("worker_stuck", rung)
    else:
        assert last == Finished("j1", "cancelled") and w.outcome and w.outcome.code == "worker_ended"


@pytest.mark.loops("asyncio")
async def test_cancelled_stop_kills_at_once() -> None:
    w = worker()
    await w.start()
    stream = w.run(fake("stubborn"))
    await anext(stream)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await w.stop()
    await until(lambda: w.state is State.STOPPED, 1.0)
    assert isinstance([e async for e in stream][-1], Failed)


async def test_frozen_is_not_responding_but_not_dead() -> None:
    seen: list[bool] = []
    w = worker(on_change=lambda: seen.append(w.is_responsive))
    w.STALL_S, w.TICK_S = 1.2, 0.1
    async with w:
        assert ends(await collect(w, fake("frozen", rate=2))) == [Finished("j1", "stop")]
        await until(lambda: w.is_responsive)
    assert False in seen and seen[-1]


@pytest.mark.loops("asyncio")
async def test_frozen_worker_can_be_stopped() -> None:
    w = worker(grace_s=0.2)
    async with w:
        stream = w.run(fake("frozen", rate=30))
        await anext(stream)
    last = [event async for event in stream][-1]
    assert isinstance(last, Failed) and last.code == "worker_stuck"


@pytest.mark.errors_logged  # asyncio: slow callback
async def test_blocked_loop_blames_no_worker() -> None:
    seen: list[bool] = []
    w = worker(on_change=lambda: seen.append(w.is_responsive))
    async with w:
        w.STALL_S, w.TICK_S = 1.2, 0.1
        time.sleep(2)  # noqa: ASYNC251 - the point of the test
        await asyncio.sleep(0.3)
    assert all(seen)


async def test_grandchildren_die() -> None:
    async with worker() as w:
        stream = w.run(fake("parent"))
        event = await anext(stream)
        assert isinstance(event, TextDelta)
        assert not is_dead(int(event.text))
        w.kill()
        last = [e async for e in stream][-1]
        assert isinstance(last, Failed) and last.code == "worker_stopped"
        await until(lambda: is_dead(int(event.text)))


@pytest.mark.loops("asyncio")
async def test_escapee_that_holds_our_stderr_does_not_hold_us() -> None:
    async with worker() as w:
        begun = time.perf_counter()
        events = await collect(w, fake("escapee"))
        assert time.perf_counter() - begun < 2.0
        assert isinstance(events[-1], Failed)
    assert isinstance(events[0], TextDelta)
    os.kill(int(events[0].text), signal.SIGKILL)


ODD = "import sys, time; print({!r}, flush=True); time.sleep(60)"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("raise SystemExit(2)", "gave up .exit status 2"),
        (ODD.format("hello"), "does not understand .JSON is malformed"),
        (ODD.format('{"type":"Hello","pid":1,"protocol":99}'), "protocol 99, not 3"),
        (ODD.format('{"type":"Shout"}'), "Invalid value 'Shout'"),
    ],
    ids=["exit", "noise", "protocol", "unknown"],
)
@pytest.mark.loops("asyncio")
async def test_failed_start(program: str, message: str) -> None:
    w = WorkerSupervisor("inference", [sys.executable, "-c", program])
    with pytest.raises(WorkerDied, match=message):
        await w.start()
    assert w.state is State.STOPPED


async def test_late_start_and_missing_program() -> None:
    w = WorkerSupervisor("inference", [sys.executable, "-c", "import time; time.sleep(60)"])
    w.START_S = 0.3
    with pytest.raises(WorkerDied, match="did not start in time"):
        await w.start()
    assert w.state is State.STOPPED
    w = WorkerSupervisor("inference", ["/no/such/program"])
    with pytest.raises(UserError, match="could not be started"):
        await w.start()
    assert w.state is State.STOPPED


@pytest.mark.errors_logged  # asyncio may reap a child whose spawn was cancelled before its own watcher does
@pytest.mark.parametrize("delay_s", [0.0, 0.002, 0.02])
async def test_cancelled_start_leaves_nothing(delay_s: float) -> None:
    w = worker()
    task = asyncio.create_task(w.start())
    await asyncio.sleep(delay_s)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: w.state is not State.STARTING)
    await w.stop()


async def test_two_workers_at_once() -> None:
    async with worker() as a, worker() as b:
        both = await asyncio.gather(*(collect(w, fake("tokens", count=2000)) for w in (a, b)))
        assert [len(events) for events in both] == [2001, 2001]


async def test_50_starts_leak_nothing() -> None:
    w = worker()
    for _ in range(50):
        await w.start()
        await w.stop()
        assert w.state is State.STOPPED and len(asyncio.all_tasks()) == 1
