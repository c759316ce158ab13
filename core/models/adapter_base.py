"""Finds the model that an adapter belongs to. Imports no torch: the front asks as well.

Invariant: a base that was found is whole: a model of the library, or a folder with a config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from core.errors import UserError
from core.models import manifest
from core.models.manifest import Manifest

HUB_CACHE = "snapshots"
# What hubs append to the names of quantised copies: an adapter that was trained on one fits the model itself too.
_FORM = re.compile(r"(-unsloth)?(-bnb-[48]bit|-GPTQ-Int[48]|-AWQ|-Int[48])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Base:
    """name: as an adapter's manifest gives it: of the library, or the folder of a model outside it."""

    name: str
    folder: Path
    facts: Manifest | None


def find_base(models_folder: Path, asked: str, said: str, adapter_name: str) -> Base:
    """The base that the user asked for, else the one the adapter's config means: a folder, or a hub name whose last
    part is a model of the library.

    Raises:
        UserError: adapter_base_unknown, adapter_base_missing.
    """
    wanted = asked or said
    known = list(_models(models_folder))
    for name in (wanted, _FORM.sub("", wanted)) if wanted else ():
        if found := next((one for one in known if _is_meant(one, name)), None):
            return found
    folder = Path(wanted).expanduser() if wanted else None
    if folder is not None and folder.is_absolute() and (folder / "config.json").is_file():
        return Base(str(folder), folder, None)
    if asked:
        raise UserError("adapter_base_missing", name=asked)
    raise UserError("adapter_base_unknown", name=adapter_name, base=said or "?")


def full_precision_of(models_folder: Path, name: str) -> str:
    """The name that the library gives to the model of which `name` is a quantised copy; "" where it has none."""
    wanted = _FORM.sub("", name)
    found = (one for one in _models(models_folder) if wanted != name and _is_meant(one, wanted))
    return next((one.name for one in found if one.facts and one.facts.weights not in ("int8", "int4")), "")


def _models(models_folder: Path) -> Iterator[Base]:
    if not models_folder.is_dir():
        return
    for folder in sorted(models_folder.iterdir()):
        if folder.name.startswith("."):
            continue
        try:
            facts = manifest.read(folder)
        except (OSError, msgspec.DecodeError):
            continue
        if not facts.base:
            yield Base(folder.name, manifest.files_folder(folder, facts), facts)


def _is_meant(known: Base, wanted: str) -> bool:
    """By its name in the library, by the folder its files lie in, or by its hub name."""
    if known.name.lower() in (wanted.lower(), _last(wanted).lower()):
        return True
    place = Path(wanted).expanduser()
    return place.is_absolute() and place.exists() and known.folder.exists() and place.samefile(known.folder)


def _last(wanted: str) -> str:
    """`Qwen/Qwen2.5-7B-Instruct`, a folder of that name, or a hub cache's `models--Qwen--Qwen2.5-7B-Instruct/...`."""
    place = Path(wanted)
    return place.parent.parent.name.split("--")[-1] if place.parent.name == HUB_CACHE else place.name
