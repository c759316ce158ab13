"""What the engine asks of a model: read ids into a cache, and step by one token.

Two parts answer to it: `dense` for the architectures most users have, `module` for every other one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

from torch import Tensor

KVKind = Literal["plain", "int8", "int8_compatible"]


class SequenceCache(Protocol):
    """What a model remembers of one sequence.

    can_crop: it can go back to an earlier length, and be forked there. adapter: the folder of the adapter its rows were
    made with, "" for the model alone. ntk_alpha: how far its positions are stretched, 1 for not at all.
    """

    @property
    def adapter(self) -> str: ...

    @property
    def ntk_alpha(self) -> float: ...

    def serves(self, total: int) -> bool:
        """Its rows are those that a fresh reading of a prompt of `total` tokens would make (same stretched positions,
        same quantisation); only then may they be taken over."""
        ...

    @property
    def length(self) -> int: ...

    @property
    def can_crop(self) -> bool: ...

    @property
    def size_bytes(self) -> int: ...

    def crop(self, length: int) -> None: ...

    def fork(self, length: int) -> Self: ...


CacheT = TypeVar("CacheT", bound=SequenceCache)


class Decoder(Protocol[CacheT]):
    """kv_cache: how it keeps keys and values."""

    @property
    def kv_cache(self) -> KVKind: ...

    def new_cache(self, total: int = 0, adapter: str = "") -> CacheT:
        """For a prompt of `total` tokens, where what the rows become depends on that."""
        ...

    def read(self, ids: Sequence[int], cache: CacheT) -> Generator[None, None, Tensor]:
        """Put ids into the cache, in small parts between which it yields; returns the logits after the last one.

        `cache.length` says how far it is. Closed half way, it leaves a cache whose rows up to `length` are valid.
        """
        ...

    def step(self, id: int, cache: CacheT) -> Tensor:
        """Put one id into the cache; the logits after it, (vocabulary,)."""
        ...


AnyDecoder = Decoder[Any]
