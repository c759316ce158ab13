"""Whether a file can be trained on at all, asked before anything is made for it.

Invariant: what is refused here would have ended the run before its first step; a huge file is only looked at from
outside, since reading it takes minutes and the run does that anyway.
"""

from __future__ import annotations

from pathlib import Path

from core.data.dataset import open_data
from core.data.shape import Columns
from core.data.steps import result
from core.errors import UserError

READ_MOST = 16 << 20  # bytes


def need_usable(file: Path, columns: Columns = Columns(), *, must_have: bool = True) -> None:
    """must_have: as of open_data

    Raises:
        UserError: as open_data; training_columns_unknown, data_rows_unusable.
    """
    if _size(file) > READ_MOST:
        return
    data = result(open_data(file, columns, must_have=must_have))
    try:
        data.need_columns()
        if next(data.usable(), None) is None:
            raise UserError("data_rows_unusable", file=str(file), count=len(data.rows))
    finally:
        data.close()


def _size(file: Path) -> int:
    """0 for what open_data will say something about."""
    try:
        return file.stat().st_size if file.is_file() else 0
    except (OSError, ValueError):
        return 0
