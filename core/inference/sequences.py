"""The sequences whose keys and values are kept, so that the next turn of a chat reads its new part only.

Invariant: a kept sequence's ids are exactly what its cache holds, and a sequence in use is in nobody else's hands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.inference.decoder import SequenceCache


class CachedSequence:
    """Ids and the cache that holds them; while it is in use the ids may be ahead of the cache."""

    def __init__(self, ids: list[int], cache: SequenceCache) -> None:
        self.ids = ids
        self.cache = cache


class Sequences:
    """Keeps idle sequences, the least recently used of them dropped when they need more than `keep_bytes`."""

    def __init__(self, new_cache: Callable[[int, str], SequenceCache], keep_bytes: int) -> None:
        self._new_cache = new_cache
        self._keep_bytes = keep_bytes
        self._idle: list[CachedSequence] = []  # least recently used first

    def take(self, prompt: Sequence[int], adapter: str = "") -> CachedSequence:
        """A sequence whose cache holds as much of the prompt as is known, at most all but its last token."""
        best, shared = None, 0
        for sequence in self._idle:
            if sequence.cache.adapter == adapter and (length := _usable(sequence, prompt)) > shared:
                best, shared = sequence, length
        if best is None:
            return CachedSequence(list(prompt), self._new_cache(len(prompt), adapter))
        if best.cache.can_crop and shared * 2 < best.cache.length:
            # Most of it is another conversation, which shall not lose it for a common beginning.
            return CachedSequence(list(prompt), best.cache.fork(shared))
        self._idle.remove(best)
        best.cache.crop(shared)
        best.ids = list(prompt)
        return best

    def give_back(self, sequence: CachedSequence) -> None:
        if sequence.cache.length > len(sequence.ids):  # several tokens were verified and not all of them wanted
            sequence.cache.crop(len(sequence.ids))
        del sequence.ids[sequence.cache.length :]
        if sequence.ids:
            self._idle.append(sequence)
        while self._idle and sum(kept.cache.size_bytes for kept in self._idle) > self._keep_bytes:
            del self._idle[0]

    def forget(self) -> None:
        """Give the memory of all idle sequences back."""
        self._idle.clear()


def _usable(sequence: CachedSequence, prompt: Sequence[int]) -> int:
    """How many tokens of the prompt the cache can serve. The last one is always read anew: its logits are needed."""
    if not sequence.cache.serves(len(prompt)):
        return 0
    shared = common_prefix(sequence.ids, prompt[:-1])
    if sequence.cache.can_crop or shared == len(sequence.ids):
        return shared
    return 0


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for place, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return place
    return min(len(a), len(b))
