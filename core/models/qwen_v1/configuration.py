"""config.json of the first generation as a transformers config.

Owns its fields, their defaults and the names they had in August 2023. Invariant: what it does not know it keeps and
writes back. Only workers import it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import PreTrainedConfig

from core.models.qwen_v1.positions import LongContext

AUGUST_2023 = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_inner": "intermediate_size",
    "ffn_hidden_size": "intermediate_size",
    "n_positions": "max_position_embeddings",
    "padded_vocab_size": "vocab_size",
    "attn_pdrop": "attn_dropout_prob",
    "embd_pdrop": "emb_dropout_prob",
}


class QWenConfig(PreTrainedConfig):
    """
    seq_length: tokens the model was trained on; max_position_embeddings: tokens its context holds at most
    intermediate_size: twice the width of the feed-forward part
    bf16, fp16, fp32: the precision it asks for, at most one; none leaves the choice open
    use_flash_attn: "auto", True or False
    """

    model_type = "qwen"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values"]
    # The last two are how other code asks for what this generation has under other names, or does not have at all.
    attribute_map: ClassVar[dict[str, str]] = {
        **AUGUST_2023, "head_dim": "kv_channels", "num_key_value_heads": "num_attention_heads",
    }  # fmt: skip

    vocab_size: int = 151_936
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    kv_channels: int = 128
    intermediate_size: int = 22_016
    seq_length: int | None = None
    max_position_embeddings: int = 8192
    rotary_emb_base: float = 10_000
    rotary_pct: float = 1.0
    use_dynamic_ntk: bool = True
    use_logn_attn: bool = True
    layer_norm_epsilon: float = 1e-6
    initializer_range: float = 0.02
    emb_dropout_prob: float = 0.0
    attn_dropout_prob: float = 0.0
    scale_attn_weights: bool = True
    use_cache: bool = True
    no_bias: bool = True
    tie_word_embeddings: bool = False
    bf16: bool = False
    fp16: bool = False
    fp32: bool = False
    use_flash_attn: bool | str = "auto"
    use_cache_quantization: bool = False
    use_cache_kernel: bool = False
    softmax_in_fp32: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        # The old files leave entries empty that they name twice.
        kwargs = {key: value for key, value in kwargs.items() if not (key in AUGUST_2023 and value is None)}
        super().__post_init__(**kwargs)
        if self.seq_length is None:
            self.seq_length = self.max_position_embeddings

    @property
    def long_context(self) -> LongContext:
        return LongContext.from_config(vars(self))
