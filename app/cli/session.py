"""What a command needs of the services, opened for one call and closed whatever happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from app.cli.notices import flags, tell_kept, tell_remote, tell_unlisted
from app.services.discovery import DiscoveryService
from app.services.hub_access import HubAccess
from app.services.inference import InferenceService
from app.services.library import LibraryService
from app.services.preferences import Preferences
from app.services.profiling import ProfilingService
from app.services.remote.engines import RemoteService
from app.services.secrets import Secrets
from app.services.training import TrainingService
from core import paths, remote_engine, settings
from core.errors import UserError
from core.load_options import DEFAULT, SHORTEST_CONTEXT, LoadOptions
from core.paths import models, settings_file
from core.store.store import Store

Kept = TypeVar("Kept", TrainingService, ProfilingService)


def library() -> LibraryService:
    """The library in the folder that the settings name."""
    chosen = settings.load(settings_file())
    return LibraryService(Path(chosen.models_folder) if chosen.models_folder else models(), proxy=lambda: chosen.proxy)


def load_options(model: str, asked: Mapping[str, str | int | None]) -> LoadOptions:
    """What was chosen for this model in the window, with what the command line asks for in its place; what is left of
    the former is said on stderr, since nothing in the command shows it. None asks for nothing.

    Raises:
        UserError: context_too_short.
    """
    length = asked.get("context_length")
    if isinstance(length, int) and 0 < length < SHORTEST_CONTEXT:
        raise UserError("context_too_short", asked=length, least=SHORTEST_CONTEXT)
    kept = settings.load(settings_file()).load_options
    chosen = kept.get(model) or kept.get(_loaded_for(model), DEFAULT)
    options = msgspec.structs.replace(chosen, **{name: value for name, value in asked.items() if value is not None})
    tell_kept(model, {name: getattr(options, name) for name, value in asked.items() if value is None})
    return options


def check_elsewhere(model: str, asked: Mapping[str, str | int | None]) -> None:
    """What cannot be, or should be known, of a model of another machine; nothing for those of this one.

    Raises:
        UserError: remote_no_options.
    """
    found = remote_engine.find(settings.load(settings_file()).remote_engines, model)
    if found is None:
        return
    if given := {name: value for name, value in asked.items() if value is not None}:
        raise UserError("remote_no_options", name=model, options=flags(given))
    tell_unlisted(*found)


def _loaded_for(model: str) -> str:
    """The name its options are kept by: an adapter is answered with by its base."""
    try:
        return library().files_of(model).base
    except UserError:  # told where the model is needed
        return model


@asynccontextmanager
async def inference(options: LoadOptions = DEFAULT) -> AsyncIterator[InferenceService]:
    """An inference service of this process's own; its worker ends with it, and its connections to other machines."""
    remote = RemoteService(Preferences(), Secrets())
    remote.noticed.listen(tell_remote)
    service = InferenceService(library().files_of, options=lambda base: options, remote=remote)
    try:
        yield service
    finally:
        await remote.close()
        await service.close()


@asynccontextmanager
async def training() -> AsyncIterator[TrainingService]:
    """The fine-tunes of this machine; those at work go on after the block."""
    async with _with_store(TrainingService) as service:
        yield service


@asynccontextmanager
async def profiling() -> AsyncIterator[ProfilingService]:
    """The profiler; a table under way is cancelled with the block, and can be resumed."""
    async with _with_store(ProfilingService) as service:
        yield service


@asynccontextmanager
async def _with_store(make: Callable[[Store, LibraryService], Kept]) -> AsyncIterator[Kept]:
    store, models = Store(paths.database()), library()
    service = make(store, models)
    try:
        yield service
    finally:
        await service.close()
        await models.close()
        await store.close()


def hub_access() -> HubAccess:
    """Endpoints and tokens of the settings, the key ring and the environment."""
    return HubAccess(Preferences(), Secrets())


@asynccontextmanager
async def discovery() -> AsyncIterator[DiscoveryService]:
    """What can be had; its connections end with the block."""
    service = DiscoveryService(hub_access())
    try:
        yield service
    finally:
        await service.close()
