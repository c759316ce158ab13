"""The tensors an architecture has, told from its config alone: for models that are not on this machine yet.

Knows the first Qwen generation and the decoders shaped like Llama's, with their experts and gated delta nets.
Invariant: names, shapes and number are those of the model in memory, where all experts of a layer are one tensor.
"""

from __future__ import annotations

from typing import Any

from core.errors import UserError

Json = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, tuple[str, tuple[int, ...]]]

_DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
_QKV_BIAS = {"qwen2", "qwen2_moe"}
_HEAD_NORM = {"qwen3", "qwen3_moe", "qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}
_GATED_QUERIES = {"qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"}  # the query projection carries an output gate
_LIKE_LLAMA = {"llama", "mistral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next", "qwen3_5_text",
               "qwen3_5_moe_text"}  # fmt: skip


def declared_tensors(config: Json) -> Tensors:
    """name -> (dtype as in safetensors, shape)

    Raises:
        UserError: architecture_unknown or config_incomplete.
    """
    text = config.get("text_config") or config
    dtype = _DTYPES.get(str(text.get("dtype") or text.get("torch_dtype") or config.get("torch_dtype")), "BF16")
    try:
        shapes = _first_generation(text) if text.get("model_type") == "qwen" else _like_llama(text)
    except KeyError as error:
        raise UserError("config_incomplete", field=str(error.args[0])) from None
    return {name: (dtype, shape) for name, shape in shapes.items()}


def _first_generation(text: Json) -> Shapes:
    hidden, inner, vocabulary = text["hidden_size"], text["intermediate_size"] // 2, text["vocab_size"]
    shapes: Shapes = {
        "transformer.wte.weight": (vocabulary, hidden),
        "transformer.ln_f.weight": (hidden,),
        "lm_head.weight": (vocabulary, hidden),
    }
    for layer in range(text["num_hidden_layers"]):
        shapes |= {
            f"transformer.h.{layer}.{name}": shape
            for name, shape in {
                "ln_1.weight": (hidden,),
                "ln_2.weight": (hidden,),
                "attn.c_attn.weight": (3 * hidden, hidden),
                "attn.c_attn.bias": (3 * hidden,),
                "attn.c_proj.weight": (hidden, hidden),
                "mlp.w1.weight": (inner, hidden),
                "mlp.w2.weight": (inner, hidden),
                "mlp.c_proj.weight": (hidden, inner),
            }.items()
        }
    return shapes


def _like_llama(text: Json) -> Shapes:
    kind = text.get("model_type")
    if kind not in _LIKE_LLAMA:
        raise UserError("architecture_unknown", architecture=str(kind or "?"))
    hidden, vocabulary = text["hidden_size"], text["vocab_size"]
    shapes: Shapes = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "model.norm.weight": (hidden,),
    }
    if not text.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (vocabulary, hidden)
    for layer in range(text["num_hidden_layers"]):
        own: Shapes = {"input_layernorm.weight": (hidden,), "post_attention_layernorm.weight": (hidden,)}
        own |= _delta_net(text) if _is_recurrent(text, layer) else _attention(text)
        own |= _experts(text) if _has_experts(text, layer) else _mlp(text["intermediate_size"], hidden, "mlp")
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    return shapes


def _is_recurrent(text: Json, layer: int) -> bool:
    if "linear_num_value_heads" not in text:
        return False
    if kinds := text.get("layer_types"):
        return bool(kinds[layer] == "linear_attention")
    return bool((layer + 1) % text.get("full_attention_interval", 4))


def _has_experts(text: Json, layer: int) -> bool:
    if not _expert_count(text):
        return False
    step = text.get("decoder_sparse_step", 1)
    return layer not in (text.get("mlp_only_layers") or ()) and (layer + 1) % step == 0


def _expert_count(text: Json) -> int:
    return int(text.get("num_experts") or text.get("num_local_experts") or 0)


def _attention(text: Json) -> Shapes:
    kind, hidden, heads = text["model_type"], text["hidden_size"], text["num_attention_heads"]
    width = text.get("head_dim") or hidden // heads
    queries, keys = heads * width, (text.get("num_key_value_heads") or heads) * width
    rows = {"q_proj": queries * (2 if kind in _GATED_QUERIES else 1), "k_proj": keys, "v_proj": keys}
    shapes: Shapes = {f"self_attn.{name}.weight": (count, hidden) for name, count in rows.items()}
    shapes["self_attn.o_proj.weight"] = (hidden, queries)
    if kind in _QKV_BIAS or text.get("attention_bias"):
        shapes |= {f"self_attn.{name}.bias": (count,) for name, count in rows.items()}
    if text.get("attention_bias") and kind not in _QKV_BIAS:
        shapes["self_attn.o_proj.bias"] = (hidden,)
    if kind in _HEAD_NORM:
        shapes |= {"self_attn.q_norm.weight": (width,), "self_attn.k_norm.weight": (width,)}
    return shapes


def _delta_net(text: Json) -> Shapes:
    hidden, values = text["hidden_size"], text["linear_num_value_heads"]
    key_size = text["linear_num_key_heads"] * text["linear_key_head_dim"]
    value_size = values * text["linear_value_head_dim"]
    shapes: Shapes = {
        "linear_attn.conv1d.weight": (2 * key_size + value_size, 1, text.get("linear_conv_kernel_dim", 4)),
        "linear_attn.dt_bias": (values,),
        "linear_attn.A_log": (values,),
        "linear_attn.norm.weight": (text["linear_value_head_dim"],),
        "linear_attn.out_proj.weight": (hidden, value_size),
    }
    if text["model_type"] == "qwen3_next":
        rows = {"in_proj_qkvz": 2 * key_size + 2 * value_size, "in_proj_ba": 2 * values}
    else:
        rows = {"in_proj_qkv": 2 * key_size + value_size, "in_proj_z": value_size, "in_proj_b": values,
                "in_proj_a": values}  # fmt: skip
    return shapes | {f"linear_attn.{name}.weight": (count, hidden) for name, count in rows.items()}


def _mlp(inner: int, hidden: int, name: str) -> Shapes:
    return {
        f"{name}.gate_proj.weight": (inner, hidden),
        f"{name}.up_proj.weight": (inner, hidden),
        f"{name}.down_proj.weight": (hidden, inner),
    }


def _experts(text: Json) -> Shapes:
    hidden, count, inner = text["hidden_size"], _expert_count(text), text["moe_intermediate_size"]
    shapes: Shapes = {"mlp.gate.weight": (count, hidden)}
    shapes |= {"mlp.experts.gate_up_proj": (count, 2 * inner, hidden), "mlp.experts.down_proj": (count, hidden, inner)}
    if shared := text.get("shared_expert_intermediate_size"):
        shapes |= _mlp(shared, hidden, "mlp.shared_expert") | {"mlp.shared_expert_gate.weight": (1, hidden)}
    return shapes
