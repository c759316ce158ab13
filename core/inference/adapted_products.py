"""What stands in the place of a product, or of the table of embeddings, for sequences that name an adapter.

Invariant: it computes with the base's own product and the tensors of the change; neither is copied.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from core.inference.changes import Change
from core.inference.products import Part, Product


class Adapted:
    """A product and beside it the factors of an adapter. Of products that are joined each part has its own, and the
    first factors are multiplied at once: a, (ranks, inputs). pieces: of each part its first output, their count, its
    first rank, their count, and its second factor."""

    __slots__ = ("_others", "a", "base", "parts", "pieces")

    def __init__(self, base: Product, changes: Sequence[Change | None]) -> None:
        self.parts: tuple[Part, ...] = base.parts
        self.base = base
        self.pieces: list[tuple[int, int, int, int, Tensor]] = []
        self._others: list[tuple[int, int, Change]] = []
        factors: list[Tensor] = []
        at = rank = 0
        for part, change in zip(base.parts, changes, strict=True):
            if change is not None and change.is_low_rank and change.a is not None and change.b is not None:
                self.pieces.append((at, part.width, rank, change.a.shape[0], change.b))
                factors.append(change.a)
                rank += change.a.shape[0]
            elif change is not None:
                self._others.append((at, part.width, change))
            at += part.width
        self.a = torch.cat(factors) if factors else None

    @property
    def is_low_rank(self) -> bool:
        """The factors and nothing else."""
        return not self._others

    def __call__(self, x: Tensor, /) -> Tensor:
        y = self.base(x)
        if self.a is not None:
            low = F.linear(x.to(self.a.dtype), self.a)
            for at, width, rank, count, b in self.pieces:
                y.narrow(-1, at, width).add_(F.linear(low.narrow(-1, rank, count), b))
        for at, width, change in self._others:
            part = y.narrow(-1, at, width)
            part.copy_(change.apply(x, part))
        return y


class Replaced:
    """A product whose weight was trained along: the base model's is not multiplied by at all."""

    __slots__ = ("_change", "_dtype", "parts")

    def __init__(self, part: Part, change: Change) -> None:
        self.parts = (part,)
        self._change = change

    def __call__(self, x: Tensor, /) -> Tensor:
        return self._change.apply(x, x)


class Rows:
    """A table of embeddings as an adapter changes it, asked like the tensor it stands for."""

    def __init__(self, table: Tensor, change: Change) -> None:
        self._table, self._change = table, change

    def __getitem__(self, ids: Tensor | slice) -> Tensor:
        found = self._table[ids]
        if isinstance(ids, slice):
            ids = torch.arange(*ids.indices(len(self._table)), device=found.device)
        return self._change.look_up(ids, found)
