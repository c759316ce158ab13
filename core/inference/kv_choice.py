"""How a model's keys and values are kept: as they are computed, or in 8 bits.

Invariant: 8 bits are used only where all layers keep plain keys and values, and what is kept otherwise is told by
`kv_cache` of the decoder. In our form a sequence stays plain while it is so short that 8 bits would take it longer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.inference import module_attention
from core.inference.card.decoder import CardDecoder
from core.inference.decoder import KVKind
from core.inference.dense import DenseDecoder
from core.inference.kv_int8 import ChannelSizes, CompatibleRows, Int8Rows, Shared, settle
from core.inference.kv_rows import Keeping, plainly
from core.inference.module import ModuleCache, ModuleDecoder
from core.load_options import KVChoice, int8_begins_at

log = logging.getLogger("inference")

TYPICAL_TOKENS = 32  # read to see how large the channels of keys are
ALLOWED = 0.1  # of the spread of logits, between two ways of computing with the same 8-bit rows


def keep(model: Any, decoder: DenseDecoder | ModuleDecoder, choice: KVChoice) -> None:
    """Have the decoder keep keys and values as chosen, where the layers of the model allow it."""
    kind = wanted(model, choice)
    if kind == "plain" or not decoder.layer_count:
        return
    sizes, begins_at = _look_at_rows(model, decoder) if kind == "int8" else ([], 0)
    if isinstance(decoder, ModuleDecoder):
        decoder.hands_over = _hand_over(model, decoder, sizes)
    settles = isinstance(decoder, DenseDecoder) or decoder.hands_over
    decoder.keeping = _in_8_bits(decoder, sizes, settles=settles, begins_at=begins_at)


def wanted(model: Any, choice: KVChoice) -> KVKind:
    """A config of the first generation may ask for the published form."""
    if choice != "auto":
        return choice
    return "int8_compatible" if getattr(model.config, "use_cache_quantization", False) else "plain"


def _in_8_bits(
    decoder: DenseDecoder | ModuleDecoder, sizes: Sequence[ChannelSizes], *, settles: bool, begins_at: int
) -> Keeping:
    """sizes: of the keys of each layer, for our form. settles: as Shared. begins_at: as Keeping, of our form."""
    if sizes and isinstance(decoder, CardDecoder):
        return decoder.in_8_bits(list(sizes))
    shared = Shared(decoder.arithmetic, decoder.context_length, settles)
    if not sizes:
        return Keeping("int8_compatible", lambda layer: CompatibleRows(shared))
    short = plainly(decoder.arithmetic, decoder.context_length)
    return Keeping("int8", lambda layer: Int8Rows(shared, sizes[layer]), settle, short, begins_at)


def _hand_over(model: Any, decoder: ModuleDecoder, sizes: Sequence[ChannelSizes]) -> bool:
    """Have the attention of the module see the 8-bit rows themselves; whether that works is tried on packed ones."""
    if not module_attention.take_over(model):
        return False
    decoder.keeping = _in_8_bits(decoder, sizes, settles=False, begins_at=0)
    expected = _logits(model, decoder)
    decoder.keeping, decoder.hands_over = _in_8_bits(decoder, sizes, settles=True, begins_at=0), True
    agrees = _agrees(model, decoder, expected)
    if not agrees:
        module_attention.give_back(model)
    return agrees


def _look_at_rows(model: Any, decoder: DenseDecoder | ModuleDecoder) -> tuple[list[ChannelSizes], int]:
    """Of every layer, from the keys of some tokens; any tokens do. And with how many 8 bits begin, in all layers."""
    ids = _some_ids(model, TYPICAL_TOKENS)
    cache: Any = decoder.new_cache(len(ids))
    for _ in decoder.read(ids, cache):
        pass
    rows: Any = cache.rows if isinstance(cache, ModuleCache) else cache
    with torch.inference_mode():
        kept = [layer.plain(len(ids)) for layer in rows.layers]
        token_bytes = max(sum(part.nbytes for part in parts) for parts in kept) // len(ids)
        return [ChannelSizes.of(keys[0]) for keys, _ in kept], int8_begins_at(token_bytes)


def _logits(model: Any, decoder: ModuleDecoder) -> Tensor:
    """After a few tokens, some of them read at once and one by a step."""
    ids = _some_ids(model, 6)
    cache = decoder.new_cache(len(ids))
    for part in (ids[:3], ids[3:5]):
        for _ in decoder.read(part, cache):
            pass
    return decoder.step(ids[5], cache).float()


def _agrees(model: Any, decoder: ModuleDecoder, expected: Tensor) -> bool:
    try:
        off = float((_logits(model, decoder) - expected).abs().max() / expected.std())
    except (AttributeError, TypeError, ValueError, IndexError) as error:  # it looks into keys and values by itself
        log.info("attention of %s is given plain rows: %s", type(model).__name__, error)
        return False
    if off > ALLOWED:
        log.info("attention of %s is given plain rows: its logits differ by %.3g", type(model).__name__, off)
    return off <= ALLOWED


def _some_ids(model: Any, count: int) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    ids: list[int] = torch.randint(model.config.get_text_config().vocab_size, (count,), generator=generator).tolist()
    return ids
