"""What a step moves and launches: counted on a model, and by the formula from its dimensions alone.

A token cannot come faster than its bytes; what is lost beside that is mostly launches. Invariant: the two countings
agree, which a test holds; times are never guessed here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch.utils._python_dispatch import TorchDispatchMode

from core.models.quantised.linear import QuantisedLinear

WeightKind = Literal["bf16", "int8", "int4"]
CacheKind = Literal["plain", "int8"]

# Of a layer, by part; a product is one launch, or two where its inputs are split or it has a bias of its own.
FUSED_LAUNCHES = {"norms": 2, "place": 1, "attend": 2, "gate": 1, "products": 4}
STEP_LAUNCHES = 12  # embedding, tables, first norm, head, a greedy choice, the end check and the state


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense decoder. biases: elements of those of a layer."""

    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    width: int
    vocabulary: int
    biases: int = 0

    @classmethod
    def of(cls, config: Any) -> Shape:
        """Of a transformers config; the first generation counts both halves of its gate in `intermediate_size`."""
        is_first = config.model_type == "qwen"
        heads = config.num_attention_heads
        width = getattr(config, "head_dim", None) or getattr(config, "kv_channels", 0) or config.hidden_size // heads
        kv_heads = getattr(config, "num_key_value_heads", None) or heads
        has_bias = is_first or config.model_type == "qwen2"
        return cls(
            config.num_hidden_layers,
            config.hidden_size,
            config.intermediate_size // 2 if is_first else config.intermediate_size,
            heads,
            kv_heads,
            width,
            config.vocab_size,
            (heads + 2 * kv_heads) * width if has_bias else 0,
        )

    @property
    def linear(self) -> int:
        """Elements of the products of all layers."""
        attention = (2 * self.heads + 2 * self.kv_heads) * self.width * self.hidden
        return self.layers * (attention + 3 * self.ffn * self.hidden)

    def weight_bytes(self, kind: WeightKind, group: int = 128, head: WeightKind = "bf16") -> int:
        """Read for one token: of the table of embeddings it is a row. group: columns that share a scale of 4 bits."""
        bits = {"bf16": 16.0, "int8": 8.0, "int4": 4 + 20 / group}  # a scale of 16 bits, a zero of 4
        norms = (2 * self.layers + 1) * self.hidden + self.layers * self.biases
        return round((self.linear * bits[kind] + self.vocabulary * self.hidden * bits[head]) / 8) + 2 * norms

    def cache_bytes(self, kind: CacheKind = "plain") -> int:
        """Of one token in the cache, keys and values."""
        row = 4 * self.width if kind == "plain" else 2 * self.width + 10  # a scale of the keys, two of the values
        return self.layers * self.kv_heads * row

    def step_bytes(self, context: int, kind: WeightKind, cache: CacheKind = "plain", group: int = 128) -> int:
        """Of the token after `context` others."""
        return self.weight_bytes(kind, group) + context * self.cache_bytes(cache)

    def limit(self, bandwidth: float, first: int, last: int, kind: WeightKind, cache: CacheKind = "plain") -> float:
        """Tokens a second at most, from context `first` to `last`; bandwidth: bytes a second."""
        mean = self.step_bytes(0, kind, cache) + (first + last) / 2 * self.cache_bytes(cache)
        return bandwidth / mean

    def read_flops(self, tokens: int) -> float:
        """Of reading a prompt, with the logits of its last token; attention counted once, as it is causal."""
        attention = 2 * self.layers * self.heads * self.width * tokens * tokens
        return 2.0 * self.linear * tokens + attention + 2 * self.vocabulary * self.hidden

    def fused_launches(self) -> int:
        """Kernels of a step where all of a layer's are fused and no product is split."""
        return self.layers * sum(FUSED_LAUNCHES.values()) + STEP_LAUNCHES


def weight_bytes(model: Any) -> int:
    """Of what a step reads of a model's weights, as they lie in memory."""
    table = model.get_input_embeddings()
    wholes = {id(module.whole): module.whole for module in model.modules() if isinstance(module, QuantisedLinear)}
    plain = [module for module in model.modules() if not isinstance(module, QuantisedLinear) and module is not table]
    own: int = sum(tensor.nbytes for module in plain for tensor in module.parameters(recurse=False))
    return own + sum(whole.size_bytes for whole in wholes.values())


def launches(call: Callable[[], object]) -> int:
    """How many operations of torch a call sends to a device: views and bare allocations are none."""
    counting = _Counting()
    with counting:
        call()
    return counting.count


class _Counting(TorchDispatchMode):
    NONE = ("aten::empty", "aten::new_empty", "aten::_local_scalar_dense", "aten::empty_strided", "aten::empty_like")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        schema = func._schema
        is_view = any(
            value.alias_info is not None and not value.alias_info.is_write for value in schema.returns
        )  # returns a part of an argument that it does not change
        if not is_view and schema.name not in self.NONE:
            self.count += 1
        return func(*args, **(kwargs or {}))
