"""The state of one sequence on the device, and the steps over its buffers, each captured when it is first needed.

Invariant: between two launches the host changes nothing but the buffers' size, and then captures anew. A launch puts
one token, or that and some guesses, into the cache and chooses what follows; its result is read from page-locked memory
when the next is under way, so that the device never waits for the host.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import Tensor

from core.inference.architectures import Parts
from core.inference.card.choosing import Choosing, Way
from core.inference.card.drafting import Drafting, agreeing
from core.inference.card.graph import CaptureFailed, captured
from core.inference.card.operations import Operations
from core.inference.card.rows import StaticRows, bucket_of
from core.inference.card.step import Step
from core.inference.kv_cache import KVCache
from core.inference.positions import Positions
from core.inference.sampling import Sampler, is_clear

log = logging.getLogger("inference")

NEAR = 0.01  # of the spread of scores: what half precision makes of the same row among others
SLOTS = 4  # results on their way to the host; two are ever in use


class Ticket(NamedTuple):
    """A launch whose result is on its way. put: tokens it put into the cache at most."""

    slot: Tensor
    event: torch.cuda.Event | None
    put: int

    def read(self) -> tuple[list[int], bool]:
        """The tokens it chose, none when the reply had ended before; and whether the one after them is for a launch of
        one token to choose, being nearly tied."""
        if self.event is not None:
            self.event.synchronize()
        *ids, is_tied, count = self.slot.tolist()
        return ids[:count], self.put > 1 and bool(is_tied)


class Loop:
    """One sequence's. drafted: tokens guessed for a launch of several, 0 where none are guessed."""

    def __init__(
        self, parts: Parts, positions: Positions, operations: Operations, way: Way, *, most: int, drafted: int
    ) -> None:
        self.parts, self.way, self.drafted = parts, way, drafted
        self._positions, self._operations, self._most = positions, operations, most
        device = self._device = parts.embedding.device
        self._is_card = device.type == "cuda"
        self._tokens = torch.zeros(1 + drafted, dtype=torch.int64, device=device)
        self._position = torch.zeros(1, dtype=torch.int64, device=device)
        self._done = torch.zeros(1, dtype=torch.bool, device=device)
        self._out = torch.zeros(3 + drafted, dtype=torch.int64, device=device)
        self._one = torch.ones(1, dtype=torch.int64, device=device)
        vocabulary = sum(part.width for part in parts.head.parts)
        self._choosing = Choosing(way, vocabulary, most + 1, device)
        self._drafting = Drafting(most, drafted, device) if drafted else None
        self.logits: Tensor | None = None  # of the last launch, as long as it was not captured anew
        self._slots = [torch.zeros(3 + drafted, dtype=torch.int64, pin_memory=self._is_card) for _ in range(SLOTS)]
        self._launched = 0
        self._steps: dict[tuple[int, int], Callable[[], None]] = {}
        self._stamp: tuple[int, ...] = ()
        self._layers: list[StaticRows] = []
        self._alpha = 1.0

    @property
    def state(self) -> list[Tensor]:
        drafting = () if self._drafting is None else self._drafting.state
        return [self._tokens, self._position, self._done, self._out, *self._choosing.state, *drafting]

    def begin(
        self, cache: KVCache, layers: list[StaticRows], id: int, sampler: Sampler, stops: Collection[int]
    ) -> None:
        """Go on after the cache's rows with `id`, which is not among them yet. layers: the cache's."""
        self._layers, self._alpha = layers, cache.ntk_alpha
        self._tokens.fill_(id)
        self._position.fill_(cache.length)
        self._done.fill_(False)
        self._choosing.begin(sampler, id, stops)
        if self._drafting is not None:
            self._drafting.begin([*sampler.prompt, id])

    @torch.inference_mode()
    def launch(self, end: int, new: int) -> Ticket:
        """Put `new` tokens into the cache, 1 or 1 + drafted. end: rows there may be afterwards."""
        self._step(end, new)()
        slot = self._slots[self._launched % SLOTS]
        self._launched += 1
        slot.copy_(self._out, non_blocking=True)
        event = None
        if self._is_card:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        return Ticket(slot, event, new)

    def _step(self, end: int, new: int) -> Callable[[], None]:
        if min(rows.room for rows in self._layers) < end:
            for rows in self._layers:
                rows.reserve(end)
        stamp = tuple(place for rows in self._layers for place in rows.stamp)
        if stamp != self._stamp:
            self._steps, self._stamp = {}, stamp
        room = self._layers[0].room
        bucket = room if self._operations.reads_length else min(bucket_of(end, self._most), room)
        if (found := self._steps.get((bucket, new))) is None:
            found = self._steps[bucket, new] = self._made(bucket, new)
        return found

    def _made(self, bucket: int, new: int) -> Callable[[], None]:
        tables = self._positions.rows(0, self._layers[0].room, self._alpha)
        step = Step(self.parts, self._layers, tables, self._operations, bucket)

        def call() -> None:
            self.advance(step, new)

        if not self._is_card:
            return call
        try:
            return captured(call, self.state, self._device)
        except CaptureFailed as reason:
            log.warning("a step could not be captured and is made as it is: %s", reason)
            return call

    def advance(self, step: Step, new: int) -> None:
        """One launch, all of it on the device."""
        tokens, drafting = self._tokens[:new], self._drafting
        logits = self.logits = step(tokens, self._position)
        if new == 1:
            chosen, count = self._choosing.pick(logits[0]), self._one
            following = chosen
        else:
            scores = logits[:, : self.way.rows or None].float()
            chosen = scores.argmax(-1)
            # A near tie is left to a launch of one token, whose products round as those of single steps.
            near = 0.0 if logits.dtype == torch.float32 else NEAR
            clear = is_clear(scores, logits.dtype, near).long().cumprod(0).sum(0, keepdim=True)
            right = agreeing(tokens, chosen) + 1
            count = right.minimum(clear)
            self._out[-2:-1] = clear < right
            following = torch.cat((tokens[:1], chosen)).index_select(0, count)
        taken = count * ~self._done
        self._out[:new] = chosen
        self._out[-1:] = taken
        if drafting is not None:
            drafting.note(self._position, chosen)
        ends = self._choosing.ends(chosen)
        if new > 1:
            ends = (ends & (torch.arange(new, device=ends.device) < count)).any(0, keepdim=True)
        self._done.logical_or_(ends)
        self._position.add_(taken)
        self._tokens[:1] = following
        if drafting is not None and new > 1:
            self._tokens[1:] = drafting.guess(self._position)
