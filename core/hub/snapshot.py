"""Puts a repository of a hub into the models folder: list, fetch, check, give it its place.

Invariant: a plan is made once and kept, so the bytes of two commits never mix; the library changes by one rename at the
very end, and a kill at any line leaves what the same call goes on from.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from core.errors import UserError
from core.hub.async_steps import awaited
from core.hub.client import open_client
from core.hub.fetching.download import Network, RemoteFile, fetch_all
from core.hub.hubs import HUBS
from core.hub.remote_shape import read_needed
from core.hub.repository import RepoFile
from core.hub.staging import Plan, read_plan, staging_folder, write_plan
from core.models import adapter, checkpoint, importing, manifest, shelf
from core.models.adapter_import import import_adapter
from core.models.manifest import FileRecord
from core.models.space import disk_errors, need_space
from core.models.steps import Step, T, Work
from core.protocol.messages import DownloadModel
from core.sources import NAMES, Access, Source

FIRST_BYTES = 64_000_000  # files up to this size come before the others: they tell whether the rest is of use
LISTING_S = 60.0
# With one of these the next source is asked; the bytes that have come count there too, where their digest is the same.
ELSEWHERE = (
    "hub_unreachable", "hub_slow", "hub_busy", "hub_untrusted", "hub_refused", "hub_gated", "hub_unknown_repository",
    "hub_unknown_revision", "hub_token_refused", "download_interrupted", "download_forbidden", "download_gone",
    "download_refused", "download_redirects", "download_wrong_length", "download_wrong_hash",
)  # fmt: skip
# A kept plan may name files that the hub has meanwhile thrown away; it is asked once more then.
OUTDATED = ("download_gone", "download_wrong_length", "download_wrong_hash")


def download(job: DownloadModel, network: Network) -> Work[Path]:
    """Have the model of `job` in its models folder; the result is its folder. At once when it is there already.

    Raises:
        UserError: why it could not be fetched or is of no use; what came so far is kept for the next time.
    """
    models_folder = Path(job.models_folder)
    name = shelf.safe_name(job.name)
    place, staging = models_folder / name, staging_folder(models_folder, name)
    if is_same_model(place, job.sources):
        shutil.rmtree(staging, ignore_errors=True)
        return place
    shelf.need_free_name(models_folder, name)
    problem: UserError | None = None
    for source in job.sources:
        patience = network if source is job.sources[-1] else replace(network, attempts=3, attempts_later=4)
        try:
            stored = yield from _Download(job, name, source, staging, patience).work()
        except UserError as error:
            if error.code not in ELSEWHERE:
                raise
            problem = problem or error
        else:
            shutil.rmtree(staging, ignore_errors=True)
            return stored
    raise problem or UserError("not_in_catalogue", name=job.name)


def is_same_model(place: Path, sources: Sequence[Source]) -> bool:
    """Whether the model in `place` came from one of these repositories."""
    try:
        came_from = manifest.read(place).source.lower()
    except (OSError, msgspec.DecodeError):
        return False
    return any(f" {source.id.lower()} @" in came_from for source in sources)


class _Download:
    """One attempt from one source."""

    def __init__(self, job: DownloadModel, name: str, source: Source, staging: Path, network: Network) -> None:
        self._job, self._name, self._source, self._network = job, name, source, network
        self._staging, self._files = staging, staging / "files"
        self._models_folder, self._hub = Path(job.models_folder), HUBS[source.place]
        self._access = next((one for one in job.accesses if one.place == source.place), Access(source.place))

    def work(self) -> Work[Path]:
        with disk_errors(self._models_folder, 1_000_000):
            self._files.mkdir(parents=True, exist_ok=True)
        kept = self._kept()
        plan = kept or (yield from self._new_plan())
        try:
            return (yield from self._carried_out(plan))
        except UserError as error:
            if kept is None or error.code not in OUTDATED:
                raise
        return (yield from self._carried_out((yield from self._new_plan())))

    def _carried_out(self, plan: Plan) -> Work[Path]:
        needed = plan.needed
        if needed.kind == "pickle" and not self._job.convert_pickle:
            raise UserError("hub_only_pickle", id=self._source.id)
        with disk_errors(self._models_folder, needed.total_bytes):
            records = yield from self._fetch(plan)
            return (yield from self._store(plan, records))

    # --- what to fetch -----------------------------------------------------------------

    def _kept(self) -> Plan | None:
        """The plan of an earlier attempt, where it is of the same thing."""
        kept = read_plan(self._staging)
        if kept is None or kept.repository.source != self._source:
            return None
        return kept if self._job.file in ("", *kept.needed.weights) else None

    def _new_plan(self) -> Work[Plan]:
        yield Step("asking", 0, None, self._source.id)
        plan = yield from awaited(_plan(self._access, self._source, self._network, self._job.file))
        write_plan(self._staging, plan)
        return plan

    # --- the bytes ---------------------------------------------------------------------

    def _fetch(self, plan: Plan) -> Work[tuple[FileRecord, ...]]:
        """Small files first: a model of no use is refused before its weights are fetched."""
        wanted = plan.needed.files
        first = [file for file in wanted if file.size_bytes <= FIRST_BYTES and not _is_weights(file.path)]
        others = [file for file in wanted if file not in first]
        here = sum(_bytes_here(self._files / file.path) for file in wanted)
        need_space(self._models_folder, max(0, plan.needed.total_bytes - here))
        total = plan.needed.total_bytes
        records = yield from _part_of(self._fetch_all(plan, first), 0, total)
        if plan.needed.kind in ("safetensors", "pickle"):
            checkpoint.read_config(self._files)
        done = sum(file.size_bytes for file in first)
        return (*records, *(yield from _part_of(self._fetch_all(plan, others), done, total)))

    def _fetch_all(self, plan: Plan, files: Sequence[RepoFile]) -> Work[tuple[FileRecord, ...]]:
        headers = self._hub.headers(self._access)
        remote = [
            RemoteFile(
                url=self._hub.address(self._access, plan.repository, file.path), name=file.path, sha256=file.sha256,
                size_bytes=file.size_bytes, git_oid=file.git_oid, headers=headers,
            )
            for file in files
        ]  # fmt: skip
        try:
            return (yield from fetch_all(remote, self._files, self._network))
        except UserError as error:
            if error.code == "download_busy":
                raise UserError("download_busy", file=self._name) from None
            if error.code == "download_forbidden" and plan.repository.gated:
                page = self._hub.page(self._access, self._source)
                raise UserError("hub_gated", id=self._source.id, hub=NAMES[self._source.place], link=page) from None
            raise

    # --- into the library ----------------------------------------------------------------

    def _store(self, plan: Plan, records: tuple[FileRecord, ...]) -> Work[Path]:
        where = f"{NAMES[self._source.place]} {self._source.id} @ {plan.repository.commit[:12]}"
        licence, job = plan.repository.licence, self._job
        match plan.needed.kind:
            case "gguf":
                file = self._files / plan.needed.weights[0]
                return (yield from importing.import_gguf(file, self._name, self._models_folder, where, licence))
            case "pickle":
                work = importing.import_pickles(self._files, self._name, self._models_folder, where, licence)
                return (yield from work)
            case "adapter":
                return (yield from self._store_adapter(where, records, job.base, licence))
            case "safetensors":
                found = checkpoint.examine(self._files)
                facts = importing.facts_of(found, self._name, where, records)
                code = plan.needed.code_files
                facts = msgspec.structs.replace(facts, licence=licence or facts.licence, code_files=code)
                _tidy(self._files, records)
                return shelf.put_in_place(self._files, self._models_folder, facts)

    def _store_adapter(self, where: str, records: tuple[FileRecord, ...], base: str, licence: str) -> Work[Path]:
        """Checked against its base where it lies, then given its place."""
        _tidy(self._files, records)
        yield from import_adapter(self._files, self._name, base, self._models_folder, at_home=True)
        facts = msgspec.structs.replace(manifest.read(self._files), source=where, licence=licence)
        return shelf.put_in_place(self._files, self._models_folder, facts)


def _part_of(work: Work[T], before: int, total: int) -> Work[T]:
    """The steps of `work` as steps of something larger."""
    result: T
    try:
        while True:
            step = next(work)
            yield step and msgspec.structs.replace(step, done=before + step.done, total=total)
    except StopIteration as end:
        result = end.value
    finally:
        work.close()
    return result


async def _plan(access: Access, source: Source, network: Network, file: str) -> Plan:
    """
    Raises:
        UserError: hub_*; hub_choose_file, where there are several GGUF files and none was named.
    """
    async with open_client(network.proxy, network.certificates) as client:
        repository = await HUBS[source.place].describe(client, access, source, deadline_s=LISTING_S)
        needed = await read_needed(client, access, repository, file, deadline_s=LISTING_S)
    if not needed.files:
        names = ", ".join(choice.file.path for choice in needed.choices)
        raise UserError("hub_choose_file", id=source.id, files=names)
    return Plan(repository, needed)


def _is_weights(path: str) -> bool:
    return path.endswith((".safetensors", ".bin", ".gguf", ".pt")) or path == adapter.WEIGHTS_NAME


def _bytes_here(file: Path) -> int:
    """What has come of a file, whole or not. A part file may have holes, so its blocks are counted."""
    for candidate in (file, file.with_name(file.name + ".part")):
        if candidate.exists():
            status = candidate.stat()
            return min(status.st_size, getattr(status, "st_blocks", status.st_size // 512) * 512)
    return 0


def _tidy(folder: Path, records: tuple[FileRecord, ...]) -> None:
    """Locks and notes of the download are no part of the model."""
    names = {record.name for record in records}
    for file in folder.rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in names:
            file.unlink()
