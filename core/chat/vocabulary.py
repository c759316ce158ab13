"""A model's tokenizer.json as two encoders: one for the template's own parts, one for what people wrote.

Owns the split between control tokens and text. Invariant: `encode_text` never gives the id of an added token, special
or not, whatever the text is. Needs the tokenizers library only, so counting tokens loads neither torch nor
transformers.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from core.errors import UserError

TOKENIZER_NAME = "tokenizer.json"
TOKENIZER_CONFIG_NAME = "tokenizer_config.json"
WORD_START = "▁"  # how SentencePiece vocabularies spell a space
TEMPLATE_NAMES = ("chat_template.jinja", "chat_template.json")


class Vocabulary:
    """The tokenizer of one model.

    Attributes:
        control_ids: the ids of all added tokens
        special_ids: those of them that are not part of a reply's text
        template: the chat template, empty when the model has none
        named: the contents of bos_token, eos_token and so on, as templates ask for them
    """

    def __init__(self, tokenizer_json: str, *, template: str = "", named: dict[str, str] | None = None) -> None:
        self.template = template
        self.named = named or {}
        self._whole = _without_limits(Tokenizer.from_str(tokenizer_json))
        added = self._whole.get_added_tokens_decoder()
        self.control_ids = frozenset(added)
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        self._plain = _without_limits(Tokenizer.from_str(_without_added_tokens(tokenizer_json)))
        self.is_byte_level = _has_byte_level_decoder(tokenizer_json)

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """
        Raises:
            UserError: tokenizer_missing or tokenizer_unreadable.
        """
        file = folder / TOKENIZER_NAME
        if not file.is_file():
            raise UserError("tokenizer_missing", folder=str(folder))
        config = _json(folder / TOKENIZER_CONFIG_NAME)
        try:
            return cls(file.read_text("utf-8"), template=_template(folder, config), named=_named(config))
        except UserError:
            raise
        except Exception as error:  # the library raises the bare class for a file it cannot use
            raise UserError("tokenizer_unreadable", file=file.name, folder=str(folder)) from error

    def __len__(self) -> int:
        return self._whole.get_vocab_size()

    def encode_text(self, text: str) -> list[int]:
        """The ids of what somebody wrote: `<|im_end|>` in it is eight or so tokens of plain text."""
        ids = self._plain.encode(text, add_special_tokens=False).ids
        return [id for id in ids if id not in self.control_ids]

    def encode_control(self, text: str) -> list[int]:
        """The ids of a text of the template itself, in which added tokens are control tokens."""
        return self._whole.encode(text, add_special_tokens=False).ids

    def id_of(self, token: str) -> int | None:
        return self._whole.token_to_id(token)

    def token(self, id: int) -> str | None:
        """The token as the vocabulary spells it; None for an id that stands for nothing."""
        return self._whole.id_to_token(id)

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without special tokens."""
        return self._whole.decode(ids, skip_special_tokens=True)

    def token_bytes(self, id: int) -> bytes:
        """What a token adds to the text, for tokenizers that work on bytes. Nothing for special tokens."""
        token = self.token(id)
        if token is None or id in self.special_ids:
            return b""
        alphabet = _byte_alphabet()
        if all(char in alphabet for char in token):
            return bytes(alphabet[char] for char in token)
        return token.encode()

    def shown(self, id: int) -> str:
        """A token by itself, for people; half a character shows as U+FFFD."""
        if id in self.control_ids or not self.is_byte_level:
            return (self.token(id) or "").replace(WORD_START, " ")
        return self.token_bytes(id).decode("utf-8", "replace")


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of the 256 bytes in byte-level vocabularies, as GPT-2 chose them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _without_limits(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


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


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent)) from error
    return found if isinstance(found, dict) else {}


def _template(folder: Path, config: dict[str, Any]) -> str:
    """A file of its own goes before the entry of tokenizer_config.json; of several templates the default one."""
    jinja, wrapped = (folder / name for name in TEMPLATE_NAMES)
    if jinja.is_file():
        return jinja.read_text("utf-8")
    found = _json(wrapped).get("chat_template") or config.get("chat_template") or ""
    if isinstance(found, list):
        named = {entry["name"]: entry["template"] for entry in found}
        return str(named.get("default", ""))
    return str(found)


def _named(config: dict[str, Any]) -> dict[str, str]:
    found = {}
    for key, value in config.items():
        if key.endswith("_token") and value:
            content = value["content"] if isinstance(value, dict) else value
            if isinstance(content, str):
                found[key] = content
    return found
