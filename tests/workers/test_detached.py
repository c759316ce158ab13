"""A training run that belongs to its directory: fronts come, go and die, and every step is there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import psutil
import pytest

from app import detached
from app.detached import DetachedRun, status
from core import translation
from core.errors import UserError
from core.protocol.messages import CheckpointSaved, Failed, Finished, JobEvent, Metrics, RunState
from core.run_dir import MetricsReader, MetricsWriter, RunDir
from tests.helpers.fake_training import argv, config
from tests.helpers.waiting import is_dead, until, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """Where a run may be; whatever a failed test leaves at work there is ended."""
    translation.use("en")
    place = tmp_path / "run"
    yield place
    record = RunDir(place).record()
    if record is not None and RunDir(place).is_alive():
        os.killpg(record.pid, signal.SIGKILL)
        wait_until(lambda: not RunDir(place).is_alive())


def steps(events: list[JobEvent]) -> list[int]:
    return [event.step for event in events if isinstance(event, Metrics)]


def at_work(run_dir: Path) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if str(run_dir) in (p.info["cmdline"] or ())]


async def start(run_dir: Path) -> DetachedRun:
    return await DetachedRun.start(argv(run_dir), run_dir)


async def collect(run: DetachedRun, after_step: int = 0) -> list[JobEvent]:
    return [event async for event in run.events(after_step)]


async def read_to(stream: AsyncGenerator[JobEvent, None], step: int) -> list[JobEvent]:
    got = [await anext(stream)]
    while not (isinstance(got[-1], Metrics) and got[-1].step >= step):
        got.append(await anext(stream))
    return got


FRONT = """
import asyncio, sys
from pathlib import Path
from app.detached import DetachedRun
from core.protocol.messages import Metrics
from tests.helpers.fake_training import argv

async def main():
    run = await DetachedRun.start(argv(Path(sys.argv[1])), Path(sys.argv[1]))
    async for event in run.events():
        if isinstance(event, Metrics):
            print(event.step, flush=True)

asyncio.run(main())
"""


def killed_front(run_dir: Path, after_step: int) -> list[int]:
    """The steps a front saw that started the run and was killed."""
    command = [sys.executable, "-c", FRONT, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as front:
        assert front.stdout
        seen = [int(next(front.stdout)) for _ in range(after_step)]
        front.kill()
        return seen + [int(line) for line in front.stdout if line.endswith("\n")]


async def test_training_outlives_its_front_and_obeys_the_next_one(run_dir: Path) -> None:
    """kill -9 of the front during 1,000 steps; attach, pause, go on, finish; each step once, in order."""
    config(run_dir, steps=1000)
    seen = killed_front(run_dir, after_step=100)
    assert seen == list(range(1, len(seen) + 1))

    run = DetachedRun.attach(run_dir)
    assert run.status.state == "running"
    stream = run.events(after_step=50)
    got = await read_to(stream, 150)
    paused = await run.pause()
    assert paused.state == "paused" and str(paused).startswith(f"Paused after {paused.step} steps.")
    got += [event async for event in stream]
    assert got[-1] == Finished("run", "paused") and RunState("run", "pausing", paused.step) in got
    assert not RunDir(run_dir).is_alive()  # its memory is given back
    with pytest.raises(UserError, match="is not being trained now"):
        await run.pause()
    run = await start(run_dir)
    got += await collect(run, paused.step)
    assert steps(got) == list(range(51, 1001)) and got[-1] == Finished("run", "stop")
    assert {e.step for e in got if isinstance(e, CheckpointSaved)} <= set(range(100, 1001, 100))
    assert steps(await collect(run)) == list(range(1, 1001))
    assert str(run.status) == "Finished after 1,000 steps."
    await until(lambda: not RunDir(run_dir).is_alive())


async def test_stop_saves_and_a_new_start_goes_on(run_dir: Path) -> None:
    run = await start(config(run_dir, steps=300))
    stream = run.events()
    got = await read_to(stream, 20)
    stopped = await run.stop()
    assert str(stopped) == f"Stopped at your request after {stopped.step} steps."
    got += [event async for event in stream]
    assert got[-1] == Finished("run", "cancelled") and steps(got) == list(range(1, stopped.step + 1))
    with pytest.raises(UserError, match="is not being trained now"):
        await run.pause()
    run = await start(run_dir)
    assert steps(await collect(run, stopped.step)) == list(range(stopped.step + 1, 301))
    assert "training from step 1 " in RunDir(run_dir).log.read_text()


@pytest.mark.loops("asyncio")
async def test_stop_while_it_pauses(run_dir: Path) -> None:
    run = await start(config(run_dir))
    await asyncio.gather(run.pause(), run.stop())
    assert run.status.state in ("paused", "finished") and not RunDir(run_dir).is_alive()


async def test_killed_worker_is_interrupted_and_readable(run_dir: Path) -> None:
    run = await start(config(run_dir, steps=400))
    stream = run.events()
    got = await read_to(stream, 150)
    record = RunDir(run_dir).record()
    assert record
    os.kill(record.pid, signal.SIGKILL)
    got += [event async for event in stream]
    last = got[-1]
    assert isinstance(last, Failed) and (last.kind, last.code) == ("died", "run_interrupted")
    now = run.status
    assert now.state == "interrupted" and str(now).startswith(f"Broke off after {now.step} steps")
    assert steps(got) == list(range(1, now.step + 1))

    with RunDir(run_dir).metrics.open("ab") as file:
        file.write(b'{"step":9999,"lo')  # torn by the kill
    assert status(run_dir).step == now.step
    assert steps(await collect(run)) == list(range(1, now.step + 1))
    # From the checkpoint at 100 on: the steps after it are made again, and each is there once.
    run = await start(run_dir)
    assert (await collect(run))[-1] == Finished("run", "stop")
    assert steps(await collect(run)) == list(range(1, 401))
    written = RunDir(run_dir).metrics.read_text().splitlines()
    assert len(written) == 400


@pytest.mark.loops("asyncio")
async def test_second_start_is_refused(run_dir: Path) -> None:
    run = await start(config(run_dir))
    with pytest.raises(UserError, match="The run run is being trained already"):
        await start(run_dir)
    # Past the first look, as when two fronts start at the same moment: the lock decides.
    assert await detached._launch(argv(run_dir), RunDir(run_dir)) == 75
    await run.stop()


@pytest.mark.loops("asyncio")
async def test_two_starts_at_once_make_one_worker(run_dir: Path) -> None:
    config(run_dir)
    both = await asyncio.gather(start(run_dir), start(run_dir), return_exceptions=True)
    assert sorted(type(one).__name__ for one in both) == ["DetachedRun", "UserError"]
    await DetachedRun.attach(run_dir).stop()


@pytest.mark.loops("asyncio")
async def test_stale_socket_does_not_hinder(run_dir: Path) -> None:
    run = await start(config(run_dir, steps=200))
    await run.kill()
    left = Path(os.fsdecode(RunDir(run_dir).socket.read_bytes()))
    assert left.is_socket() and left.stat().st_mode & 0o777 == 0o600 and left.parent.stat().st_mode & 0o077 == 0
    with pytest.raises(UserError, match="not being trained"):
        await run.pause()
    run = await start(run_dir)
    assert (await run.pause()).state == "paused"
    assert not left.exists()


@pytest.mark.parametrize(
    ("mood", "kind", "code"),
    [("raises", "bug", "bug"), ("refuses", "user", "disk_full"), ("segfaults", "died", "run_interrupted")],
)
@pytest.mark.loops("asyncio")
async def test_failing_runs(run_dir: Path, mood: str, kind: str, code: str) -> None:
    run = await start(config(run_dir, mood=mood))
    events = await collect(run)
    assert isinstance(events[-1], Failed) and (events[-1].kind, events[-1].code) == (kind, code)
    assert steps(events) == list(range(1, 50))
    assert run.status.state == ("interrupted" if mood == "segfaults" else "failed")
    if mood == "segfaults":
        assert "fake_training.py" in RunDir(run_dir).log.read_text()
    if mood == "raises":
        assert str(run.status).startswith("Failed after 49 steps. Something went wrong")


@pytest.mark.loops("asyncio")
async def test_frozen_run_is_shown_and_can_be_killed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "STALL_S", 1.5)
    run = await start(config(run_dir, mood="freezes"))
    await until(lambda: not run.status.is_responsive)
    assert run.status.state == "running" and str(run.status).startswith("No sign of life")
    assert (await run.kill()).state == "interrupted"


@pytest.mark.loops("asyncio")
async def test_slow_and_dead_fronts_hold_nothing_up(run_dir: Path) -> None:
    run = await start(config(run_dir, steps=12_000, step_s=0.0))
    path = os.fsdecode(RunDir(run_dir).socket.read_bytes())
    with contextlib.ExitStack() as stack:
        for rude in (b"", b"no request\n", b'{"type":"Pause","job_id":'):
            mute = stack.enter_context(socket.socket(socket.AF_UNIX))
            mute.connect(path)
            mute.sendall(rude)
        stream = run.events()
        got = [await anext(stream)]  # and read no further: also a front that is too slow
        await until(lambda: not RunDir(run_dir).is_alive(), 30)
    got += [event async for event in stream]
    assert steps(got) == list(range(1, 12_001)) and got[-1] == Finished("run", "stop")


@pytest.mark.loops("asyncio")
async def test_three_fronts_see_the_same(run_dir: Path) -> None:
    run = await start(config(run_dir, steps=300))
    seen = await asyncio.gather(*(collect(DetachedRun.attach(run_dir), after) for after in (0, 0, 100)))
    assert steps(seen[0]) == steps(seen[1]) == list(range(1, 301)) and steps(seen[2]) == list(range(101, 301))
    assert all(events[-1] == Finished("run", "stop") for events in seen)
    values = [event.values for event in seen[0] if isinstance(event, Metrics)]
    assert values[1] == {"loss": 0.5, "grad_norm": 1.0} and values[6]["grad_norm"] != values[6]["grad_norm"]
    await run._buried()


@pytest.mark.loops("asyncio")
async def test_the_worker_stands_alone(run_dir: Path) -> None:
    """Own session, no stdin of ours, nobody's child, whatever it prints in its log."""
    run = await start(config(run_dir))
    record = RunDir(run_dir).record()
    assert record and os.getsid(record.pid) == record.pid != os.getsid(0)
    assert os.readlink(f"/proc/{record.pid}/fd/0") == "/dev/null"
    assert {os.readlink(f"/proc/{record.pid}/fd/{fd}") for fd in (1, 2)} == {str(RunDir(run_dir).log)}
    parent = int(Path(f"/proc/{record.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    assert f"in process {record.pid}" in RunDir(run_dir).log.read_text()
    await run.stop()
    assert is_dead(record.pid)


@pytest.mark.loops("asyncio")
async def test_start_that_fails_says_where_the_reason_is(run_dir: Path) -> None:
    with pytest.raises(UserError, match=r"could not be started.*worker\.log"):
        await DetachedRun.start([sys.executable, "-c", "raise SystemExit('no torch here')"], run_dir)
    assert "no torch here" in RunDir(run_dir).log.read_text()
    with pytest.raises(UserError, match="could not be started"):
        await DetachedRun.start(["/no/such/program"], run_dir)
    assert status(run_dir).state == "new" and str(status(run_dir)) == "Not started yet."
    shutil.rmtree(run_dir)
    with pytest.raises(UserError, match="There is no run in"):
        DetachedRun.attach(run_dir)


@pytest.mark.errors_logged  # asyncio may reap a child whose spawn was cancelled before its own watcher does
@pytest.mark.loops("asyncio")
async def test_cancelled_start_leaves_a_run_that_works_or_none(run_dir: Path) -> None:
    config(run_dir)
    for delay_s in (0.0, 0.01, 0.1):
        task = asyncio.create_task(start(run_dir))
        await asyncio.sleep(delay_s)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await until(lambda: RunDir(run_dir).is_alive() or not at_work(run_dir))
        if RunDir(run_dir).is_alive():
            await DetachedRun.attach(run_dir).kill()


def test_metrics_over_a_restart(tmp_path: Path) -> None:
    """A step that comes again replaces what was there from it on; a reader that goes on sees no step twice."""
    file = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(file)
    for step in range(1, 6):
        writer.append(step, {"loss": float(step)})
    reader = MetricsReader(file, 2)
    assert [step for step, _ in reader.read()] == [3, 4, 5] and reader.read() == []
    writer.close()
    writer = MetricsWriter(file)
    for step in range(4, 8):
        writer.append(step, {"loss": 0.0})
    writer.close()
    reader.start_over()
    assert reader.read() == [(6, {"loss": 0.0}), (7, {"loss": 0.0})]
    assert [(s, v["loss"]) for s, v in MetricsReader(file, 0).read()][2:5] == [(3, 3.0), (4, 0.0), (5, 0.0)]


@pytest.mark.errors_logged
def test_metrics_with_a_hole_are_still_read(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step":1,"loss":1.0}\n\0\0\0\0\n{"step":3,"loss":null}\n')
    found = MetricsReader(file, 0).read()
    assert [step for step, _ in found] == [1, 3] and found[1][1]["loss"] != found[1][1]["loss"]


def test_long_metrics_come_in_blocks(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    writer = MetricsWriter(file)
    for step in range(1, 5001):
        writer.append(step, {"loss": 0.5})
    writer.close()
    reader = MetricsReader(file, 0)
    begun = time.perf_counter()
    blocks = []
    while block := reader.read():
        blocks.append(block)
    assert len(blocks) > 1 and [step for block in blocks for step, _ in block] == list(range(1, 5001))
    assert time.perf_counter() - begun < 1.0
