"""The vocabulary of the first generation inside a GGUF file, written back as the `qwen.tiktoken` it was made from.

Invariant: the ids are those of the published files: regular tokens first, then the control tokens in their order; a
file with another vocabulary is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.chat.tiktoken_file import END_OF_TEXT, FILE_NAME, SPECIAL_TOKENS, write_entries
from core.chat.tokenizer_json import byte_alphabet
from core.errors import UserError
from core.models.gguf_file import GgufFile

SPLITS = (None, "default", "qwen2")  # older files do not name how text is split


def write_first_generation(source: GgufFile, folder: Path, context_length: int) -> None:
    """qwen.tiktoken, tokenizer_config.json and generation_config.json, as the published folders have them.

    Raises:
        UserError: gguf_tokenizer_unknown.
    """
    metadata = source.metadata
    if metadata.get("tokenizer.ggml.model") != "gpt2" or metadata.get("tokenizer.ggml.pre") not in SPLITS:
        raise UserError("gguf_tokenizer_unknown", tokenizer=f"qwen/{metadata.get('tokenizer.ggml.pre')}")
    ranks = _ranks(metadata["tokenizer.ggml.tokens"])
    write_entries(folder / FILE_NAME, ranks)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "QWenTokenizer", "model_max_length": context_length})
    is_chat = "chat" in f"{metadata.get('general.name', '')} {source.path.stem}".lower()
    ends = {"eos_token_id": len(ranks), "pad_token_id": len(ranks)}
    _write(folder / "generation_config.json", {"chat_format": "chatml" if is_chat else "raw", **ends})


def _ranks(tokens: list[str]) -> dict[bytes, int]:
    """The regular tokens: those before the control tokens, spelled in stand-ins for bytes."""
    regular = tokens.index(END_OF_TEXT) if END_OF_TEXT in tokens else 0
    alphabet = byte_alphabet()
    found = {bytes(alphabet.get(char, 0) for char in token): id for id, token in enumerate(tokens[:regular])}
    known = all(char in alphabet for token in tokens[:regular] for char in token)
    is_whole = len(found) == regular and all(bytes((byte,)) in found for byte in range(256))
    if not known or not is_whole or tuple(tokens[regular : regular + len(SPECIAL_TOKENS)]) != SPECIAL_TOKENS:
        raise UserError("gguf_tokenizer_unknown", tokenizer="qwen")
    return found


def _write(file: Path, value: dict[str, Any]) -> None:
    file.write_text(json.dumps(value, indent=2), "utf-8")
