"""A vocabulary from tokenizer.json, as all families after the first have it.

Invariant: `encode_text` never gives the id of an added token, special or not, whatever the text is; it uses a second
tokenizer that cannot make one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from core.chat.folder_json import read_object
from core.chat.template_file import TOKENIZER_CONFIG_NAME, named_tokens, template_of
from core.chat.vocabulary import TOKENIZER_NAME, Vocabulary
from core.errors import UserError

WORD_START = "▁"  # how SentencePiece vocabularies spell a space


class JsonVocabulary(Vocabulary):
    def __init__(self, tokenizer_json: str, *, template: str = "", named: dict[str, str] | None = None) -> None:
        self.template = template
        self.named = named or {}
        self._whole = _without_limits(Tokenizer.from_str(tokenizer_json))
        added = self._whole.get_added_tokens_decoder()
        self.control_ids = frozenset(added)
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        self._plain = _without_limits(Tokenizer.from_str(_without_added_tokens(tokenizer_json)))
        self.is_byte_level = _has_byte_level_decoder(tokenizer_json)
        self._size: int | None = None
        self.begin_ids = _begin_ids(self._whole)

    @classmethod
    def load(cls, folder: Path, tokenizer_json: str = "") -> JsonVocabulary:
        """`tokenizer_json` goes before the folder's own file.

        Raises:
            UserError: tokenizer_unreadable.
        """
        config = read_object(folder / TOKENIZER_CONFIG_NAME)
        try:
            content = tokenizer_json or (folder / TOKENIZER_NAME).read_text("utf-8")
            return cls(content, template=template_of(folder, config), named=named_tokens(config))
        except UserError:
            raise
        except Exception as error:  # the library raises the bare class for a file it cannot use
            raise UserError("tokenizer_unreadable", file=TOKENIZER_NAME, folder=str(folder)) from error

    @property
    def entries(self) -> int:
        return self._whole.get_vocab_size()

    @property
    def size(self) -> int:
        if self._size is None:
            self._size = max(self._whole.get_vocab().values(), default=-1) + 1
        return self._size

    def given_size(self) -> int:
        """No text becomes an added token, and the template only gives those it names: fine-tunes often bring one or two
        more that the model has no rows for and is never given."""
        ids = (id for token, id in self._whole.get_vocab().items() if self._is_given(token, id))
        return max(ids, default=-1) + 1

    def _is_given(self, token: str, id: int) -> bool:
        return id not in self.control_ids or token in self.template

    def encode_text(self, text: str) -> list[int]:
        ids = self._plain.encode(text, add_special_tokens=False).ids
        return [id for id in ids if id not in self.control_ids]

    def encode_control(self, text: str) -> list[int]:
        return self._whole.encode(text, add_special_tokens=False).ids

    def id_of(self, token: str) -> int | None:
        return self._whole.token_to_id(token)

    def token(self, id: int) -> str | None:
        return self._whole.id_to_token(id)

    def decode(self, ids: Sequence[int]) -> str:
        return self._whole.decode(ids, skip_special_tokens=True)

    def token_bytes(self, id: int) -> bytes:
        token = self.token(id)
        if token is None or id in self.special_ids:
            return b""
        alphabet = byte_alphabet()
        if all(char in alphabet for char in token):
            return bytes(alphabet[char] for char in token)
        return token.encode()

    def shown(self, id: int) -> str:
        if id in self.control_ids or not self.is_byte_level:
            return (self.token(id) or "").replace(WORD_START, " ")
        return self.token_bytes(id).decode("utf-8", "replace")


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of the 256 bytes in byte-level vocabularies, as GPT-2 chose them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _without_limits(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _begin_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer puts before a text by itself, such as `<s>`."""
    plain, whole = (tokenizer.encode("a", add_special_tokens=add).ids for add in (False, True))
    places = (at for at in range(len(whole)) if plain and whole[at : at + len(plain)] == plain)
    return tuple(whole[: next(places, 0)])


def _without_added_tokens(tokenizer_json: str) -> str:
    """The same tokenizer, unable to make an added token.

    A BPE vocabulary often holds the added tokens too and could reach them by merges or as a whole word, so they are
    taken out of it. Other kinds keep their entries, which their own `unk` may need; `encode_text` filters.
    """
    data = json.loads(tokenizer_json)
    contents = {token["content"] for token in data.get("added_tokens", ())}
    data["added_tokens"] = []
    data["post_processor"] = None  # it may name the tokens that are gone
    model = data["model"]
    if model.get("type", "BPE") == "BPE":
        model["vocab"] = {token: id for token, id in model["vocab"].items() if token not in contents}
        model["merges"] = [merge for merge in model["merges"] if not _reaches(merge, contents)]
        if model.get("unk_token") in contents:
            model["unk_token"] = None
    return json.dumps(data, ensure_ascii=False)


def _reaches(merge: str | list[str], contents: set[str]) -> bool:
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left + right in contents or left in contents or right in contents


def _has_byte_level_decoder(tokenizer_json: str) -> bool:
    decoder = json.loads(tokenizer_json).get("decoder") or {}
    return bool(decoder.get("type") == "ByteLevel")
