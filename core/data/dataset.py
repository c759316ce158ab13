"""One opened file of training data: its rows, its format, and what is wrong with each row.

Owns the way from a path to rows. Invariant: the file is only ever read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.data import shape as shapes
from core.data.conversation import Example
from core.data.csv_rows import csv_rows, header_of
from core.data.encoding import PlainText, open_text
from core.data.parquet_rows import MAGIC, parquet_rows
from core.data.problems import Fault
from core.data.reading import Reading, read
from core.data.rows import Broken, Rows, json_rows
from core.data.shape import Columns, Shape
from core.data.steps import Work
from core.errors import UserError

FIRST_ROWS = 200  # which tell the format
LINES_SUFFIXES, TABLE_SUFFIXES = (".jsonl", ".ndjson"), (".csv", ".tsv")  # what others are called is not believed


class Dataset:
    """
    Attributes:
        path
        rows: Rows
        shape: its format, and which column or key holds what
    """

    def __init__(self, path: Path, rows: Rows, columns: Columns) -> None:
        self.path, self.rows = path, rows
        first = [value for row in range(min(FIRST_ROWS, len(rows))) if (value := self._value_or_none(row)) is not None]
        self.shape: Shape = shapes.chosen(columns, first) if columns.is_enough else shapes.detect(first, rows.columns)
        self.names = rows.columns or tuple(dict.fromkeys(str(k) for one in first if isinstance(one, dict) for k in one))

    def read(self, row: int) -> Reading:
        """A row by its place from 0: the Example, or what makes it none."""
        if (encoding := self.rows.odd(row)) is not None:
            return Reading(None, [_in_other(encoding)])
        try:
            value = self.rows.value(row)
        except Broken as broken:
            return Reading(None, [Fault(broken.code, dict(broken.params))])
        return read(value, self.shape)

    def usable(self) -> Iterator[tuple[int, Example]]:
        """The rows that can be trained on, with their places, in the order of the file; repeated ones too."""
        for row in range(len(self.rows)):
            if (example := self.read(row).example) is not None:
                yield row, example

    def close(self) -> None:
        self.rows.close()

    def _value_or_none(self, row: int) -> object:
        try:
            return self.rows.value(row)
        except Broken:
            return None


def open_data(path: Path, columns: Columns = Columns()) -> Work[Dataset]:
    """columns: which one holds what, where the user has said so.

    Raises:
        UserError: data_unreadable, data_not_a_file, data_binary, data_empty, data_format_unknown,
            data_parquet_unreadable.
    """
    rows = yield from _rows(path)
    try:
        if not len(rows):
            raise UserError("data_empty", file=str(path))
        return Dataset(path, rows, columns)
    except BaseException:
        rows.close()
        raise


def _rows(path: Path) -> Work[Rows]:
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
            raise UserError("data_not_a_file", file=str(path))
        with path.open("rb") as file:
            is_parquet = file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError) as error:
        raise UserError(
            "data_unreadable", file=str(path), reason=getattr(error, "strerror", "") or str(error)
        ) from error
    if is_parquet:
        return (yield from parquet_rows(path))
    text = yield from open_text(path)
    try:
        return (yield from _text_rows(path, text))
    except BaseException:
        text.close()
        raise


def _text_rows(path: Path, text: PlainText) -> Work[Rows]:
    head = text.data[: 1 << 16].lstrip()
    if not head:
        raise UserError("data_empty", file=str(path))
    suffix = path.suffix.lower()
    if suffix in LINES_SUFFIXES or head[:1] in (b"[", b"{"):
        return (yield from json_rows(text))
    header = header_of(text, least=1 if suffix in TABLE_SUFFIXES else 2)
    if header is None:
        raise UserError("data_format_unknown", file=str(path))
    return (yield from csv_rows(text, *header))


def _in_other(encoding: str) -> Fault:
    return Fault("mixed_encoding", {"encoding": encoding}) if encoding else Fault("undecodable")
