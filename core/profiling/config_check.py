"""Whether a config.json can be that of a model at all, told before anything is made or loaded by it.

Invariant: what is refused here no library could load; the sentence names the field and what stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import UserError

COUNTS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "kv_channels",
          "intermediate_size", "moe_intermediate_size", "vocab_size", "max_position_embeddings")  # fmt: skip


def need_possible(config: Mapping[str, Any], where: str) -> None:
    """where: the file or folder it stands in, for the sentence.

    Raises:
        UserError: config_no_count, config_no_multiple, config_odd.
    """
    inner = config.get("text_config")
    text = inner if isinstance(inner, dict) else config
    for field in COUNTS:
        value = text.get(field)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value <= 0):
            raise UserError("config_no_count", where=where, field=field, value=str(value)[:60])
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    if heads and (groups := text.get("num_key_value_heads")):
        _need_multiple(text, "num_attention_heads", "num_key_value_heads", groups, where)
    width = text.get("head_dim") or text.get("kv_channels")
    if not width and heads and hidden:
        _need_multiple(text, "hidden_size", "num_attention_heads", heads, where)
        width = hidden // heads
    if width and width % 2:  # half of each is turned against the other by its position
        raise UserError("config_odd", where=where, width=width)


def _need_multiple(text: Mapping[str, Any], field: str, other: str, divisor: int, where: str) -> None:
    if text[field] % divisor:
        raise UserError("config_no_multiple", where=where, field=field, value=text[field], other=other, divisor=divisor)
