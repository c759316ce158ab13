"""Generates token ids from token ids. Knows no text.

Owns the order of things: take what is cached, read the rest, then choose and step until an end. Invariant: every
generation ends with one Ended, and after a cancel no further step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from core.chat.turns import FinishReason, Sampling
from core.errors import UserError
from core.inference import prompt_lookup
from core.inference.decoder import AnyDecoder, Continuing, Tally, Verifying
from core.inference.sampling import Sampler
from core.inference.sequences import CachedSequence, Sequences

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
    """`steps` tokens were chosen, the one that ended the reply among them, in so many passes over the model after the
    prompt: fewer than tokens where guesses were right."""

    reason: FinishReason
    steps: int
    passes: int = field(default=0, compare=False)


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

    def generate(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        *,
        stop_ids: Collection[int] = (),
        adapter: str = "",
        is_cancelled: Callable[[], bool] = lambda: False,
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
            yield from self._generate(sequence, sampling, stop_ids, is_cancelled)
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
        sampler = Sampler(sampling, sequence.ids, self._rows)
        yield from self._decode(sequence, sampler, logits, stop_ids, is_cancelled)

    def _decode(
        self,
        sequence: CachedSequence,
        sampler: Sampler,
        logits: Tensor,
        stop_ids: Collection[int],
        is_cancelled: Callable[[], bool],
    ) -> Iterator[Step]:
        steps, tally, most = 0, Tally(), sampler.sampling.max_new_tokens
        chosen = self._chosen(sequence, sampler, logits, stop_ids, tally) if most > 0 else iter(())
        for id in chosen:
            steps += 1
            if id in stop_ids:
                yield Ended("stop", steps, tally.passes)
                return
            sequence.ids.append(id)
            yield NewToken(id)
            if is_cancelled():
                yield Ended("cancelled", steps, tally.passes)
                return
            if len(sequence.ids) >= self._context_length:
                yield Ended("context_full", steps, tally.passes)
                return
            if steps == most:
                break
        yield Ended("length", steps, tally.passes)

    def _chosen(
        self, sequence: CachedSequence, sampler: Sampler, logits: Tensor, stop_ids: Collection[int], tally: Tally
    ) -> Iterator[int]:
        """Token after token, without an end but where a stop comes; each is in the sequence's ids before the next is
        asked for."""
        decoder, cache = self._decoder, sequence.cache
        id = sampler.pick(logits)
        yield id
        if isinstance(decoder, Continuing):
            following = decoder.go_on(cache, id, sampler, stop_ids, tally)
            if following is not None:
                yield from following
                return
        if sampler.is_plainly_greedy and isinstance(decoder, Verifying) and decoder.can_verify(cache):
            most = self._context_length
            yield from prompt_lookup.go_on(decoder, cache, sequence.ids, tally, rows=sampler.rows, most=most)
            return
        while True:
            logits = decoder.step(id, cache)
            tally.passes += 1
            id = sampler.pick(logits)
            yield id
