"""The rows of Parquet files, read by pyarrow in batches.

Invariant: no more than one batch is in memory; pyarrow is imported with the first such file.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

from core.data.rows import Broken, Kind
from core.data.steps import EVERY_BYTES, Step, Work
from core.errors import UserError

BATCH = 512
MAGIC = b"PAR1"


def parquet_rows(path: Path) -> Work[ParquetRows]:
    """
    Raises:
        UserError: data_unreadable, data_parquet_unreadable.
    """
    digest, done = hashlib.sha256(), 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while piece := file.read(EVERY_BYTES):
                digest.update(piece)
                done += len(piece)
                yield Step("reading_data", done, size, "bytes")
    except OSError as error:
        raise UserError("data_unreadable", file=str(path), reason=error.strerror or str(error)) from error
    return ParquetRows(path, digest.hexdigest(), size)


class ParquetRows:
    kind: Kind = "parquet"
    encoding = "utf-8"

    def __init__(self, path: Path, sha256: str, size: int) -> None:
        import pyarrow
        from pyarrow import parquet

        self.sha256, self.size = sha256, size
        self._faults = (pyarrow.ArrowException, OSError, ValueError, StopIteration)
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
            self.columns = tuple(self._file.schema_arrow.names)
            counts = [self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups)]
            if min(counts, default=0) < 0 or sum(counts) != self._file.metadata.num_rows:
                raise ValueError(f"{sum(counts)} != {self._file.metadata.num_rows}")
        except self._faults as error:
            raise UserError("data_parquet_unreadable", file=str(path), reason=_first_line(error)) from error
        self._starts = [0, *accumulate(counts)][:-1]
        self._count: int = sum(counts)
        self._broken: dict[int, str] = {}  # groups, with the reason
        self._batches: Iterator[Any] = iter(())
        self._from, self._batch = 0, list[Any]()
        self._next = -1  # the row the next batch begins with

    def __len__(self) -> int:
        return self._count

    def line(self, row: int) -> int:
        return 0

    def odd(self, row: int) -> str | None:
        return None

    def value(self, row: int) -> Any:
        if not self._from <= row < self._from + len(self._batch):
            self._read(row)
        return self._batch[row - self._from]

    def raw(self, row: int) -> bytes:
        return msgspec.json.encode(self.value(row), enc_hook=str)

    def close(self) -> None:
        self._file.close()

    def _read(self, row: int) -> None:
        """The batch that holds the row: the next one, or the first of its group and on."""
        group = bisect_right(self._starts, row) - 1
        if reason := self._broken.get(group):
            raise Broken("broken_parquet", reason=reason)
        try:
            if row != self._next:
                self._batches = self._file.iter_batches(BATCH, row_groups=range(group, len(self._starts)))
                self._next = self._starts[group]
            while True:
                self._from = self._next
                self._batch = next(self._batches).to_pylist()
                self._next += len(self._batch)
                if row < self._next:
                    return
        except self._faults as error:
            self._batch, self._next = [], -1
            reason = self._broken[group] = _first_line(error)  # the others of the group would fare no better
            raise Broken("broken_parquet", reason=reason) from error


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
