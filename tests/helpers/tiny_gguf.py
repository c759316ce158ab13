"""Small GGUF files as llama.cpp's converter writes them, made from random transformers models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

HEADS, KV_HEADS, HEAD_DIM, HIDDEN, INNER, LAYERS = 4, 2, 16, 64, 128, 2
SPECIAL = {"<|endoftext|>": 3, "<|im_start|>": 3, "<|im_end|>": 3, "<tool_call>": 4, "[PAD260]": 5}
MERGED = ["he", "ll"]
VOCABULARY = 256 + len(SPECIAL) + len(MERGED)
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


def byte_tokens() -> list[str]:
    """The 256 letters that stand for bytes, in the order of their bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def tiny_model(architecture: str, *, tied: bool = False) -> Any:
    """A random model of one architecture, float32."""
    import torch
    import transformers

    torch.manual_seed(0)
    classes = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    config = getattr(transformers, f"{classes[architecture]}Config")(
        hidden_size=HIDDEN, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, vocab_size=VOCABULARY, tie_word_embeddings=tied,
        max_position_embeddings=512, rope_parameters={"rope_type": "default", "rope_theta": 50_000.0},
        rms_norm_eps=1e-5,
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
) -> Path:
    """The model as a GGUF file; matrices stored as `kind`, vectors as float32."""
    config = model.config
    writer = gguf.GGUFWriter(file, config.model_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD_DIM)
    writer.add_rope_freq_base(50_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_license("apache-2.0")
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


def _tensors(model: Any) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}
    for name, value in model.state_dict().items():
        array = value.numpy()
        if name.startswith("model.layers."):
            layer, _, rest = name.removeprefix("model.layers.").partition(".")
            module, _, suffix = rest.rpartition(".")
            if model.config.model_type == "llama" and NAMES[module] in ("attn_q", "attn_k"):
                array = interleaved(array, HEADS if NAMES[module] == "attn_q" else KV_HEADS)
            tensors[f"blk.{layer}.{NAMES[module]}.{suffix}"] = array
        elif not (name == "lm_head.weight" and model.config.tie_word_embeddings):
            whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
            tensors[f"{whole[name.removesuffix('.weight')]}.weight"] = array
    return tensors
