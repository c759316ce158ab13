"""How a model's keys and values are kept: as they are computed, or in 8 bits.

Invariant: 8 bits are used only where all layers keep plain keys and values, and what is kept otherwise is told by
`kv_cache` of the decoder.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.inference import module_attention
from core.inference.decoder import KVKind
from core.inference.dense import DenseDecoder
from core.inference.kv_int8 import ChannelSizes, CompatibleRows, Int8Rows, Shared, settle
from core.inference.kv_rows import Keeping
from core.inference.module import ModuleCache, ModuleDecoder
from core.load_options import KVChoice

log = logging.getLogger("inference")

TYPICAL_TOKENS = 32  # read to see how large the channels of keys are
ALLOWED = 0.1  # of the spread of logits, between two ways of computing with the same 8-bit rows


def keep(model: Any, decoder: DenseDecoder | ModuleDecoder, choice: KVChoice) -> None:
    """Have the decoder keep keys and values as chosen, where the layers of the model allow it."""
    kind = wanted(model, choice)
    if kind == "plain" or not decoder.layer_count:
        return
    sizes = _channel_sizes(model, decoder) if kind == "int8" else []
    if isinstance(decoder, DenseDecoder):
        decoder.keeping = _in_8_bits(decoder, sizes, settles=True)
        return
    decoder.keeping = plain = _in_8_bits(decoder, sizes, settles=False)
    if module_attention.take_over(model):
        expected = _logits(model, decoder)
        decoder.keeping, decoder.hands_over = _in_8_bits(decoder, sizes, settles=True), True
        if not _agrees(model, decoder, expected):
            module_attention.give_back(model)
            decoder.keeping, decoder.hands_over = plain, False


def wanted(model: Any, choice: KVChoice) -> KVKind:
    """A config of the first generation may ask for the published form."""
    if choice != "auto":
        return choice
    return "int8_compatible" if getattr(model.config, "use_cache_quantization", False) else "plain"


def _in_8_bits(decoder: DenseDecoder | ModuleDecoder, sizes: Sequence[ChannelSizes], *, settles: bool) -> Keeping:
    """sizes: of the keys of each layer, for our form. settles: as Shared."""
    shared = Shared(decoder.arithmetic, decoder.context_length, settles)
    if not sizes:
        return Keeping("int8_compatible", lambda layer: CompatibleRows(shared))
    return Keeping("int8", lambda layer: Int8Rows(shared, sizes[layer]), settle)


def _channel_sizes(model: Any, decoder: DenseDecoder | ModuleDecoder) -> list[ChannelSizes]:
    """Of every layer, from the keys of some tokens; any tokens do."""
    ids = _some_ids(model, TYPICAL_TOKENS)
    cache: Any = decoder.new_cache(len(ids))
    for _ in decoder.read(ids, cache):
        pass
    rows: Any = cache.rows if isinstance(cache, ModuleCache) else cache
    with torch.inference_mode():
        return [ChannelSizes.of(layer.plain(len(ids))[0][0]) for layer in rows.layers]


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
