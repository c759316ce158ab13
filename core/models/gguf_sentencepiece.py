"""A SentencePiece vocabulary inside a GGUF file (`tokenizer.ggml.model` "llama"), as a tokenizer.json.

SentencePiece joins the two neighbours whose joined piece scores highest; as merges, that is every way to cut a piece in
two known ones, the pieces in the order of their scores. Invariant: no text is lost, for what no piece spells is spelled
in single bytes.
"""

from __future__ import annotations

from typing import Any

from core.errors import UserError
from core.models.gguf_file import Value

Json = dict[str, Any]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # token types of the format
SPACE = "▁"


def sentencepiece_model(metadata: dict[str, Value], tokens: list[str], types: list[int]) -> Json:
    """The parts of tokenizer.json that differ from a byte-level one.

    Raises:
        UserError: gguf_tokenizer_missing without scores or without the 256 single bytes.
    """
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise UserError("gguf_tokenizer_missing", field="scores")
    if sum(kind == BYTE for kind in types) < 256:
        raise UserError("gguf_tokenizer_missing", field="token_type")
    kept = {token: id for id, token in enumerate(tokens) if types[id] != UNUSED}
    unknown = next((token for id, token in enumerate(tokens) if types[id] == UNKNOWN), None)
    pieces = {token: scores[id] for token, id in kept.items() if types[id] == NORMAL}
    prefix = [{"type": "Prepend", "prepend": SPACE}] if metadata.get("tokenizer.ggml.add_space_prefix", True) else []
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    words = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    first = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, spaces]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [words, {"type": "ByteFallback"}, {"type": "Fuse"}, *first]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": kept,
            "merges": _merges(pieces),
        },
    }


def _merges(scores: dict[str, float]) -> list[list[str]]:
    """Of pieces with the same score the one with the lower id comes first, as its place in the vocabulary says."""
    merges = []
    for piece in sorted(scores, key=scores.__getitem__, reverse=True):  # stable: equal scores keep their order
        cuts = ((piece[:at], piece[at:]) for at in range(1, len(piece)))
        merges += [[left, right] for left, right in cuts if left in scores and right in scores]
    return merges
