"""A converted model answers as the one it was made from, and a file we would misread is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.chat.chat_format import chat_format
from core.chat.tiktoken_file import read_ranks
from core.chat.vocabulary import Vocabulary
from core.errors import UserError
from core.models.gguf import convert
from core.models.gguf_file import open_gguf
from core.models.qwen_v1 import registration
from core.models.steps import result
from tests.helpers import tiny_qwen_v1
from tests.helpers.tiny_gguf import byte_tokens, tiny_model, write_gguf

Q8 = gguf.GGMLQuantizationType.Q8_0
IDS = torch.arange(40).reshape(2, 20) % 256


registration.register()


def converted(tmp_path: Path, model: Any, **how: Any) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    result(convert(write_gguf(tmp_path / "m.gguf", model, **how), out))
    return out


def rounded(model: Any) -> Any:
    """With weights that bf16 holds exactly, so that nothing may differ."""
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    return model


def assert_same(ours: Any, origin: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS).logits, origin(IDS).logits, rtol=0, atol=1e-5)


CASES = [
    ("llama", True),
    ("llama", False),
    ("qwen2", True),
    ("qwen3", False),
    ("qwen2_moe", False),
    ("qwen3_moe", False),
]


# Families that share an architecture, and so a kind of GGUF file.
FAMILIES = {
    "llama": ("other",),
    "qwen": ("qwen",),
    "qwen2": ("qwen1_5", "qwen2", "qwen2_5"),
    "qwen2_moe": ("qwen1_5_moe", "qwen2_moe"),
    "qwen3": ("qwen3",),
    "qwen3_moe": ("qwen3_moe",),
}
HOW = "converted once; the logits are those of the model that was written into the file"


def covered(architecture: str, tied: bool) -> Any:
    marks = [pytest.mark.covers(family=family, weights="gguf", how=HOW) for family in FAMILIES[architecture]]
    return pytest.param(architecture, tied, marks=marks)


@pytest.mark.parametrize(("architecture", "tied"), [covered(*case) for case in (*CASES, ("qwen", False))])
def test_a_converted_model_gives_the_logits_of_its_origin(tmp_path: Path, architecture: str, tied: bool) -> None:
    model = rounded(tiny_model(architecture, tied=tied))
    loaded, report = AutoModelForCausalLM.from_pretrained(
        converted(tmp_path, model), dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert_same(loaded, model)


def test_a_quantised_file_is_the_same_model_but_for_its_rounding(tmp_path: Path) -> None:
    model = tiny_model("llama")
    loaded = AutoModelForCausalLM.from_pretrained(converted(tmp_path, model, kind=Q8), dtype=torch.float32)
    with torch.no_grad():
        ours, origin = loaded(IDS).logits, model(IDS).logits
    assert (ours - origin).abs().max() < 0.03 * origin.abs().max()


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "BF16", "F16", "MXFP4"])
def test_other_quantisations_are_read(tmp_path: Path, name: str) -> None:
    """Kinds the gguf package can write and whose blocks fit a tiny model; it reads many more."""
    model = tiny_model("llama")
    out = converted(tmp_path, model, kind=gguf.GGMLQuantizationType[name])
    with safe_open(out / "model.safetensors", "pt") as tensors:
        ours = tensors.get_tensor("model.layers.1.mlp.down_proj.weight").float()
    origin = model.model.layers[1].mlp.down_proj.weight.detach()
    assert torch.corrcoef(torch.stack((ours.flatten(), origin.flatten())))[0, 1] > 0.95


def test_the_first_generation_comes_out_as_it_was_published(tmp_path: Path) -> None:
    out = converted(tmp_path, tiny_model("qwen"), name="Qwen-tiny-Chat")
    config = json.loads((out / "config.json").read_text())
    assert config["seq_length"] == 256 and config["use_dynamic_ntk"] and config["intermediate_size"] == 192
    assert read_ranks(out / "qwen.tiktoken") == tiny_qwen_v1.ranks()
    vocabulary = Vocabulary.load(out)
    assert vocabulary.id_of("<|im_end|>") == len(tiny_qwen_v1.ranks()) + 2
    assert chat_format(out, vocabulary).can_chat
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == len(tiny_qwen_v1.ranks())


def test_a_first_generation_file_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("qwen"))
    file.write_bytes(file.read_bytes().replace(b"<|extra_7|>", b"<|EXTRA_7|>"))
    with pytest.raises(UserError, match="tokenizer"):
        result(convert(file, tmp_path))


def test_sentencepiece_joins_by_score_and_loses_no_byte(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, tiny_model("llama", rows=272), pre="spm"))
    assert tokenizer.tokenize("hello") == ["▁hello"]
    assert tokenizer.tokenize("hell") == ["▁he", "ll"]  # "he" scores above "ll" and "▁he"
    assert tokenizer.tokenize("ß你") == ["▁", "<0xC3>", "<0x9F>", "你"]
    assert tokenizer.encode("he")[0] == tokenizer.bos_token_id == 1
    text = "hello 你好 hell  𝄞"
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=True) == text
    vocabulary = Vocabulary.load(tmp_path / "out")
    end = vocabulary.id_of("<|im_end|>")
    assert end in vocabulary.encode_control("<|im_end|>") and end not in vocabulary.encode_text("<|im_end|>")


LLAMA3 = {"rope_type": "llama3", "rope_theta": 50_000.0, "factor": 32.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip


def test_the_positions_of_llama3_are_recognised_by_their_factors(tmp_path: Path) -> None:
    model = rounded(tiny_model("llama", rope=LLAMA3))
    plain = 50_000.0 ** -(torch.arange(0, 16, 2) / 16)
    factors = (plain / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)
    out = converted(tmp_path, model, extra={"rope_freqs.weight": factors})
    assert json.loads((out / "config.json").read_text())["rope_parameters"] == LLAMA3
    assert_same(AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32), model)


def test_large_models_are_written_in_shards_that_load(tmp_path: Path) -> None:
    model = rounded(tiny_model("qwen3"))
    out = tmp_path / "out"
    out.mkdir()
    steps = list(convert(write_gguf(tmp_path / "m.gguf", model), out, shard_bytes=60_000))
    assert len(list(out.glob("model-*-of-*.safetensors"))) > 2 and not (out / "model.safetensors").exists()
    assert_same(AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32), model)
    assert steps[-1] is not None and steps[-1].done == steps[-1].total


@pytest.mark.parametrize(
    ("pre", "pieces"),
    [
        ("gpt-2", ["I", "'ve", "Ġ123", "ĠA", "'", "LL", "!?"]),
        ("smollm", ["I", "'ve", "Ġ", "1", "2", "3", "ĠA", "'", "LL", "!?"]),
        ("qwen2", ["I", "'ve", "Ġ", "1", "2", "3", "ĠA", "'LL", "!?"]),
        ("llama-bpe", ["I", "'ve", "Ġ", "123", "ĠA", "'LL", "!?"]),
    ],
)
def test_text_is_split_as_the_file_names_it(tmp_path: Path, pre: str, pieces: list[str]) -> None:
    model = tiny_model("qwen2" if pre == "qwen2" else "llama")
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, model, pre=pre))
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("I've 123 A'LL!?")
    assert [piece for piece, _ in split] == pieces


def test_the_tokenizer_keeps_ids_roles_template_and_every_byte(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, tiny_model("qwen2")))
    text = "Grüße, 北京!\n\n  𝄞\t~"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False) == [258]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (256, 258, 256)
    added = tokenizer.added_tokens_decoder
    assert added[258].special and not added[259].special and added[259].content == "<tool_call>"
    assert "[PAD260]" not in tokenizer.get_vocab()
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "<|im_start|>user\nhi<|im_end|>\n"


def test_every_id_that_ends_an_answer_is_named(tmp_path: Path) -> None:
    out = converted(tmp_path, tiny_model("llama"), pre="smollm")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [258, 256]


def test_llama3_files_start_with_bos(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(tmp_path, tiny_model("llama"), pre="llama-bpe"))
    letter = byte_tokens().index("x")
    assert tokenizer.encode("x") == [256, letter]


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ({"pre": "mystery"}, "gguf_tokenizer_unknown"),
        ({"pre": "smollm"}, "gguf_tokenizer_unknown"),  # known, but not for this architecture
        ({"extra": {"rope_freqs.weight": np.arange(1, 9, dtype=np.float32)}}, "gguf_rope_unknown"),
        ({"extra": {"blk.0.ssm.weight": np.ones((2, 32), np.float32)}}, "gguf_tensors_differ"),
        ({"without": ("blk.1.ffn_up.weight",)}, "gguf_tensors_differ"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path: Path, how: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        converted(tmp_path, tiny_model("qwen2"), **how)
    assert not list((tmp_path / "out").iterdir())
    assert caught.value.code == code and str(caught.value)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(UserError, match="mamba"):
        result(convert(tmp_path / "m.gguf", tmp_path))


def test_a_file_cut_anywhere_is_refused_in_words(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "m.gguf", tiny_model("qwen2")).read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in [*range(0, 400, 7), len(whole) // 20, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(UserError) as caught:
            open_gguf(cut)
        assert caught.value.code in ("gguf_truncated", "gguf_unreadable")


def test_broken_lengths_ask_for_no_memory(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "m.gguf", tiny_model("qwen2"))
    raw = bytearray(file.read_bytes())
    raw[24:32] = b"\xff" * 8  # the length of the first string
    file.write_bytes(raw)
    with pytest.raises(UserError):
        open_gguf(file)
