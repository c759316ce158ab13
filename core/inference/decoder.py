"""What the engine asks of a model: read ids into a cache, and step by one token.

Two parts answer to it: `dense` for the architectures most users have, `module` for every other one. A decoder may also
choose tokens by itself (`Continuing`, on a card) or verify several at once (`Verifying`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

from core.inference.sampling import Sampler

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


@dataclass(slots=True)
class Tally:
    """What a reply took. passes: over the model, after the prompt."""

    passes: int = 0


@runtime_checkable
class Continuing(Protocol):
    """A decoder that chooses tokens itself, where the device would have to wait for each choice made elsewhere."""

    def go_on(
        self, cache: Any, id: int, sampler: Sampler, stop_ids: Collection[int], tally: Tally
    ) -> Iterator[int] | None:
        """The tokens after `id`, which was chosen and is not in the cache yet: as the sampler would choose them, until
        one of `stop_ids` or until there is no more room. With each of them the cache holds all before it. None where
        this is not possible for that cache."""
        ...


@runtime_checkable
class Verifying(Protocol):
    """A decoder that can put several ids into a cache and say what follows each of them."""

    def can_verify(self, cache: Any) -> bool:
        """The logits are those of single steps but for rounding, and rows can be taken back."""
        ...

    def verify(self, ids: Sequence[int], cache: Any) -> Tensor:
        """The logits after each id, (ids, vocabulary)."""
        ...
