"""How a model on a card is decoded: by captured steps with the fused kernels, with plain operations, or not captured.

Invariant: a way is used only after it gave the module's own logits on this very model, and what was against the better
ones stands in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch

from core.chat.turns import GREEDY
from core.inference.card import joining, weights
from core.inference.card.available import why_no_graph, why_no_kernels
from core.inference.card.decoder import CardDecoder
from core.inference.card.operations import Operations, Plain
from core.inference.dense import DenseDecoder
from core.inference.sampling import Sampler

log = logging.getLogger("inference")

TIMED = 12  # launches, to see what guesses cost

Difference = Callable[[CardDecoder], str]


def on_card(
    model: Any, lean: DenseDecoder, context_length: int, difference: Difference, *, is_exact: bool
) -> DenseDecoder:
    """The decoder to use in place of `lean`, which computes what the model computes. difference: how the logits of a
    decoder's captured step differ from the module's, empty when they do not."""
    if reason := why_no_graph(model.device):
        log.info("no step is captured: %s", reason)
        return lean
    joined = joining.join(model)
    log.info("%d groups of plain weights lie side by side now", joined)
    for operations in _operations(model, is_exact=is_exact):
        decoder = CardDecoder(model, context_length, is_exact=is_exact, operations=operations)
        try:
            reason = difference(decoder)
        except RuntimeError as error:  # a kernel that this card or this version of Triton does not take
            if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError"):
                raise
            reason = str(error).splitlines()[0]
        if not reason:
            decoder.extra_cost = _extra_cost(decoder)
            log.info("steps are captured with %s, guesses cost %.2f", operations.name, decoder.extra_cost)
            return decoder
        log.warning("steps with %s are not used: %s", operations.name, reason)
    return lean


def _operations(model: Any, *, is_exact: bool) -> list[Operations]:
    if reason := why_no_kernels(model.device):
        log.info("no fused kernels: %s", reason)
        return [Plain()]
    from core.inference.card.fused import Fused

    if not is_exact:  # then weights stay what is multiplied by
        weights.prefer_kernels(model)
    return [Fused(), Plain()]


def _extra_cost(decoder: CardDecoder) -> float:
    """Of a pass with guesses, as a share of one without."""
    if not decoder.drafted:
        return float("inf")
    cache = decoder.new_cache(8)
    for _ in decoder.read(range(8), cache):
        pass
    loop = decoder.begun(cache, 8, Sampler(GREEDY, range(8)), ())
    seconds = []
    for new in (1, 1 + decoder.drafted):
        loop.launch(cache.length + 1 + decoder.drafted, new).read()  # captures
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(TIMED):
            ticket = loop.launch(cache.length + (2 * TIMED + 4) * (1 + decoder.drafted), new)
        ticket.read()
        seconds.append(time.perf_counter() - begin)
    return max(0.0, seconds[1] / seconds[0] - 1)
