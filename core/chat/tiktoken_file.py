"""The vocabulary file of the first generation, `qwen.tiktoken`: one `base64(bytes) rank` a line, and what is fixed
around it.

Owns reading, writing and the control tokens' ids. Invariant: ranks that were read can encode every text: they hold all
256 single bytes and have the ids 0, 1, 2 ... without a gap; only tokens added later stand beyond the control tokens.
Imports neither torch nor transformers.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Mapping
from pathlib import Path

import tiktoken

from core.errors import UserError

FILE_NAME = "qwen.tiktoken"
EXTRA_FILE_NAME = "qwen_extra.tiktoken"  # tokens added to the vocabulary of a folder lie in it
EXTRA_BYTES = 100_000_000  # no added vocabulary is as large; weights are
LFS_POINTER = b"version https://git-lfs.github.com/spec/"

# As cl100k, except that digits always stand alone.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

END_OF_TEXT, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_TOKENS = (END_OF_TEXT, IM_START, IM_END, *(f"<|extra_{number}|>" for number in range(205)))
REGULAR_COUNT = 151_643  # of the published file; its control tokens have the ids from here on
FIRST_EXTRA_ID = REGULAR_COUNT + len(SPECIAL_TOKENS)  # of an extended vocabulary


def special_ids(regular: int = REGULAR_COUNT) -> dict[str, int]:
    """The ids of the control tokens, which follow the regular ones."""
    return {token: regular + place for place, token in enumerate(SPECIAL_TOKENS)}


def read_ranks(file: Path) -> dict[bytes, int]:
    """Token -> rank, which is its id and its priority in merging.

    Raises:
        UserError: tokenizer_missing, lfs_pointer, tokenizer_unreadable.
    """
    ranks = read_entries(file)
    free = regular_count(ranks) + len(SPECIAL_TOKENS)
    misplaced = sum(id < free for id in ranks.values()) != regular_count(ranks)
    if misplaced or len(set(ranks.values())) < len(ranks) or any(bytes((byte,)) not in ranks for byte in range(256)):
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent))
    return ranks


def regular_count(ranks: Mapping[bytes, int]) -> int:
    """How many tokens stand before the control tokens."""
    taken = set(ranks.values())
    return next(id for id in range(len(taken) + 1) if id not in taken)


def read_entries(file: Path) -> dict[bytes, int]:
    """The lines of a file of this format whatever its ids are, as for the extra vocabulary.

    Raises:
        UserError: as read_ranks.
    """
    if not file.is_file():
        raise UserError("tokenizer_missing", folder=str(file.parent))
    data = file.read_bytes()
    if data.startswith(LFS_POINTER):
        raise UserError("lfs_pointer", file=file.name)
    try:
        pairs = [line.split() for line in data.splitlines() if line]
        entries = {binascii.a2b_base64(token, strict_mode=True): int(rank) for token, rank in pairs}
    except ValueError as error:  # binascii.Error is one
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent)) from error
    if len(entries) != len(pairs):
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent))
    return entries


def write_entries(file: Path, entries: Mapping[bytes, int]) -> None:
    """In the order of the ids. Atomic."""
    ordered = sorted(entries.items(), key=lambda entry: entry[1])
    lines = [binascii.b2a_base64(token, newline=False) + b" %d\n" % rank for token, rank in ordered]
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as stream:
            stream.writelines(lines)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def holds_extra(file: Path) -> bool:
    """Whether the file holds added tokens and nothing else: a whole vocabulary has the single bytes too."""
    try:
        is_small = file.is_file() and file.stat().st_size < EXTRA_BYTES
        return is_small and all(len(token) > 1 for token in read_entries(file))
    except UserError:
        return False


def with_extra(ranks: Mapping[bytes, int], extra: Mapping[bytes, int]) -> dict[bytes, int]:
    """The ranks, and the extra tokens after them; extra ones that are known already keep their old id.

    Raises:
        UserError: extra_vocabulary_ids when their ids are taken or stand twice.
    """
    free = max(regular_count(ranks) + len(SPECIAL_TOKENS), max(ranks.values()) + 1)
    new = {token: id for token, id in extra.items() if token not in ranks}
    if new and (min(new.values()) < free or len(set(new.values())) < len(new)):
        raise UserError("extra_vocabulary_ids", first=min(new.values()), free=free)
    return {**ranks, **new}


def encoding(ranks: Mapping[bytes, int], extra: Mapping[bytes, int] | None = None) -> tiktoken.Encoding:
    """
    Raises:
        UserError: as with_extra.
    """
    return tiktoken.Encoding(
        "qwen",
        pat_str=PATTERN,
        mergeable_ranks=with_extra(ranks, extra or {}),
        special_tokens=special_ids(regular_count(ranks)),
    )
