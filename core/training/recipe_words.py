"""What a setting of a recipe can be, as a sentence, and which one a misspelt key was meant to be.

Knows no recipe: kinds are those of the annotations. Invariant: whatever is refused is followed by what is let in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.errors import UserError
from core.translation import say

DATA_ENDINGS = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
NUMBERS = {"int": "whole", "float": "number"}
OTHERS = {"bool": "switch", "str": "text", "tuple[str, ...]": "list", "dict[str, str]": "table"}
_place = re.compile(r"\(at line (\d+), column (\d+)\)")


def can_be(kind: str, words: Sequence[str], span: tuple[float, float] | None) -> str:
    """kind: as annotated; words: one of which it is, () where it is something else; span: of a number"""
    if words:
        return say("recipe.can_be_word", words=listed(words))
    if span is not None and kind in NUMBERS:
        return say(f"recipe.can_be_{NUMBERS[kind]}", least=plain(span[0]), most=plain(span[1]))
    return say(f"recipe.can_be_{OTHERS[kind]}") if kind in OTHERS else ""


def listed(words: Sequence[str]) -> str:
    """ "a, b or c" """
    if len(words) < 2:
        return "".join(words)
    return say("recipe.or", words=say("recipe.comma").join(words[:-1]), last=words[-1])


def plain(number: float) -> str:
    """As people write it: 1,048,576 and 0.0001, never a power of ten."""
    return f"{number:,.12f}".rstrip("0").rstrip(".")


def unknown(key: str, known: Iterable[str]) -> UserError:
    """Of a key that is no setting; names the one that was probably meant."""
    near = difflib.get_close_matches(key.lower().replace("-", "_"), list(known), 1, 0.7)
    return UserError("recipe_key_near", key=key, near=near[0]) if near else UserError("recipe_unknown_key", key=key)


def unreadable(file: Path, error: OSError | ValueError) -> UserError:
    """Why a file is no recipe."""
    name = str(file)
    if isinstance(error, FileNotFoundError):
        return UserError("recipe_not_there", file=name)
    if isinstance(error, IsADirectoryError):
        return UserError("recipe_is_a_folder", file=name)
    if isinstance(error, OSError):
        return UserError("recipe_unreadable", file=name, reason=error.strerror or str(error))
    if file.suffix.lower() in DATA_ENDINGS:
        return UserError("recipe_is_data", file=name)
    if isinstance(error, UnicodeDecodeError):
        return UserError("recipe_not_text", file=name)
    if found := _place.search(str(error)):
        return UserError("recipe_not_toml", file=name, line=int(found[1]), column=int(found[2]))
    return UserError("recipe_cut", file=name)
