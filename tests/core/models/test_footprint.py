"""Keys and values are estimated as they will be kept, on the way to a full context too."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.inference.choice import choose
from core.load_options import LoadOptions
from core.models.footprint import estimate, int8_begins, kv_bytes
from core.models.load import load
from core.models.shape import read_shape, shape_of
from tests.helpers import tiny_models

SEVEN = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 3584, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064,
    "max_position_embeddings": 32768,
}  # fmt: skip
PLAIN, OURS, PUBLISHED = (LoadOptions(kv_cache=kind) for kind in ("plain", "int8", "int8_compatible"))


def test_8_bits_save_from_where_they_begin() -> None:
    shape = shape_of(SEVEN)
    begins = int8_begins(shape)
    assert begins == 1024  # 2 kB a token in each layer
    plain, ours, published = (
        [kv_bytes(shape, options, context=context) for context in (300, begins - 1, begins, 1500, 2048, 32768)]
        for options in (PLAIN, OURS, PUBLISHED)
    )
    assert ours[:2] == plain[:2]
    assert ours[2] == ours[1]  # it was that much before it was packed
    assert ours == sorted(ours)
    for at in (-2, -1):
        assert 0.5 < ours[at] / plain[at] < 0.53 and 0.5 < published[at] / plain[at] < 0.55
    assert all(0.5 < few / all_ < 0.55 for few, all_ in zip(published, plain, strict=True))


def test_a_short_context_is_estimated_as_a_plain_one() -> None:
    shape = shape_of(SEVEN)
    assert estimate(shape, OURS, context=1000) == estimate(shape, PLAIN, context=1000)
    assert estimate(shape, OURS, context=4096).total < estimate(shape, PLAIN, context=4096).total


@pytest.mark.parametrize("weights", ["float32", "bfloat16"])
def test_the_estimate_and_the_decoder_begin_at_the_same_length(tmp_path: Path, weights: str) -> None:
    tiny_models.write_model(tmp_path, "qwen3")
    options = LoadOptions(weights=weights, kv_cache="int8")  # type: ignore[arg-type]
    decoder = choose(load(tmp_path, options).model, 512, is_exact=False, kv_cache="int8")
    assert decoder.keeping.begins_at == int8_begins(read_shape(tmp_path), options)  # type: ignore[attr-defined]
