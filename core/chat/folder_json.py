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
