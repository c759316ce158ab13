"""Where tokens stand: rotary tables and LogN scales of one pass, and the alpha that a cache was filled with.

Owns dynamic NTK in the model. Invariant: all keys of a row of a cache were rotated with one alpha, that of the prompt
it was begun with; it lies with the cache object, so several caches never mix theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from core.models.qwen_v1.configuration import QWenConfig
from core.models.qwen_v1.positions import stretched_base

Alphas = tuple[float, ...]  # one for all rows, or one for each


class Places(NamedTuple):
    """cos, sin: (batch or 1, tokens, rotated width), fp32. query_scale: (batch or 1, tokens, 1) or None for ones."""

    cos: Tensor
    sin: Tensor
    query_scale: Tensor | None


def prefill_for(cache: Any, total: int | Sequence[int]) -> None:
    """Say how long the whole prompt will be, before its first part is read into the empty transformers `cache`.

    total: tokens, one number or one for each row, padding not counted. Without this the first pass counts as the
    whole prompt. It holds for the next prompt only.
    """
    cache.ntk_prompt = (total,) if isinstance(total, int) else tuple(total)


def keep_rows(cache: Any, rows: Sequence[int]) -> None:
    """To be called with Cache.batch_select_indices(rows): the kept rows keep their alpha."""
    alphas: Alphas = getattr(cache, "ntk_alphas", (1.0,))
    if len(alphas) > 1:
        cache.ntk_alphas = tuple(alphas[row] for row in rows)


def alphas_for(config: QWenConfig, cache: Any | None, before: int, positions: Tensor) -> Alphas:
    """The alpha of every row for a pass after `before` cached tokens; kept with the cache.

    positions: (batch or 1, tokens), as positions_of
    """
    known: Alphas | None = getattr(cache, "ntk_alphas", None)
    if before and known is not None:
        return known
    prompt: Sequence[int] | None = getattr(cache, "ntk_prompt", None) if not before else None
    if prompt is None:
        # A cache that somebody else filled counts as one prompt.
        prompt = positions[:, 0].tolist() if before else _lengths(positions, config.long_context.trained_length)
    alphas = tuple(config.long_context.alpha(length) for length in prompt)
    if len(set(alphas)) == 1:
        alphas = alphas[:1]
    if cache is not None:
        cache.ntk_alphas, cache.ntk_prompt = alphas, None
    return alphas


def _lengths(positions: Tensor, trained: int) -> list[int]:
    """Of the rows, padding not counted. Read back from the device only where one may be longer than trained."""
    if positions.shape[1] <= trained:
        return [positions.shape[1]]
    lengths: list[int] = (positions.amax(-1) + 1).tolist()
    return lengths


def positions_of(mask: Tensor | None, before: int, tokens: int, device: torch.device) -> Tensor:
    """(batch or 1, tokens), counted from 0 at the first real token of each row."""
    if mask is None:
        return torch.arange(before, before + tokens, device=device)[None]
    counted = mask.long().cumsum(-1)[:, before : before + tokens] - 1
    return counted.clamp(min=0)


def places(config: QWenConfig, positions: Tensor, alphas: Alphas, *, longest: int, is_training: bool) -> Places:
    """longest: no position reaches it."""
    width = int(config.kv_channels * config.rotary_pct)
    device = positions.device
    bases = [stretched_base(config.rotary_emb_base, alpha, width) for alpha in alphas]
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device=device) / width
    frequencies = 1.0 / torch.tensor(bases, dtype=torch.float32, device=device)[:, None] ** exponents
    angles = positions[..., None].float() * frequencies[:, None]
    angles = torch.cat((angles, angles), -1)
    trained = config.long_context.trained_length
    scale = None
    if config.use_logn_attn and not is_training and longest > trained > 1:
        counted = torch.tensor(float(trained), device=device).maximum(positions[..., None] + 1)
        scale = counted.log() / torch.tensor(float(trained), device=device).log()
    return Places(angles.cos(), angles.sin(), scale)


def rotate(states: Tensor, places: Places) -> Tensor:
    """states: (batch, heads, tokens, width); computed in fp32. Width beyond the rotated one stays as it is."""
    cos, sin = places.cos[:, None], places.sin[:, None]
    width = cos.shape[-1]
    turning = states[..., :width].float()
    first, second = turning.chunk(2, -1)
    turned = (turning * cos + torch.cat((-second, first), -1) * sin).to(states.dtype)
    return turned if width == states.shape[-1] else torch.cat((turned, states[..., width:]), -1)
