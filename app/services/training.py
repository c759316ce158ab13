"""The fine-tunes of this machine: start, watch, pause, go on, stop, and what came of them.

Owns no run: each belongs to its directory, and the store holds a summary that can be made again from there. Invariant:
nothing here has to be alive for a run to go on, and whoever opens this finds every run as it stands.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from app.detached import DetachedRun, RunStatus, status
from app.launch import detached_argv
from app.services import fitting, machine
from app.services.events import Event
from app.services.gpu_lease import GpuLease, held_by_process
from app.services.library import LibraryService
from app.services.pace import LAST, UNKNOWN, Pace, of_steps
from app.services.training_plan import plan
from core import hardware, paths, store
from core.data.shape import columns_of
from core.data.usable import need_usable
from core.errors import UserError
from core.protocol.messages import CheckpointSaved, Failed, Finished, Metrics, Progress, RunState
from core.run_dir import MetricsReader, RunDir, Step
from core.store.store import Store
from core.training import recipe as recipes
from core.training import run_files
from core.training.recipe import Recipe
from core.training.run_files import Answer, Origin, RunFacts, RunFiles, Validation

if TYPE_CHECKING:
    from core.store.store import Session

log = logging.getLogger("training")

TRASH = ".trash"
PIECE = 20_000  # steps: what is read at once is garbage soon, and the collector holds every thread
OVER_S = 5.0  # for the end of a run to be taken note of


@dataclass(frozen=True, slots=True)
class Run:
    """One run as it stands.

    Attributes:
        id: the name of its folder; facts: None before it has looked at its data and model
        progress: what it does while it makes no steps; latest: the figures of its last step
        result: the name its adapter or model has in the library, "" before it is there
        pace: of its last steps
        best: the checkpoint with the lowest validation loss, None where none was measured
    """

    id: str
    path: Path
    recipe: Recipe
    origin: Origin
    facts: RunFacts | None
    status: RunStatus
    progress: Progress | None = None
    latest: dict[str, float] = field(default_factory=dict)
    result: str = ""
    best: Validation | None = None
    pace: Pace = UNKNOWN

    @property
    def name(self) -> str:
        return self.recipe.name or self.id

    @property
    def steps(self) -> int:
        """Of the whole run; 0 while it is not known."""
        return self.facts.steps if self.facts else self.recipe.steps

    @property
    def is_stopped(self) -> bool:
        """It was ended early by somebody's wish."""
        end = self.status.end
        return self.status.state == "finished" and isinstance(end, Finished) and end.reason == "cancelled"

    @property
    def can_be_kept(self) -> bool:
        """It is not at work, left no result yet, and its last checkpoint can become one."""
        is_over = self.status.state == "finished" and not (
            self.is_stopped and not (self.path / run_files.RESULT).is_dir()
        )
        return not self.status.is_alive and not is_over and bool(RunFiles(self.path).saved_steps())

    @property
    def why_at_rest(self) -> UserError | None:
        """Why nothing can be asked of it; None while it is at work."""
        match self.status.state:
            case "finished":
                return UserError("run_is_stopped" if self.is_stopped else "run_is_finished", run=self.id)
            case "paused":
                return UserError("run_is_paused", run=self.id)
            case "new" | "failed" | "interrupted":
                return UserError("run_not_running", run=self.id)
            case _:
                return None

    @property
    def seconds_left(self) -> float | None:
        """By the last steps; None where nothing tells."""
        if not self.status.is_alive or not self.steps:
            return None
        facts = self.facts
        of_step = facts.tokens * self.recipe.batch / facts.rows if facts is not None and facts.rows else 0.0
        return self.pace.seconds_for(max(0, self.steps - self.status.step), of_step)


class TrainingService:
    """
    Attributes:
        changed: emitted with the id of a run that stands otherwise than before, "" when the list is another
        stepped: emitted with the id and the new steps of a run, as they come
        saved: emitted with the id of a run that wrote a checkpoint, and with it new answers
        ended: emitted with a run that has just ended, however it did
    """

    def __init__(
        self,
        opened: Store,
        library: LibraryService,
        argv: Callable[[Path], Sequence[str]] = lambda run_dir: detached_argv("training", run_dir),
        lease: GpuLease | None = None,
    ) -> None:
        self.changed: Event[str] = Event()
        self.stepped: Event[tuple[str, list[Step]]] = Event()
        self.saved: Event[str] = Event()
        self.ended: Event[Run] = Event()
        self._store, self._library, self._argv = opened, library, argv
        self._lease = lease or GpuLease()
        self._runs: dict[str, Run] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._removed: list[Path] = []

    # --- what there is ---------------------------------------------------------------

    @property
    def runs(self) -> list[Run]:
        """Newest first."""
        return sorted(self._runs.values(), key=lambda run: -run.origin.created)

    def run(self, id: str) -> Run:
        """Raises UserError when there is none."""
        if id not in self._runs:
            raise UserError("run_missing", folder=str(paths.runs() / id))
        return self._runs[id]

    def speed(self, model: str, method: str, devices: int = 1) -> float:
        """Tokens a second of the newest run that trained this model in this way here; 0 where there was none."""
        alike = (
            run
            for run in self.runs
            if (run.origin.model, run.recipe.method, run.recipe.devices) == (model, method, devices)
        )
        return next((speed for run in alike if (speed := run.latest.get("tokens_per_s", 0.0))), 0.0)

    async def open(self) -> None:
        """Find every run, and watch those that are at work. Once; later calls wait for the first."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._find(), name="find runs")
        await asyncio.shield(self._opening)

    async def _find(self) -> None:
        found = await asyncio.to_thread(_all_runs)
        for run in found:
            self._runs[run.id] = replace(run, result=self._result_of(run.path))
        self.changed.emit("")
        for run in found:
            if run.status.is_alive:
                self._watch(run.id)
            else:
                await self._sum_up(run.id)
                if run.status.state == "finished":
                    await self._register(run.id)

    async def history(self, id: str, after: int = 0) -> list[Step]:
        """The steps on disk."""
        return await asyncio.to_thread(MetricsReader(self.run(id).path / run_files.METRICS, after).read_many)

    async def pieces(self, id: str, after: int = 0, most: int = PIECE) -> AsyncGenerator[list[Step], None]:
        """The steps on disk, so many at a time: of a long run they are not all in memory at once."""
        reader = MetricsReader(self.run(id).path / run_files.METRICS, after)
        while piece := await asyncio.to_thread(reader.read_many, most):
            yield piece

    async def answers(self, id: str) -> list[Answer]:
        return await asyncio.to_thread(RunFiles(self.run(id).path).answers)

    # --- verbs ----------------------------------------------------------------------

    async def start(self, recipe: Recipe) -> str:
        """A new run by this recipe; returns when it is at work.

        Raises:
            UserError: the model or the data is not there, the recipe is wrong, gpu_in_use_chat or gpu_in_use_training,
                or the run could not be started.
        """
        recipe = recipes.checked(recipe)
        files = self._library.files_of(recipe.model)
        if files.adapter is not None:
            raise UserError("training_of_adapter", name=recipe.model, base=files.base)
        self._need_way(recipe)
        await self._need_devices(recipe)
        await asyncio.to_thread(_need_data, recipe)
        await asyncio.to_thread(lambda: self._lease.need(self._cards(recipe)))  # before anything is made
        made = await asyncio.to_thread(run_files.create, paths.runs(), recipe, files.folder, files.base)
        self._look(made.path)
        self.changed.emit("")
        await self._begin(made.path.name)
        return made.path.name

    def _need_way(self, recipe: Recipe) -> None:
        """What cannot work is refused before it begins."""
        if (
            recipe.parallel == "zero3"
            and recipe.method != "full"
            and not self._library.find(recipe.model).manifest.can_chat
        ):
            raise UserError("zero3_lora_base", model=recipe.model)
        if recipe.parallel in ("zero2", "zero3") and find_spec("deepspeed") is None:
            raise UserError("deepspeed_missing")

    async def _need_devices(self, recipe: Recipe) -> None:
        """Cards that are not there would be waited for; on the processor every process finds a place."""
        if recipe.devices == 1 or recipe.device == "cpu":
            return
        there = len(await asyncio.to_thread(hardware.usable_cards))
        if 0 < there < recipe.devices:
            raise UserError("devices_missing", devices=recipe.devices, count=there)

    def _cards(self, recipe: Recipe) -> tuple[str, ...]:
        return () if recipe.device == "cpu" else self._lease.cards(recipe.devices)

    async def resume(self, id: str) -> None:
        """Go on from the last checkpoint of a run that was paused, stopped, or broke off."""
        await self._begin(id)

    async def change_and_resume(self, id: str, recipe: Recipe) -> None:
        """Go on from the last checkpoint by another recipe.

        Raises:
            UserError: run_already_running; the recipe is wrong, or the run could not be started.
        """
        run = self.run(id)
        if run.status.is_alive:
            raise UserError("run_already_running", run=run.name)
        await asyncio.to_thread(recipes.write, run.path / run_files.CONFIG, recipes.checked(recipe))
        await self._begin(id)

    async def needed(self, id: str) -> int:
        """Bytes that a run takes on each of its devices; 0 where nothing tells."""
        return await _needed(self.run(id))

    async def more(self, id: str, epochs: float) -> None:
        """Go on with a run for so many more epochs."""
        run = self.run(id)
        factor = (run.facts.steps if run.facts else run.recipe.steps) if run.recipe.steps else 0
        longer = msgspec.structs.replace(run.recipe, epochs=run.recipe.epochs + epochs)
        if factor:
            rows = run.facts.rows if run.facts else run.recipe.batch
            more_steps = max(1, round(rows * epochs / run.recipe.batch))
            longer = msgspec.structs.replace(longer, steps=factor + more_steps)
        await self.change_and_resume(id, longer)

    async def pause(self, id: str) -> None:
        """Returns when its memory is free again.

        Raises:
            UserError: it is not at work, in the words of how it stands.
        """
        if why := self.run(id).why_at_rest:
            raise why
        await DetachedRun.attach(self.run(id).path).pause()

    async def stop(self, id: str) -> None:
        """End it early and keep what it has learned; of a run that rests or broke off, what its last checkpoint holds.

        Raises:
            UserError: it is over, or there is nothing to keep.
        """
        run = self.run(id)
        if why := run.why_at_rest:
            if not run.can_be_kept:
                raise why if run.status.state == "finished" else UserError("run_nothing_to_keep", run=run.id)
            await self._begin(id)
        await DetachedRun.attach(run.path).stop()

    async def kill(self, id: str) -> None:
        await DetachedRun.attach(self.run(id).path).kill()

    async def remove(self, id: str) -> None:
        """Into the trash, with its result in the library; until close() it can be restored.

        Raises:
            UserError: run_is_at_work
        """
        run = self.run(id)
        if run.status.is_alive:
            raise UserError("run_is_at_work", run=run.name)
        if run.result:
            await self._library.remove(run.result)
        place = paths.runs() / TRASH / id
        await asyncio.to_thread(_move, run.path, place)
        self._removed.append(place)
        del self._runs[id]
        self.changed.emit("")

    async def restore(self, id: str) -> None:
        """Undo the last remove() of a run."""
        place = paths.runs() / id
        await asyncio.to_thread(_move, paths.runs() / TRASH / id, place)
        with contextlib.suppress(UserError):
            await self._library.restore(id)
        self._look(place)
        self.changed.emit("")

    async def check(self, id: str) -> None:
        """Look whether a run at work gives signs of life: a silent one tells nothing by itself."""
        run = self._runs.get(id)
        if run is not None and run.status.is_alive:
            found = await asyncio.to_thread(status, run.path)
            now = self._runs.get(id)
            if now is not None and now.status.is_alive and found.is_responsive != now.status.is_responsive:
                self._change(id, status=replace(now.status, is_responsive=found.is_responsive))

    async def close(self) -> None:
        """Let go of every run; those at work go on."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        watches = list(self._watches.values())
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for place in self._removed:  # another front may still want to restore what it has removed
            await asyncio.to_thread(shutil.rmtree, place, True)

    # --- watching --------------------------------------------------------------------

    async def _begin(self, id: str) -> None:
        path = self.run(id).path
        watching = self._watches.get(id)
        if watching is not None and not watching.done() and not status(path).is_alive:
            await asyncio.wait([watching], timeout=OVER_S)  # of its last life; this one needs a watch of its own
        begin = partial(DetachedRun.start, self._argv(path), path)
        run = self.run(id)
        try:
            cards = await asyncio.to_thread(self._cards, run.recipe)
            await (self._begin_on(cards, run, begin) if cards else begin())
        finally:
            self._look(path)
            self.changed.emit(id)
        self._watch(id)

    async def _begin_on(self, cards: Sequence[str], run: Run, begin: Callable[[], Awaitable[DetachedRun]]) -> None:
        """This process has the cards until the worker is there, which then has them for as long as it lives."""
        needed = await _needed(run)
        here = held_by_process("training", run.name, os.getpid(), needed, str(run.path))
        await asyncio.to_thread(self._lease.take, cards, here)
        try:
            await begin()
            if (record := RunDir(run.path).record()) is not None:
                worker = held_by_process("training", run.name, record.pid, needed, str(run.path))
                await asyncio.to_thread(self._lease.take, cards, worker, here.pid)
        except BaseException:
            self._lease.give_back(here.pid)
            raise

    def _look(self, path: Path) -> None:
        before = self._runs.get(path.name)
        found = _run_in(path)
        if found is not None:
            latest, pace = (before.latest, before.pace) if before and before.latest else (found.latest, found.pace)
            self._runs[found.id] = replace(found, latest=latest, pace=pace, result=self._result_of(path))

    def _watch(self, id: str) -> None:
        watching = self._watches.get(id)
        if watching is None or watching.done():
            self._watches[id] = asyncio.get_running_loop().create_task(self._follow(id), name=f"watch {id}")

    async def _follow(self, id: str) -> None:
        """Invariant: whoever waits for the end of the run hears of it, whatever else fails."""
        try:
            await self._listen(id)
        except Exception:
            log.exception("%s is not followed any more", id)
        await self._over(id)

    async def _listen(self, id: str) -> None:
        run = DetachedRun.attach(self._runs[id].path)
        await self._sum_up(id)
        async with contextlib.aclosing(run.events(after_step=self._runs[id].status.step)) as events:
            async for event in events:
                match event:
                    case Metrics(step=step, values=values):
                        self._stepped(id, step, values)
                    case Progress():
                        self._change(id, progress=event)
                    case RunState():
                        self._change(id, status=replace(self._runs[id].status, state=event.state))
                    case CheckpointSaved():
                        self._look(self._runs[id].path)
                        self.saved.emit(id)
                    case Finished() | Failed():
                        break
                    case _:
                        pass

    def _stepped(self, id: str, step: int, values: dict[str, float]) -> None:
        run = self._runs[id]
        is_first = run.facts is None or run.progress is not None  # since it was started; facts are known by then
        facts = RunFiles(run.path).facts if is_first else run.facts
        state = run.status.state if run.status.is_alive else "running"
        self._runs[id] = replace(
            run,
            facts=facts,
            progress=None,
            latest=run.latest | values,
            status=RunStatus(state, step),
            pace=run.pace.after(values),
        )
        self.stepped.emit((id, [(step, values)]))
        self.changed.emit(id)

    def _change(self, id: str, **changes: object) -> None:
        self._runs[id] = replace(self._runs[id], **changes)  # type: ignore[arg-type]
        self.changed.emit(id)

    async def _over(self, id: str) -> None:
        while status(self._runs[id].path).is_alive:  # it has said so; its process is on its way out
            await asyncio.sleep(0.02)
        self._look(self._runs[id].path)
        self._runs[id] = replace(self._runs[id], progress=None)
        try:
            await self._sum_up(id)
            if id in self._runs and self._runs[id].status.state == "finished":
                await self._register(id)
        except Exception:
            if id in self._runs:
                log.exception("the end of %s could not be written down", id)
        if id not in self._runs:  # removed meanwhile
            return
        self.changed.emit(id)
        self.ended.emit(self._runs[id])

    # --- what comes of them -----------------------------------------------------------

    def _result_of(self, path: Path) -> str:
        found = self._library.at(path / run_files.RESULT)
        return found.manifest.name if found else ""

    async def _register(self, id: str) -> None:
        """Take what the run left into the library, in place of what it left before."""
        result = self._runs[id].path / run_files.RESULT
        if not result.is_dir():
            return
        known = self._runs[id].result
        if known and _newest(self._library.find(known).folder) >= _newest(result):
            return
        try:
            if known:
                await self._library.remove(known)
            name = known or (id if self._is_free(id) else f"{id}-{uuid.uuid4().hex[:4]}")
            await self._library.take(result, name, base=self._runs[id].origin.model)
        except UserError as error:
            log.warning("the result of %s is not in the library: %s", id, error)
            return
        self._change(id, result=name)

    def _is_free(self, name: str) -> bool:
        try:
            self._library.find(name)
        except UserError:
            return True
        return False

    async def _sum_up(self, id: str) -> None:
        run = self._runs[id]

        def work(s: Session) -> None:
            known = store.runs.of_folder(s, str(run.path))
            if known is None:
                known = store.runs.create(s, run.name, str(run.path), run.origin.model, run.steps)
            store.runs.update(s, known.id, state=run.status.state, step=run.status.step)
            store.runs.note_metrics(s, known.id, run.status.step, run.latest)

        await self._store.call(work)


def _need_data(recipe: Recipe) -> None:
    """Before anything is made. Raises UserError."""
    columns = columns_of(recipe.columns)
    need_usable(Path(recipe.data), columns)
    if recipe.eval_data:
        need_usable(Path(recipe.eval_data), columns, must_have=False)


async def _needed(run: Run) -> int:
    """Bytes on each device; 0 where nothing tells."""
    try:
        subject = await fitting.look(run.origin.model, Path(run.origin.model_folder))
    except (OSError, ValueError, UserError):
        return 0  # what is wrong with the model is said by the run
    return plan(run.recipe, subject, fitting.room(await machine.read())).footprint.total


def _all_runs() -> list[Run]:
    place = paths.runs()
    if not place.is_dir():
        return []
    folders = [folder for folder in place.iterdir() if not folder.name.startswith(".")]
    return [run for folder in folders if (run := _run_in(folder)) is not None]


def _run_in(path: Path) -> Run | None:
    files = RunFiles(path)
    try:
        recipe, origin = files.recipe, files.origin
    except UserError as error:
        log.info("%s is no run: %s", path, error)
        return None
    on_disk, best = RunDir(path), files.best()
    pace = of_steps(on_disk.last_steps(LAST))
    return Run(path.name, path, recipe, origin, files.facts, status(path), None, on_disk.latest(), "", best, pace)


def _newest(folder: Path) -> float:
    return max((file.stat().st_mtime for file in folder.iterdir()), default=0.0)


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    source.rename(target)
