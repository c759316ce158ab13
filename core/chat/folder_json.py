"""The JSON objects of a model folder, read without trust: what is not there is empty, what is no JSON is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import UserError


def read_object(file: Path) -> dict[str, Any]:
    """
    Raises:
        UserError: tokenizer_unreadable.
    """
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent)) from error
    return found if isinstance(found, dict) else {}


def table_rows(folder: Path) -> int:
    """Rows of the model's tables, which may be more than the vocabulary has tokens; 0 where its config does not say."""
    config = read_object(folder / "config.json")
    inner = config.get("text_config")  # of models that also see
    rows = (inner if isinstance(inner, dict) else config).get("vocab_size")
    return rows if isinstance(rows, int) else 0
