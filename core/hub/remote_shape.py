"""The shape of a model that is still on a hub: its config, and where that does not suffice the headers of its weights.

Invariant: only configs, indexes and headers are read, a few at once, and no more of them than MOST_HEADERS_BYTES.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx

from core.errors import UserError
from core.hub.asking import together
from core.hub.hubs import HUBS
from core.hub.needed_files import Needed, needed_files
from core.hub.repository import Repository
from core.models.folder_files import CONFIG_NAME, PICKLE_NAMES
from core.models.quantised.scheme import FILE_NAME as QUANTISATION_NAME
from core.models.safetensors_file import INDEX_NAME, LENGTH_BYTES, TensorEntry, header_length, parse_header
from core.models.shape import Shape, shape_from, shape_of
from core.sources import Access

Json = dict[str, Any]

DEADLINE_S = 30.0
AT_ONCE = 4
FIRST_BYTES = 128 * 1024  # of a file of weights; most headers are shorter
MOST_HEADERS_BYTES = 64 * 1024 * 1024
MOST_PARTS = 400


class _Reader:
    """Reads files of one repository, all within one deadline."""

    def __init__(self, client: httpx.AsyncClient, access: Access, repository: Repository, deadline_s: float) -> None:
        self.repository = repository
        self._client = client
        self._access = access
        self._until = asyncio.get_running_loop().time() + deadline_s
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._left = MOST_HEADERS_BYTES

    async def part(self, path: str, start: int = 0, length: int | None = None) -> bytes:
        async with self._turns:
            left_s = max(0.0, self._until - asyncio.get_running_loop().time())
            read = HUBS[self._access.place].read_bytes
            return await read(self._client, self._access, self.repository, path, start, length, deadline_s=left_s)

    async def mapping(self, path: str) -> Json:
        try:
            found = json.loads(await self.part(path))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise UserError("hub_unreadable", reason=path)
        return found

    async def header(self, path: str) -> dict[str, TensorEntry]:
        """Of a file of weights: one request for most, two for long headers."""
        file = self.repository.file(path)
        size = (file.size_bytes if file else 0) or sys.maxsize  # some mirrors say none
        start = await self.part(path, 0, min(FIRST_BYTES, size))
        length = header_length(start[:LENGTH_BYTES], path)
        self._left -= length
        if self._left < 0:
            raise UserError("hub_unreadable", reason=path)
        raw = start[LENGTH_BYTES : LENGTH_BYTES + length]
        if len(raw) < length and len(start) == FIRST_BYTES:
            raw += await self.part(path, len(start), length - len(raw))
        return parse_header(raw, length, size, path)


async def read_shape(
    client: httpx.AsyncClient, access: Access, repository: Repository, *, deadline_s: float = DEADLINE_S
) -> tuple[Shape, Json]:
    """The shape of the model and its config, as it will be when it has been fetched.

    Raises:
        UserError: hub_*, hub_no_shape, or what is wrong with the config or the weights, as for a folder.
    """
    reader = _Reader(client, access, repository, deadline_s)
    needed = needed_files(repository)
    if needed.kind in ("gguf", "adapter"):
        raise UserError("hub_no_shape", id=repository.source.id)
    config = await _config(reader)
    if "quantization_config" not in config:
        try:
            return shape_of(config), config
        except UserError as error:
            if error.code not in ("architecture_unknown", "config_incomplete") or needed.kind == "pickle":
                raise
    if needed.kind == "pickle":
        raise UserError("hub_no_shape", id=repository.source.id)
    needed = needed_files(repository, await _indexed(reader, INDEX_NAME, needed))
    if len(needed.weights) > MOST_PARTS:
        raise UserError("hub_unreadable", reason=f"> {MOST_PARTS} files")
    headers = await together(*(reader.header(path) for path in needed.weights))
    tensors = {name: (entry.dtype, entry.shape) for header in headers for name, entry in header.items()}
    return shape_from(config, tensors), config


async def read_needed(
    client: httpx.AsyncClient, access: Access, repository: Repository, gguf: str = "", *, deadline_s: float = DEADLINE_S
) -> Needed:
    """The files that are needed, by what the index of the weights itself says.

    Raises:
        UserError: hub_*.
    """
    needed = needed_files(repository, gguf=gguf)
    index = {"safetensors": INDEX_NAME, "pickle": PICKLE_NAMES[1]}.get(needed.kind, "")
    if not any(file.path == index for file in needed.files):
        return needed
    reader = _Reader(client, access, repository, deadline_s)
    return needed_files(repository, await _indexed(reader, index, needed))


async def _config(reader: _Reader) -> Json:
    """The config; where it does not say how the weights are quantised, with what the file beside it says."""
    config = await reader.mapping(CONFIG_NAME)
    if "quantization_config" not in config and reader.repository.file(QUANTISATION_NAME):
        config["quantization_config"] = {"quant_method": "gptq"} | await reader.mapping(QUANTISATION_NAME)
    return config


async def _indexed(reader: _Reader, index: str, needed: Needed) -> list[str] | None:
    if not any(file.path == index for file in needed.files):
        return None
    names = (await reader.mapping(index)).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise UserError("hub_unreadable", reason=index)
    return sorted(set(names.values()))
