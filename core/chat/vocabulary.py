"""The tokenizer of one model as two encoders: one for the template's own parts, one for what people wrote.

Owns the split between control tokens and text, whatever file a tokenizer comes from. Invariant: `encode_text` never
gives the id of a control token, whatever the text is. Needs the tokenizer libraries only, so counting tokens loads
neither torch nor transformers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from core.chat.tiktoken_file import FILE_NAME as TIKTOKEN_NAME
from core.errors import UserError

TOKENIZER_NAME = "tokenizer.json"
VOCAB_NAME = "vocab.json"


class Vocabulary(ABC):
    """
    Attributes:
        control_ids: the ids of all added tokens
        special_ids: those of them that are not part of a reply's text
        begin_ids: what every text of this model begins with, for most models nothing
        template: the chat template, empty when the model has none
        named: the contents of bos_token, eos_token and so on, as templates ask for them
        is_byte_level: each token stands for some bytes, and the bytes of a reply add up
    """

    control_ids: frozenset[int]
    special_ids: frozenset[int]
    begin_ids: tuple[int, ...] = ()
    template: str = ""
    named: dict[str, str]
    is_byte_level: bool

    @staticmethod
    def load(folder: Path) -> Vocabulary:
        """The tokenizer of a model folder, from whichever file it comes in.

        Raises:
            UserError: tokenizer_missing, tokenizer_unreadable, tokenizer_class_unknown, lfs_pointer,
                extra_vocabulary_ids.
        """
        if (folder / TOKENIZER_NAME).is_file():
            from core.chat.tokenizer_json import JsonVocabulary

            return JsonVocabulary.load(folder)
        if (folder / TIKTOKEN_NAME).is_file():
            from core.chat.tiktoken_vocabulary import TiktokenVocabulary

            return TiktokenVocabulary.load(folder)
        if (folder / VOCAB_NAME).is_file():
            from core.chat.merges_file import read_tokenizer
            from core.chat.tokenizer_json import JsonVocabulary

            return JsonVocabulary.load(folder, read_tokenizer(folder))
        raise UserError("tokenizer_missing", folder=str(folder))

    def need_rows(self, rows: int, folder: Path) -> None:
        """That the model of the folder, whose tables have that many rows (0: not known), has one for every token that
        it can be given.

        Raises:
            UserError: tokenizer_too_large, tokenizer_unreadable.
        """
        if rows and self.size > rows and self.given_size() > rows:
            raise UserError("tokenizer_too_large", folder=str(folder), size=self.size, rows=rows)

    def given_size(self) -> int:
        """The highest id + 1 that can come before the model."""
        return self.size

    @property
    @abstractmethod
    def entries(self) -> int:
        """How many tokens there are, control tokens among them."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The highest id + 1; rows of a model's tables from here on stand for nothing."""

    @abstractmethod
    def encode_text(self, text: str) -> list[int]:
        """The ids of what somebody wrote: `<|im_end|>` in it is eight or so tokens of plain text."""

    @abstractmethod
    def encode_control(self, text: str) -> list[int]:
        """The ids of a text of the template itself, in which added tokens are control tokens."""

    @abstractmethod
    def id_of(self, token: str) -> int | None: ...

    @abstractmethod
    def token(self, id: int) -> str | None:
        """The token as the vocabulary spells it; None for an id that stands for nothing."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without special tokens and without ids that stand for nothing."""

    @abstractmethod
    def token_bytes(self, id: int) -> bytes:
        """What a token adds to the text, for tokenizers that work on bytes. Nothing for special tokens."""

    @abstractmethod
    def shown(self, id: int) -> str:
        """A token by itself, for people; half a character shows as U+FFFD."""
