"""Turns a GGUF file into a transformers folder: config, bf16 safetensors, tokenizer with its chat template.

Invariant: the file's tensors must be exactly those the architecture has, in the shapes its metadata says; otherwise
nothing is converted and the reason is named. Memory stays at some 150 MB, whatever the size of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import UserError
from core.models.gguf_architectures import read_config
from core.models.gguf_file import GgufFile, Value, open_gguf
from core.models.gguf_tensors import Target, targets
from core.models.gguf_tiktoken import write_first_generation
from core.models.gguf_tokenizer import eos_ids, special_id, write_tokenizer
from core.models.safetensors_file import SHARD_BYTES, Planned, write_sharded
from core.models.steps import Step, Work

Json = dict[str, Any]

CHUNK_ELEMENTS = 4_000_000  # 16 MB of float32 at a time, whatever the size of the tensor


def convert(gguf_file: Path, out: Path, shard_bytes: int = SHARD_BYTES) -> Work[Json]:
    """Write the model of `gguf_file` into the folder `out`, which exists; the result is its config.

    Raises:
        UserError: gguf_* (cut, unreadable, an architecture, tokenizer or quantisation we do not know, other tensors).
    """
    source = open_gguf(gguf_file)
    config = read_config(source)
    planned = [
        Planned(target.name, "BF16", target.shape, _bfloat16(source, target)) for target in targets(source, config)
    ]
    if config["model_type"] == "qwen":
        write_first_generation(source, out, config["max_position_embeddings"])
    else:
        write_tokenizer(source.metadata, out, config["max_position_embeddings"])
        _write_json(out / "generation_config.json", _generation_config(source.metadata))
    _write_json(out / "config.json", config)
    total = sum(tensor.size_bytes for tensor in planned)
    done = 0
    for size in write_sharded(out, planned, shard_bytes):
        done += size
        yield Step("converting", done, total, gguf_file.name)
    return config


def _bfloat16(source: GgufFile, target: Target) -> Iterator[bytes]:
    """The tensor's bytes as bf16, a few rows at a time. Rows are put in order before they are dequantised."""
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize

    tensor, count = source.tensors[target.source], prod(target.shape[:-1])
    kind = GGMLQuantizationType(tensor.kind)
    raw = source.raw_rows(tensor)[target.first_row : target.first_row + count]
    order = _row_order(count, target.heads)
    step = max(1, CHUNK_ELEMENTS // tensor.shape[-1])
    for start in range(0, count, step):
        rows = raw[start : start + step] if order is None else raw[order[start : start + step]]
        try:
            values = dequantize(np.ascontiguousarray(rows), kind)
        except NotImplementedError:
            raise UserError("gguf_quantisation_unknown", file=source.path.name, kind=kind.name) from None
        yield _round_to_bfloat16(values).tobytes()


def _row_order(rows: int, heads: int) -> NDArray[np.intp] | None:
    """Where each row of q or k comes from: (head, pair, half) in the file, (head, half, pair) in transformers."""
    if not heads:
        return None
    return np.arange(rows).reshape(heads, rows // heads // 2, 2).swapaxes(1, 2).reshape(-1)


def _round_to_bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """To the nearest, ties to even, as torch does."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _generation_config(metadata: dict[str, Value]) -> Json:
    ends = eos_ids(metadata)
    ids = {
        "bos_token_id": special_id(metadata, "bos"),
        "eos_token_id": ends[0] if len(ends) == 1 else ends or None,
        "pad_token_id": special_id(metadata, "padding"),
    }
    return {name: value for name, value in ids.items() if value is not None}


def _write_json(file: Path, value: Json) -> None:
    file.write_text(json.dumps(value, indent=2), "utf-8")
