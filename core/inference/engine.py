"""Generates token ids from token ids. Knows no text.

Owns the order of things: take what is cached, read the rest, then choose and step until an end. Invariant: every
generation ends with one Ended, and after a cancel no further step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from core.chat.turns import FinishReason, Sampling
from core.errors import UserError
from core.inference.constraint import Constraint
from core.inference.decoder import AnyDecoder
from core.inference.sampling import Sampler
from core.inference.sequences import CachedSequence, Sequences
from core.inference.together import Together

KEEP_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Reading:
    """`done` of `total` prompt tokens are in the cache."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class PromptReady:
    """ntk_alpha: how far the positions are stretched for this prompt, 1 for not at all."""

    prompt_tokens: int
    reused_tokens: int
    ntk_alpha: float = 1.0


@dataclass(frozen=True, slots=True)
class NewToken:
    id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """`steps` tokens were chosen, the one that ended the reply among them."""

    reason: FinishReason
    steps: int


Step = Reading | PromptReady | NewToken | Ended | None


class Engine:
    def __init__(
        self, decoder: AnyDecoder, context_length: int, *, keep_bytes: int = KEEP_BYTES, rows: int = 0
    ) -> None:
        """keep_bytes: how much the caches of sequences that are not in use may take. rows: ids from here on stand for
        no token and are never chosen; 0 for none of these."""
        self._decoder = decoder
        self._rows = rows
        self._context_length = context_length
        self._sequences = Sequences(decoder.new_cache, keep_bytes)
        self._together = Together(decoder)

    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        stop_ids: Collection[int] = (),
        adapter: str = "",
        is_cancelled: Callable[[], bool] = lambda: False,
        constraint: Constraint | None = None,
    ) -> Iterator[Step]:
        """The reply to `prompt`, one NewToken at a time; None wherever others may have their turn.

        Several generations may run at once, each stepped when its consumer asks.

        Raises:
            UserError: prompt_too_long, logits_unusable.
        """
        if len(prompt) >= self._context_length:
            raise UserError("prompt_too_long", tokens=len(prompt), limit=self._context_length - 1)
        sequence = self._sequences.take(prompt, adapter)
        try:
            yield from self._generate(sequence, sampling, stop_ids, is_cancelled, constraint)
        finally:
            self._sequences.give_back(sequence)

    def forget(self) -> None:
        """Drop what is cached of sequences that are not in use, for when memory is short."""
        self._sequences.forget()

    def _generate(
        self,
        sequence: CachedSequence,
        sampling: Sampling,
        stop_ids: Collection[int],
        is_cancelled: Callable[[], bool],
        constraint: Constraint | None,
    ) -> Iterator[Step]:
        total, reused = len(sequence.ids), sequence.cache.length
        reading = self._decoder.read(sequence.ids[reused:], sequence.cache)
        while True:
            if is_cancelled():
                reading.close()
                yield Ended("cancelled", 0)
                return
            before = sequence.cache.length
            try:
                next(reading)
            except StopIteration as end:
                logits: Tensor = end.value
                break
            yield None if sequence.cache.length == before else Reading(sequence.cache.length, total)
        if bool(logits.isnan().any()):
            raise UserError("logits_unusable")
        yield PromptReady(total, reused, sequence.cache.ntk_alpha)
        sampler = Sampler(sampling, sequence.ids, self._rows, constraint)
        yield from self._decode(sequence, sampler, logits, sampling, stop_ids, is_cancelled)

    def _decode(
        self,
        sequence: CachedSequence,
        sampler: Sampler,
        logits: Tensor,
        sampling: Sampling,
        stop_ids: Collection[int],
        is_cancelled: Callable[[], bool],
    ) -> Iterator[Step]:
        steps = 0
        while steps < sampling.max_new_tokens:
            id = sampler.pick(logits)
            steps += 1
            if id in stop_ids:
                yield Ended("stop", steps)
                return
            sequence.ids.append(id)
            yield NewToken(id)
            if is_cancelled():
                yield Ended("cancelled", steps)
                return
            if len(sequence.ids) >= self._context_length:
                yield Ended("context_full", steps)
                return
            if steps < sampling.max_new_tokens:
                next_logits = yield from self._stepped(id, sequence, is_cancelled)
                if next_logits is None:
                    yield Ended("cancelled", steps)
                    return
                logits = next_logits
        yield Ended("length", steps)

    def _stepped(
        self, id: int, sequence: CachedSequence, is_cancelled: Callable[[], bool]
    ) -> Generator[None, None, Tensor | None]:
        """The logits after one more id: others may ask for theirs first, and all are computed in one pass. None after a
        cancel."""
        asked = self._together.ask(id, sequence.cache)
        try:
            yield None
            return None if is_cancelled() else asked.logits()
        finally:
            self._together.withdraw(asked)
