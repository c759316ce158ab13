"""A small random model of every family, as its config class builds it, with a template of the family's kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.helpers import tiny_models, tiny_qwen_v1

EXPERTS = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 64,
    "norm_topk_prob": True,
}  # fmt: skip
DELTA = {
    "num_hidden_layers": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}  # fmt: skip
NGRAMS = {
    "hc_lowrank": 8, "ple_layer_ids": [1], "ngram_vocab_size_base": 50, "split_ngram_parts": 2, "indexer_n_heads": 2,
    "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 512, "indexer_compress_ratio": 4,
}  # fmt: skip

PLAIN = """\
{%- for message in messages %}
    {%- if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}{% endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
# Tools as JSON in <tool_call>, as from Qwen2.5 on.
HERMES = "{%- if tools %}{{ '<tool_call>' }}{% endif %}" + PLAIN
# Always thinks: the reply begins inside the thinking.
ALWAYS = PLAIN.replace("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>\\n' }}")
# Thinks unless told otherwise, the thinking being open already; tools as XML. As Qwen3.5.
OPEN = "{%- if tools %}{{ '<tool_call>\\n<function=' }}{% endif %}" + PLAIN.replace(
    "'<|im_start|>assistant\\n' }}",
    "'<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% else %}{{ '<think>\\n' }}{% endif %}",
)


# Thinks only when told to, as the smallest of Qwen3.5.
ASKED = OPEN.replace("enable_thinking is false", "enable_thinking is not true")


class Tiny(NamedTuple):
    """family: its key; thinking: what the template makes of it; changes: of the config."""

    family: str
    model_type: str
    template: str
    thinking: str
    changes: dict[str, Any]


SLIDING = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}
TINY = {
    "qwen": Tiny("qwen", "qwen", "", "none", {"seq_length": tiny_qwen_v1.CONTEXT}),
    "qwen1_5": Tiny("qwen1_5", "qwen2", PLAIN, "none", {"num_key_value_heads": 4}),
    "qwen2": Tiny("qwen2", "qwen2", PLAIN, "none", {}),
    "qwen2_5": Tiny("qwen2_5", "qwen2", HERMES, "none", {}),
    "qwen2_5 with a window": Tiny("qwen2_5", "qwen2", HERMES, "none", SLIDING),
    "qwen1_5_moe": Tiny("qwen1_5_moe", "qwen2_moe", PLAIN, "none", {"num_key_value_heads": 4, **EXPERTS}),
    "qwen2_moe": Tiny("qwen2_moe", "qwen2_moe", PLAIN, "none", EXPERTS),
    "qwen3": Tiny("qwen3", "qwen3", tiny_models.TEMPLATE, "switch", {}),
    "qwen3_moe": Tiny("qwen3_moe", "qwen3_moe", tiny_models.TEMPLATE, "switch", EXPERTS),
    "qwen3_next": Tiny("qwen3_next", "qwen3_next", ALWAYS, "always", {**EXPERTS, **DELTA}),
    "qwen3_5": Tiny("qwen3_5", "qwen3_5_text", OPEN, "switch", DELTA),
    "qwen3_5_moe": Tiny("qwen3_5_moe", "qwen3_5_moe_text", OPEN, "switch", {**EXPERTS, **DELTA}),
    "qwen4_exp": Tiny("qwen4_exp", "qwen4_exp_text", OPEN, "switch", {**EXPERTS, **DELTA, **NGRAMS}),
    "llama": Tiny("other", "llama", PLAIN, "none", {}),
    "gemma2": Tiny("other", "gemma2", PLAIN, "none", {"sliding_window": 16}),
}


def model(name: str, seed: int = 0) -> PreTrainedModel:
    """Biases and norms are random too, so that a formula without them shows."""
    tiny = TINY[name]
    if tiny.model_type == "qwen":
        return tiny_qwen_v1.model(seed=seed, **tiny.changes)
    end = tiny_models.tokenizer().token_to_id("<|im_end|>")
    shape = {
        "vocab_size": tiny_models.VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "max_position_embeddings": tiny_models.CONTEXT, "initializer_range": 0.2, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": end, "pad_token_id": None,
    }  # fmt: skip
    torch.manual_seed(seed)
    config = AutoConfig.for_model(tiny.model_type, **shape | tiny.changes)
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return made.eval()


def write(folder: Path, name: str) -> Path:
    """A whole model folder, as a hub would give it."""
    if TINY[name].model_type == "qwen":
        return tiny_qwen_v1.write_model(folder, **TINY[name].changes)
    folder.mkdir(parents=True, exist_ok=True)
    model(name).save_pretrained(folder)
    tiny_models.write_tokenizer(folder, TINY[name].template)
    return folder


def write_side_files(folder: Path, name: str) -> None:
    """What a folder needs beside config and weights."""
    if TINY[name].model_type == "qwen":
        tiny_qwen_v1.write_tokenizer(folder)
        tiny_qwen_v1.write_generation_config(folder, len(tiny_qwen_v1.ranks()), is_chat=True)
    else:
        tiny_models.write_tokenizer(folder, TINY[name].template)


def covered(name: str, weights: str, how: str) -> Any:
    """A name of TINY as a parameter of a test that counts in the README's table."""
    return pytest.param(name, marks=pytest.mark.covers(family=TINY[name].family, weights=weights, how=how))
