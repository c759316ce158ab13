"""The front side of a detached worker: start a training run, or attach to one that runs, ran or broke off.

Owns nothing of the run. Invariant: what a run did is read from its directory, so that it is the same whoever looks,
whenever; the socket only carries requests, and tells that there is more to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from core.errors import UserError
from core.figures import count
from core.protocol.codec import decode_event, encode
from core.protocol.messages import (
    Cancel,
    Event,
    Failed,
    Finished,
    Heartbeat,
    Hello,
    JobEvent,
    Metrics,
    Pause,
    RunState,
)
from core.run_dir import START_REFUSED, MetricsReader, RunDir
from core.translation import say

START_S = 30.0
STALL_S = 5.0
RETRY_S = 0.05


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands, and in words.

    Attributes:
        state: "new" was never started; "paused" has no process, and a start goes on from its checkpoint; "interrupted"
            ended without saying so, by a kill or a power cut
        step: the last step whose metrics are on disk
        is_responsive: False for a living worker that was silent for STALL_S
        end: the last word of a run that finished or failed
    """

    state: Literal["new", "running", "pausing", "stopping", "paused", "finished", "failed", "interrupted"]
    step: int = 0
    is_responsive: bool = True
    end: Finished | Failed | None = None

    @property
    def is_alive(self) -> bool:
        return self.state in ("running", "pausing", "stopping")

    def __str__(self) -> str:
        if isinstance(self.end, Failed):
            return self._said("failed", reason=say(f"error.{self.end.code}", **self.end.params))
        if self.end and self.end.reason == "cancelled":
            return self._said("stopped")
        if not self.is_responsive:
            return self._said("silent")
        return self._said(self.state)

    def _said(self, how: str, **more: str) -> str:
        return say(f"worker.run_{how}", step=count(self.step), count=self.step, **more)


def status(run_dir: Path) -> RunStatus:
    """Decided by the lock and by what the worker wrote last."""
    run = RunDir(run_dir)
    is_alive = run.is_alive()  # first: what a worker wrote before it let go of the lock is then there to read
    record = run.record()
    step = run.last_step()
    if record is None:
        return RunStatus("running" if is_alive else "new", step)
    if record.end is not None:
        if isinstance(record.end, Failed):
            return RunStatus("failed", step, end=record.end)
        return RunStatus("paused" if record.end.reason == "paused" else "finished", step, end=record.end)
    if is_alive and record.state != "ended":
        return RunStatus(record.state, step, is_responsive=run.silent_s() <= STALL_S)
    return RunStatus("interrupted", step)


class DetachedRun:
    """A run as one front sees it; any number of them may look at the same run."""

    def __init__(self, run_dir: Path) -> None:
        self._run = RunDir(run_dir)

    @classmethod
    async def start(cls, argv: Sequence[str], run_dir: Path) -> Self:
        """Start the worker `argv` on a run that is new or broke off; returns when it is at work.

        Raises:
            UserError: the run is at work already, or its worker could not be started
        """
        run_dir.mkdir(parents=True, exist_ok=True)
        run = RunDir(run_dir)
        if status(run_dir).is_alive:
            raise UserError("run_already_running", run=run.job_id)
        code = await _launch(argv, run)
        if code == START_REFUSED:
            raise UserError("run_already_running", run=run.job_id)
        if code != 0:
            raise UserError("run_not_started", run=run.job_id, log=str(run.log))
        return cls(run_dir)

    @classmethod
    def attach(cls, run_dir: Path) -> Self:
        """Look at a run in whatever state it is. Raises UserError when there is none."""
        if not run_dir.is_dir():
            raise UserError("run_missing", folder=str(run_dir))
        return cls(run_dir)

    @property
    def status(self) -> RunStatus:
        return status(self._run.path)

    async def events(self, after_step: int = 0) -> AsyncGenerator[JobEvent, None]:
        """The Metrics of every step after `after_step`, once and in order, first from the file, then as they come.

        Between them, of what happens while we look: RunState when it changes, and what else the handler tells. The last
        event is the run's only Finished or Failed; for an interrupted run it is made here.
        """
        reader = MetricsReader(self._run.metrics, after_step)
        connection: _Connection | None = None
        shown = ""
        try:
            while True:
                is_alive = connection is not None or self._run.is_alive()
                while steps := reader.read():
                    for step, values in steps:
                        yield Metrics(self._run.job_id, step, values)
                    await asyncio.sleep(0)  # a long replay must not block the loop
                if not is_alive:
                    yield self._end()
                    return
                connection = connection or await self._connect()
                for event in await connection.read() if connection else ():
                    match event:
                        case Hello() | Heartbeat() | Finished() | Failed():
                            pass  # the end is told when it stands in the directory and the worker is gone
                        case RunState(state=state) if state == shown:
                            pass
                        case _:
                            shown = event.state if isinstance(event, RunState) else shown
                            yield event
                if connection is not None and connection.is_over:
                    # It ended, or let us go for being slow; the file tells, perhaps another worker's by now.
                    connection.close()
                    connection = None
                    reader.start_over()
                elif connection is None:
                    await asyncio.sleep(RETRY_S)
        finally:
            if connection is not None:
                connection.close()

    async def pause(self) -> RunStatus:
        """Ask the run to save and to give its memory back; returns when its worker is gone. `start` goes on."""
        return await self._ask(Pause(self._run.job_id))

    async def stop(self) -> RunStatus:
        """Ask the run to end early, which includes its checkpoint; returns when its worker is gone."""
        return await self._ask(Cancel(self._run.job_id))

    async def kill(self) -> RunStatus:
        """At once, for a run that does not respond. It is interrupted then; what its last checkpoint holds is kept."""
        record = self._run.record()
        if record is not None and self._run.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(record.pid, signal.SIGKILL)
        return await self._buried()

    def _end(self) -> Finished | Failed:
        found = self.status
        return found.end or Failed(
            self._run.job_id, "died", "run_interrupted", {"step": found.step, "count": found.step}
        )

    async def _connect(self) -> _Connection | None:
        try:
            path = os.fsdecode(self._run.socket.read_bytes())
            return _Connection(*await asyncio.open_unix_connection(path))
        except OSError:
            return None

    async def _ask(self, request: Pause | Cancel) -> RunStatus:
        """Send it, and wait until the worker is gone."""
        if (connection := await self._connect()) is None:
            raise UserError("run_not_running", run=self._run.job_id)
        try:
            connection.send(request)
            while not connection.is_over:
                await connection.read()
        finally:
            connection.close()
        return await self._buried()

    async def _buried(self) -> RunStatus:
        while self._run.is_alive():
            await asyncio.sleep(RETRY_S)
        return self.status


class _Connection:
    """Lines to and from the worker; `is_over` when it has hung up."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.is_over = False
        self._reader, self._writer = reader, writer
        self._partial = b""

    def send(self, request: Pause | Cancel) -> None:
        self._writer.write(encode(request))

    async def read(self) -> list[Event]:
        """What has come since; waits for something."""
        try:
            data = await self._reader.read(1 << 16)
        except ConnectionError:
            data = b""
        self.is_over = not data
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [decode_event(line) for line in lines]

    def close(self) -> None:
        self._writer.close()


async def _launch(argv: Sequence[str], run: RunDir) -> int:
    """The exit code of the process that leaves the worker behind."""
    with run.log.open("ab") as log:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        except OSError as error:
            raise UserError("worker_not_started", worker=say("worker.training"), reason=str(error)) from error
    try:
        async with asyncio.timeout(START_S):
            return await process.wait()
    except TimeoutError:
        return -signal.SIGALRM
    finally:
        if process.returncode is None:
            process.kill()  # the worker, not reporting to anybody, ends too
            await process.wait()
