"""One opened file of training data: its rows, its format, and what is wrong with each row.

Owns the way from a path to rows. Invariant: the file is only ever read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import structs

from core.data import shape as shapes
from core.data.conversation import Example
from core.data.csv_rows import csv_rows, header_of
from core.data.encoding import DAMAGED, PlainText, open_text
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

    def __init__(self, path: Path, rows: Rows, columns: Columns, *, must_have: bool = True) -> None:
        self.path, self.rows = path, rows
        first = [value for row in range(min(FIRST_ROWS, len(rows))) if (value := self._value_or_none(row)) is not None]
        self.names = rows.columns or tuple(dict.fromkeys(str(k) for one in first if isinstance(one, dict) for k in one))
        is_given = columns.is_enough
        if is_given and (missing := self._missing(columns)):
            if must_have:
                raise UserError("data_no_column", file=str(path), column=missing, columns=", ".join(self.names))
            is_given = False
        self.shape: Shape = shapes.chosen(columns, first) if is_given else shapes.detect(first, rows.columns)

    def read(self, row: int) -> Reading:
        """A row by its place from 0: the Example, or what makes it none."""
        if (encoding := self.rows.odd(row)) is not None:
            return Reading(None, [_in_other(encoding)])
        try:
            value = self.rows.value(row)
        except Broken as broken:
            return Reading(None, [Fault(broken.code, dict(broken.params))])
        return read(value, self.shape)

    def need_columns(self) -> None:
        """
        Raises:
            UserError: training_columns_unknown, where names tell nothing and nobody has said which column is which.
        """
        if not self.shape.columns.is_enough and self.names:
            raise UserError("training_columns_unknown", file=str(self.path), columns=", ".join(self.names))

    def _missing(self, columns: Columns) -> str:
        """A name that is not there, "" for none. Keys that not every row needs may stand in later ones only."""
        needed = (columns.conversation, columns.question, columns.answer)
        named = structs.asdict(columns).values() if self.rows.columns else needed
        return next((name for name in named if name and name not in self.names), "") if self.names else ""

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


def open_data(path: Path, columns: Columns = Columns(), *, must_have: bool = True) -> Work[Dataset]:
    """columns: which one holds what, where the user has said so; must_have: a file without those is refused, else it is
    read by the names it has.

    Raises:
        UserError: data_missing, data_unreadable, data_not_a_file, data_binary, data_empty, data_format_unknown,
            data_parquet_unreadable, data_no_column.
    """
    rows = yield from _rows(path)
    try:
        if not len(rows):
            raise UserError("data_empty", file=str(path))
        return Dataset(path, rows, columns, must_have=must_have)
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
        raise unreadable(path, error) from error
    if is_parquet:
        return (yield from parquet_rows(path))
    text = yield from open_text(path)
    try:
        return (yield from _text_rows(path, text))
    except BaseException:
        text.close()
        raise


def unreadable(path: Path, error: OSError | ValueError) -> UserError:
    """What the system's refusal means."""
    if isinstance(error, FileNotFoundError):
        return UserError("data_missing", file=str(path))
    return UserError("data_unreadable", file=str(path), reason=getattr(error, "strerror", "") or str(error))


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
    if encoding == DAMAGED:
        return Fault("damaged_text")
    return Fault("mixed_encoding", {"encoding": encoding}) if encoding else Fault("undecodable")
