"""One table while it is measured: cell after cell, each in a worker process that is started for it and ended after it.

Owns the order of things within a table. Invariant: however a cell ends, its result says so and the next one is run;
only cancel() ends the table, and the cell it stopped has no result then.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.services import machine as readings
from app.services.free_memory import FreeMemory
from app.services.profiling_ahead import foresee, from_earlier
from app.services.profiling_news import CellBegan, CellEnded, CellMoved, News, ProbeBegan, Probed
from app.supervisor import State, WorkerSupervisor
from core import store
from core.errors import UserError
from core.figures import size
from core.load_options import DeviceChoice
from core.models.footprint import DeviceKind
from core.models.shape import Shape
from core.profiling import estimating, learning, time_left
from core.profiling import machine as here
from core.profiling.command import command_of
from core.profiling.estimating import Obstacle
from core.profiling.plan import Cell
from core.profiling.result import NO_MEMORY, CellResult, Estimate, PhaseMemory
from core.profiling.timeline import MemorySample, MemoryTimeline, PhaseMark
from core.protocol.job import Job
from core.protocol.messages import Failed, JobEvent, Progress
from core.protocol.profiling import CellMeasured, MachineProbed, MemorySampled, ProbeMachine, ProfileCell, TakeSnapshot
from core.store.records import ProfileRun, ProfileState
from core.store.store import Store

log = logging.getLogger("profiling")

WORKER = "worker.profile"  # stands for its name in what is kept, which may be read in another language


class Table:
    """
    results: by Cell.key, those of an earlier sitting among them. earlier: of other tables on this device, from which
    the time is told until a cell of this one is measured
    """

    def __init__(
        self,
        the_store: Store,
        run: ProfileRun,
        cells: Sequence[Cell],
        results: dict[str, CellResult],
        argv: Sequence[str],
        tell: Callable[[News], None],
        snapshots: Path,
        earlier: Sequence[CellResult] = (),
    ) -> None:
        self.run, self.cells, self.results = run, tuple(cells), results
        self._store, self._argv, self._tell, self._snapshots = the_store, argv, tell, snapshots
        self._earlier, self._will_run = earlier, self.cells
        self._worker: WorkerSupervisor | None = None
        self._is_cancelled = self._is_skipped = False
        self._shapes: dict[str, Shape | UserError] = {}
        self._machine = here.this_machine()
        self._probe = here.known_probe(self._device_of(self.cells[0].device), self._machine)
        self._has_probed = self._probe is not None

    # --- asked from outside ---------------------------------------------------------

    def cancel(self) -> None:
        self._is_cancelled = True
        self._end_worker()

    def skip(self) -> None:
        self._is_skipped = True
        self._end_worker()

    async def snapshot(self, file: Path) -> None:
        if self._worker is None or self._worker.state is not State.READY:
            raise UserError("profile_idle")
        async with aclosing(self._worker.run(TakeSnapshot(uuid.uuid4().hex, str(file)))) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise UserError(event.code, **event.params)

    def _end_worker(self) -> None:
        """At once: a long step hears nothing, and nothing of a cell is worth being saved."""
        if self._worker is not None:
            self._worker.kill("worker_stopped")

    # --- the table ----------------------------------------------------------------------

    async def measure(self) -> ProfileState:
        await asyncio.to_thread(self._look_ahead)
        for index, cell in enumerate(self.cells):
            if self._is_cancelled:
                return "cancelled"
            if cell.key in self.results:
                continue
            result = await self._cell(index, cell)
            if result is None:
                return "cancelled"
            await self._keep(index, result)
        return "done"

    def _look_ahead(self) -> None:
        for cell in self.cells:
            if cell.subject.name not in self._shapes:
                try:
                    self._shapes[cell.subject.name] = estimating.shape_of_subject(cell.subject)
                except UserError as error:
                    self._shapes[cell.subject.name] = error
        readable = [cell for cell in self.cells if isinstance(self._shapes[cell.subject.name], Shape)]
        self._will_run = tuple(one.cell for one in foresee(readable) if not one.obstacle)

    async def _measure_limits(self, cell: Cell) -> None:
        """Once; the table goes on without them, should that fail."""
        self._has_probed = True
        self._tell(ProbeBegan())
        try:
            async with aclosing(self._working(ProbeMachine(uuid.uuid4().hex, cell.device, cell.threads))) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        self._tell(ProbeBegan(event))
                    elif isinstance(event, MachineProbed):
                        self._probe = event.probe
                        here.keep_probe(event.probe)
                        self._tell(Probed(event.probe))
                    elif isinstance(event, Failed):
                        log.info("the limits were not measured: %s %s", event.code, event.detail)
        except (UserError, OSError) as error:
            log.info("the limits were not measured: %s", error)

    async def _cell(self, index: int, cell: Cell) -> CellResult | None:
        """Its result; None when the table was cancelled meanwhile."""
        self._is_skipped = False
        began = time.monotonic()
        shape = self._shapes[cell.subject.name]
        if isinstance(shape, UserError):
            return self._ended(cell, "not_run", (shape.code, shape.params))
        wanted, hindrance = await self._foreseen(cell, shape)
        if hindrance is None and cell.case is not None and not self._has_probed:
            await self._measure_limits(cell)
            began = time.monotonic()
            if self._is_cancelled:
                return None
        self._tell(CellBegan(index, cell, wanted, self._left()))
        if hindrance is not None:
            return msgspec.structs.replace(self._ended(cell, "not_run", hindrance), estimate=wanted)
        timeline = _Timeline()
        result: CellResult | None = None
        file = str(self._snapshots / f"{self.run.id}-{index}.pickle") if cell.snapshot else ""
        try:
            job = ProfileCell(uuid.uuid4().hex, cell, file)
            async with FreeMemory() as memory, aclosing(self._working(job)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        self._tell(CellMoved(index, event))
                    elif isinstance(event, MemorySampled):
                        timeline.add(event)
                        self._tell(CellMoved(index, None, event.samples, event.marks))
                    elif isinstance(event, CellMeasured):
                        result = event.result
                    elif isinstance(event, Failed) and result is None:
                        result = self._failed(cell, event, timeline, memory)
        except UserError as error:  # the worker could not be started
            result = self._ended(cell, "failed", (error.code, error.params))
        if self._is_cancelled:
            return None
        if self._is_skipped or result is None:
            result = self._ended(cell, "not_run", ("profile_skipped", {}))
        return self._completed(result, shape, wanted, time.monotonic() - began)

    async def _working(self, job: Job) -> AsyncGenerator[JobEvent, None]:
        """The events of a job in a process of its own, which is gone when they end."""
        self._worker = worker = WorkerSupervisor("profile", self._argv)
        try:
            await worker.start()
            if self._is_cancelled:
                return
            async with aclosing(worker.run(job)) as events:
                async for event in events:
                    yield event
        finally:
            self._worker = None
            if worker.state is not State.STOPPED:
                await worker.stop()

    async def _keep(self, index: int, result: CellResult) -> None:
        await self._store.call(lambda s: store.profiles.put(s, self.run.id, result))
        self.results[result.cell.key] = result
        try:
            await asyncio.to_thread(learning.note, here.identity(self._machine), [result])
        except OSError as error:
            log.info("nothing was learned: %s", error)
        self._tell(CellEnded(index, result, len(self.results), self._left()))

    # --- one result -----------------------------------------------------------------------

    async def _foreseen(self, cell: Cell, shape: Shape) -> tuple[Estimate, Obstacle | None]:
        reading = await readings.read()
        kind = self._device_of(cell.device)
        memory = reading.card.memory if kind == "cuda" and reading.card is not None else reading.memory

        def look() -> tuple[Estimate, Obstacle | None]:
            wanted = estimating.estimate(cell, shape, kind, memory.free, learning.known())
            return wanted, estimating.obstacle(cell, wanted, memory.free, memory.total)

        return await asyncio.to_thread(look)

    def _device_of(self, asked: DeviceChoice) -> DeviceKind:
        return "cuda" if here.runs_on_card(asked) else "cpu"

    def _ended(self, cell: Cell, state: str, why: Obstacle) -> CellResult:
        params = why[1] | ({"worker": WORKER} if "worker" in why[1] else {})
        found: CellResult = msgspec.convert(
            {"cell": cell, "state": state, "code": why[0], "params": params, "measured_at": datetime.now(UTC)},
            CellResult, from_attributes=True,
        )  # fmt: skip
        return self._with_facts(found)

    def _failed(self, cell: Cell, event: Failed, timeline: _Timeline, memory: FreeMemory) -> CellResult:
        code, params = event.code, event.params
        if code == "worker_exited" and params.get("status") == NO_MEMORY:
            code, params = "out_of_memory", {}
        is_memory = event.kind == "oom" or code in ("out_of_memory", "training_memory")
        if code == "worker_killed":  # by the system for want of memory, or by anybody
            is_memory = memory.was_short
            if not is_memory:
                code, params = "profile_killed", params | {"free": size(memory.lowest.free)}
        found = self._ended(cell, "out_of_memory" if is_memory else "failed", (code, params))
        return msgspec.structs.replace(
            found, detail=event.detail, timeline=timeline.made(), memory=timeline.phases(),
            peak_bytes=timeline.highest(),
        )  # fmt: skip

    def _completed(self, result: CellResult, shape: Shape, wanted: Estimate, seconds: float) -> CellResult:
        result = msgspec.structs.replace(self._with_facts(result), estimate=wanted, seconds=seconds)
        if self._probe is None:
            return result
        bandwidth, matrix = estimating.shares(result, shape, self._probe)
        return msgspec.structs.replace(result, bandwidth_share=bandwidth, matrix_share=matrix)

    def _with_facts(self, result: CellResult) -> CellResult:
        return msgspec.structs.replace(
            result, command=command_of(result.cell), versions=here.versions(), machine=self._machine
        )

    def _left(self) -> float | None:
        sizes = {name: shape.parameters for name, shape in self._shapes.items() if isinstance(shape, Shape)}
        left = time_left.left(self._will_run, self.results, sizes)
        if left is not None:
            return left
        rest = [cell for cell in self._will_run if cell.key not in self.results]
        return from_earlier(rest, self._earlier, sizes) if rest else None


class _Timeline:
    """What came of a cell's timeline, for one that does not end by itself."""

    def __init__(self) -> None:
        self._samples: list[MemorySample] = []
        self._marks: list[PhaseMark] = []

    def add(self, event: MemorySampled) -> None:
        self._samples += event.samples
        self._marks += event.marks

    def made(self) -> MemoryTimeline:
        return MemoryTimeline(tuple(self._samples), tuple(self._marks))

    def highest(self) -> int:
        return max((sample.reserved or sample.own for sample in self._samples), default=0)

    def phases(self) -> tuple[PhaseMemory, ...]:
        """By the samples alone: the exact ones went with the process."""
        found = []
        ends = [*(mark.at_s for mark in self._marks[1:]), float("inf")]
        for mark, end in zip(self._marks, ends, strict=False):
            inside = [sample for sample in self._samples if mark.at_s <= sample.at_s < end]
            if inside:
                highest = [max(getattr(sample, name) for sample in inside)
                           for name in ("resident", "own", "allocated", "reserved", "device")]  # fmt: skip
                found.append(PhaseMemory(mark.phase, *highest))
        return tuple(found)
