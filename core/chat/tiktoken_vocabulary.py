"""A vocabulary from `qwen.tiktoken`, as the first generation has it.

Invariant: text is in Unicode NFC before it is encoded, as the model has been trained; `encode_text` knows no control
tokens at all, so it cannot make one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import tiktoken

from core.chat.folder_json import read_object
from core.chat.long_text import has_long_run, split_runs
from core.chat.tiktoken_file import (
    END_OF_TEXT,
    EXTRA_FILE_NAME,
    FILE_NAME,
    FIRST_EXTRA_ID,
    REGULAR_COUNT,
    SPECIAL_TOKENS,
    encoding,
    read_entries,
    read_ranks,
    regular_count,
    special_ids,
    with_extra,
)
from core.chat.vocabulary import Vocabulary
from core.errors import UserError


class TiktokenVocabulary(Vocabulary):
    is_byte_level = True

    def __init__(self, ranks: Mapping[bytes, int], extra: Mapping[bytes, int] | None = None) -> None:
        """`extra`: tokens that were added to the published ones; they are ordinary text.

        Raises:
            UserError: extra_vocabulary_ids.
        """
        whole = with_extra(ranks, extra or {})
        self._encoding = encoding(whole)
        self._ids = special_ids(regular_count(ranks))
        self._contents = {id: token for token, id in self._ids.items()}
        self.control_ids = self.special_ids = frozenset(self._contents)
        self.named = {"eos_token": END_OF_TEXT}
        self._entries = len(whole) + len(SPECIAL_TOKENS)
        self._size = self._encoding.max_token_value + 1

    @classmethod
    def load(cls, folder: Path) -> TiktokenVocabulary:
        """With the tokens that were added to the folder.

        Raises:
            UserError: tokenizer_unreadable, lfs_pointer, extra_vocabulary_ids, extra_vocabulary_outside.
        """
        return cls(read_ranks(folder / FILE_NAME), added_entries(folder))

    def need_rows(self, rows: int, folder: Path) -> None:
        super().need_rows(rows, folder)
        if rows >= FIRST_EXTRA_ID and min(self._contents) < REGULAR_COUNT:  # cut off between two lines
            raise UserError("tokenizer_unreadable", file=FILE_NAME, folder=str(folder))

    @property
    def entries(self) -> int:
        return self._entries

    @property
    def size(self) -> int:
        return self._size

    def encode_text(self, text: str) -> list[int]:
        if not (text.isascii() or unicodedata.is_normalized("NFC", text)):
            text = unicodedata.normalize("NFC", text)
        if not has_long_run(text):
            return self._encoding.encode_ordinary(text)
        ids: list[int] = []
        for piece, is_run in split_runs(text):
            ids += (self._unsplit if is_run else self._encoding).encode_ordinary(piece)
        return ids

    def encode_control(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in re.split(r"(<\|\w+\|>)", unicodedata.normalize("NFC", text)):
            ids += [self._ids[part]] if part in self._ids else self.encode_text(part)
        return ids

    def id_of(self, token: str) -> int | None:
        if token in self._ids:
            return self._ids[token]
        try:
            return self._encoding.encode_single_token(token.encode())
        except KeyError:
            return None

    def token(self, id: int) -> str | None:
        return self.shown(id) or None

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        if id in self.special_ids:
            return b""
        try:
            return self._encoding.decode_single_token_bytes(id)
        except KeyError:  # a row of the model's tables that stands for nothing
            return b""

    def shown(self, id: int) -> str:
        return self._contents.get(id) or self.token_bytes(id).decode("utf-8", "replace")

    @cached_property
    def _unsplit(self) -> tiktoken.Encoding:
        """The same merges for a text that is one piece."""
        ranks = {token: self._encoding.encode_single_token(token) for token in self._encoding.token_byte_values()}
        return tiktoken.Encoding("qwen-piece", pat_str=r"[\s\S]+", mergeable_ranks=ranks, special_tokens={})


def added_entries(folder: Path) -> dict[bytes, int]:
    """The tokens added to the vocabulary of a folder: of the file that tokenizer_config.json names, else of the one
    with the usual name.

    Raises:
        UserError: extra_vocabulary_outside, else as read_entries.
    """
    named = read_object(folder / "tokenizer_config.json").get("extra_vocab_file")
    if named:
        return read_entries(_inside(folder, str(named)))
    return read_entries(folder / EXTRA_FILE_NAME) if (folder / EXTRA_FILE_NAME).is_file() else {}


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder itself: a downloaded tokenizer_config.json may not make us read elsewhere."""
    if Path(name).name != name:
        raise UserError("extra_vocabulary_outside", file=name)
    return folder / name
