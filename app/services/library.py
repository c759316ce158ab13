"""The models on this machine and their way in and out. No Qt, no torch: heavy work is done by library workers.

Invariant: what is on disk is the truth. A model is there when its folder holds a readable manifest; nothing else is
remembered, so a folder that was copied, moved or deleted by hand is simply seen at the next look.
"""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path

import msgspec

from app.launch import worker_argv
from app.services.events import Event
from app.services.inference import ModelFiles, as_error
from app.services.installed import Installed, Wanted, from_folder, need_folder, outside_name
from app.services.transfers import Transfer
from app.supervisor import State, WorkerSupervisor
from core.errors import UserError
from core.hub import catalogue, local_cache
from core.hub.local_cache import Cached
from core.models import adapter, manifest, shelf
from core.models.adapter_base import find_base
from core.models.manifest import Manifest
from core.protocol.messages import (
    DownloadModel,
    Failed,
    FileVerified,
    ImportModel,
    Job,
    JobEvent,
    MergeAdapter,
    Progress,
    PullModel,
    VerifyModel,
    WriteInt4,
)
from core.sources import NAMES, Access

TRASH = ".trash"
TRASH_KEPT_S = 3600.0


class LibraryService:
    """
    Attributes:
        changed: emitted after the models changed, or which transfers run
        progressed: emitted after a figure of a running transfer changed, as often as its worker says
        transfers: what is running, by the name of the model
    """

    def __init__(
        self, models_folder: Path, *, proxy: Callable[[], str] = str, argv: Sequence[str] | None = None
    ) -> None:
        self.changed: Event[None] = Event()
        self.progressed: Event[None] = Event()
        self.transfers: dict[str, Transfer] = {}
        self._folder = models_folder
        self._proxy = proxy
        self._argv = argv or worker_argv("library")
        self._workers: dict[str, WorkerSupervisor] = {}
        self._ending: set[WorkerSupervisor] = set()  # told to end, perhaps not gone yet
        self._read: dict[Path, tuple[tuple[int, int], Manifest]] = {}
        self._removed: list[Path] = []

    # --- what is there -----------------------------------------------------------

    async def installed(self) -> list[Installed]:
        """Every whole model, by name."""
        return self._scan()

    def find(self, model: str) -> Installed:
        """By its name in the library, or as a folder with a transformers model or an adapter.

        Raises:
            UserError: model_unknown, with the names there are; model_unknown_first, when there is none; of an adapter
                as find_base(); config_missing, of a folder that holds neither.
        """
        known = self._scan()
        for one in known:
            if one.manifest.name.lower() == model.lower():
                return one
        folder = Path(model).expanduser()
        if (folder / "config.json").is_file():
            return from_folder(folder.absolute())
        if adapter.is_adapter(folder):
            return self._from_adapter(folder.absolute())
        is_path = len(folder.parts) > 1 or model.startswith((".", "~"))  # a word alone is meant as a name
        if is_path and folder.is_dir():
            raise UserError("config_missing", folder=str(folder))
        if not known:
            raise UserError("model_unknown_first", name=model)
        raise UserError("model_unknown", name=model, names=", ".join(one.manifest.name for one in known))

    def at(self, folder: Path) -> Installed | None:
        """The model whose files lie in `folder`, or came from there."""
        place = folder.resolve()
        for one in self._scan():
            if one.files_folder.resolve() == place or one.manifest.source == str(place):
                return one
        return None

    def files_of(self, model: str) -> ModelFiles:
        """What to load for a model's name: an adapter is answered with by its base.

        Raises:
            UserError: as find(); adapter_base_gone, model_folder_gone.
        """
        found = self.find(model)
        need_folder(found)
        if not found.manifest.base:
            return ModelFiles(found.manifest.name, found.files_folder)
        try:
            base = self.find(found.manifest.base)
        except UserError:
            raise UserError("adapter_base_gone", name=found.manifest.name, base=found.manifest.base) from None
        need_folder(base)
        return ModelFiles(base.manifest.name, base.files_folder, found.files_folder)

    def adapters_of(self, model: str) -> list[str]:
        """The names of the adapters that belong to it."""
        return [one.manifest.name for one in self._scan() if one.manifest.base.lower() == model.lower()]

    def _from_adapter(self, folder: Path) -> Installed:
        """An adapter that is in no library."""
        config = adapter.read_config(folder)
        base = find_base(self._folder, "", str(config.get("base_model_name_or_path") or ""), folder.name)
        known = self.find(base.name).manifest
        facts = msgspec.structs.replace(
            known,
            name=outside_name(folder),
            source=str(folder),
            base=base.name,
            location=str(folder),
            files=(),
            parameters=0,
        )
        return Installed(facts, folder)

    def _scan(self) -> list[Installed]:
        if not self._folder.is_dir():
            return []
        folders = sorted(self._folder.iterdir(), key=lambda folder: folder.name.lower())
        return [found for folder in folders if (found := self._installed_in(folder))]

    def _installed_in(self, folder: Path) -> Installed | None:
        file = folder / manifest.FILE_NAME
        if folder.name.startswith("."):
            return None
        try:
            stat = file.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            if (known := self._read.get(folder)) is None or known[0] != state:
                known = self._read[folder] = state, manifest.read(folder)
        except (OSError, msgspec.DecodeError):
            return None
        # The folder's own name counts: a user may have renamed it.
        return Installed(msgspec.structs.replace(known[1], name=folder.name), folder)

    @property
    def folder(self) -> Path:
        """Where the models lie."""
        return self._folder

    def move_to(self, models_folder: Path) -> None:
        """Look into another folder from now on. What is running goes on where it began."""
        self._folder = models_folder
        self.changed.emit(None)

    # --- in ----------------------------------------------------------------------

    def pull(self, name: str, folder: Path | None = None) -> AsyncGenerator[JobEvent, None]:
        """Fetch a model of the catalogue; the events end with Finished or Failed. folder: another models folder.

        Raises:
            UserError: not_in_catalogue, transfer_running.
        """
        entry = catalogue.find(name)
        job = PullModel(uuid.uuid4().hex, entry.name, str(folder or self._folder), self._proxy())
        return self._run(entry.name, job)

    def download(
        self, wanted: Wanted, accesses: Sequence[Access], folder: Path | None = None
    ) -> AsyncGenerator[JobEvent, None]:
        """Fetch a model from a hub; the events end with Finished or Failed. Given up, it goes on next time. folder:
        another models folder.

        Raises:
            UserError: transfer_running, name_unusable.
        """
        name = shelf.safe_name(wanted.name)
        job = DownloadModel(
            uuid.uuid4().hex, name, str(folder or self._folder), wanted.sources, tuple(accesses), self._proxy(),
            wanted.file, wanted.base, wanted.convert_pickle,
        )  # fmt: skip
        return self._run(name, job)

    def import_(
        self, path: Path, name: str = "", *, convert_pickle: bool = False, base: str = "", keeps: bool = False
    ) -> AsyncGenerator[JobEvent, None]:
        """Take a transformers or adapter folder, named itself or by its config, or a GGUF file into the library; the
        events end with Finished or Failed.

        base: of an adapter, the model it belongs to where it does not say; keeps: as of ImportModel
        """
        path = path.parent if path.name in ("config.json", adapter.CONFIG_NAME) else path
        job = ImportModel(uuid.uuid4().hex, str(path.absolute()), name, str(self._folder), convert_pickle, base, keeps)
        return self._run(name or path.name, job)

    def merge(
        self, adapter: str, name: str = "", *, base: str = "", out: Path | None = None, int4: bool = False
    ) -> AsyncGenerator[JobEvent, None]:
        """Work an adapter into its base model and prove that both answer alike: a model `name` of the library
        ("" for `<adapter>-merged`); the events end with Finished or Failed.

        base: another model than the adapter's own, the full-precision one of a quantised one; out: a new folder in
        place of the library; int4: rounded to 4 bits, into `out` only

        Raises:
            UserError: as files_of(); merge_needs_adapter, name_unusable.
        """
        files = self.files_of(adapter)
        if files.adapter is None:
            raise UserError("merge_needs_adapter", name=adapter)
        onto = self.files_of(base) if base else files
        called = self.find(adapter).manifest.name
        name = shelf.safe_name(name or f"{called}-merged")
        job = MergeAdapter(
            uuid.uuid4().hex, str(files.adapter), str(onto.folder), called, onto.base, name, str(self._folder),
            str(out.expanduser().absolute()) if out else "", int4,
        )  # fmt: skip
        return self._run(str(out) if out else name, job)

    def write_int4(self, model: str, out: Path) -> AsyncGenerator[JobEvent, None]:
        """A copy in 4 bits, as GPTQ lays them out, in the new folder `out`, of an adapter merged into its base; the
        events end with Finished or Failed.

        Raises:
            UserError: as files_of().
        """
        files = self.files_of(model)
        if files.adapter is not None:
            return self.merge(model, out=out, int4=True)
        return self._run(str(out), WriteInt4(uuid.uuid4().hex, str(files.folder), str(out.expanduser().absolute())))

    def verify(self, name: str) -> AsyncGenerator[JobEvent, None]:
        """Read every file of a model again: FileVerified for each; the events end with Finished or Failed."""
        found = self.find(name)
        return self._run(found.manifest.name, VerifyModel(uuid.uuid4().hex, str(found.folder)))

    async def found_here(self) -> list[Cached]:
        """Whole models in the caches of other programs that are not in the library yet."""
        cached = await asyncio.to_thread(local_cache.cached_models)
        known = {model.manifest.source for model in self._scan()}
        return [one for one in cached if origin(one) not in known]

    async def cached_at(self, folder: Path) -> Cached | None:
        """The model of another program's cache that lies there."""
        wanted = folder.expanduser().resolve()
        return next((one for one in await self.found_here() if one.folder.resolve() == wanted), None)

    def take_over(self, cached: Cached, name: str = "") -> AsyncGenerator[JobEvent, None]:
        """Into the library, as the same files where the disk allows it; the events end with Finished or Failed."""
        name = shelf.safe_name(name or cached.source.id.rpartition("/")[2])
        job = ImportModel(
            uuid.uuid4().hex, str(cached.folder), name, str(self._folder), keeps=True, came_from=origin(cached)
        )
        return self._run(name, job)

    async def adopt(self, cached: Cached) -> None:
        """take_over(), waited for. Raises its UserError; a cancelled one just returns."""
        await _ended(self.take_over(cached))

    async def fetch(self, name: str) -> None:
        """pull(), waited for. Raises its UserError; a cancelled one just returns."""
        await _ended(self.pull(name))

    async def take(self, path: Path, name: str = "", *, convert_pickle: bool = False, base: str = "") -> None:
        """import_(), waited for. Raises its UserError; a cancelled one just returns."""
        await _ended(self.import_(path, name, convert_pickle=convert_pickle, base=base))

    async def check(self, name: str) -> None:
        """verify(), waited for.

        Raises:
            UserError: files_damaged, with their names.
        """
        events = await _ended(self.verify(name))
        need_intact(name, [event for event in events if isinstance(event, FileVerified)])

    def cancel(self, name: str) -> None:
        """End what is running for a model; its job ends with Finished("cancelled")."""
        if transfer := self.transfers.get(name):
            self._workers[name].cancel(transfer.job_id)

    async def _run(self, name: str, job: Job) -> AsyncGenerator[JobEvent, None]:
        """One job in a worker of its own, which is gone when the events end, or are not read any more."""
        if name in self.transfers:
            raise UserError("transfer_running", name=name)
        worker = self._workers[name] = WorkerSupervisor("library", self._argv)
        transfer = self.transfers[name] = Transfer(name, job.job_id)
        self.changed.emit(None)
        try:
            await worker.start()
            async for event in worker.run(job):
                if isinstance(event, Progress):
                    transfer.update(event)
                    self.progressed.emit(None)
                yield event
            await worker.stop()
        finally:
            worker.kill()  # no await here: an abandoned stream is closed by the garbage collector
            self._ending = {one for one in (*self._ending, worker) if one.state is not State.STOPPED}
            del self.transfers[name]
            self._workers.pop(name)
            self.changed.emit(None)

    # --- out ---------------------------------------------------------------------

    async def remove(self, name: str) -> None:
        """Out of the library, into its trash, until close(). Files that lie elsewhere stay where they are.

        Raises:
            UserError: as find(), remove_outside, transfer_running, base_has_adapters.
        """
        found = self.find(name)
        if found.folder.parent != self._folder:
            raise UserError("remove_outside", name=name)
        if found.manifest.name in self.transfers:
            raise UserError("transfer_running", name=found.manifest.name)
        if adapters := self.adapters_of(found.manifest.name):
            raise UserError("base_has_adapters", name=found.manifest.name, adapters=", ".join(adapters))
        place = self._folder / TRASH / f"{uuid.uuid4().hex}" / found.folder.name
        place.parent.mkdir(parents=True)
        found.folder.rename(place)
        self._removed.append(place)
        self.changed.emit(None)

    async def restore(self, name: str) -> None:
        """Undo the last remove() of `name`.

        Raises:
            UserError: nothing_removed, name_taken.
        """
        for place in reversed(self._removed):
            if place.name.lower() == name.lower() and place.exists():
                shelf.need_free_name(self._folder, place.name)
                place.rename(self._folder / place.name)
                place.parent.rmdir()
                self._removed.remove(place)
                self.changed.emit(None)
                return
        raise UserError("nothing_removed", name=name)

    def tidy(self) -> None:
        """Remove what killed processes left behind. For a quiet moment after the start."""
        shelf.sweep(self._folder)
        for place in (self._folder / TRASH).glob("*"):
            if time.time() - place.stat().st_mtime > TRASH_KEPT_S:
                shutil.rmtree(place, ignore_errors=True)

    async def close(self) -> None:
        """Running jobs end, removed models are gone for good."""
        for worker in (*self._workers.values(), *self._ending):
            await worker.stop()
        for place in self._removed:
            shutil.rmtree(place.parent, ignore_errors=True)
        self._removed.clear()


def origin(cached: Cached) -> str:
    """What is said of where a model of a cache came from; the same for the same commit."""
    return f"{NAMES[cached.source.place]} {cached.source.id} @ {cached.commit[:12]}".removesuffix(" @ ")


def need_intact(name: str, checked: Sequence[FileVerified]) -> None:
    """
    Raises:
        UserError: files_damaged.
    """
    damaged = [event.name for event in checked if not event.is_intact]
    if damaged:
        raise UserError("files_damaged", name=name, files=", ".join(damaged))


async def _ended(events: AsyncGenerator[JobEvent, None]) -> list[JobEvent]:
    """All events of a job that went well. Read to the end even when it did not: then the worker is gone as well."""
    seen = [event async for event in events]
    if isinstance(seen[-1], Failed):
        raise as_error(seen[-1])
    return seen
