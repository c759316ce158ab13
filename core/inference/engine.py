"""Generates token ids from token ids. Knows no text.

Owns the order of things: take what is cached, read the rest, then choose and step until an end. Invariant: every
generation ends with one Ended, and after a cancel no further step is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from core.chat.turns import FinishReason, Sampling
from core.errors import UserError
from core.inference.constraint import Constraint
from core.inference.decoder import AnyDecoder, Continuing, Tally, Verifying
from core.inference.prompt_lookup import Lookup
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
    """`steps` tokens were chosen, the one that ended the reply among them, in so many passes over the model after the
    prompt: fewer than tokens where guesses were right."""

    reason: FinishReason
    steps: int
    passes: int = field(default=0, compare=False)


Step = Reading | PromptReady | NewToken | Ended | None


class Engine:
    def __init__(
        self,
        decoder: AnyDecoder,
        context_length: int,
        *,
        keep_bytes: int = KEEP_BYTES,
        rows: int = 0,
        may_guess: bool = True,
    ) -> None:
        """keep_bytes: how much the caches of sequences that are not in use may take. rows: ids from here on stand for
        no token and are never chosen; 0 for none of these. may_guess: tokens may be guessed from the text, so that a
        pass gives several; not where the passes themselves are to be timed."""
        self._decoder = decoder
        self._may_guess = may_guess
        self._rows = rows
        self._context_length = context_length
        self._sequences = Sequences(decoder.new_cache, keep_bytes)
        self._together = Together(decoder)
        self._running = 0

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
        self._running += 1
        try:
            yield from self._generate(sequence, sampling, stop_ids, is_cancelled, constraint)
        finally:
            self._running -= 1
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
        sampler = Sampler(sampling, sequence.ids, self._rows, constraint, may_guess=self._may_guess)
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
        reason: FinishReason = "length"
        # Closed before the end is told: a step that was asked for is then withdrawn, and nobody takes it.
        with closing(self._chosen(sequence, sampler, logits, stop_ids, tally)) as chosen:
            for id in chosen if most > 0 else ():
                if id is None:
                    yield None
                else:
                    steps += 1
                    if id in stop_ids:
                        reason = "stop"
                        break
                    sequence.ids.append(id)
                    yield NewToken(id)
                if is_cancelled():
                    reason = "cancelled"
                    break
                if len(sequence.ids) >= self._context_length:
                    reason = "context_full"
                    break
                if steps == most:
                    break
        yield Ended(reason, steps, tally.passes)

    def _chosen(
        self, sequence: CachedSequence, sampler: Sampler, logits: Tensor, stop_ids: Collection[int], tally: Tally
    ) -> Generator[int | None, None, None]:
        """Token after token, without an end but where a stop comes; each is in the sequence's ids before the next is
        asked for. None where others may ask for their steps, which are then taken in the same pass."""
        decoder, cache = self._decoder, sequence.cache
        id = sampler.pick(logits)
        yield id
        if isinstance(decoder, Continuing) and sampler.is_known_to_cards:
            following = decoder.go_on(cache, id, sampler, stop_ids, tally)
            if following is not None:
                yield from following
                return
        lookup = None
        is_worth_it = sampler.may_guess and sampler.is_plainly_greedy
        if is_worth_it and isinstance(decoder, Verifying) and decoder.can_verify(cache):
            lookup = Lookup(decoder, cache, sequence.ids, rows=sampler.rows, most=self._context_length)
        while True:
            if lookup is not None and self._running == 1:
                chosen = lookup.take()
            else:
                chosen = [sampler.pick((yield from self._stepped(id, cache)))]
                if lookup is not None:
                    lookup.add(chosen[0])
            tally.passes += 1
            for id in chosen:
                yield id

    def _stepped(self, id: int, cache: Any) -> Generator[None, None, Tensor]:
        """The logits after one more id: others may ask for theirs first, and all are computed in one pass."""
        asked = self._together.ask(id, cache)
        try:
            yield None
            return asked.logits()
        finally:
            self._together.withdraw(asked)
