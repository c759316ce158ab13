"""Where tokens stand, for the lean pass: rotary tables and what queries are multiplied by.

Invariant: tables come from the code of the model itself, so they round as it does; for one alpha they only ever grow.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from core.inference.kv_cache import never_stretched

FIRST_POSITIONS = 1024


class Tables(NamedTuple):
    """cos, sin: (positions, 1, width), the sine of the first half negative; query_scale: (positions, 1, 1) or None."""

    cos: Tensor
    sin: Tensor
    query_scale: Tensor | None


class Source(Protocol):
    """What a model knows of positions. alpha_for: how far a prompt of so many tokens is stretched; longest_plain: up to
    there no query is scaled."""

    longest_plain: float

    def alpha_for(self, total: int) -> float: ...

    def tables(self, count: int, alpha: float, device: torch.device) -> Tables:
        """Of the first `count` positions, the sine as it is."""
        ...


class Rotary:
    """transformers' rotary module: nothing depends on the length."""

    longest_plain = float("inf")

    def __init__(self, module: Any, dtype: torch.dtype) -> None:
        self._module, self._dtype = module, dtype

    def alpha_for(self, total: int) -> float:
        return never_stretched(total)

    def tables(self, count: int, alpha: float, device: torch.device) -> Tables:
        like = torch.empty(0, dtype=self._dtype, device=device)
        cos, sin = self._module(like, torch.arange(count, device=device)[None])
        return Tables(cos[0][:, None], sin[0][:, None], None)


class FirstGeneration:
    """Dynamic NTK and LogN, as the config of the first generation asks for them."""

    def __init__(self, config: Any) -> None:
        self._config = config
        trained = config.long_context.trained_length
        self.longest_plain = trained if config.use_logn_attn and trained > 1 else float("inf")

    def alpha_for(self, total: int) -> float:
        alpha: float = self._config.long_context.alpha(total)
        return alpha

    def tables(self, count: int, alpha: float, device: torch.device) -> Tables:
        from core.models.qwen_v1 import rotary

        positions = torch.arange(count, device=device)[None]
        found = rotary.places(self._config, positions, (alpha,), longest=count, is_training=False)
        scale = None if found.query_scale is None else found.query_scale[0][:, None]
        return Tables(found.cos[0][:, None], found.sin[0][:, None], scale)


class Positions:
    """The tables that are in use, by alpha; they grow by doubling."""

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source = source
        self._device = device
        self._tables: dict[float, Tables] = {}

    def rows(self, start: int, end: int, alpha: float) -> Tables:
        """query_scale is None where no query is scaled."""
        tables = self._tables.get(alpha)
        if tables is None or tables.cos.shape[0] < end:
            tables = self._tables[alpha] = self._made(end, alpha)
        scale = tables.query_scale if end > self.source.longest_plain else None
        return Tables(tables.cos[start:end], tables.sin[start:end], None if scale is None else scale[start:end])

    def _made(self, count: int, alpha: float) -> Tables:
        before = self._tables.get(alpha)
        room = max(FIRST_POSITIONS, count, 0 if before is None else 2 * before.cos.shape[0])
        cos, sin, scale = self.source.tables(room, alpha, self._device)
        sin = sin.clone()
        sin[..., : sin.shape[-1] // 2].neg_()
        return Tables(cos, sin, scale)


def rotated(qk: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding of queries and keys at once, (tokens, heads, width), in the precision of the tables."""
    wide = qk.to(cos.dtype)
    turned = wide.roll(qk.shape[-1] // 2, -1).mul_(sin)
    return (wide * cos).add_(turned).to(qk.dtype)
