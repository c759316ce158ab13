"""The main loop of a detached worker: one training run, which belongs to its directory and not to any front.

Owns the run directory while it lives. Invariant: what fronts are told follows from what is already on disk, so a front
that comes late, reads slowly or dies misses nothing, and the run neither needs one nor waits for one.
"""

from __future__ import annotations

import faulthandler
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from app.workers.door import Door
from app.workers.host import Handler, JobControl, WorkerUnusable, answered
from core.errors import UserError
from core.protocol.messages import (
    Cancel,
    Event,
    Failed,
    Finished,
    Hello,
    JobEvent,
    Metrics,
    Pause,
    Request,
    RunState,
    Train,
)
from core.run_dir import START_REFUSED, MetricsWriter, RunDir, RunRecord

STARTED, BROKEN = 0, 1  # exit codes of the launching process


def serve_run(run_dir: str | Path, handler: Handler) -> None:
    """Train the run of `run_dir` in a process of its own session; the calling process exits as soon as that is at work.

    `handler` gets a Train and yields the run's events; a Metrics is on disk before the next step is asked for. To be
    paused is to save and to end with Finished("paused"), which gives the memory back. Nothing that starts threads may
    be imported before this, because it forks.
    """
    faulthandler.enable()
    run = RunDir(Path(run_dir))
    report = _leave_the_front()
    try:
        run.hold()
    except UserError:
        report(START_REFUSED)
        return
    worker = _RunWorker(run)
    report(STARTED)
    worker.work(handler)


def _leave_the_front() -> Callable[[int], None]:
    """Fork: the child goes on, in its own session; the caller waits for its report and exits with it as its code.

    So nobody has this worker for a child, to wait for it or to leave a zombie of it. Where nobody waits for the report
    any more, BrokenPipeError ends the child.
    """
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        answer = os.read(reading, 1)
        os._exit(answer[0] if answer else BROKEN)
    os.close(reading)
    os.setsid()

    def report(code: int) -> None:
        os.write(writing, bytes([code]))
        os.close(writing)

    return report


class _RunWorker:
    """The main thread steps the handler, the door's thread takes requests and beats."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._control = JobControl()
        self._state: Literal["running", "pausing", "stopping"] = "running"
        self._metrics = MetricsWriter(run.metrics)
        self._step = run.last_step()
        run.write_record(RunRecord("running", os.getpid()))
        run.heartbeat.touch()
        self._door = Door(run.path, greet=self._greeting, on_request=self._take, on_beat=run.heartbeat.touch)
        run.write_socket(self._door.path)

    def work(self, handler: Handler) -> None:
        try:
            for event in answered(handler, Train(self._run.job_id, str(self._run.path)), self._control):
                if event is not None:
                    self._ship(event)
                if not isinstance(event, Finished | Failed):
                    self._tell_of_change()
        except WorkerUnusable:
            traceback.print_exc()
        self._metrics.close()
        self._door.close()

    def _ship(self, event: JobEvent) -> None:
        match event:
            case Metrics(_, step, values):
                self._metrics.append(step, values)
                self._step = step
                # Values are read from the file; this only says that there is something to read.
                self._door.publish(self._run_state())
            case Finished() | Failed():
                self._run.write_record(RunRecord("ended", os.getpid(), event))
                self._door.publish(event)
            case _:
                self._door.publish(event)

    def _tell_of_change(self) -> None:
        state: Literal["running", "pausing", "stopping"] = "running"
        if self._control.is_cancelled:
            state = "stopping"
        elif self._control.is_paused:
            state = "pausing"
        if state != self._state:
            self._state = state
            self._run.write_record(RunRecord(state, os.getpid()))
            self._door.publish(self._run_state())

    def _run_state(self) -> RunState:
        return RunState(self._run.job_id, self._state, self._step)

    # --- the door's thread -----------------------------------------------------------

    def _greeting(self) -> list[Event]:
        return [Hello(os.getpid()), self._run_state()]

    def _take(self, request: Request) -> None:
        match request:
            case Pause():
                self._control.is_paused = True
            case Cancel():
                self._control.cancel()
            case _:
                pass
