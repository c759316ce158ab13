"""The rows of Parquet files, read by pyarrow in batches.

Invariant: no more than one batch is in memory; pyarrow is imported with the first such file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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

        self.sha256, self.size, self._path = sha256, size, path
        try:
            self._file = parquet.ParquetFile(path, memory_map=True)
            self.columns = tuple(self._file.schema_arrow.names)
            self._counts = [self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups)]
        except (pyarrow.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        self._batches: Iterator[Any] = iter(())
        self._from, self._batch = 0, list[Any]()
        self._next = -1  # the row the next batch begins with

    def __len__(self) -> int:
        return sum(self._counts)

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
        import pyarrow

        try:
            if row != self._next:
                group, start = 0, 0
                while start + self._counts[group] <= row:
                    start += self._counts[group]
                    group += 1
                self._batches = self._file.iter_batches(BATCH, row_groups=range(group, len(self._counts)))
                self._next = start
            while True:
                self._from = self._next
                self._batch = next(self._batches).to_pylist()
                self._next += len(self._batch)
                if row < self._next:
                    return
        except (pyarrow.ArrowException, OSError, StopIteration, ValueError) as error:
            self._batch, self._next = [], -1
            raise Broken("broken_parquet", reason=str(error)) from error

    def _unreadable(self, error: Exception) -> UserError:
        return UserError("data_parquet_unreadable", file=str(self._path), reason=str(error).partition("\n")[0])
