"""The server for other programs: open, close, and what is going on at its door.

The door itself is in the inference worker, which has the model. Invariant: while the server is meant to be open it
comes back after every death of the worker, on the same port, unless the worker keeps dying; the port is ours, so that
it answers meanwhile, and requests that died with the worker are told as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Literal

from app.services.events import Event
from app.services.inference import InferenceService, ModelState, as_error
from app.services.library import LibraryService
from app.services.loading_answers import LoadingAnswers
from app.services.stream_keeper import StreamKeeper
from core.errors import UserError
from core.protocol.messages import Failed, Finished, JobEvent, Progress
from core.protocol.serving import (
    DoorOpened,
    OpenDoor,
    OutsideRequest,
    RequestEnded,
    RequestsChanged,
    RequestsRefused,
    ServedModel,
)
from core.serving import listening

log = logging.getLogger("serving")

Phase = Literal["closed", "opening", "open"]
DEATHS, DEATHS_WITHIN_S = 3, 30.0
HOST_NAME = re.compile(r"(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?", re.ASCII)
ANYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """keys: what clients must send; needed where other machines can come. origins: of pages that may ask.
    names: by which clients may call this machine, beside its own name and its addresses."""

    host: str = "127.0.0.1"
    port: int = 8000
    keys: tuple[str, ...] = field(default=(), repr=False)  # which no log shall hold
    origins: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServerState:
    """
    model: by its name; address: http://host:port once it is open; live: requests that are not answered yet
    progress: of loading the model; error: why it closed by itself; deaths: of the worker, that it came back from
    """

    phase: Phase = "closed"
    model: str = ""
    address: str = ""
    live: tuple[OutsideRequest, ...] = ()
    progress: Progress | None = None
    error: Exception | None = None
    deaths: int = 0

    @property
    def queued(self) -> int:
        return sum(request.state == "queued" for request in self.live)

    @property
    def tokens_per_s(self) -> float:
        return sum(request.tokens_per_s for request in self.live)


class ServingService:
    """
    Attributes:
        state: ServerState
        options: with which it was opened last
        changed: emitted with the new state
        ended: emitted with each request that is over
        refused: emitted with those that were sent away before they were under way
    """

    def __init__(
        self, inference: InferenceService, adapters: Callable[[], Awaitable[Sequence[ServedModel]]] | None = None
    ) -> None:
        """adapters: those of the library, which are models for who asks; looked up each time it opens."""
        self.state = ServerState()
        self.options = ServerOptions()
        self.changed: Event[ServerState] = Event()
        self.ended: Event[RequestEnded] = Event()
        self.refused: Event[RequestsRefused] = Event()
        self._inference, self._adapters = inference, adapters
        self._task: asyncio.Task[None] | None = None
        self._job_id = ""
        self._opened = asyncio.Event()
        self._loading: LoadingAnswers | None = None

    async def start(self, model: str, options: ServerOptions) -> str:
        """Returns the address once the door is open.

        Raises:
            UserError: serve_needs_key, api_key_unusable, origin_unusable, port_taken and so on; and why the model
                cannot be loaded.
        """
        if self.is_busy:
            raise RuntimeError("the server is open")
        self.options = options
        try:
            check(options)
            self._inference.locate(model)
            listener = listening.bound(options.host, options.port)  # told before a model is loaded for nothing
        except UserError as error:
            self._set(ServerState(model=model, error=error))
            raise
        self._opened = asyncio.Event()
        self._set(ServerState("opening", model))
        self._task = asyncio.get_running_loop().create_task(self._keep_open(model, options, listener), name="server")
        opened = asyncio.get_running_loop().create_task(self._opened.wait(), name="server opens")
        try:
            await asyncio.wait((self._task, opened), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.stop()
            raise
        finally:
            opened.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await opened
        if self.state.error is not None:
            raise self.state.error
        return self.state.address

    @property
    def is_busy(self) -> bool:
        """Open, or on its way."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """Answers that are under way end with an error; the model stays."""
        task, self._task = self._task, None
        if task is None:
            return
        job_id, self._job_id = self._job_id, ""
        self._inference.cancel(job_id)
        await asyncio.wait((task,))

    async def closed(self) -> None:
        """Returns when it is closed, whatever for."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _keep_open(self, model: str, options: ServerOptions, listener: socket.socket) -> None:
        keeper = StreamKeeper()
        keeper.open(listener)
        self._loading = LoadingAnswers(listener) if keeper.path else None
        if not keeper.path:
            listener.close()  # the worker has to open one itself
        follows = self._inference.changed.listen(self._follow)
        deaths: list[float] = []
        try:
            while True:
                self._job_id = uuid.uuid4().hex
                if self._loading is not None:
                    await self._loading.start()
                job = await self._job(model, options, keeper.path)
                end = await self._open(model, job)
                model = self.state.model  # another one may have been loaded meanwhile
                if not self._job_id:
                    self._set(ServerState(model=model))
                    return
                if not isinstance(end, Failed):  # the model was given back, its process with it
                    self._set(ServerState(model=model, error=UserError("served_model_unloaded", name=model)))
                    return
                self._tell_lost()
                if end.kind != "died" or not self._opened.is_set():
                    self._set(ServerState(model=model, error=as_error(end)))
                    return
                log.warning("the model's process ended: %s", as_error(end))
                deaths = [*(at for at in deaths if time.monotonic() - at < DEATHS_WITHIN_S), time.monotonic()]
                if len(deaths) >= DEATHS:
                    error = UserError("server_died_often", count=len(deaths), reason=str(as_error(end)))
                    self._set(ServerState(model=model, error=error))
                    return
                options = replace(options, port=int(self.state.address.rpartition(":")[2]))
                self._set(replace(self.state, phase="opening", live=(), deaths=self.state.deaths + 1))
        except Exception as error:
            self._set(ServerState(model=model, error=error))
        finally:
            follows()
            keeper.close()
            if self._loading is not None:
                self._loading.stop()
            listener.close()

    def _follow(self, state: ModelState) -> None:
        """Whoever loads another model has it served from then on."""
        if self.state.phase != "open" or state.phase != "ready" or self._is_shown(state.name):
            return
        self._set(replace(self.state, model=state.name))

    def _is_shown(self, base: str) -> bool:
        try:
            return self._inference.locate(self.state.model).base == base
        except UserError:  # it is not in the library any more
            return self.state.model == base

    async def _job(self, model: str, options: ServerOptions, keeper: str) -> OpenDoor:
        files = self._inference.locate(model)
        models = list(await self._adapters()) if self._adapters is not None else []
        if files.adapter is not None and model not in (one.name for one in models):
            models.append(ServedModel(model, files.base, str(files.adapter)))
        return OpenDoor(
            self._job_id,
            options.host,
            options.port,
            tuple(models),
            model,
            tuple(hashlib.sha256(key.encode()).hexdigest() for key in options.keys),
            options.origins,
            names=(options.host, socket.gethostname(), f"{socket.gethostname()}.local", *options.names),
            keeper=keeper,
        )

    async def _open(self, model: str, job: OpenDoor) -> Finished | Failed | None:
        async for event in self._inference.open_door(model, job):
            if isinstance(event, Finished | Failed):
                return event
            self._take(event)
        return None

    def _tell_lost(self) -> None:
        """What was under way has failed with the process that can tell of it no more."""
        for request in self.state.live:
            self.ended.emit(RequestEnded(self._job_id, request, "failed", 503, "api_model_ended"))

    def _take(self, event: JobEvent) -> None:
        match event:
            case Progress():
                self._set(replace(self.state, progress=event))
            case DoorOpened(host=host, port=port):
                if self._loading is not None:
                    self._loading.stop()
                self._set(replace(self.state, phase="open", address=address(host, port), progress=None))
                self._opened.set()
                log.info("the server is open at %s", self.state.address)
            case RequestsChanged(live=live):
                self._set(replace(self.state, live=live))
            case RequestEnded():
                self.ended.emit(event)
            case RequestsRefused():
                self.refused.emit(event)
            case _:
                pass

    def _set(self, state: ServerState) -> None:
        self.state = state
        self.changed.emit(state)


async def served_adapters(library: LibraryService) -> list[ServedModel]:
    """The adapters of the library, by their names."""
    return [
        ServedModel(one.manifest.name, one.manifest.base, str(one.files_folder))
        for one in await library.installed()
        if one.manifest.base and not one.is_gone
    ]


def address(host: str, port: int) -> str:
    """As a client of this machine writes it."""
    if host in ANYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def check(options: ServerOptions) -> None:
    """
    Raises:
        UserError: serve_needs_key, api_key_unusable, origin_unusable, host_name_unusable.
    """
    if any(not key or not key.isascii() or not key.isprintable() or " " in key for key in options.keys):
        raise UserError("api_key_unusable")
    if not options.keys and not _is_loopback(options.host):
        raise UserError("serve_needs_key", host=options.host)
    for origin in options.origins:
        scheme, mark, rest = origin.partition("://")
        if origin != "*" and (not mark or scheme not in ("http", "https") or not rest or "/" in rest):
            raise UserError("origin_unusable", origin=origin)
    for name in options.names:
        if not HOST_NAME.fullmatch(name):
            raise UserError("host_name_unusable", name=name)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
