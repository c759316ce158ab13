"""The models the program can fetch by name, with the hashes that make them what they are: resources/catalogue.json.

Invariant: an entry holds everything needed to recognise its bytes, so it does not matter who delivers them.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec import Struct

from core.errors import UserError
from core.paths import resources


class WheelSource(Struct, frozen=True, tag="wheel", tag_field="kind"):
    """A GGUF file inside a wheel of a Python package."""

    package: str
    version: str
    size_bytes: int
    sha256: str
    member: str
    member_bytes: int
    member_sha256: str


class Entry(Struct, frozen=True):
    """One model. `stored_bytes` is what it takes in the library, about."""

    name: str
    title: str
    summary: str
    licence: str
    parameters: int
    context_length: int
    stored_bytes: int
    source: WheelSource


class _Catalogue(Struct, frozen=True):
    schema: int
    models: tuple[Entry, ...]


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    raw = (resources() / "catalogue.json").read_bytes()
    return msgspec.json.decode(raw, type=_Catalogue).models


def find(name: str) -> Entry:
    """
    Raises:
        UserError: not_in_catalogue, with the names there are.
    """
    for entry in entries():
        if entry.name == name.lower():
            return entry
    raise UserError("not_in_catalogue", name=name, names=", ".join(entry.name for entry in entries()))
