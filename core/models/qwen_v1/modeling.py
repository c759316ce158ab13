"""The first generation as transformers modules, under the published tensor names.

Owns the forward pass. Invariant: it computes what the published code computes, except where that is wrong: positions
and LogN count from the first real token of a row, so a row of a batch is answered as it would be alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils.generic import can_return_tuple
from transformers.utils.import_utils import is_flash_attn_2_available
from transformers.utils.output_capturing import capture_outputs

from core.models.qwen_v1 import rotary
from core.models.qwen_v1.configuration import QWenConfig
from core.models.qwen_v1.int8_cache import Int8Cache
from core.models.qwen_v1.rotary import Places


class QWenRMSNorm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return normed.type_as(x) * self.weight


def _output(width: int, config: QWenConfig) -> nn.Linear:
    """A projection whose result is added to the stream, which begins smaller than others."""
    made = nn.Linear(width, config.hidden_size, bias=not config.no_bias)
    made.begins_smaller = True  # type: ignore[assignment]
    return made


class QWenMLP(nn.Module):
    def __init__(self, config: QWenConfig) -> None:
        super().__init__()
        width = config.intermediate_size // 2
        self.w1 = nn.Linear(config.hidden_size, width, bias=not config.no_bias)
        self.w2 = nn.Linear(config.hidden_size, width, bias=not config.no_bias)
        self.c_proj = _output(width, config)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.c_proj(self.w1(x) * F.silu(self.w2(x)))
        return projected


class QWenAttention(nn.Module):
    def __init__(self, config: QWenConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer
        self.is_causal = True
        self.head_dim = config.kv_channels
        self.num_key_value_groups = 1  # asked for by transformers' attention functions
        self.scaling = self.head_dim**-0.5 if config.scale_attn_weights else 1.0
        width = config.kv_channels * config.num_attention_heads
        self.c_attn = nn.Linear(config.hidden_size, 3 * width)
        self.c_proj = _output(width, config)

    def forward(
        self, x: Tensor, mask: Any, places: Places, cache: Cache | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """x: (batch, tokens, hidden); the weights that come back are None except in eager attention."""
        heads = (*x.shape[:2], -1, self.head_dim)
        query, key, value = (part.view(heads).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))
        query, key = rotary.rotate(query, places), rotary.rotate(key, places)
        if places.query_scale is not None:
            query = (query * places.query_scale[:, None]).to(key.dtype)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention
        )
        dropout = self.config.attn_dropout_prob if self.training else 0.0
        seen, weights = attend(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.c_proj(seen.reshape(*x.shape[:2], -1)), weights


def eager_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None,
    scaling: float, dropout: float = 0.0, **kwargs: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """query, key, value: (batch, heads, tokens, width) -> (batch, tokens, heads, width)"""
    scores = query @ key.transpose(2, 3) * scaling
    if mask is not None:
        scores = scores + mask
    precision = torch.float32 if cast(QWenConfig, module.config).softmax_in_fp32 else scores.dtype
    weights = F.dropout(scores.softmax(-1, dtype=precision).to(query.dtype), dropout, module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class QWenBlock(GradientCheckpointingLayer):
    def __init__(self, config: QWenConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = QWenRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.attn = QWenAttention(config, layer)
        self.ln_2 = QWenRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.mlp = QWenMLP(config)

    def forward(
        self, x: Tensor, mask: Any, places: Places, past_key_values: Cache | None = None, **kwargs: Any
    ) -> Tensor:
        # The cache keeps transformers' own name: by it gradient checkpointing and accelerate know it.
        x = x + self.attn(self.ln_1(x), mask, places, past_key_values, **kwargs)[0]
        mixed: Tensor = x + self.mlp(self.ln_2(x))
        return mixed


class QWenPreTrainedModel(PreTrainedModel):
    config_class = QWenConfig
    config: QWenConfig
    base_model_prefix = "transformer"
    _input_embed_layer = "wte"
    supports_gradient_checkpointing = True
    _no_split_modules = ["QWenBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _keys_to_ignore_on_load_unexpected = [
        r"rotary_emb\.inv_freq$", r"logn_tensor$", r"masked_bias$", r"registered_causal_mask$", r"\.attn\.bias$",
    ]  # fmt: skip
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _can_record_outputs = {
        "hidden_states": QWenBlock, "attentions": QWenAttention,
    }  # fmt: skip

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        deviation = self.config.initializer_range
        if getattr(module, "begins_smaller", False):
            # Each block adds to the stream twice, so that it would grow with the number of blocks.
            deviation /= math.sqrt(2 * self.config.num_hidden_layers)
        if isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, mean=0.0, std=deviation)
        if isinstance(module, nn.Linear) and module.bias is not None:
            init.zeros_(module.bias)
        if isinstance(module, QWenRMSNorm):
            init.ones_(module.weight)

    def _check_and_adjust_attn_implementation(self, attn_implementation: str | None, *args: Any, **kwargs: Any) -> str:
        """Flash attention where the config asks for it and it is there, and never beside an 8-bit cache."""
        wants_flash = attn_implementation is None and self.config.use_flash_attn is True
        is_half = self.config.dtype in (torch.float16, torch.bfloat16)
        if wants_flash and is_half and is_flash_attn_2_available():
            attn_implementation = "flash_attention_2"
        if self.config.use_cache_quantization and "flash" in (attn_implementation or ""):
            attn_implementation = "sdpa"
        found: str = super()._check_and_adjust_attn_implementation(attn_implementation, *args, **kwargs)
        return found


class QWenModel(QWenPreTrainedModel):
    def __init__(self, config: QWenConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.drop = nn.Dropout(config.emb_dropout_prob)
        self.h = nn.ModuleList(QWenBlock(config, layer) for layer in range(config.num_hidden_layers))
        self.ln_f = QWenRMSNorm(config.hidden_size, config.layer_norm_epsilon)
        self.gradient_checkpointing = False
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """attention_mask: (batch, cached + tokens), 1 for real tokens, or what transformers' mask functions give."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds is needed")
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        keeps = self.config.use_cache if use_cache is None else use_cache
        keeps = keeps and not (self.gradient_checkpointing and self.training)
        if keeps and past_key_values is None:
            past_key_values = new_cache(self.config)
        before = int(past_key_values.get_seq_length()) if past_key_values is not None else 0
        if position_ids is None:
            counted = attention_mask if isinstance(attention_mask, Tensor) and attention_mask.dim() == 2 else None
            position_ids = rotary.positions_of(counted, before, x.shape[1], x.device)
        mask = create_causal_mask(
            config=self.config, inputs_embeds=x, attention_mask=attention_mask,
            past_key_values=past_key_values, position_ids=position_ids,
        )  # fmt: skip
        places = self._places(past_key_values, before, position_ids, before + x.shape[1])
        x = self.drop(x)
        for block in self.h:
            x = block(x, mask, places, past_key_values=past_key_values, **kwargs)
        return BaseModelOutputWithPast(
            last_hidden_state=self.ln_f(x), past_key_values=past_key_values if keeps else None
        )

    @torch.no_grad()
    def _places(self, cache: Cache | None, before: int, positions: Tensor, longest: int) -> Places:
        alphas = (1.0,) if self.training else rotary.alphas_for(self.config, cache, before, positions)
        return rotary.places(self.config, positions, alphas, longest=longest, is_training=self.training)


def new_cache(config: QWenConfig) -> Cache:
    """An empty cache of the kind the config asks for."""
    return Int8Cache(config) if config.use_cache_quantization else DynamicCache(config=config)


class QWenLMHeadModel(QWenPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.wte.weight"}  # where config says so

    def __init__(self, config: QWenConfig) -> None:
        super().__init__(config)
        self.transformer = QWenModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.vocab_size = config.vocab_size
        self.loss_type = "ForCausalLM"
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """labels: (batch, tokens), -100 where nothing is to be learned; logits of the last `logits_to_keep` tokens, or
        of those whose places the tensor holds; 0 is all."""
        output = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, inputs_embeds=inputs_embeds, use_cache=use_cache, **kwargs,
        )  # fmt: skip
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=output.past_key_values,
            hidden_states=output.hidden_states, attentions=output.attentions,
        )  # fmt: skip

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any) -> Any:
        is_open = model_kwargs.get("past_key_values") is None and generation_config.cache_implementation is None
        if self.config.use_cache_quantization and generation_config.use_cache and is_open:
            model_kwargs["past_key_values"] = Int8Cache(self.config)
            return None
        return super()._prepare_cache_for_generation(generation_config, model_kwargs, *args)  # type: ignore[misc]

    def _prefill(
        self, input_ids: Tensor, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """A prompt that generate() reads in parts has the alpha of the whole."""
        cache, mask = model_kwargs.get("past_key_values"), model_kwargs.get("attention_mask")
        if generation_config.prefill_chunk_size and cache is not None and not int(cache.get_seq_length()):
            rotary.prefill_for(cache, input_ids.shape[1] if mask is None else mask.sum(-1).tolist())
        ids: Any = input_ids
        return super()._prefill(ids, generation_config, model_kwargs, *args, **kwargs)  # type: ignore[misc]
