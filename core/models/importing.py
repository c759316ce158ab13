"""Takes a model the user already has into the library: a transformers or adapter folder where it lies, a GGUF file
converted.

Invariant: the library changes by one rename at the very end, or not at all; the user's own files are only read.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.errors import UserError
from core.models import adapter, checkpoint, families, manifest, shelf
from core.models.adapter_import import import_adapter
from core.models.checkpoint import Checkpoint
from core.models.checksums import records
from core.models.gguf import convert
from core.models.gguf_file import is_gguf, open_gguf
from core.models.manifest import Manifest
from core.models.safetensors_file import INDEX_NAME
from core.models.space import disk_errors, need_space
from core.models.steps import Step, Work

if TYPE_CHECKING:
    from core.models.gguf_file import GgufFile

BFLOAT16_BYTES = 2
COPIED_BYTES = 8 * 1024 * 1024
PAPERS = ("readme.md", "license", "licence", "notice")  # what people read of a model
RESERVED_NAMES = ("starter",)  # `pull starter` puts another model there


def import_model(
    source: Path,
    name: str,
    models_folder: Path,
    *,
    convert_pickle: bool = False,
    base: str = "",
    keeps: bool = False,
    came_from: str = "",
) -> Work[Path]:
    """Take `source` into the library as `name` ("" for the name it has). The result is its folder in the library.
    base: of an adapter, the model it belongs to, where its own config does not say; keeps, came_from: as ImportModel.

    Raises:
        UserError: one sentence for each thing that can be wrong with it; the library is then as it was.
    """
    source = source.expanduser().absolute()
    if not source.exists():
        raise UserError("import_missing", path=str(source))
    source = _only_gguf(source) or source
    chosen = shelf.safe_name(name or natural_name(source))
    if chosen.lower() in RESERVED_NAMES:
        raise UserError("name_reserved", name=chosen)
    if not _is_at_home(source, chosen, models_folder):
        shelf.need_free_name(models_folder, chosen)
    if keeps and source.is_dir() and adapter.is_adapter(source):
        return (yield from _keep_adapter(source, chosen, base, models_folder, came_from or str(source)))
    if source.is_dir() and adapter.is_adapter(source):
        at_home = _is_at_home(source, chosen, models_folder)
        work = import_adapter(source, chosen, base, models_folder, convert_pickle=convert_pickle, at_home=at_home)
        return (yield from work)
    if source.is_file():
        return (yield from import_gguf(source, chosen, models_folder, str(source), keep=True))
    if convert_pickle and checkpoint.has_pickle(source) and not _has_safetensors(source):
        return (yield from import_pickles(source, chosen, models_folder, str(source)))
    if keeps:
        return (yield from _keep_folder(source, chosen, models_folder, came_from or str(source)))
    return (yield from _import_folder(source, chosen, models_folder))


def _only_gguf(folder: Path) -> Path | None:
    """A folder that is just the wrapping of one GGUF file."""
    found = list(folder.glob("*.gguf")) if not (folder / checkpoint.CONFIG_NAME).exists() else []
    return found[0] if len(found) == 1 else None


def natural_name(source: Path) -> str:
    """What a user would call it. Hub caches hide the name: models--Qwen--Qwen3-0.6B/snapshots/<commit>."""
    if source.parent.name == "snapshots":
        return source.parent.parent.name.split("--")[-1]
    return source.stem if source.is_file() else source.name


def facts_of(found: Checkpoint, name: str, source: str, files: tuple[manifest.FileRecord, ...]) -> Manifest:
    """The manifest of a checkpoint that was examined."""
    return Manifest(
        name=name,
        source=source,
        architecture=found.architecture,
        model_type=found.model_type,
        weights=found.weights,
        parameters=found.parameters,
        context_length=found.context_length,
        files=files,
        licence=found.licence,
        can_chat=found.can_chat,
        added=shelf.now(),
        code_files=found.code_files,
        family=families.family_of(found.config).key,
    )


def built_bytes(source: GgufFile) -> int:
    """What a GGUF file becomes: every element two bytes, and its tokenizer."""
    elements = sum(tensor.rows * tensor.shape[-1] for tensor in source.tensors.values())
    return elements * BFLOAT16_BYTES + 100_000_000


def import_gguf(
    file: Path, name: str, models_folder: Path, source: str, licence: str = "", *, keep: bool = False
) -> Work[Path]:
    """Convert a GGUF file into the library. source: where it came from, for people; keep: the file stays where it is,
    so the model remembers it.

    Raises:
        UserError: import_not_a_model, gguf_*, disk_full.
    """
    checkpoint.refuse_pointer(file)
    if not is_gguf(file):
        raise UserError("import_not_a_model", file=file.name)
    opened = open_gguf(file)
    needed = built_bytes(opened)
    need_space(models_folder, needed)
    licence = licence or str(opened.metadata.get("general.license", ""))
    kept = file if keep else None
    with disk_errors(models_folder, needed), shelf.incoming(models_folder) as folder:
        config = yield from convert(file, folder)
        return (yield from store_built(folder, config, name, source, models_folder, licence, gguf=kept))


def import_pickles(folder: Path, name: str, models_folder: Path, source: str, licence: str = "") -> Work[Path]:
    """Convert a folder with pickle weights into the library; only with the user's consent."""
    from core.models.pickles import convert_pickles, pickle_files

    config = checkpoint.read_config(folder)
    checkpoint.need_tokenizer(folder, config)
    checkpoint.need_whole_tokenizer(folder)
    needed = sum((folder / file).stat().st_size for file in pickle_files(folder))
    need_space(models_folder, needed)
    with disk_errors(models_folder, needed), shelf.incoming(models_folder) as built:
        yield from convert_pickles(folder, built)
        for side in checkpoint.SIDE_FILES:
            if (folder / side).is_file() and not (built / side).exists():
                shutil.copyfile(folder / side, built / side)
        return (yield from store_built(built, config, name, source, models_folder, licence))


def store_built(
    folder: Path,
    config: dict[str, Any],
    name: str,
    source: str,
    models_folder: Path,
    licence: str = "",
    *,
    gguf: Path | None = None,
) -> Work[Path]:
    """Give a model that was built in `folder`, an incoming one, its place in the library. gguf: the file it was
    converted from, where the user keeps that."""
    found = checkpoint.examine(folder, config)
    checkpoint.need_whole_tokenizer(folder)
    files = yield from records(folder, found.file_names)
    facts = facts_of(found, name, source, files)
    facts = msgspec.structs.replace(facts, licence=licence or facts.licence, gguf=str(gguf or ""))
    return shelf.put_in_place(folder, models_folder, facts)


def _import_folder(source: Path, name: str, models_folder: Path) -> Work[Path]:
    found = checkpoint.examine(source)
    checkpoint.need_whole_tokenizer(source)
    files = yield from records(source, found.file_names)
    facts = facts_of(found, name, str(source), files)
    with disk_errors(models_folder, 1_000_000):
        if _is_at_home(source, name, models_folder):
            manifest.write(source, facts)
            return source
        with shelf.incoming(models_folder) as folder:
            return shelf.put_in_place(folder, models_folder, msgspec.structs.replace(facts, location=str(source)))


def _keep_folder(source: Path, name: str, models_folder: Path, came_from: str) -> Work[Path]:
    """As the same files in the library where the disk allows it, else as copies."""
    found = checkpoint.examine(source)
    names = _with_papers(source, found.file_names)
    with disk_errors(models_folder, 1_000_000), shelf.incoming(models_folder) as folder:
        yield from _brought(source, names, folder)
        files = yield from records(folder, names)
        return shelf.put_in_place(folder, models_folder, facts_of(found, name, came_from, files))


def _keep_adapter(source: Path, name: str, base: str, models_folder: Path, came_from: str) -> Work[Path]:
    names = _with_papers(source, adapter.examine(source).file_names)
    with disk_errors(models_folder, 1_000_000), shelf.incoming(models_folder) as folder:
        yield from _brought(source, names, folder)
        yield from import_adapter(folder, name, base, models_folder, at_home=True)
        facts = msgspec.structs.replace(manifest.read(folder), source=came_from)
        return shelf.put_in_place(folder, models_folder, facts)


def _with_papers(source: Path, names: Sequence[str]) -> tuple[str, ...]:
    papers = sorted(file.name for file in source.iterdir() if file.name.lower().startswith(PAPERS))
    return (*names, *(name for name in papers if name not in names))


def _brought(source: Path, names: Sequence[str], folder: Path) -> Work[None]:
    sizes = {name: (source / name).stat().st_size for name in names}
    total, done = sum(sizes.values()), 0
    for name, size in sizes.items():
        yield Step("copying", done, total, name)
        if not _linked(source / name, folder / name):
            need_space(folder, size)
            yield from _copied(source / name, folder / name, done, total)
        done += size


def _linked(file: Path, to: Path) -> bool:
    """Whether `to` is the same file now; not across disks. What a link points to counts."""
    try:
        os.link(file.resolve(), to)
    except OSError:
        return False
    return True


def _copied(file: Path, to: Path, done: int, total: int) -> Work[None]:
    with file.open("rb") as source, to.open("wb") as out:
        while chunk := source.read(COPIED_BYTES):
            out.write(chunk)
            done += len(chunk)
            yield Step("copying", done, total, file.name)


def _is_at_home(source: Path, name: str, models_folder: Path) -> bool:
    """The user put the folder below the models folder by hand: its manifest goes right into it."""
    place = models_folder / name
    return place.exists() and source.resolve() == place.resolve() and not (place / manifest.FILE_NAME).exists()


def _has_safetensors(source: Path) -> bool:
    return any((source / name).is_file() for name in (checkpoint.WEIGHTS_NAME, INDEX_NAME))
