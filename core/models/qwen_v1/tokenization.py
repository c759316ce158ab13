"""The first generation's tokenizer as an ordinary slow tokenizer of transformers, on tiktoken.

For code of the transformers world (training, PEFT, generate); chats of this program have their own encoders. Invariant:
regular tokens are `bytes`, control tokens are `str`, and no token is ever added: the vocabulary is that of its files.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Literal

import tiktoken
from transformers import AddedToken, PreTrainedTokenizer

from core.chat import tiktoken_file
from core.chat.tiktoken_file import END_OF_TEXT, EXTRA_FILE_NAME, FILE_NAME, IM_END, IM_START, SPECIAL_TOKENS

SpellOut = Literal["all"] | AbstractSet[str]
Ids = int | Sequence[int]
QwenToken = bytes | str


class QWenTokenizer(PreTrainedTokenizer):
    """
    special_tokens: control token -> id; mergeable_ranks: regular token -> id, of an extra vocabulary too
    errors: how bytes that are no whole character are decoded, "replace", "ignore" or "strict"
    """

    vocab_files_names = {"vocab_file": FILE_NAME, "extra_vocab_file": EXTRA_FILE_NAME}
    model_input_names = ["input_ids", "attention_mask"]

    def __init__(
        self, vocab_file: str, errors: str = "replace", extra_vocab_file: str | None = None, **kwargs: Any
    ) -> None:
        """
        Raises:
            UserError: what is wrong with the files, as core.chat.tiktoken_file says it.
            ValueError: pad_token or another of its kind is none of the control tokens.
        """
        self.errors = errors
        ranks = tiktoken_file.read_ranks(Path(vocab_file))
        extra = tiktoken_file.read_entries(Path(extra_vocab_file)) if extra_vocab_file else {}
        self.special_tokens = tiktoken_file.special_ids(tiktoken_file.regular_count(ranks))
        self.mergeable_ranks = tiktoken_file.with_extra(ranks, extra)
        self.eod_id = self.special_tokens[END_OF_TEXT]
        self.im_start_id = self.special_tokens[IM_START]
        self.im_end_id = self.special_tokens[IM_END]
        self._build()
        super().__init__(errors=errors, **kwargs)

    def _build(self) -> None:
        self.tokenizer: tiktoken.Encoding = tiktoken_file.encoding(self.mergeable_ranks)
        self.decoder: dict[int, QwenToken] = {id: token for token, id in self.mergeable_ranks.items()}
        self.decoder |= {id: token for token, id in self.special_tokens.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("tokenizer", "decoder")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._build()

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.n_vocab

    def __len__(self) -> int:
        return self.tokenizer.n_vocab

    def get_vocab(self) -> dict[bytes, int]:  # type: ignore[override]
        """The regular tokens."""
        return dict(self.mergeable_ranks)

    # --- text -> ids ---------------------------------------------------------------

    def tokenize(  # type: ignore[override]
        self,
        text: str,
        allowed_special: SpellOut = "all",
        disallowed_special: Literal["all"] | Collection[str] = (),
        **kwargs: Any,
    ) -> list[QwenToken]:
        """The tokens of the text in Unicode's NFC.

        Control tokens spelled out in the text become control tokens when allowed, raise ValueError when disallowed
        (allowed goes before), and are ordinary text else. allowed_special=set() is for text that people wrote.
        """
        text = unicodedata.normalize("NFC", text)
        ids = self.tokenizer.encode(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
        return [self.decoder[id] for id in ids]

    def convert_tokens_to_ids(self, tokens: QwenToken | Iterable[QwenToken]) -> Any:
        """An id, or a list of them for several tokens; None for what is no token."""
        if isinstance(tokens, bytes):
            return self.mergeable_ranks.get(tokens)
        if isinstance(tokens, str):
            id = self.special_tokens.get(tokens)
            return self.mergeable_ranks.get(tokens.encode()) if id is None else id
        return [self.convert_tokens_to_ids(token) for token in tokens]

    # --- ids -> text ---------------------------------------------------------------

    def convert_ids_to_tokens(self, ids: Ids, skip_special_tokens: bool = False) -> Any:
        """A token, or a list of them for several ids; b"" for the model's rows that stand for nothing."""
        if isinstance(ids, int):
            return self.decoder.get(ids, b"")
        tokens = [self.decoder.get(int(id), b"") for id in ids]
        return [token for token in tokens if isinstance(token, bytes)] if skip_special_tokens else tokens

    def convert_tokens_to_string(self, tokens: Iterable[QwenToken]) -> str:
        return self._text(tokens, self.errors)

    def _decode(  # type: ignore[override]
        self, token_ids: Ids, skip_special_tokens: bool = False, errors: str | None = None, **kwargs: Any
    ) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        return self._text(self.convert_ids_to_tokens(ids, skip_special_tokens), errors or self.errors)

    @staticmethod
    def _text(tokens: Iterable[QwenToken], errors: str) -> str:
        data = b"".join(token.encode() if isinstance(token, str) else token for token in tokens)
        return data.decode("utf-8", errors)

    # --- the vocabulary is fixed ---------------------------------------------------

    def _add_tokens(self, new_tokens: Iterable[str | AddedToken], special_tokens: bool = False) -> int:
        unknown = [str(token) for token in new_tokens if str(token) not in SPECIAL_TOKENS]
        if unknown or (new_tokens and not special_tokens):
            raise ValueError(f"this vocabulary is fixed: {unknown or list(new_tokens)} cannot be added to it")
        return 0

    def save_vocabulary(self, save_directory: str, filename_prefix: str | None = None) -> tuple[str, ...]:
        """All tokens in one file, those of an extra vocabulary too."""
        file = Path(save_directory) / (f"{filename_prefix}-{FILE_NAME}" if filename_prefix else FILE_NAME)
        tiktoken_file.write_entries(file, self.mergeable_ranks)
        return (str(file),)
