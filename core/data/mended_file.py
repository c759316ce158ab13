"""A mended copy of a file of training data, in the format of the original where that can be written: JSON, JSON lines
or CSV, always in UTF-8. Parquet becomes JSON lines.

Invariant: the original is only read; rows that need no mending go over as they stand, byte for byte, but for the
encoding. Rows that are in no encoding, or in another one that was not asked to be read, cannot stand in a file of UTF-8
and are left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Set
from pathlib import Path
from typing import Any

import msgspec

from core.data.csv_rows import CsvRows
from core.data.dataset import Dataset
from core.data.encoding import DAMAGED
from core.data.mending import DROPPED, Mended, mend
from core.data.new_file import new_file
from core.data.problems import KINDS
from core.data.rows import Broken, Kind
from core.data.split import content_key
from core.data.steps import EVERY_ROWS, Step, Work
from core.errors import UserError

ENDINGS: dict[str, Kind] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
}  # fmt: skip


class Mending(msgspec.Struct, frozen=True):
    """Rows of the original, of the new file, and those of them that were changed."""

    rows: int
    kept: int
    changed: int

    @property
    def dropped(self) -> int:
        return self.rows - self.kept


def write_mended(data: Dataset, target: Path, fix: Set[str], drop: Set[str] = frozenset()) -> Work[Mending]:
    """fix: codes to mend; drop: codes whose rows are left out.

    Raises:
        UserError: data_target_exists, data_not_written, data_code_unknown, data_nothing_left, data_mend_ending.
    """
    if unknown := sorted((fix | drop) - set(KINDS)):
        raise UserError("data_code_unknown", problem=unknown[0], codes=", ".join(KINDS))
    kind = _kind(data, target)
    seen: set[int] = set()
    kept = changed = 0
    total = len(data.rows)
    with new_file(target) as file:
        form = _form(data, kind)
        file.write(form.head)
        for row in range(total):
            mended = _mended(data, row, fix, drop)
            if mended is not DROPPED and "duplicate" in fix | drop and mended.example is not None:
                key = content_key(mended.example)
                mended = DROPPED if key in seen else mended
                seen.add(key)
            if mended is not DROPPED and (written := _written(data, row, mended, form)):
                file.write((form.between if kept else b"") + written)
                kept, changed = kept + 1, changed + mended.is_changed
            if row % EVERY_ROWS == 0:
                yield Step("mending_data", row, total, "rows")
        if not kept:
            raise UserError("data_nothing_left", file=str(data.path))
        file.write(form.tail)
    return Mending(total, kept, changed)


class _Form(msgspec.Struct):
    """is_other: than the original's, so that rows cannot stay as they stand there"""

    head: bytes
    between: bytes
    tail: bytes
    row: Callable[[Any], bytes]
    is_other: bool = False


def _kind(data: Dataset, target: Path) -> Kind:
    """What the new file will be: as its ending says where that is another than the original's.

    Raises:
        UserError: data_mend_ending
    """
    own, ending = data.rows.kind, target.suffix.lower()
    if own != "parquet" and ending == data.path.suffix.lower():
        return own
    wanted = ENDINGS.get(ending, "jsonl" if own == "parquet" else own)
    if wanted not in ("json", "jsonl") and (wanted != own or own == "parquet"):
        raise UserError("data_mend_ending", file=str(target), ending=ending)
    return wanted


def _form(data: Dataset, kind: Kind) -> _Form:
    is_other = kind != data.rows.kind and data.rows.kind != "parquet"
    if kind == "csv" and isinstance(data.rows, CsvRows):
        table = data.rows
        return _Form(_csv_line(table, table.columns), b"", b"", lambda value: _csv_line(table, value.values()))
    if kind == "json":
        return _Form(b"[\n", b",\n", b"\n]\n", _json, is_other)
    return _Form(b"", b"\n", b"\n", _json, is_other)


def _mended(data: Dataset, row: int, fix: Set[str], drop: Set[str]) -> Mended:
    encoding = data.rows.odd(row)
    if encoding in ("", DAMAGED) or (encoding is not None and "mixed_encoding" not in fix - drop):
        return DROPPED
    try:
        value = data.rows.value(row)
    except Broken as broken:
        return DROPPED if broken.code in fix | drop else Mended(None, None, False)
    return mend(value, data.shape, fix, drop)


def _written(data: Dataset, row: int, mended: Mended, form: _Form) -> bytes:
    if mended.is_changed:
        return form.row(mended.value)
    if form.is_other:
        try:
            return form.row(data.rows.value(row))
        except Broken:  # there is no way to say it in another form
            return b""
    raw = data.rows.raw(row)
    if isinstance(data.rows, CsvRows):
        return raw if raw.endswith(b"\n") else raw + b"\n"
    return raw.strip(b" \t\r\n,")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value, enc_hook=str)


def _csv_line(rows: CsvRows, fields: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=rows.delimiter, lineterminator="\n").writerow(fields)
    return line.getvalue().encode()
