"""The one inference worker of this front: loads a model on demand and answers jobs of every chat with it. Replies of
models on other machines are passed on to remote.py, and change nothing here.

Invariant: at most one model is loaded, and it is never exchanged under a running job; who needs another one waits. On a
card it is loaded only while no other job of this program has that card.
The worker starts when it is first needed, is given back by ending its process, and after a crash starts again with the
next job.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from app.launch import worker_argv
from app.services.events import Event
from app.services.gpu_lease import GpuLease, held_by_process
from app.services.remote.engines import RemoteService
from app.supervisor import State, WorkerSupervisor
from core import load_options
from core.chat.turns import ReplyFigures
from core.errors import Param, UserError
from core.load_options import LoadOptions
from core.protocol.messages import (
    CountTokens,
    Failed,
    Finished,
    Generate,
    GenerateBatch,
    JobEvent,
    LoadModel,
    MeasureForms,
    ModelLoaded,
    Progress,
    Token,
    Tokenize,
    Tokenized,
    TokensCounted,
)
from core.protocol.serving import OpenDoor

log = logging.getLogger("inference")

Phase = Literal["none", "loading", "ready"]
MANY = 1024  # cards


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model's name stands for: the model to load, and the adapter to answer with where it names one."""

    base: str
    folder: Path
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class ModelState:
    """What the window shows of the model: its name, how far it is, and its facts once it is ready.

    name: of the model in memory; an adapter is answered with by its base. options: how it was asked to be loaded.
    adapter: the name of the adapter it answered with last, "" for the model alone.
    """

    phase: Phase = "none"
    name: str = ""
    progress: Progress | None = None
    loaded: ModelLoaded | None = None
    is_responsive: bool = True
    options: LoadOptions = load_options.DEFAULT
    adapter: str = ""


class InferenceService:
    """
    Attributes:
        state: ModelState
        changed: emitted with the new state
        answered: emitted with the state and the figures of each reply that has ended
        may_exchange: asked before a model that other programs are served with is exchanged for another, or loaded in
            another way, with the name of the model to be loaded; a no ends the job with served_model_kept or
            served_model_not_reloaded
    """

    def __init__(
        self,
        locate: Callable[[str], ModelFiles],
        *,
        options: Callable[[str], LoadOptions] = lambda base: load_options.DEFAULT,
        keep_loaded_s: Callable[[], float] = lambda: 0.0,
        argv: Sequence[str] | None = None,
        lease: GpuLease | None = None,
        remote: RemoteService | None = None,
    ) -> None:
        """`locate` gives the files of a model by name (UserError when there is none), `options` how a model shall be
        loaded: when that changes it is loaded anew for the next job; keep_loaded_s 0 is for ever."""
        self.state = ModelState()
        self.changed: Event[ModelState] = Event()
        self.answered: Event[tuple[ModelState, ReplyFigures]] = Event()
        self._locate = locate
        self._remote = remote
        self._options = options
        self._keep_loaded_s = keep_loaded_s
        self._lease = lease or GpuLease()
        self._worker = WorkerSupervisor("inference", argv or worker_argv("inference"), on_change=self._on_worker_change)
        self._running: set[str] = set()
        self.may_exchange: Callable[[str], Awaitable[bool]] = _always
        self._doors = 0  # open for other programs; while there is one, the model stays though nobody asks
        self._is_served = False  # a door is open, not only about to be opened
        self._asking = asyncio.Lock()
        self._cancelled: set[str] = set()
        self._loading: asyncio.Task[Failed | None] | None = None
        self._starting: asyncio.Lock = asyncio.Lock()
        self._pulse = asyncio.Event()
        self._unload_timer: asyncio.TimerHandle | None = None

    # --- verbs -----------------------------------------------------------------

    async def warm(self) -> None:
        """Start the worker ahead of need, so that its imports are done when the first question comes."""
        await self._start()

    async def load(self, model: str) -> ModelLoaded:
        """Have `model` loaded. Raises UserError, or RuntimeError with the detail of a bug."""
        async for event in self._until_ready(model, uuid.uuid4().hex):
            if isinstance(event, Failed):
                raise as_error(event)
        assert self.state.loaded is not None
        return self.state.loaded

    async def generate(self, model: str, job: Generate) -> AsyncGenerator[JobEvent, None]:
        """The events of a reply, with the Progress of loading before it where the model was not ready."""
        async with aclosing(self._run_anywhere(model, job)) as events:
            async for event in events:
                yield event

    async def generate_batch(self, model: str, job: GenerateBatch) -> AsyncGenerator[JobEvent, None]:
        """The answers to many conversations, as they come."""
        async with aclosing(self._run_anywhere(model, job)) as events:
            async for event in events:
                yield event

    def locate(self, model: str) -> ModelFiles:
        """
        Raises:
            UserError: remote_no_files; as what gives the files of the models here.
        """
        if self.is_elsewhere(model):
            raise UserError("remote_no_files", name=model)
        return self._locate(model)

    def is_elsewhere(self, model: str) -> bool:
        """It answers from another machine: there is nothing to load."""
        return self._remote is not None and self._remote.find(model) is not None

    async def open_door(self, model: str, job: OpenDoor) -> AsyncGenerator[JobEvent, None]:
        """Other programs are answered until the job is cancelled. Unlike a reply it does not keep the model from
        being exchanged: they are answered by whichever is loaded."""
        self._doors += 1
        try:
            async for event in self._until_ready(model, job.job_id):
                yield event
                if isinstance(event, Finished | Failed):
                    return
            if job.job_id in self._cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            self._cancel_unload()
            self._is_served = True
            async for event in self._worker.run(job):
                yield event
        finally:
            self._doors -= 1
            self._is_served = False
            self._cancelled.discard(job.job_id)
            if not self._running:
                self._plan_unload()

    async def count(self, model: str, job: CountTokens) -> int:
        """Tokens of the turns as a prompt of `model`, which must be loaded or gets loaded."""
        async for event in self._run(model, job):
            if isinstance(event, TokensCounted):
                return event.tokens
            if isinstance(event, Failed):
                raise as_error(event)
        raise RuntimeError("the worker counted nothing")

    async def tokenize(self, model: str, text: str, *, unsafe_special: bool = False) -> tuple[Token, ...]:
        """The tokens of a text; loads the tokenizer only, never the weights."""
        return (await self.read_tokens(model, text, unsafe_special=unsafe_special)).tokens

    async def read_tokens(self, model: str, text: str, *, unsafe_special: bool = False) -> Tokenized:
        """tokenize(), with the size of the vocabulary. A long text's tokens come in pieces and are put together here:
        no piece keeps the loop for long. Given up (cancelled), the worker's job ends too."""
        files = self.locate(model)
        await self._start()
        job = Tokenize(uuid.uuid4().hex, str(files.folder), text, unsafe_special)
        pieces: list[Tokenized] = []
        async with aclosing(self._worker.run(job)) as events:
            async for event in events:
                if isinstance(event, Tokenized):
                    pieces.append(event)
                elif isinstance(event, Failed):
                    raise as_error(event)
        if not pieces:
            raise RuntimeError("the worker gave no tokens")
        tokens = tuple(token for piece in pieces for token in piece.tokens)
        return msgspec.structs.replace(pieces[-1], tokens=tokens)

    @property
    def is_idle(self) -> bool:
        """Nobody is answered and nothing is loading."""
        return not self._running and self._loading is None

    async def measure_forms(self) -> None:
        """How fast the forms of weights are here, which takes about a second; the worker keeps it."""
        async for event in self._worker.run(MeasureForms(uuid.uuid4().hex)):
            if isinstance(event, Failed):
                raise as_error(event)

    def cancel(self, job_id: str) -> None:
        """Also while the model is still loading: then the job ends and the loading goes on."""
        self._cancelled.add(job_id)
        self._worker.cancel(job_id)
        if self._remote is not None:
            self._remote.cancel(job_id)
        self._wake()

    async def unload(self) -> None:
        """Give the memory back: the process ends."""
        self._cancel_unload()
        await self._worker.stop()

    def kill(self) -> None:
        """For a worker that does not respond; its jobs fail, the next one starts a new worker."""
        self._worker.kill()

    async def close(self) -> None:
        self._cancel_unload()
        await self._worker.stop()
        if self._loading is not None:
            await asyncio.wait([self._loading])

    # --- running ---------------------------------------------------------------

    def _run_anywhere(self, model: str, job: Generate | GenerateBatch) -> AsyncGenerator[JobEvent, None]:
        if self._remote is not None and self.is_elsewhere(model):
            return self._run_elsewhere(self._remote, model, job)
        return self._run(model, job)

    async def _run_elsewhere(
        self, remote: RemoteService, model: str, job: Generate | GenerateBatch
    ) -> AsyncGenerator[JobEvent, None]:
        try:
            if job.job_id in self._cancelled:
                yield Finished(job.job_id, "cancelled")
                return
            if job.adapter:
                yield Failed(job.job_id, "user", "remote_no_files", {"name": model})
                return
            answering = (
                remote.generate_batch(model, job) if isinstance(job, GenerateBatch) else remote.generate(model, job)
            )
            async with aclosing(answering) as events:
                async for event in events:
                    yield event
        finally:
            self._cancelled.discard(job.job_id)

    async def _run(self, model: str, job: Generate | GenerateBatch | CountTokens) -> AsyncGenerator[JobEvent, None]:
        job_id = job.job_id
        try:
            files = self.locate(model)
            if files.adapter is not None and not isinstance(job, CountTokens):
                job = msgspec.structs.replace(job, adapter=str(files.adapter))
            async for event in self._until_ready(model, job_id):
                yield event
                if isinstance(event, Finished | Failed):
                    return
            if job_id in self._cancelled:  # asked for before the worker knew the job
                yield Finished(job_id, "cancelled")
                return
            self._running.add(job_id)
            self._cancel_unload()
            self._note_adapter(model if files.adapter is not None else "")
            async for event in self._worker.run(job):
                if isinstance(event, Finished) and event.figures is not None:
                    self.answered.emit((self.state, event.figures))
                yield event
        except UserError as error:  # no such model
            yield Failed(job_id, "user", error.code, error.params)
        finally:
            self._cancelled.discard(job_id)
            self._running.discard(job_id)
            self._wake()
            if not self._running:
                self._plan_unload()

    async def _until_ready(self, model: str, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Progress while another part of the program or this one loads; ends when `model` is ready, or with an end."""
        shown: Progress | None = None
        files = self.locate(model)
        base = files.base
        while not self._is_ready(base):
            if job_id in self._cancelled:
                yield Finished(job_id, "cancelled")
                return
            if not await self._may_load(base, job_id):
                if job_id in self._cancelled:
                    continue
                params: dict[str, Param] = {"served": self.state.name, "name": base}
                code = "served_model_not_reloaded" if base == self.state.name else "served_model_kept"
                yield Failed(job_id, "user", code, params)
                return
            if self._is_ready(base):  # while somebody thought about it
                return
            if self._loading is None and not self._running:
                self._loading = asyncio.get_running_loop().create_task(self._load(files), name=base)
            attempt = self._loading
            await self._next_change()
            ours = attempt is not None and attempt.get_name() == base and attempt.done()
            if attempt is not None and ours and (failure := attempt.result()):
                yield Failed(job_id, failure.kind, failure.code, failure.params, failure.detail)
                return
            progress = self.state.progress
            if progress is not None and progress is not shown and self.state.name == base:
                shown = progress
                yield Progress(job_id, progress.done, progress.total, progress.stage, progress.unit, progress.detail)

    async def _may_load(self, base: str, job_id: str) -> bool:
        """One question at a time; none while another model is loaded already, or nobody is served."""
        if not self._is_served:
            return True
        async with self._asking:
            if not self._is_served or self._loading is not None or self.state.phase != "ready" or self._is_ready(base):
                return True
            return await self._agreed(base, job_id)

    async def _agreed(self, base: str, job_id: str) -> bool:
        """No, too, when the job is cancelled meanwhile, with which the question goes."""
        asking = asyncio.ensure_future(self.may_exchange(base))
        try:
            while not asking.done() and job_id not in self._cancelled:
                change = asyncio.ensure_future(self._next_change())
                await asyncio.wait((asking, change), return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
            return asking.done() and asking.result()
        finally:
            asking.cancel()

    def _is_ready(self, base: str) -> bool:
        state = self.state
        return state.phase == "ready" and state.name == base and state.options == self._options(base)

    async def _load(self, files: ModelFiles) -> Failed | None:
        """The failure, or None when the model is ready."""
        job_id, base, options = uuid.uuid4().hex, files.base, self._options(files.base)
        failure: Failed | None = None
        loaded: ModelLoaded | None = None
        self._set(ModelState("loading", base))
        try:
            await self._start()
            await self._take_card(base, options)
            async for event in self._worker.run(LoadModel(job_id, base, str(files.folder), options)):
                if isinstance(event, Progress):
                    self._set(ModelState("loading", base, event))
                elif isinstance(event, ModelLoaded):
                    loaded = event
                elif isinstance(event, Failed):
                    failure = event
                elif isinstance(event, Finished) and event.reason == "cancelled":  # the process was asked to end
                    failure = Failed(job_id, "user", "loading_stopped")
            if failure is None and loaded is not None:
                await self._take_card(base, options, loaded)
        except UserError as error:
            failure = Failed(job_id, "user", error.code, error.params)
        finally:
            self._loading = None
        if failure is None and loaded is not None:
            self._set(ModelState("ready", base, None, loaded, options=options))
            return None
        self._lease.give_back(self._worker.pid)
        self._set(ModelState())
        return failure or Failed(job_id, "bug", "bug", {"what": "the model worker gave no answer"})

    async def _take_card(self, base: str, options: LoadOptions, loaded: ModelLoaded | None = None) -> None:
        """Before it is loaded the card it will lie on, if there is one; after that what it takes there.

        Raises:
            UserError: gpu_in_use_training, gpu_in_use_chat: another process has it.
        """
        pid = self._worker.pid

        def work() -> None:
            cards = self._lease.cards(1 if options.device == "auto" else 0 if options.device == "cpu" else MANY)
            if loaded is not None and loaded.device == "cpu":  # whatever the same process had before
                self._lease.give_back(pid)
            elif cards:
                size = loaded.weight_bytes if loaded else 0
                self._lease.take(cards, held_by_process("chat", base, pid, size))

        await asyncio.to_thread(work)

    async def _start(self) -> None:
        async with self._starting:
            if self._worker.state is State.STOPPED:
                await self._worker.start()

    # --- state -----------------------------------------------------------------

    def _set(self, state: ModelState) -> None:
        self.state = state
        self._wake()
        self.changed.emit(state)

    def _note_adapter(self, name: str) -> None:
        if name != self.state.adapter:
            self._set(replace(self.state, adapter=name))

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def _next_change(self) -> None:
        await self._pulse.wait()

    def _on_worker_change(self) -> None:
        if self._worker.state is State.STOPPED and self.state.phase == "ready":
            if self._worker.outcome is not None:
                log.info("%s", self._worker.outcome)
            self._set(ModelState())
        elif self._worker.is_responsive != self.state.is_responsive:
            self._set(replace(self.state, is_responsive=self._worker.is_responsive))

    def _plan_unload(self) -> None:
        self._cancel_unload()
        if not self._doors and (seconds := self._keep_loaded_s()):
            loop = asyncio.get_running_loop()
            self._unload_timer = loop.call_later(seconds, self._on_idle)

    def _cancel_unload(self) -> None:
        if self._unload_timer is not None:
            self._unload_timer.cancel()
            self._unload_timer = None

    def _on_idle(self) -> None:
        if not self._running and not self._doors and self._loading is None:
            self._stopping = asyncio.get_running_loop().create_task(self.unload(), name="unload idle model")


async def _always(model: str) -> bool:
    return True


def as_error(failed: Failed) -> Exception:
    """A failure as an exception: the user's world as UserError, a bug with the worker's own stack as a note."""
    if failed.kind == "bug":
        error = RuntimeError(str(failed.params.get("what", failed.code)))
        error.add_note(failed.detail)
        return error
    return UserError(failed.code, **failed.params)
