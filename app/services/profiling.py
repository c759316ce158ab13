"""Profiles: a table of cells measured one after the other, each in a fresh worker process, kept in the store.

Invariant: at most one table is measured at a time; a cell that crashes or runs out of memory is a result like any
other and the table goes on; and what is measured is in the store before anybody is told of it. No torch, no Qt.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from app.launch import worker_argv
from app.services import profiling_ahead
from app.services.events import Event
from app.services.inference import as_error
from app.services.library import LibraryService
from app.services.profiling_ahead import Foreseen
from app.services.profiling_news import (
    CellBegan,
    CellEnded,
    CellMoved,
    News,
    ProbeBegan,
    Probed,
    TableBegan,
    TableEnded,
)
from app.services.profiling_table import Table
from app.supervisor import WorkerSupervisor
from core import figures, paths, store
from core.errors import UserError
from core.files import replace_file
from core.load_options import DeviceChoice
from core.profiling import export
from core.profiling import machine as here
from core.profiling.plan import Case, Cell, ProfilePlan, Subject, TrainingCase, cells_of
from core.profiling.result import CellResult, MachineProbe
from core.profiling.timeline import MemoryTimeline
from core.protocol.messages import Failed, Progress
from core.protocol.profiling import MachineProbed, ProbeMachine
from core.store.records import ProfileRun
from core.store.store import Store

if TYPE_CHECKING:
    from core.store.store import Session

Format = Literal["csv", "markdown"]
EARLIER = 12  # tables that tell how long another one will take
EMPTY = MemoryTimeline()

log = logging.getLogger("profiling")


@dataclass(frozen=True, slots=True)
class ProfilingState:
    """What a page that has just been built shows of the table under way; `run` is None where there is none.

    index: of the cell that is measured now, -1 between two; timeline: of this cell so far. results: by Cell.key
    """

    run: ProfileRun | None = None
    cells: tuple[Cell, ...] = ()
    results: dict[str, CellResult] = field(default_factory=dict)
    index: int = -1
    progress: Progress | None = None
    timeline: MemoryTimeline = EMPTY
    left_s: float | None = None
    is_probing: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """A table that was deleted, whole: to bring it back. results: with their timelines"""

    run: ProfileRun
    results: tuple[CellResult, ...]


class ProfilingService:
    """
    Attributes:
        state: ProfilingState
        changed: emitted with the new state
        news: emitted with each of the News that start() and resume() yield, for who did not start the table
    """

    def __init__(
        self, the_store: Store, library: LibraryService, *, argv: Sequence[str] | None = None, home: Path | None = None
    ) -> None:
        """home: where allocator snapshots of whole tables are kept, None for the usual place"""
        self.state = ProfilingState()
        self.changed: Event[ProfilingState] = Event()
        self.news: Event[News] = Event()
        self._store, self._library = the_store, library
        self._argv = list(argv or worker_argv("profile"))
        self._home = home
        self._table: Table | None = None
        self._work: asyncio.Task[None] | None = None
        self._probing: WorkerSupervisor | None = None
        self._deleted: set[int] = set()
        self._broken: set[int] = set()  # tables of ours whose end could not be written

    # --- before ------------------------------------------------------------------

    def subject(self, model: str) -> Subject:
        """A model of the library (or a folder) to be measured.

        Raises:
            UserError: as LibraryService.files_of; profile_adapter.
        """
        files = self._library.files_of(model)
        if files.adapter is not None:
            raise UserError("profile_adapter", name=model, base=files.base)
        outside = str(Path(model).expanduser().absolute()) if Path(model).expanduser().is_dir() else ""
        return Subject(files.base, str(files.folder), source=outside)

    async def foresee(self, plan: ProfilePlan) -> list[Foreseen]:
        """What each cell would take, and which of them will not be run. Files are read in a thread.

        Raises:
            UserError: a subject cannot be read.
        """
        return await asyncio.to_thread(profiling_ahead.foresee, cells_of(plan))

    async def expect(self, foreseen: Sequence[Foreseen]) -> float | None:
        """Seconds of those that will be run, from what the last tables took on this device; None where nothing was
        measured yet.

        Raises:
            UserError: a subject cannot be read.
        """
        cells = [one.cell for one in foreseen if not one.obstacle]
        return await asyncio.to_thread(profiling_ahead.expected, cells, await self._earlier())

    async def _earlier(self) -> list[CellResult]:
        device = (await asyncio.to_thread(here.this_machine)).device

        def read(s: Session) -> list[CellResult]:
            runs = [run for run in store.profiles.recent(s, EARLIER) if run.device == device]
            return [result for run in runs for result in store.profiles.results(s, run.id)]

        return [result for result in await self._store.call(read) if result.state == "done" and result.seconds]

    # --- measuring ---------------------------------------------------------------

    async def start(self, plan: ProfilePlan) -> AsyncGenerator[News, None]:
        """Measure a table; ends with TableEnded. Leaving the loop early cancels it.

        Raises:
            UserError: profile_busy, profile_busy_elsewhere, profile_empty.
        """
        self._need_idle()
        cells = cells_of(plan)
        if not cells:
            raise UserError("profile_empty")
        device, name = (await asyncio.to_thread(here.this_machine)).device, plan.name or named(plan)
        earlier = await self._earlier()
        run = await self._store.call(lambda s: store.profiles.create(s, name, plan, device))
        async with aclosing(self._run(run, cells, [], earlier)) as news:
            async for one in news:
                yield one

    async def resume(self, run_id: int, *, failed_too: bool = False) -> AsyncGenerator[News, None]:
        """Go on with a table that is not done: cells that have a result stay as they are.

        failed_too: those that could not be measured are tried again, also of a table that is done
        Raises:
            UserError: profile_busy, profile_gone, profile_done, profile_elsewhere (another front is at it),
                profile_busy_elsewhere (or at another one).
        """
        self._need_idle()
        await asyncio.to_thread(here.this_machine)
        run = await self._store.call(lambda s: store.profiles.take(s, run_id, failed_too=failed_too))
        self._broken.discard(run_id)
        found = await self._store.call(lambda s: store.profiles.results(s, run_id))
        kept = [result for result in found if result.state == "done" or not failed_too]
        async with aclosing(self._run(run, cells_of(run.plan), kept, await self._earlier())) as news:
            async for one in news:
                yield one

    def cancel(self) -> None:
        """End the table; the cell under way is given up and can be resumed. At once, also amid a long step."""
        if self._table is not None:
            self._table.cancel()

    def skip(self) -> None:
        """Give up the cell under way only; its result says that it was skipped."""
        if self._table is not None:
            self._table.skip()

    async def take_snapshot(self, file: Path) -> Path:
        """What PyTorch's allocator of the cell under way holds now, in `file`, for pytorch.org/memory_viz.

        Raises:
            UserError: profile_idle, snapshot_needs_card.
        """
        if not here.runs_on_card():
            raise UserError("snapshot_needs_card")
        if self._table is None:
            raise UserError("profile_idle")
        await self._table.snapshot(file)
        return file

    async def probe(self, *, anew: bool = False, device: DeviceChoice = "auto") -> MachineProbe:
        """The limits of this machine: measured the first time, or `anew`, and kept.

        Raises:
            UserError: profile_busy, profile_busy_elsewhere, and what became of the worker.
        """
        known = self.known_probe(device)
        if known is not None and not anew:
            return known
        self._need_idle()
        await self._store.call(store.profiles.need_quiet)
        self._probing = worker = WorkerSupervisor("profile", self._argv)
        try:
            async with worker:
                async with aclosing(worker.run(ProbeMachine(uuid.uuid4().hex, device))) as events:
                    async for event in events:
                        if isinstance(event, MachineProbed):
                            known = event.probe
                        elif isinstance(event, Failed):
                            raise as_error(event)
        finally:
            self._probing = None
        assert known is not None
        await asyncio.to_thread(here.keep_probe, known)
        return known

    def known_probe(self, device: DeviceChoice = "auto") -> MachineProbe | None:
        """What is kept of the last probe, if it was of this machine."""
        return here.known_probe("cuda" if here.runs_on_card(device) else "cpu", here.this_machine())

    # --- what was measured -----------------------------------------------------------

    async def runs(self, limit: int = 100) -> list[ProfileRun]:
        """Newest first."""
        return [self._told(run) for run in await self._store.call(lambda s: store.profiles.recent(s, limit))]

    async def run(self, run_id: int) -> tuple[ProfileRun, list[CellResult]]:
        """A table and the results it has, in the order of its cells; timelines are left out, see timeline().

        Raises:
            UserError: profile_gone.
        """
        both = await self._store.call(lambda s: (store.profiles.get(s, run_id), store.profiles.results(s, run_id)))
        return self._told(both[0]), both[1]

    async def timeline(self, run_id: int, key: str) -> MemoryTimeline:
        """Of one cell, by Cell.key; empty where there is none."""
        return await self._store.call(lambda s: store.profiles.timeline(s, run_id, key))

    async def rename(self, run_id: int, name: str) -> ProfileRun:
        """Raises UserError profile_gone."""
        return await self._store.call(lambda s: store.profiles.rename(s, run_id, name))

    async def delete(self, run_id: int) -> Deleted:
        """The run and what was kept with it; it can be brought back until the service closes.

        Raises:
            UserError: profile_under_way, profile_elsewhere (another front is at it), profile_gone.
        """
        if self.state.run is not None and self.state.run.id == run_id:
            raise UserError("profile_under_way", run=run_id)

        def work(s: Session) -> Deleted:
            run, found = store.profiles.get(s, run_id), store.profiles.results(s, run_id)
            whole = [
                msgspec.structs.replace(result, timeline=store.profiles.timeline(s, run_id, result.cell.key))
                for result in found
            ]
            store.profiles.forget(s, run_id)
            return Deleted(run, tuple(whole))

        gone = await self._store.call(work)
        self._deleted.add(run_id)
        return gone

    async def restore(self, gone: Deleted) -> None:
        """What was deleted, under the number it had."""
        await self._store.call(lambda s: store.profiles.restore(s, gone.run, gone.results))
        self._deleted.discard(gone.run.id)

    async def export(self, run_id: int, form: Format, file: Path | None = None) -> str:
        """The table as text, written to `file` too if one is named (as a whole, in place of what was there).

        Raises:
            UserError: profile_gone, profile_not_written.
        """
        run, results = await self.run(run_id)
        text = export.csv_of(results) if form == "csv" else export.markdown_of(run.name, run.plan, results)
        if file is not None:
            try:
                await asyncio.to_thread(replace_file, file, text.encode())
            except OSError as error:
                raise UserError("profile_not_written", file=str(file), reason=error.strerror or str(error)) from error
        return text

    async def close(self) -> None:
        """A table under way ends as after cancel()."""
        self.cancel()
        if self._probing is not None:
            self._probing.kill("worker_stopped")
        if self._work is not None:
            await asyncio.wait([self._work])
        for run_id in self._deleted:
            for file in self._snapshots.glob(f"{run_id}-*.pickle"):
                file.unlink(missing_ok=True)

    # --- within ------------------------------------------------------------------------

    def _told(self, run: ProfileRun) -> ProfileRun:
        return replace(run, state="interrupted") if run.id in self._broken and run.state == "running" else run

    @property
    def _snapshots(self) -> Path:
        return (self._home or paths.home()) / "profiling" / "snapshots"

    def _need_idle(self) -> None:
        if self._table is not None or self._probing is not None or (self._work is not None and not self._work.done()):
            raise UserError("profile_busy")

    async def _run(
        self, run: ProfileRun, cells: tuple[Cell, ...], kept: Sequence[CellResult], earlier: Sequence[CellResult]
    ) -> AsyncGenerator[News, None]:
        """The table is a task of its own, so that it ends in order when nobody listens any more."""
        waiting: asyncio.Queue[News | BaseException] = asyncio.Queue()

        def tell(one: News) -> None:
            self._take(one)
            self.news.emit(one)
            waiting.put_nowait(one)

        results = {result.cell.key: result for result in kept}
        table = Table(self._store, run, cells, results, self._argv, tell, self._snapshots, earlier)
        self._table = table
        self._work = work = asyncio.get_running_loop().create_task(self._measure(table, tell, waiting), name="profile")
        try:
            while True:
                one = await waiting.get()
                if isinstance(one, BaseException):
                    raise one
                yield one
                if isinstance(one, TableEnded):
                    return
        finally:
            if not work.done():
                table.cancel()

    async def _measure(
        self, table: Table, tell: Callable[[News], None], waiting: asyncio.Queue[News | BaseException]
    ) -> None:
        """However it ends, the front hears of it, and another table can be begun."""
        try:
            tell(TableBegan(table.run, table.cells, tuple(table.results.values())))
            state = await table.measure()
            run = await self._store.call(lambda s: store.profiles.end(s, table.run.id, state))
        except Exception as error:  # our bug, or the disk is full, or the store is gone
            broken = await self._end_broken(table)
            self._leave()
            self.news.emit(TableEnded(broken, "interrupted"))
            waiting.put_nowait(error)
            return
        self._leave()
        tell(TableEnded(run, state))

    async def _end_broken(self, table: Table) -> ProfileRun:
        """What broke the table off may keep its end from being written, too; then it is remembered here, and all others
        see it once this process is gone."""
        run_id = table.run.id
        try:
            return await self._store.call(lambda s: store.profiles.end(s, run_id, "interrupted"))
        except Exception as error:
            log.info("the end of table %d was not written: %s", run_id, error)
            self._broken.add(run_id)
            measured = sum(result.state == "done" for result in table.results.values())
            return replace(table.run, state="interrupted", measured=measured)

    def _leave(self) -> None:
        self._table = None
        self._set(ProfilingState())

    def _take(self, one: News) -> None:
        state = self.state
        match one:
            case TableBegan():
                self._set(ProfilingState(one.run, one.cells, {result.cell.key: result for result in one.results}))
            case ProbeBegan():
                self._set(replace(state, progress=one.progress, is_probing=True))
            case Probed():
                self._set(replace(state, progress=None, is_probing=False))
            case CellBegan():
                began = replace(state, index=one.index, progress=None, timeline=EMPTY, left_s=one.left_s)
                self._set(replace(began, is_probing=False))
            case CellMoved():
                grown = MemoryTimeline(state.timeline.samples + one.samples, state.timeline.marks + one.marks)
                self._set(replace(state, progress=one.progress or state.progress, timeline=grown))
            case CellEnded():
                results = state.results | {one.result.cell.key: one.result}
                self._set(replace(state, results=results, index=-1, progress=None, left_s=one.left_s))
            case TableEnded():
                pass  # the state is empty by then

    def _set(self, state: ProfilingState) -> None:
        self.state = state
        self.changed.emit(state)


def named(plan: ProfilePlan) -> str:
    """What a table is called where nobody said, in no language, since it is kept: its models, with its preset or its
    forms and lengths: "starter: BF16, Int4, 256 + 64"."""
    models = ", ".join(subject.name for subject in plan.subjects)
    if plan.preset:
        return f"{models} ({plan.preset})"
    parts = [figures.precision(form) for form in plan.weights] if plan.cases or plan.quality else []
    kinds = [kind for kind in plan.kv_caches if parts and (kind not in ("auto", "plain") or len(plan.kv_caches) > 1)]
    parts += [f"KV {kind}" for kind in kinds]
    parts += [f"{_each(plan.cases, 'prompt')} + {_each(plan.cases, 'new')}"] if plan.cases else []
    methods = {"lora": "LoRA", "qlora": "Q-LoRA", "full": "full"}
    parts += list(dict.fromkeys(methods[work.method] for work in plan.training))
    parts += [_each(plan.training, "length")] if plan.training else []
    return f"{models}: {', '.join(parts)}" if parts else models


def _each(cases: Sequence[Case] | Sequence[TrainingCase], name: str) -> str:
    return "/".join(dict.fromkeys(str(getattr(case, name)) for case in cases))
