"""Small GGUF files as llama.cpp's converter writes them, made from random models of transformers and of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

Json = dict[str, Any]

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, LAYERS = 4, 2, 16, 64, 128, 2
SPECIAL = {"<|endoftext|>": 3, "<|im_start|>": 3, "<|im_end|>": 3, "<tool_call>": 4, "[PAD260]": 5}
MERGED = ["he", "ll"]
VOCABULARY = 256 + len(SPECIAL) + len(MERGED)
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.experts.down_proj": "ffn_down_exps",
}
NAMES_V1 = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.w1": "ffn_up",
    "mlp.w2": "ffn_gate",
    "mlp.c_proj": "ffn_down",
}
ENDS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "transformer.wte": "token_embd",
    "transformer.ln_f": "output_norm",
}
ARCHITECTURES = {"qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe"}  # fmt: skip


def byte_tokens() -> list[str]:
    """The 256 letters that stand for bytes, in the order of their bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def tiny_model(architecture: str, *, tied: bool = False, rope: Json | None = None, rows: int = VOCABULARY) -> Any:
    """A random model of one model_type, float32."""
    import torch
    import transformers

    torch.manual_seed(0)
    if architecture == "qwen":
        from tests.helpers import tiny_qwen_v1

        return tiny_qwen_v1.model()
    classes = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "qwen2_moe": "Qwen2Moe", "qwen3_moe": "Qwen3Moe"}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
    if architecture == "qwen2_moe":
        experts |= {"shared_expert_intermediate_size": 96, "norm_topk_prob": False}
    config = getattr(transformers, f"{classes[architecture]}Config")(
        hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, vocab_size=rows, tie_word_embeddings=tied,
        max_position_embeddings=16384 if rope else 512,
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 50_000.0},
        rms_norm_eps=1e-5, **(experts if architecture.endswith("moe") else {}),
    )  # fmt: skip
    model = getattr(transformers, f"{classes[architecture]}ForCausalLM")(config).eval()
    for name, parameter in model.named_parameters():  # biases and norms that are 0 or 1 would hide a mistake
        if name.endswith("bias") or "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k as llama.cpp keeps them for llama: the pairs that rotate together are neighbours."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(
    file: Path,
    model: Any,
    *,
    pre: str = "qwen2",
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    extra: dict[str, np.ndarray] | None = None,
    without: tuple[str, ...] = (),
    name: str = "tiny",
) -> Path:
    """The model as a GGUF file; matrices stored as `kind`, vectors as float32. pre: "spm" for a SentencePiece
    vocabulary, else how a byte-level one splits text."""
    config = model.config
    is_first = config.model_type == "qwen"
    writer = gguf.GGUFWriter(file, ARCHITECTURES.get(config.model_type, config.model_type))
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    if not is_first:
        writer.add_head_count_kv(KV_HEADS)
        writer.add_key_length(HEAD_DIM)
    if experts := getattr(config, "num_experts", 0):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        if shared := getattr(config, "shared_expert_intermediate_size", 0):
            writer.add_expert_shared_feed_forward_length(shared)
    writer.add_rope_freq_base(config.rotary_emb_base if is_first else config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon if is_first else 1e-5)
    writer.add_license("apache-2.0")
    if is_first:
        _add_first_tokenizer(writer, config.vocab_size)
    elif pre == "spm":
        _add_sentencepiece(writer)
    else:
        _add_tokenizer(writer, pre)
    for name, array in {**_tensors(model), **(extra or {})}.items():
        if name not in without:
            stored = gguf.quants.quantize(array, kind) if array.ndim > 1 else array
            writer.add_tensor(name, stored, raw_dtype=kind if array.ndim > 1 else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: gguf.GGUFWriter, pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([*byte_tokens(), *SPECIAL, *MERGED])
    writer.add_token_types([1] * 256 + list(SPECIAL.values()) + [1] * len(MERGED))
    writer.add_token_merges([" ".join(merged) for merged in MERGED])
    writer.add_bos_token_id(256)
    writer.add_eos_token_id(258)
    writer.add_eot_token_id(256)
    writer.add_pad_token_id(256)
    writer.add_chat_template(TEMPLATE)


def _add_first_tokenizer(writer: gguf.GGUFWriter, rows: int) -> None:
    """Of the tiny first generation: its few regular tokens, the control tokens, and empty rows."""
    from core.chat.tiktoken_file import SPECIAL_TOKENS
    from tests.helpers import tiny_qwen_v1

    letters = byte_tokens()
    regular = ["".join(letters[byte] for byte in token) for token in tiny_qwen_v1.ranks()]
    known = [*regular, *SPECIAL_TOKENS]
    empty = [f"[PAD{id}]" for id in range(len(known), rows)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([*known, *empty])
    writer.add_token_types([1] * len(regular) + [3] * len(SPECIAL_TOKENS) + [5] * len(empty))
    # Every longer token of the tiny vocabulary is a shorter one and a byte.
    writer.add_token_merges([f"{token[:-1]} {token[-1]}" for token in regular if len(token) > 1])
    writer.add_eos_token_id(len(regular))


PIECES = ["▁", "h", "e", "l", "o", "he", "ll", "▁he", "llo", "▁hello", "▁he", "你"]


def _add_sentencepiece(writer: gguf.GGUFWriter) -> None:
    """<unk>, two control tokens, the single bytes, and pieces of which later ones score lower."""
    pieces = list(dict.fromkeys(PIECES))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, "<|im_end|>"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [float(-place) for place in range(len(pieces))] + [-1000.0])
    writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces) + [4])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _tensors(model: Any) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        if name.startswith(("model.layers.", "transformer.h.")):
            tensors |= _layer_tensors(model.config.model_type, name, array)
        elif not (name == "lm_head.weight" and model.config.tie_word_embeddings):
            tensors[f"{ENDS[name.removesuffix('.weight')]}.weight"] = array
    return tensors


def _layer_tensors(model_type: str, name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    layer, _, rest = name.removeprefix("model.layers.").removeprefix("transformer.h.").partition(".")
    place = f"blk.{layer}."
    if rest == "mlp.experts.gate_up_proj":  # all experts in one tensor; the file keeps the halves apart
        gate, up = np.split(array, 2, axis=1)
        return {f"{place}ffn_gate_exps.weight": gate, f"{place}ffn_up_exps.weight": up}
    module, _, suffix = (rest if rest.endswith(("weight", "bias")) else f"{rest}.weight").rpartition(".")
    theirs = (NAMES_V1 if model_type == "qwen" else NAMES)[module]
    if model_type == "llama" and theirs in ("attn_q", "attn_k"):
        array = interleaved(array, HEADS if theirs == "attn_q" else KV_HEADS)
    return {f"{place}{theirs}.{suffix}": array}
