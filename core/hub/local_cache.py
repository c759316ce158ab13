"""Finds complete models in what other programs have fetched to this machine: the caches of the two hubs' own libraries.

Only looks at names and sizes, without those libraries. Invariant: a model that is found has its config, a tokenizer and
all files of its weights, and none of them lies outside the cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core import paths
from core.models.folder_files import CONFIG_NAME, PICKLE_NAMES, TOKENIZER_NAMES, WEIGHTS_NAME
from core.models.safetensors_file import INDEX_NAME
from core.sources import Source

MOST_INDEX_BYTES = 64 * 1024 * 1024
_NO_OWNERS = {"hub", "models", "datasets", "studios", "mcps", "skills", "ast_indexer"}  # folders of ModelScope's cache


@dataclass(frozen=True, slots=True)
class Cached:
    """commit: "" where the cache does not say. size_bytes: of the folder, what links point to counted."""

    source: Source
    commit: str
    folder: Path
    size_bytes: int


def cached_models(huggingface: Path | None = None, modelscope: Path | None = None) -> tuple[Cached, ...]:
    """All complete models, by name. The folders are those of the libraries, unless given."""
    roots = (
        (huggingface or paths.huggingface_cache(), _huggingface),
        (modelscope or paths.modelscope_cache(), _modelscope),
    )
    found: dict[Path, Cached] = {}
    for root, snapshots in roots:
        for source, commit, folder in snapshots(root):
            if (size := _complete_bytes(folder, root)) is not None:
                found.setdefault(folder.resolve(), Cached(source, commit, folder, size))
    return tuple(sorted(found.values(), key=lambda one: (one.source.id.lower(), one.source.place, str(one.folder))))


def _huggingface(root: Path) -> Iterator[tuple[Source, str, Path]]:
    for repository in _folders(root):
        if not repository.name.startswith("models--"):
            continue
        id = repository.name.removeprefix("models--").replace("--", "/", 1)
        names = _names_of_commits(repository / "refs")
        for snapshot in _folders(repository / "snapshots"):
            yield Source("huggingface", id, names.get(snapshot.name, snapshot.name)), snapshot.name, snapshot


def _names_of_commits(refs: Path) -> dict[str, str]:
    """Branches and tags by their commits."""
    found: dict[str, str] = {}
    for file in _entries(refs):
        try:
            if file.is_file() and file.stat().st_size < 100:
                found.setdefault(file.read_text("utf-8", "replace").strip(), file.name)
        except OSError:
            continue
    return found


def _modelscope(root: Path) -> Iterator[tuple[Source, str, Path]]:
    """The layouts of its library so far, the newest first. In the older ones a point in a name is written ___."""
    for repository in _folders(root / "models"):
        owner, _, name = repository.name.partition("--")
        for snapshot in _folders(repository / "snapshots") if name else ():
            commit = snapshot.name if len(snapshot.name) == 40 else ""
            yield Source("modelscope", f"{owner}/{name}", snapshot.name), commit, snapshot
    for above in (root / "models", root / "hub" / "models", root / "hub", root):
        for owner_folder in _folders(above):
            if owner_folder.name in _NO_OWNERS or "--" in owner_folder.name:
                continue
            for folder in _folders(owner_folder):
                yield Source("modelscope", f"{owner_folder.name}/{folder.name.replace('___', '.')}"), "", folder


def _complete_bytes(folder: Path, root: Path) -> int | None:
    """The size of a model folder, None unless everything is there."""
    sizes = dict(_files(folder, root.resolve()))
    if CONFIG_NAME not in sizes or not any(name in sizes for name in TOKENIZER_NAMES):
        return None
    whole = any(
        sizes.get(single) or (index in sizes and _has_all(folder / index, sizes))
        for single, index in ((WEIGHTS_NAME, INDEX_NAME), PICKLE_NAMES)
    )
    return sum(sizes.values()) if whole else None


def _files(folder: Path, root: Path) -> Iterator[tuple[str, int]]:
    """The files directly in `folder` with their sizes; a link that leads nowhere or out of the cache is no file."""
    for entry in _entries(folder):
        try:
            target = entry.resolve(strict=True)
            if target.is_file() and target.is_relative_to(root):
                yield entry.name, target.stat().st_size
        except (OSError, RuntimeError):  # gone, not ours to read, or links in a circle
            continue


def _has_all(index: Path, sizes: dict[str, int]) -> bool:
    try:
        if index.stat().st_size > MOST_INDEX_BYTES:
            return False
        names = json.loads(index.read_bytes())["weight_map"].values()
        return bool(names) and all(sizes.get(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _folders(folder: Path) -> list[Path]:
    """Those directly in it. Not the links, as ModelScope's library links the plain name to the one without points, nor
    the hidden ones, where downloads are under way."""
    found = []
    for entry in _entries(folder):
        try:
            if not entry.name.startswith(".") and entry.is_dir() and not entry.is_symlink():
                found.append(entry)
        except OSError:
            continue
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder))
    except OSError:
        return []
