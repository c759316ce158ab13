"""Tokens guessed on the device: what followed the last two or three tokens where they stood before in the sequence.

Invariant: a guess only decides what is tried, never what is chosen; so a reply is the same with it as without, as
prompt_lookup.py says it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

LONGER = 1 << 40  # a match of three tokens is worth more than any later one of two


class Drafting:
    """The ids of one sequence. most: how many it can have; count: guessed at once."""

    def __init__(self, most: int, count: int, device: torch.device) -> None:
        self.count = count
        self._ids = torch.full((most + count + 2,), -1, dtype=torch.int64, device=device)
        self._places = torch.arange(len(self._ids), device=device)
        self._ahead = torch.arange(count + 1, device=device)

    @property
    def state(self) -> tuple[Tensor, ...]:
        return (self._ids,)

    def begin(self, ids: Sequence[int]) -> None:
        self._ids[: len(ids)] = torch.tensor(ids, dtype=torch.int64).to(self._ids.device)

    def note(self, position: Tensor, ids: Tensor) -> None:
        """`ids`, (n,), were chosen after the token at `position`, (1,); the wrong ones among them are overwritten."""
        self._ids.index_copy_(0, position + 1 + self._ahead[: len(ids)], ids)

    def guess(self, position: Tensor) -> Tensor:
        """What may follow the token at `position`, (count,)."""
        ids, places = self._ids, self._places
        last, before, first = (ids.index_select(0, (position - back).clamp_min(0)) for back in range(3))
        two = (ids[1:-1] == before) & (ids[2:] == last) & (places[2:] < position)  # at the index of the second one
        three = two & (ids[:-2] == first)
        # Of equal worth is the latest; without a match this is a place like any other.
        found = ((places[2:] + three * LONGER) * two).argmax(0, keepdim=True) + 2
        return ids.index_select(0, (found + 1 + self._ahead[:-1]).minimum(position)).clamp_min_(0)


def agreeing(tried: Tensor, chosen: Tensor) -> Tensor:
    """How many guesses were right, (1,): tried: (n,) tokens that were put in; chosen: (n,) what follows each of
    them."""
    return (chosen[:-1] == tried[1:]).long().cumprod(0).sum(0, keepdim=True)
