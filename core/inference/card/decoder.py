"""The decoder for a card: it reads as the lean pass does, in larger parts, and goes on by a captured step.

Owns when tokens are guessed and how far the device runs ahead. Invariant: what it yields is what the lean pass and
Sampler would choose, and after each token the cache holds what came before that token.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, cast

import torch
from torch import Tensor

from core.chat.turns import GREEDY
from core.inference.card import rows as card_rows
from core.inference.card.choosing import Way
from core.inference.card.loop import Loop, Ticket
from core.inference.card.operations import Operations, Plain
from core.inference.card.rows import StaticRows
from core.inference.decoder import Tally
from core.inference.dense import DenseDecoder
from core.inference.kv_cache import KVCache
from core.inference.kv_int8 import ChannelSizes
from core.inference.kv_rows import Keeping
from core.inference.prompt_lookup import Pace
from core.inference.sampling import Sampler

log = logging.getLogger("inference")

CHUNK = 2048  # tokens read at once
LOOPS = 2  # sequences whose captured steps are kept
DRAFTED = 3


class CardDecoder(DenseDecoder):
    """operations: of a layer. drafted: tokens guessed for one pass, 0 for none. extra_cost: of a pass with guesses, as
    a share of one without; infinite where nobody measured it, so that nothing is guessed."""

    def __init__(
        self, model: Any, context_length: int, *, is_exact: bool, operations: Operations | None = None
    ) -> None:
        super().__init__(model, context_length, is_exact=is_exact)
        self.operations: Operations = operations or Plain()
        self.drafted, self.extra_cost = 0 if is_exact else DRAFTED, float("inf")
        self.keeping = card_rows.plainly(self.arithmetic, context_length)
        self._loops: list[tuple[weakref.ref[KVCache], Loop]] = []  # the one used last at the end

    def _at_once(self) -> int:
        return CHUNK

    def in_8_bits(self, sizes: list[ChannelSizes]) -> Keeping:
        return card_rows.in_8_bits(self.arithmetic, self.context_length, sizes)

    def go_on(
        self, cache: KVCache, id: int, sampler: Sampler, stop_ids: Collection[int], tally: Tally
    ) -> Iterator[int] | None:
        if self.kv_cache == "int8_compatible" or cache.length + 1 >= self.context_length:
            return None
        return self._tokens(cache, self.begun(cache, id, sampler, stop_ids), stop_ids, tally)

    def logits_after(self, id: int, cache: KVCache) -> Tensor:
        """As `step`, by the way that `go_on` takes, so that it can be checked."""
        sampler = Sampler(GREEDY, [])
        loop = self.begun(cache, id, sampler, ())
        loop.launch(cache.length + 1, 1).read()
        cache.length += 1
        assert loop.logits is not None
        return loop.logits[0]

    def _tokens(self, cache: KVCache, loop: Loop, stop_ids: Collection[int], tally: Tally) -> Iterator[int]:
        pace, is_tied = Pace(loop.drafted, self.extra_cost), False
        waiting: deque[Ticket] = deque()
        while True:
            end = cache.length + sum(ticket.put for ticket in waiting)
            new = 1 if is_tied else 1 + pace.guesses()
            if end + new > self.context_length:
                new = 1
            if end + new <= self.context_length:
                waiting.append(loop.launch(end + new, new))
                tally.passes += 1
                if len(waiting) < 2:
                    continue
            elif not waiting:
                return
            ticket = waiting.popleft()
            chosen, is_tied = ticket.read()
            pace.note(ticket.put - 1, max(len(chosen) - 1, 0))
            for id in chosen:
                cache.length += 1
                yield id
                if id in stop_ids:
                    return

    # --- loops -----------------------------------------------------------------------

    @torch.inference_mode()
    def begun(self, cache: KVCache, id: int, sampler: Sampler, stop_ids: Collection[int]) -> Loop:
        """The loop over this cache, about to put `id` into it."""
        parts = self.parts[cache.adapter]
        way = Way.of(sampler.sampling, sampler.rows, stop_ids)
        drafted = self.drafted if way.is_greedy and not way.has_penalty and sampler.may_guess else 0
        loop = self._kept(cache)
        if loop is None or loop.parts is not parts or loop.way != way or loop.drafted != drafted:
            self._forget(cache)
            loop = Loop(parts, self._positions, self.operations, way, most=self.context_length, drafted=drafted)
        else:
            self._forget(cache)
        del self._loops[: max(0, len(self._loops) + 1 - LOOPS)]
        self._loops.append((weakref.ref(cache, self._gone), loop))
        layers = cast(list[StaticRows], cache.layers)
        loop.begin(cache, layers, id, sampler, stop_ids)
        return loop

    def _kept(self, cache: KVCache) -> Loop | None:
        return next((loop for kept, loop in self._loops if kept() is cache), None)

    def _forget(self, cache: KVCache) -> None:
        self._loops = [(kept, loop) for kept, loop in self._loops if kept() is not cache]

    def _gone(self, cache: weakref.ref[KVCache]) -> None:
        """A loop holds buffers, which go with their sequence."""
        self._loops = [(kept, loop) for kept, loop in self._loops if kept is not cache]
