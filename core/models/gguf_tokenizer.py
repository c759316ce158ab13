"""The tokenizer inside a GGUF file, written as tokenizer.json and tokenizer_config.json.

Invariant: text is split exactly as the model was trained to see it. How is named by `tokenizer.ggml.pre`; a name we
do not know is refused, because a wrong split gives a model that answers, but worse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.models.gguf_file import Value
from core.models.gguf_sentencepiece import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, sentencepiece_model

Json = dict[str, Any]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2_WORDS = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_REST}"
_LLAMA3_WORDS = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_REST}"


def _byte_level(*, use_regex: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split_then_bytes(pattern: str) -> Json:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, _byte_level(use_regex=False)]}


_PRE_TOKENIZERS: dict[str, Json] = {
    "gpt-2": _byte_level(use_regex=True),
    "smollm": {
        "type": "Sequence",
        "pretokenizers": [{"type": "Digits", "individual_digits": True}, _byte_level(use_regex=True)],
    },
    "qwen2": _split_then_bytes(_QWEN2_WORDS),
    "llama-bpe": _split_then_bytes(_LLAMA3_WORDS),
}
_NORMALIZERS: dict[str, Json] = {"qwen2": {"type": "NFC"}}
SENTENCEPIECE = "llama"  # tokenizer.ggml.model of these vocabularies, whatever the model is
_WHOLE_WORDS_FIRST = {"llama-bpe"}  # a word of the vocabulary is taken whole, whatever the merges say
_STARTS_WITH_BOS = {"llama-bpe", SENTENCEPIECE}  # where the file does not say


def write_tokenizer(metadata: dict[str, Value], folder: Path, context_length: int) -> None:
    """
    Raises:
        UserError: gguf_tokenizer_unknown or gguf_tokenizer_missing.
    """
    tokens = _field(metadata, "tokens")
    tokenizer = _tokenizer(metadata, tokens)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")
    config = _tokenizer_config(metadata, tokens, context_length)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2), "utf-8")


def eos_ids(metadata: dict[str, Value]) -> list[int]:
    """Every id that ends an answer, the main one first."""
    names = ("eos_token_id", "eot_token_id", "eom_token_id")
    found = [metadata[f"tokenizer.ggml.{name}"] for name in names if f"tokenizer.ggml.{name}" in metadata]
    return list(dict.fromkeys(found))


def special_id(metadata: dict[str, Value], role: str) -> int | None:
    """The id for "bos", "eos", "unknown" or "padding", where the file names one of its tokens."""
    found = metadata.get(f"tokenizer.ggml.{role}_token_id")
    return found if isinstance(found, int) and found < len(_field(metadata, "tokens")) else None


def _field(metadata: dict[str, Value], name: str) -> Value:
    try:
        return metadata[f"tokenizer.ggml.{name}"]
    except KeyError:
        raise UserError("gguf_tokenizer_missing", field=name) from None


def _scheme(metadata: dict[str, Value]) -> str:
    model, scheme = _field(metadata, "model"), metadata.get("tokenizer.ggml.pre", "default")
    if model == SENTENCEPIECE:
        return SENTENCEPIECE
    if model != "gpt2" or scheme not in _PRE_TOKENIZERS:
        raise UserError("gguf_tokenizer_unknown", tokenizer=f"{model}/{scheme}")
    return str(scheme)


def _tokenizer(metadata: dict[str, Value], tokens: list[str]) -> Json:
    scheme = _scheme(metadata)
    types = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    if len(types) != len(tokens):
        raise UserError("gguf_tokenizer_missing", field="token_type")
    is_sentencepiece = scheme == SENTENCEPIECE
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(index, token, is_special=kind != USER_DEFINED)
            for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
            if kind in (CONTROL, USER_DEFINED, UNKNOWN)
        ],
        "post_processor": _post_processor(metadata, tokens, scheme),
        **(sentencepiece_model if is_sentencepiece else _byte_level_model)(metadata, tokens, types),
    }


def _byte_level_model(metadata: dict[str, Value], tokens: list[str], types: list[int]) -> Json:
    scheme = _scheme(metadata)
    # Unused places only fill the embedding up to a round size; no text has them.
    vocabulary = {token: i for i, (token, kind) in enumerate(zip(tokens, types, strict=True)) if kind != UNUSED}
    return {
        "normalizer": _NORMALIZERS.get(scheme),
        "pre_tokenizer": _PRE_TOKENIZERS[scheme],
        "decoder": _byte_level(use_regex=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": scheme in _WHOLE_WORDS_FIRST,
            "vocab": vocabulary,
            "merges": _merges(metadata, vocabulary),
        },
    }


def _merges(metadata: dict[str, Value], vocabulary: dict[str, int]) -> list[list[str]]:
    merges = [merge.split(" ", 1) for merge in _field(metadata, "merges")]
    if any(len(pair) != 2 or "".join(pair) not in vocabulary for pair in merges):
        raise UserError("gguf_tokenizer_missing", field="merges")
    return merges


def _added_token(index: int, token: str, *, is_special: bool) -> Json:
    edges = {"single_word": False, "lstrip": False, "rstrip": False}
    return {"id": index, "content": token, **edges, "normalized": False, "special": is_special}


def _starts_with_bos(metadata: dict[str, Value], scheme: str) -> bool:
    return bool(metadata.get("tokenizer.ggml.add_bos_token", scheme in _STARTS_WITH_BOS))


def _post_processor(metadata: dict[str, Value], tokens: list[str], scheme: str) -> Json | None:
    bos = special_id(metadata, "bos")
    if bos is None or not _starts_with_bos(metadata, scheme):
        return None if scheme == SENTENCEPIECE else _byte_level(use_regex=True)
    first, a, b = {"SpecialToken": {"id": tokens[bos], "type_id": 0}}, _part("A", 0), _part("B", 1)
    return {
        "type": "TemplateProcessing",
        "single": [first, a],
        "pair": [first, a, {"SpecialToken": {"id": tokens[bos], "type_id": 1}}, b],
        "special_tokens": {tokens[bos]: {"id": tokens[bos], "ids": [bos], "tokens": [tokens[bos]]}},
    }


def _part(name: str, type_id: int) -> Json:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _tokenizer_config(metadata: dict[str, Value], tokens: list[str], context_length: int) -> Json:
    roles = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {name: special_id(metadata, role) for name, role in roles.items()}
    config: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        **{name: tokens[index] for name, index in ids.items() if index is not None},
    }
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    return config
