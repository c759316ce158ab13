"""The tokenizer of early Qwen2 folders, which have vocab.json and merges.txt, as the content of a tokenizer.json.

Invariant: text is split as Qwen2 was trained to see it. The two files do not say how they were meant, so folders of
another family are refused: a wrong split gives a model that answers, but worse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.chat.folder_json import read_object
from core.chat.tiktoken_file import END_OF_TEXT, PATTERN
from core.errors import UserError

MERGES_NAME = "merges.txt"
VOCAB_NAME = "vocab.json"
TOKENIZER_CLASSES = ("Qwen2Tokenizer", "Qwen2TokenizerFast")


def read_tokenizer(folder: Path) -> str:
    """
    Raises:
        UserError: tokenizer_missing without merges.txt, tokenizer_class_unknown, tokenizer_unreadable.
    """
    _need_qwen2(folder)
    try:
        return json.dumps(_tokenizer(folder), ensure_ascii=False)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # JSON of another shape than it should have
        raise UserError("tokenizer_unreadable", file=VOCAB_NAME, folder=str(folder)) from error


def _tokenizer(folder: Path) -> dict[str, Any]:
    vocabulary = read_object(folder / VOCAB_NAME)
    added = _added_tokens(folder, vocabulary)
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    as_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, as_bytes]},
        "decoder": as_bytes,
        "model": {
            "type": "BPE",
            "vocab": vocabulary | {token["content"]: token["id"] for token in added},
            "merges": _merges(folder / MERGES_NAME),
        },
    }


def _need_qwen2(folder: Path) -> None:
    if not (folder / MERGES_NAME).is_file():
        raise UserError("tokenizer_missing", folder=str(folder))
    kind = str(read_object(folder / "tokenizer_config.json").get("tokenizer_class") or "")
    if not kind and str(read_object(folder / "config.json").get("model_type", "")).startswith("qwen2"):
        return
    if kind not in TOKENIZER_CLASSES:
        raise UserError("tokenizer_class_unknown", kind=kind or "?", folder=str(folder))


def _merges(file: Path) -> list[list[str]]:
    """The pairs in the order of their priority. The first line may be a comment."""
    lines = file.read_text("utf-8").split("\n")
    body = lines[1:] if lines[0].startswith("#version") else lines
    pairs = [line.rstrip("\r").split(" ") for line in body if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise UserError("tokenizer_unreadable", file=file.name, folder=str(file.parent))
    return pairs


def _added_tokens(folder: Path, vocabulary: dict[str, Any]) -> list[dict[str, Any]]:
    """Of tokenizer_config.json where it lists them, else of added_tokens.json; `<|endoftext|>` is always one."""
    listed = read_object(folder / "tokenizer_config.json").get("added_tokens_decoder") or {}
    found = {str(token["content"]): (int(id), bool(token.get("special"))) for id, token in listed.items()}
    if not found:
        found = {token: (int(id), True) for token, id in read_object(folder / "added_tokens.json").items()}
    following = max([*vocabulary.values(), *(id for id, _ in found.values())], default=-1) + 1
    found.setdefault(END_OF_TEXT, (vocabulary.get(END_OF_TEXT, following), True))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    ordered = sorted(found.items(), key=lambda entry: entry[1][0])
    return [{"id": id, "content": token, "special": special, **plain} for token, (id, special) in ordered]
