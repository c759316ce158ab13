"""The models the program knows by name without any network: resources/catalogue.json.

An entry says where a model can be had, what it may be used for and, by its config, what it would take of the memory.
Invariant: a model inside a Python package is recognised by the hash of its bytes, so whoever delivers it will do;
for the others the hub's own digests count.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

from core.errors import UserError
from core.models.shape import Shape, shape_of
from core.paths import resources
from core.sources import Source

Tag = Literal["base", "chat", "thinking", "tools", "code", "moe"]


class WheelSource(Struct, frozen=True):
    """A GGUF file inside a wheel of a Python package."""

    package: str
    version: str
    size_bytes: int
    sha256: str
    member: str
    member_bytes: int
    member_sha256: str


class Published(Struct, frozen=True):
    """What Qwen's README measured on one A100-80G: memory in bytes and tokens a second, for 2048 and 8192 tokens."""

    memory_2048: float
    memory_8192: float
    speed_2048: float
    speed_8192: float


class Entry(Struct, frozen=True):
    """One model.

    weights: how they are published; download_bytes: 0 where it is not known before a hub was asked
    needs_consent: the licence is no free one, so it is shown and accepted once
    config: the fields of its config.json that decide its size; None where a hub has to be asked
    stored_bytes: what it takes in the library where that is not download_bytes
    """

    name: str
    family: str
    tags: tuple[Tag, ...]
    released: str
    licence: str
    licence_link: str
    needs_consent: bool
    weights: Literal["bfloat16", "int8", "int4"]
    parameters: int
    download_bytes: int
    context_length: int
    config: dict[str, Any] | None = None
    sources: tuple[Source, ...] = ()
    wheel: WheelSource | None = None
    title: str = ""
    stored_bytes: int = 0
    published: Published | None = None

    @property
    def words(self) -> str:
        """What a search looks through."""
        ids = " ".join(source.id for source in self.sources)
        return f"{self.name} {self.title} {ids} {' '.join(self.tags)} {self.licence} {self.weights}".casefold()

    def shape(self) -> Shape | None:
        """What decides its memory, where the config is known."""
        return shape_of(self.config) if self.config else None


class _Catalogue(Struct, frozen=True):
    schema: int
    models: tuple[Entry, ...]


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """The starter first, then by family, oldest first."""
    raw = (resources() / "catalogue.json").read_bytes()
    return msgspec.json.decode(raw, type=_Catalogue).models


def search(text: str) -> list[Entry]:
    """The entries that hold every word of `text`; all of them where there is none."""
    wanted = text.casefold().split()
    return [entry for entry in entries() if all(word in _words()[entry.name] for word in wanted)]


def find(name: str) -> Entry:
    """
    Raises:
        UserError: not_in_catalogue.
    """
    for entry in entries():
        if entry.name.lower() == name.lower():
            return entry
    raise UserError("not_in_catalogue", name=name)


def of_source(source: Source) -> Entry | None:
    """The entry that a repository of a hub belongs to."""
    return next((entry for entry in entries() if any(_same(source, one) for one in entry.sources)), None)


def _same(one: Source, other: Source) -> bool:
    return one.place == other.place and one.id.lower() == other.id.lower()


@lru_cache(maxsize=1)
def _words() -> dict[str, str]:
    return {entry.name: entry.words for entry in entries()}
